//! One HTTP/1.1 connection that is kept open.

use std::time::Instant;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Target;

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The last reply's body; its space is used again.
    body: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(authority: &str) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(authority).await.with_context(|| format!("failed to connect to {authority}"))?;
        stream.set_nodelay(true).context("failed to switch off write delays")?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.context("failed to start an HTTP connection")?;
        // Ends with the connection; its errors reach the sender as well.
        tokio::spawn(driver);
        Ok(Self { sender, body: Vec::new() })
    }

    /// Sends the next request and reads the reply to its end; returns when the first byte of its body arrived.
    pub(super) async fn exchange(&mut self, target: &Target) -> anyhow::Result<Instant> {
        let mut request = Request::new(Full::new(target.bodies.next()));
        *request.method_mut() = target.method.clone();
        *request.uri_mut() = target.uri.clone();
        *request.headers_mut() = target.headers.clone();
        self.body.clear();
        self.sender.ready().await.context("the server closed the connection")?;
        let mut reply = self.sender.send_request(request).await.context("the request failed")?;
        let mut first = None;
        while let Some(frame) = reply.body_mut().frame().await {
            let frame = frame.context("the reply broke off")?;
            if let Some(data) = frame.data_ref() {
                first.get_or_insert_with(Instant::now);
                self.body.extend_from_slice(data);
            }
        }
        if !reply.status().is_success() {
            bail!(
                "status {}: {}",
                reply.status(),
                String::from_utf8_lossy(&self.body).chars().take(200).collect::<String>()
            );
        }
        Ok(first.unwrap_or_else(Instant::now))
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}
