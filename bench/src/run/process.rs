//! Programs started for a benchmark, stopped with it.

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to stop by itself.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A child process that is asked to stop, and after a while killed, when this value is dropped.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("failed to start {program}"))?))
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let asked = Instant::now();
        while self.is_running() && asked.elapsed() < STOP_LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_value() {
        let process = Process::start(Command::new("sleep").arg("1000")).unwrap();
        let stat = format!("/proc/{}/stat", process.id());
        assert!(std::fs::exists(&stat).unwrap());
        let begun = Instant::now();
        drop(process);
        assert!(!std::fs::exists(&stat).unwrap());
        assert!(begun.elapsed() < Duration::from_secs(5), "it stopped on SIGTERM");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Process::start(&mut Command::new("/no/such/program")).err().unwrap();
        assert!(error.to_string().contains("/no/such/program"));
    }
}
