//! Parsing in a child process that may fail alone.
//!
//! The child is this same program, started as `parse-worker`: it confines itself (`confine`) before it
//! reads a byte, then serves one document after another over its standard streams (`frame`), so that a
//! process start is paid once in hundreds of documents. The parent trusts nothing that comes back.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::parse::{Format, MAX_MARKDOWN_BYTES, Outlinks, ParsedDocument, PdfEngine};

mod confine;
mod failure;
mod frame;
mod pool;
mod worker;

pub use failure::{Clock, ParseFailure};
pub use pool::Parsers;
pub use worker::{WorkerLimits, worker_main};

/// What one document may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// What the worker holds itself to.
    pub worker: WorkerLimits,
    /// Real time for one document, its transfer included.
    pub wall: Duration,
    /// Largest file accepted, in bytes.
    pub file_bytes: u64,
    /// Documents after which a worker is replaced, so that what leaks does not add up.
    pub documents_per_worker: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            worker: WorkerLimits::default(),
            wall: Duration::from_secs(90),
            file_bytes: 256 << 20,
            documents_per_worker: 500,
        }
    }
}

/// Parses documents one after another, each within [`Limits`]; owns at most one worker process.
#[derive(Debug)]
pub struct Sandbox {
    program: PathBuf,
    limits: Limits,
    worker: Option<Worker>,
}

impl Sandbox {
    /// A sandbox whose workers are `program parse-worker`; starts none yet.
    pub fn new(program: PathBuf, limits: Limits) -> Self {
        Self { program, limits, worker: None }
    }

    /// Parses the file `name`. After any failure the next call works again. Dropping the future ends the worker.
    pub async fn parse(&mut self, name: &str, bytes: &[u8]) -> Result<ParsedDocument, ParseFailure> {
        if bytes.len() as u64 > self.limits.file_bytes {
            return Err(ParseFailure::FileTooLarge { bytes: bytes.len() as u64, limit_bytes: self.limits.file_bytes });
        }
        match self.parse_with(PdfEngine::Accurate, name, bytes).await {
            Err(failure) if failure.is_of_engine() && Format::is_pdf(bytes) => {
                tracing::warn!(name, code = failure.code(), "first PDF engine failed, trying the second");
                self.parse_with(PdfEngine::Robust, name, bytes).await
            }
            outcome => outcome,
        }
    }

    /// Finds what the page `bytes` at `url` links to.
    pub async fn find_outlinks(&mut self, url: &str, bytes: &[u8]) -> Result<Outlinks, ParseFailure> {
        if bytes.len() as u64 > self.limits.file_bytes {
            return Err(ParseFailure::FileTooLarge { bytes: bytes.len() as u64, limit_bytes: self.limits.file_bytes });
        }
        let request = frame::Request { name: String::new(), task: frame::Task::FindOutlinks(url.to_owned()) };
        self.ask(&request, bytes, |_, body| frame::outlinks(&body)).await
    }

    async fn parse_with(
        &mut self,
        engine: PdfEngine,
        name: &str,
        bytes: &[u8],
    ) -> Result<ParsedDocument, ParseFailure> {
        let request = frame::Request { name: name.to_owned(), task: frame::Task::Parse(engine) };
        self.ask(&request, bytes, frame::Outline::join).await
    }

    async fn ask<T>(
        &mut self,
        request: &frame::Request,
        bytes: &[u8],
        read: fn(frame::Outline, Vec<u8>) -> std::io::Result<T>,
    ) -> Result<T, ParseFailure> {
        // Taken out for the exchange: a worker whose exchange did not end well is never used again.
        let idle = self.worker.take().and_then(|mut worker| worker.is_alive().then_some(worker));
        let mut worker = idle.map_or_else(|| Worker::start(&self.program, &self.limits.worker), Ok)?;
        let exchange = async {
            let (response, body) = worker.exchange(request, bytes).await?;
            let outcome = match response.outcome {
                Ok(outline) => Ok(read(outline, body)?),
                Err(error) => Err(error),
            };
            std::io::Result::Ok((outcome, response.retire))
        };
        let exchanged = timeout(self.limits.wall, exchange).await;
        let (outcome, retire) = match exchanged {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Err(worker.autopsy(&self.limits.worker).await),
            Err(_) => return Err(ParseFailure::TimedOut { seconds: self.limits.wall.as_secs(), clock: Clock::Wall }),
        };
        worker.served += 1;
        if !retire && worker.served < self.limits.documents_per_worker {
            self.worker = Some(worker);
        }
        outcome.map_err(ParseFailure::Document)
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    last_words: JoinHandle<String>,
    served: u32,
}

impl Worker {
    fn start(program: &Path, limits: &WorkerLimits) -> Result<Self, ParseFailure> {
        let mut child = Command::new(program)
            .arg("parse-worker")
            .args(limits.to_args())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ParseFailure::NotStarted { detail: error.to_string() })?;
        let missing = || ParseFailure::NotStarted { detail: "the worker has no standard streams".to_owned() };
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let last_words = tokio::spawn(frame::read_tail(stderr));
        Ok(Self { child, stdin, stdout, last_words, served: 0 })
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn exchange(
        &mut self,
        request: &frame::Request,
        bytes: &[u8],
    ) -> std::io::Result<(frame::Response, Vec<u8>)> {
        self.stdin.write_all(&frame::head(request, bytes.len())?).await?;
        self.stdin.write_all(bytes).await?;
        let mut lengths = [0; frame::LENGTHS];
        self.stdout.read_exact(&mut lengths).await?;
        let (header, body) = frame::lengths(lengths, MAX_MARKDOWN_BYTES)?;
        let mut bytes = vec![0; header + body];
        self.stdout.read_exact(&mut bytes).await?;
        let body = bytes.split_off(header);
        Ok((frame::Response::read(&bytes)?, body))
    }

    /// Finds out why the worker stopped answering.
    async fn autopsy(mut self, limits: &WorkerLimits) -> ParseFailure {
        // No status: the worker is alive but talks nonsense.
        let status = timeout(Duration::from_secs(1), self.child.wait()).await.ok().and_then(Result::ok);
        if status.is_none() {
            let _ = self.child.start_kill();
        }
        let last_words = timeout(Duration::from_secs(1), self.last_words).await;
        let last_words = last_words.ok().and_then(Result::ok).unwrap_or_default();
        failure::diagnose(status, &last_words, limits)
    }
}
