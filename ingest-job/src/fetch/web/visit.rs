//! One page: asked for, followed to where it has moved, read as far as the limits go.

use bytes::Bytes;
use docbrain_core::fetch::{FetchError, Get, MOST_REDIRECTS};
use docbrain_core::store::fetches::{self, FetchedPage};
use url::Url;

use super::host::{Forbidden, Hosts};
use super::plan::{Plan, address, canonical};
use crate::fetch::{Fetch, media};
use crate::parse::Outlinks;
use crate::sandbox::ParseFailure;

/// Largest page or text, in bytes.
const MOST_TEXT_BYTES: u64 = 16 << 20;
/// Largest other document, in bytes.
const MOST_DOCUMENT_BYTES: u64 = 64 << 20;
/// Longest `ETag` or `Last-Modified` that is kept.
const LONGEST_VALIDATOR: usize = 500;
/// What a crawl can read.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/pdf,text/markdown,text/plain;q=0.9,*/*;q=0.5";

/// What came of a visit.
pub(super) enum Visited {
    /// The page.
    Page(Box<Page>),
    /// It is as an earlier run saw it.
    Unchanged { url: Url, known: FetchedPage },
    /// It is not there, or no longer.
    Gone { status: u16 },
    /// It is no page of this source.
    Skipped { reason: String },
    /// It could not be read.
    Failed(Failed),
}

/// A page as it was read.
pub(super) struct Page {
    /// Where it was in the end.
    pub(super) url: Url,
    pub(super) bytes: Bytes,
    pub(super) media_type: &'static str,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) outlinks: Outlinks,
    /// The parser broke on it, so that its links are not known.
    pub(super) links_are_lost: bool,
    /// An earlier run knew links of it.
    pub(super) had_links: bool,
}

/// Why a page could not be read.
pub(super) struct Failed {
    pub(super) code: &'static str,
    pub(super) detail: String,
    /// Whether it will be the same the next time.
    pub(super) is_lasting: bool,
    /// Whether it is simply not for everybody.
    pub(super) is_closed: bool,
}

/// Who visits pages.
#[derive(Clone, Copy)]
pub(super) struct Visitor<'a> {
    pub(super) fetch: &'a Fetch<'a>,
    pub(super) hosts: &'a Hosts,
}

impl Visitor<'_> {
    /// Asks for a page. The outer error is of the installation.
    pub(super) async fn visit(&self, plan: &Plan, target: &Url, is_start: bool) -> anyhow::Result<Visited> {
        let mut url = target.clone();
        for _ in 0..=MOST_REDIRECTS {
            if let Err(refusal) = self.hosts.fetcher().policy().check(&url) {
                return Ok(Visited::Failed(Failed::redirected(target, &url, &FetchError::Refused(refusal))));
            }
            match self.hosts.forbids(&url).await {
                Some(Forbidden::ByRule) => return Ok(skipped("its robots.txt does not allow it")),
                Some(Forbidden::Unknown(detail)) => {
                    let failed = Failed { code: "robots_unknown", detail, is_lasting: false, is_closed: false };
                    return Ok(Visited::Failed(failed));
                }
                None => {}
            }
            let mut tx = self.fetch.begin().await?;
            let known = fetches::page(&mut tx, self.fetch.source, &address(&url)).await?;
            tx.commit().await?;
            let get = Get {
                accept: Some(ACCEPT),
                etag: known.as_ref().and_then(|known| known.etag.as_deref()),
                last_modified: known.as_ref().and_then(|known| known.last_modified.as_deref()),
                authorization: None,
            };
            let answer = match self.hosts.get(&url, &get).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Visited::Failed(Failed::redirected(target, &url, &error))),
            };
            match (answer.status(), answer.location(), known) {
                (_, Some(Ok(next)), _) => {
                    let next = canonical(next);
                    if self.hosts.fetcher().policy().check(&next).is_ok() && !is_start && !plan.admits(&next) {
                        return Ok(skipped("it redirects to where no pages are taken from"));
                    }
                    url = next;
                }
                (200, _, known) => return self.read(url, answer, known).await,
                (304, _, Some(known)) => return Ok(Visited::Unchanged { url, known }),
                (status @ (404 | 410), _, _) => return Ok(Visited::Gone { status }),
                (status, _, _) => return Ok(Visited::Failed(Failed::of_status(status))),
            }
        }
        Ok(Visited::Failed(Failed {
            code: "too_many_redirects",
            detail: format!("it redirects more than {MOST_REDIRECTS} times"),
            is_lasting: true,
            is_closed: false,
        }))
    }

    async fn read(
        &self,
        url: Url,
        answer: docbrain_core::fetch::Answer,
        known: Option<FetchedPage>,
    ) -> anyhow::Result<Visited> {
        let said = answer.media_type();
        let Some(media_type) = media::read_as(said.as_deref(), url.path()) else {
            return Ok(skipped(&format!("it is no document but {}", said.as_deref().unwrap_or("unknown data"))));
        };
        let validator =
            |name: &str| answer.header(name).filter(|value| value.len() <= LONGEST_VALIDATOR).map(str::to_owned);
        let (mut etag, mut last_modified) = (validator("etag"), validator("last-modified"));
        let forbidden: Vec<String> = answer.headers("x-robots-tag").map(str::to_owned).collect();
        let limit = if media_type.starts_with("text/") || media::is_page(media_type) {
            MOST_TEXT_BYTES
        } else {
            MOST_DOCUMENT_BYTES
        };
        let bytes = match answer.body(limit).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Visited::Failed(Failed::of(&error))),
        };
        let none = || Outlinks { links: Vec::new(), canonical: None, index: true, follow: true };
        let (mut outlinks, mut links_are_lost) = (none(), false);
        if media::is_page(media_type) {
            match self.fetch.parsers.find_outlinks(url.as_str(), &bytes).await {
                Ok(found) => outlinks = found,
                Err(failure @ ParseFailure::NotStarted { .. }) => return Err(failure.into()),
                Err(failure) => {
                    tracing::warn!(url = url.as_str(), code = failure.code(), "the links of a page could not be read");
                    links_are_lost = true;
                    (etag, last_modified) = (None, None);
                }
            }
        }
        for words in forbidden {
            outlinks.forbid(&words);
        }
        let had_links = known.is_some_and(|known| !known.links.is_empty());
        Ok(Visited::Page(Box::new(Page {
            url,
            bytes,
            media_type,
            etag,
            last_modified,
            outlinks,
            links_are_lost,
            had_links,
        })))
    }
}

fn skipped(reason: &str) -> Visited {
    Visited::Skipped { reason: reason.to_owned() }
}

impl Failed {
    fn of(error: &FetchError) -> Self {
        let (code, is_lasting) = match error {
            FetchError::Refused(_) => ("refused_address", true),
            FetchError::TooSlow => ("too_slow", false),
            FetchError::Unreachable { .. } => ("unreachable", false),
            FetchError::Broken { .. } => ("broken_answer", false),
            FetchError::TooLarge { .. } => ("too_large", true),
            FetchError::Compressed => ("broken_answer", true),
        };
        Self { code, detail: error.to_string(), is_lasting, is_closed: false }
    }

    /// The same, and says where to the page had moved.
    fn redirected(target: &Url, url: &Url, error: &FetchError) -> Self {
        let mut failed = Self::of(error);
        if target != url {
            failed.detail =
                format!("it redirects to «{}»: {}", url.as_str().chars().take(200).collect::<String>(), failed.detail);
        }
        failed
    }

    fn of_status(status: u16) -> Self {
        Self {
            code: "http_status",
            detail: format!("it answered {status}"),
            is_lasting: (400..500).contains(&status) && status != 429,
            is_closed: matches!(status, 401 | 402 | 403 | 407 | 451),
        }
    }
}
