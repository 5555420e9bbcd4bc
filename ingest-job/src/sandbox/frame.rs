//! The protocol between parent and worker: two lengths, a small JSON header, a body of raw bytes.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::parse::{Outlinks, ParseError, ParsedDocument, PdfEngine};

/// Bytes that hold the two lengths.
pub(super) const LENGTHS: usize = 8;

/// Enough for the starts of 100,000 pages.
const MAX_HEADER_BYTES: usize = 4 << 20;

/// How much of a worker's standard error is kept.
const TAIL_BYTES: usize = 8 << 10;

/// What the parent asks; the body is the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) task: Task,
}

/// What is to be done with the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Task {
    /// Make Markdown of it, which is the body of the answer.
    Parse(PdfEngine),
    /// Find what a page at this URL links to; the body of the answer is [`Outlinks`] as JSON.
    FindOutlinks(String),
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Response {
    pub(super) outcome: std::result::Result<Outline, ParseError>,
    /// The worker has grown and wants to be replaced.
    pub(super) retire: bool,
}

/// A document without its text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) title: Option<String>,
    pub(super) page_starts: Vec<usize>,
}

impl Response {
    pub(super) fn read(header: &[u8]) -> Result<Self> {
        Ok(serde_json::from_slice(header)?)
    }
}

impl Outline {
    /// Of an answer without any.
    pub(super) fn none() -> Self {
        Self { title: None, page_starts: Vec::new() }
    }

    /// Joins header and body; a worker gone wrong must not reach further than its own document.
    pub(super) fn join(self, markdown: Vec<u8>) -> Result<ParsedDocument> {
        let Self { title, page_starts } = self;
        let markdown = String::from_utf8(markdown).map_err(|_| nonsense("text is not UTF-8"))?;
        let in_order = page_starts.is_sorted() && page_starts.iter().all(|&at| markdown.is_char_boundary(at));
        if !in_order {
            return Err(nonsense("pages are out of order"));
        }
        Ok(ParsedDocument { title, markdown, page_starts })
    }
}

/// Reads the body of an answer to [`Task::FindOutlinks`].
pub(super) fn outlinks(body: &[u8]) -> Result<Outlinks> {
    Ok(serde_json::from_slice(body)?)
}

/// Lengths and header of a frame whose body has `body` bytes.
pub(super) fn head(header: &impl Serialize, body: usize) -> Result<Vec<u8>> {
    let mut frame = vec![0; LENGTHS];
    serde_json::to_writer(&mut frame, header)?;
    let header = u32::try_from(frame.len() - LENGTHS).map_err(|_| nonsense("header too long"))?;
    let body = u32::try_from(body).map_err(|_| nonsense("body too long"))?;
    frame[..4].copy_from_slice(&header.to_le_bytes());
    frame[4..LENGTHS].copy_from_slice(&body.to_le_bytes());
    Ok(frame)
}

/// The lengths of header and body, if they are sane.
pub(super) fn lengths(bytes: [u8; LENGTHS], max_body: usize) -> Result<(usize, usize)> {
    let [h0, h1, h2, h3, b0, b1, b2, b3] = bytes;
    let header = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
    if header > MAX_HEADER_BYTES || body > max_body {
        return Err(nonsense("frame too long"));
    }
    Ok((header, body))
}

/// Reads one frame; `None` at the end of the stream.
pub(super) fn read<H: DeserializeOwned>(from: &mut impl Read) -> Result<Option<(H, Vec<u8>)>> {
    let mut prefix = [0; LENGTHS];
    match from.read_exact(&mut prefix) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (header, body) = lengths(prefix, u32::MAX as usize)?;
    let mut bytes = vec![0; header];
    from.read_exact(&mut bytes)?;
    let header = serde_json::from_slice(&bytes)?;
    let mut bytes = vec![0; body];
    from.read_exact(&mut bytes)?;
    Ok(Some((header, bytes)))
}

/// Writes one frame.
pub(super) fn write(to: &mut impl Write, header: &impl Serialize, body: &[u8]) -> Result<()> {
    let mut frame = head(header, body.len())?;
    frame.extend_from_slice(body);
    to.write_all(&frame)
}

/// Reads to the end and keeps the last of it.
pub(super) async fn read_tail(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut tail = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..read]);
        if tail.len() > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
    }
    String::from_utf8_lossy(&tail).into_owned()
}

fn nonsense(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
