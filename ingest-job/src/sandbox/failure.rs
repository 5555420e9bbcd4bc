//! Why a document did not come back from the sandbox.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::WorkerLimits;
use super::confine::EXIT_NOT_CONFINED;
use crate::parse::ParseError;

/// Why a document could not be parsed; the text is for the person who owns the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseFailure {
    /// The document is at fault, and the parser could say how.
    #[error("{_0}")]
    Document(ParseError),
    /// The file is larger than any file may be.
    #[error("the file has {} MB, but a file may have at most {} MB; split it into several files", bytes.div_ceil(1 << 20), limit_bytes >> 20)]
    FileTooLarge {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Reading it took more memory than a document may take.
    #[error("this file needs more than {} of memory to read; split it into several files", gigabytes(*limit_bytes))]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// Reading it took too long.
    #[error("this file was not read within {seconds} seconds of {clock}; split it or simplify it")]
    TimedOut {
        /// The limit.
        seconds: u64,
        /// Which time ran out.
        clock: Clock,
    },
    /// The parser broke on it.
    #[error("the parser broke on this file; open it in its own program, save it again and upload the new copy")]
    Crashed {
        /// How it ended, for the log only.
        detail: String,
    },
    /// No worker could be started: the installation is at fault, not the document.
    #[error("the parser could not be started; this is a fault of the installation, not of the file")]
    NotStarted {
        /// Why, for the log only.
        detail: String,
    },
}

/// The two ways of counting time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Processor time.
    Cpu,
    /// Real time.
    Wall,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "processor time",
            Self::Wall => "real time",
        })
    }
}

impl ParseFailure {
    /// The stable name of this failure, for interfaces and statistics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Document(error) => error.code(),
            Self::FileTooLarge { .. } => "file_too_large",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::TimedOut { .. } => "timed_out",
            Self::Crashed { .. } => "crashed",
            Self::NotStarted { .. } => "not_started",
        }
    }

    /// What the log should add to the text, if anything.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Document(ParseError::Damaged { detail, .. })
            | Self::Crashed { detail }
            | Self::NotStarted { detail } => Some(detail),
            _ => None,
        }
    }

    /// Whether another engine might do better.
    pub(super) fn is_of_engine(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::TimedOut { .. } | Self::Crashed { .. })
    }
}

/// Reads a dead worker's status and last words on standard error.
pub(super) fn diagnose(status: Option<ExitStatus>, last_words: &str, limits: &WorkerLimits) -> ParseFailure {
    let signal = status.and_then(|status| status.signal());
    if status.and_then(|status| status.code()) == Some(i32::from(EXIT_NOT_CONFINED)) {
        return ParseFailure::NotStarted { detail: last_words.trim().to_owned() };
    }
    if signal == Some(Signal::XCPU.as_raw()) {
        return ParseFailure::TimedOut { seconds: limits.cpu_seconds, clock: Clock::Cpu };
    }
    // A kill from outside is the kernel's: the machine or the container ran out of memory.
    if signal == Some(Signal::KILL.as_raw()) || last_words.contains("memory allocation") {
        return ParseFailure::OutOfMemory { limit_bytes: limits.memory_bytes };
    }
    let ended = status.map_or_else(|| "the worker answered nonsense".to_owned(), |status| status.to_string());
    ParseFailure::Crashed { detail: format!("{ended}: {}", last_words.trim()) }
}

fn gigabytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 30);
    format!("{}.{} GB", tenths / 10, tenths % 10)
}
