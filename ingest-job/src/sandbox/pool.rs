//! Several sandboxes, for whoever comes.

use std::path::Path;

use tokio::sync::{Mutex, Semaphore};

use super::{Limits, ParseFailure, Sandbox};
use crate::parse::{Outlinks, ParsedDocument};

/// Parses several documents at a time, each in a worker process of its own.
#[derive(Debug)]
pub struct Parsers {
    sandboxes: Mutex<Vec<Sandbox>>,
    vacancies: Semaphore,
}

impl Parsers {
    /// `program` is this program, which is started again as a parser; at most `workers` of them run at a time.
    pub fn new(program: &Path, workers: usize) -> Self {
        Self {
            sandboxes: Mutex::new((0..workers).map(|_| Sandbox::new(program.to_owned(), Limits::default())).collect()),
            vacancies: Semaphore::new(workers),
        }
    }

    /// See [`Sandbox::parse`].
    pub async fn parse(&self, name: &str, bytes: &[u8]) -> Result<ParsedDocument, ParseFailure> {
        self.within(async |sandbox| sandbox.parse(name, bytes).await).await
    }

    /// See [`Sandbox::find_outlinks`].
    pub async fn find_outlinks(&self, url: &str, bytes: &[u8]) -> Result<Outlinks, ParseFailure> {
        self.within(async |sandbox| sandbox.find_outlinks(url, bytes).await).await
    }

    async fn within<T>(&self, work: impl AsyncFnOnce(&mut Sandbox) -> T) -> T {
        let _vacancy = self.vacancies.acquire().await.expect("the semaphore is never closed");
        let mut sandbox = self.sandboxes.lock().await.pop().expect("as many sandboxes as vacancies");
        let done = work(&mut sandbox).await;
        self.sandboxes.lock().await.push(sandbox);
        done
    }
}
