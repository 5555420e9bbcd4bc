//! A web site on this machine, whose pages do as they are told.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a path answers.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Bytes(Vec<u8>),
    /// Megabyte after megabyte, without a length.
    Endless,
    /// A head, and then nothing.
    Stalled,
}

impl Reply {
    pub(crate) fn new(status: u16, media_type: &str, body: impl AsRef<[u8]>) -> Self {
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        Self { status, headers, body: Body::Bytes(body.as_ref().to_vec()) }
    }

    pub(crate) fn html(body: &str) -> Self {
        Self::new(200, "text/html; charset=utf-8", body)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::new(status, "text/html", "<h1>an answer of the server</h1>")
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::status(302).header("location", location)
    }

    pub(crate) fn endless() -> Self {
        Self { body: Body::Endless, ..Self::html("") }
    }

    pub(crate) fn stalled() -> Self {
        Self { body: Body::Stalled, ..Self::html("") }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an `ETag` of its content.
    pub(crate) fn tagged(self) -> Self {
        let Body::Bytes(bytes) = &self.body else { panic!("only what is known has a tag") };
        let tag = bytes.iter().fold(7_u64, |hash, &byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        self.header("etag", &format!("\"{tag:x}\""))
    }
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Reply>,
    log: Vec<(String, u16)>,
    agents: Vec<String>,
    delay: Duration,
}

/// The site; it ends with its owner.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, accepting }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn put(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().pages.insert(path.to_owned(), reply);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().pages.remove(path);
    }

    /// How long every answer takes.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Paths that were asked for with the status they were answered, in order; then it is forgotten.
    pub(crate) fn take_log(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub(crate) fn agents(&self) -> Vec<String> {
        self.state.lock().unwrap().agents.clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        let found = lines
            .iter()
            .skip(1)
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_owned())
    };
    let delay = state.lock().unwrap().delay;
    tokio::time::sleep(delay).await;
    let (status, headers, body) = {
        let mut state = state.lock().unwrap();
        let reply = state.pages.get(&path).cloned().unwrap_or_else(|| Reply::status(404));
        let tag = reply.headers.iter().find(|(name, _)| name == "etag").map(|(_, tag)| tag.clone());
        let is_known = tag.is_some() && tag == header("if-none-match");
        let status = if is_known { 304 } else { reply.status };
        state.log.push((path, status));
        state.agents.extend(header("user-agent"));
        (status, reply.headers, if is_known { Body::Bytes(Vec::new()) } else { reply.body })
    };
    let mut head = format!("HTTP/1.1 {status} Reply\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let stream = stream.get_mut();
    match body {
        Body::Bytes(bytes) => {
            write!(head, "content-length: {}\r\n\r\n", bytes.len()).unwrap();
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(&bytes).await.ok()?;
        }
        Body::Endless => {
            stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
            let megabyte = vec![b'a'; 1 << 20];
            for _ in 0..1_000 {
                stream.write_all(&megabyte).await.ok()?;
            }
        }
        Body::Stalled => {
            stream.write_all(format!("{head}\r\n<h1>wait").as_bytes()).await.ok()?;
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    }
    stream.shutdown().await.ok()
}
