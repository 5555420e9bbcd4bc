//! The child's side: confine, then serve documents until the parent closes the pipe.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use rayon::ThreadPoolBuilder;

use super::confine::{self, EXIT_NOT_CONFINED};
use super::frame::{self, Outline, Request, Response, Task};
use crate::parse::{ParseError, ParsedDocument, find_outlinks, parse_with};

/// Deeply nested files make the engines recurse; the space is virtual until used.
const STACK_BYTES: usize = 512 << 20;

/// A worker holding more than this after a document is replaced before the next.
const RETIRE_BYTES: u64 = 384 << 20;

/// What a worker holds itself to.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerLimits {
    /// Address space of the process, in bytes
    #[arg(long, default_value_t = 2560 << 20)]
    pub memory_bytes: u64,
    /// Processor time for one document, in seconds
    #[arg(long, default_value_t = 60)]
    pub cpu_seconds: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { memory_bytes: 2560 << 20, cpu_seconds: 60 }
    }
}

impl WorkerLimits {
    pub(super) fn to_args(&self) -> [String; 4] {
        [
            "--memory-bytes".to_owned(),
            self.memory_bytes.to_string(),
            "--cpu-seconds".to_owned(),
            self.cpu_seconds.to_string(),
        ]
    }
}

/// Everything `parse-worker` does.
pub fn worker_main(limits: &WorkerLimits) -> ExitCode {
    match run(limits) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::from(EXIT_NOT_CONFINED)
        }
    }
}

fn run(limits: &WorkerLimits) -> anyhow::Result<()> {
    // Files of their own: a library that prints must not break the protocol's buffering.
    let mut requests = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut responses = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let usage = confine::Usage::open()?;
    confine::limit_resources(limits.memory_bytes)?;
    // One thread with a deep stack does all the work, also what engines hand to rayon. It is up and running
    // before the filter comes, which allows no new thread.
    let pool = ThreadPoolBuilder::new().num_threads(1).stack_size(STACK_BYTES).build()?;
    confine::forbid_threads()?;
    pool.install(|| -> anyhow::Result<()> {
        confine::filter_system_calls()?;
        loop {
            confine::allow_cpu_seconds(limits.cpu_seconds)?;
            let Some((request, bytes)) = frame::read::<Request>(&mut requests)? else { return Ok(()) };
            let (outcome, body) = work_off(&request, &bytes);
            drop(bytes);
            let response = Response { outcome, retire: usage.resident_bytes()? > RETIRE_BYTES };
            frame::write(&mut responses, &response, &body)?;
        }
    })
}

/// The header and the body of the answer.
fn work_off(request: &Request, bytes: &[u8]) -> (Result<Outline, ParseError>, Vec<u8>) {
    let done = match &request.task {
        Task::Parse(engine) => parse_with(*engine, &request.name, bytes).map(|document| {
            let ParsedDocument { title, markdown, page_starts } = document;
            (Outline { title, page_starts }, markdown.into_bytes())
        }),
        Task::FindOutlinks(url) => find_outlinks(url, bytes)
            .map(|found| (Outline::none(), serde_json::to_vec(&found).expect("strings and words are JSON"))),
    };
    match done {
        Ok((outline, body)) => (Ok(outline), body),
        Err(error) => (Err(error), Vec::new()),
    }
}
