//! A closed-loop load generator: each client keeps one connection and sends its next request when the reply is complete.
//!
//! A slow server is therefore asked less often, and the latencies are those of the given number of clients, not of a given
//! arrival rate. Every reply is read to its end and judged; a wrong one is an error, however fast it came.

pub(crate) mod cli;
mod client;
mod summary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Uri};

use client::Connection;
pub(crate) use summary::{Latencies, Summary};

/// A reply that takes longer counts as an error.
const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// Wait after an error, so that a server that refuses everything is not asked in a busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// What is sent, and how a reply is judged.
pub(crate) struct Target {
    pub(crate) method: Method,
    uri: Uri,
    authority: String,
    headers: HeaderMap,
    bodies: Arc<Bodies>,
    judge: fn(&[u8]) -> Judgement,
}

/// Request bodies, sent in turn: over all clients, and over all loads that share them.
pub(crate) struct Bodies {
    all: Vec<Bytes>,
    turn: AtomicUsize,
}

impl Bodies {
    pub(crate) fn new(all: impl IntoIterator<Item = impl Into<Bytes>>) -> anyhow::Result<Arc<Self>> {
        let all: Vec<Bytes> = all.into_iter().map(Into::into).collect();
        if all.is_empty() {
            bail!("there is no request body to send");
        }
        Ok(Arc::new(Self { all, turn: AtomicUsize::new(0) }))
    }

    fn next(&self) -> Bytes {
        self.all[self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len()].clone()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// What was asked for.
    Good,
    /// Correct, but with less work than the measurement means to cover (such as a question left unanswered).
    Slight,
    /// Not a valid reply.
    Wrong,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    /// Requests over all clients.
    Count(u64),
}

impl Target {
    /// POSTs `bodies` to `url`, which must name a loopback address.
    pub(crate) fn post(url: &str, bodies: &Arc<Bodies>, judge: fn(&[u8]) -> Judgement) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        let host = uri.host().with_context(|| format!("{url} names no host"))?;
        if host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
            bail!("{host} is not this machine; load is sent to the loopback interface only");
        }
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&authority)?);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let path: Uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        Ok(Self { method: Method::POST, uri: path, authority, headers, bodies: Arc::clone(bodies), judge })
    }

    /// Adds or replaces a header of every request.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> anyhow::Result<Self> {
        self.headers.insert(
            name,
            HeaderValue::from_str(value).with_context(|| format!("the value of {name} is no header text"))?,
        );
        Ok(self)
    }
}

/// Sends requests from `clients` connections until the end, and waits for the replies to those already sent.
pub(crate) async fn run(target: &Arc<Target>, clients: usize, until: Until) -> anyhow::Result<Summary> {
    let ticket = Arc::new(AtomicU64::new(0));
    // Connections first, so that connecting is not measured.
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(&target.authority).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(client(Arc::clone(target), connection, Arc::clone(&ticket), start, until)))
        .collect();
    let mut records = Vec::new();
    for task in tasks {
        records.push(task.await.context("a client of the load generator panicked")?);
    }
    Ok(Summary::of(&records, start.elapsed()))
}

/// What one client saw. Times are in microseconds since the start of the load.
#[derive(Default)]
pub(crate) struct Record {
    replies: Vec<Reply>,
    errors: u64,
    first_error: Option<String>,
}

#[derive(Clone, Copy)]
pub(crate) struct Reply {
    sent: u64,
    /// First byte of the body.
    first: u64,
    complete: u64,
    slight: bool,
}

async fn client(
    target: Arc<Target>,
    connection: Connection,
    ticket: Arc<AtomicU64>,
    start: Instant,
    until: Until,
) -> Record {
    let micros = |at: Instant| u64::try_from(at.duration_since(start).as_micros()).unwrap_or(u64::MAX);
    let mut connection = Some(connection);
    let mut record = Record::default();
    loop {
        let number = ticket.fetch_add(1, Ordering::Relaxed);
        let over = match until {
            Until::Elapsed(limit) => start.elapsed() >= limit,
            Until::Count(limit) => number >= limit,
        };
        if over {
            return record;
        }
        let sent = Instant::now();
        match tokio::time::timeout(REPLY_LIMIT, exchange(&target, &mut connection)).await {
            Ok(Ok((first, judgement))) => record.replies.push(Reply {
                sent: micros(sent),
                first: micros(first),
                complete: micros(Instant::now()),
                slight: judgement == Judgement::Slight,
            }),
            failed => {
                connection = None;
                record.errors += 1;
                record.first_error.get_or_insert_with(|| match failed {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => format!("no complete reply within {} s", REPLY_LIMIT.as_secs()),
                });
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One request and its whole reply; connects again when the connection is gone.
async fn exchange(target: &Target, connection: &mut Option<Connection>) -> anyhow::Result<(Instant, Judgement)> {
    let open = match connection {
        Some(open) => open,
        closed => closed.insert(Connection::open(&target.authority).await?),
    };
    let first = open.exchange(target).await?;
    let judgement = (target.judge)(open.body());
    if judgement == Judgement::Wrong {
        let body = String::from_utf8_lossy(open.body()).chars().take(200).collect::<String>();
        bail!("not the expected reply: {body}");
    }
    Ok((first, judgement))
}

#[cfg(test)]
mod tests;
