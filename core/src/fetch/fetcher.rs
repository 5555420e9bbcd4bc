//! One request at a time to an address that a tenant chose, with a limit on what comes back.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use reqwest::{Client, Response, Url};

use super::{AddressPolicy, Refusal, behind, client};

/// How long an address may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the head of the answer is there, and between two pieces of its body.
    pub silence: Duration,
    /// For the whole answer.
    pub total: Duration,
}

/// Asks addresses that `policy` permits. Redirects are for the caller: [`Answer::location`].
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    policy: AddressPolicy,
    patience: Patience,
}

/// What is asked for besides the address.
#[derive(Clone, Debug, Default)]
pub struct Get<'a> {
    /// The media types that are wanted.
    pub accept: Option<&'a str>,
    /// Only if the address no longer has this `ETag`.
    pub etag: Option<&'a str>,
    /// Only if it was modified after this `Last-Modified`.
    pub last_modified: Option<&'a str>,
    /// The value of `Authorization`; never sent on to where an answer redirects.
    pub authorization: Option<&'a str>,
}

/// Why an address was not read, in a sentence without the address.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It must not be asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It said nothing for too long.
    #[error("it did not answer in time")]
    TooSlow,
    /// No connection came about.
    #[error("no connection could be made")]
    Unreachable {
        /// What the client said.
        source: reqwest::Error,
    },
    /// The answer broke off, or is none.
    #[error("its answer broke off")]
    Broken {
        /// What the client said.
        source: reqwest::Error,
    },
    /// The answer is larger than was wanted.
    #[error("it is larger than {} MB", limit_bytes.div_ceil(1 << 20))]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer is compressed though nobody asked for that.
    #[error("its answer is compressed, which was not asked for")]
    Compressed,
}

impl Fetcher {
    /// `agent` names the program to whoever is asked.
    pub fn new(policy: &AddressPolicy, agent: &str, patience: Patience) -> Result<Self, reqwest::Error> {
        let client = client(policy, 0).user_agent(agent).read_timeout(patience.silence).timeout(patience.total);
        Ok(Self { client: client.build()?, policy: policy.clone(), patience })
    }

    /// Which addresses may be asked.
    pub fn policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// Asks an address. Any answer is one, an error status too.
    pub async fn get(&self, url: &Url, get: &Get<'_>) -> Result<Answer, FetchError> {
        self.policy.check(url)?;
        let mut request = self.client.get(url.clone());
        let headers = [
            (ACCEPT, get.accept),
            (IF_NONE_MATCH, get.etag),
            (IF_MODIFIED_SINCE, get.last_modified),
            (AUTHORIZATION, get.authorization),
        ];
        for (name, value) in headers {
            // What came from a server and is no header value any more is not sent back.
            if let Some(mut value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                value.set_sensitive(name == AUTHORIZATION);
                request = request.header(name, value);
            }
        }
        match tokio::time::timeout(self.patience.silence, request.send()).await {
            Ok(Ok(response)) => Ok(Answer(response)),
            Ok(Err(error)) => Err(FetchError::of(error)),
            Err(_) => Err(FetchError::TooSlow),
        }
    }
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub struct Answer(Response);

impl Answer {
    /// Its status code.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All headers of a name that are text.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let values = name.map(|name| self.0.headers().get_all(name).iter()).into_iter().flatten();
        values.filter_map(|value| value.to_str().ok())
    }

    /// The media type, lower-case and without parameters.
    pub fn media_type(&self) -> Option<String> {
        let value = self.header("content-type")?.split(';').next()?.trim();
        (!value.is_empty()).then(|| value.to_ascii_lowercase())
    }

    /// Where it sends the client, if it is a redirect.
    pub fn location(&self) -> Option<Result<Url, url::ParseError>> {
        let location = matches!(self.status(), 301 | 302 | 303 | 307 | 308).then(|| self.header("location"))??;
        Some(self.0.url().join(location))
    }

    /// Reads the body, of at most `limit_bytes`.
    pub async fn body(mut self, limit_bytes: u64) -> Result<Bytes, FetchError> {
        let too_large = FetchError::TooLarge { limit_bytes };
        if self.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(FetchError::Compressed);
        }
        if self.0.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        while let Some(piece) = self.0.chunk().await.map_err(FetchError::of)? {
            if (body.len() + piece.len()) as u64 > limit_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

impl FetchError {
    fn of(source: reqwest::Error) -> Self {
        if let Some(refusal) = behind::<Refusal>(&source) {
            return Self::Refused(refusal.clone());
        }
        if source.is_timeout() {
            Self::TooSlow
        } else if source.is_connect() || source.source().is_none() {
            Self::Unreachable { source }
        } else {
            Self::Broken { source }
        }
    }
}
