//! Requests of tests, and what they are answered.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use super::TOKEN;

/// What every test sends with its requests.
pub(crate) trait Requests {
    fn admin(self, tenant: &str) -> Self;
    fn bearer(self, token: &str) -> Self;
    fn json(self, body: &Value) -> Request<Body>;
}

impl Requests for Builder {
    fn admin(self, tenant: &str) -> Self {
        self.header("authorization", format!("Bearer {TOKEN}")).header("x-docbrain-tenant", tenant)
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    fn json(self, body: &Value) -> Request<Body> {
        self.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of a reply with this status.
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Nothing but this status.
    pub(crate) fn body_is_empty(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.body.is_empty(), "{}", self.text());
    }

    /// The body of a refusal, which has all that every refusal has.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        let members: BTreeSet<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(Vec::from_iter(members), ["code", "detail", "request_id", "status", "timestamp", "title", "type"]);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:docbrain:problem:{code}"));
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }

    /// The events of a stream: name and body each.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.headers["content-type"], "text/event-stream");
        let event = |block: &str| {
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start().to_owned();
            (field("event:"), serde_json::from_str(&field("data:")).unwrap())
        };
        self.text().split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':')).map(event).collect()
    }
}

/// A multipart form.
#[derive(Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    const BOUNDARY: &str = "a-boundary-of-the-tests";

    pub(crate) fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("name=\"{name}\""), value.as_bytes())
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.part(&format!("name=\"file\"; filename=\"{path}\""), content)
    }

    fn part(mut self, disposition: &str, content: &[u8]) -> Self {
        self.0.extend(format!("--{}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n", Self::BOUNDARY).bytes());
        self.0.extend(content);
        self.0.extend(b"\r\n");
        self
    }

    pub(crate) fn request(&self, tenant: &str) -> Request<Body> {
        Self::request_of(tenant, self.complete())
    }

    /// The form without any credentials.
    pub(crate) fn text_request(&self) -> Request<String> {
        let body = String::from_utf8(self.complete()).unwrap();
        Request::post("/document/ingest").header("content-type", Self::content_type()).body(body).unwrap()
    }

    fn complete(&self) -> Vec<u8> {
        let mut body = self.0.clone();
        body.extend(format!("--{}--\r\n", Self::BOUNDARY).bytes());
        body
    }

    fn content_type() -> String {
        format!("multipart/form-data; boundary={}", Self::BOUNDARY)
    }

    /// The form as a client sends it that goes away before the end.
    pub(crate) fn broken_off(&self, tenant: &str) -> Request<Body> {
        Self::request_of(tenant, self.0.clone())
    }

    fn request_of(tenant: &str, body: Vec<u8>) -> Request<Body> {
        Request::post("/document/ingest")
            .admin(tenant)
            .header("content-type", Self::content_type())
            .body(Body::from(body))
            .unwrap()
    }
}
