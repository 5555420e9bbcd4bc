//! The hosts of a crawl: their rules, the pauses between requests, their sitemaps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use docbrain_core::fetch::{Answer, FetchError, Fetcher, Get, MOST_REDIRECTS};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use url::Url;

use super::plan::{Plan, authority, canonical};
use super::robots::{self, Robots};
use super::sitemap;

/// How often a server that asks for patience is asked again.
const MOST_TRIES: u32 = 3;
/// Longest patience with it.
const LONGEST_PATIENCE: Duration = Duration::from_secs(20);
/// Most pages that the sitemaps of a host name.
const MOST_LISTED: usize = 100_000;
/// Most sitemaps of a host that are read.
const MOST_SITEMAPS: usize = 200;

/// The hosts that have been asked.
pub(super) struct Hosts {
    fetcher: Fetcher,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Default)]
struct Host {
    rules: OnceCell<Rules>,
    /// When the next request may be sent.
    next: Mutex<Option<Instant>>,
}

struct Rules {
    robots: Robots,
    delay: Duration,
}

/// What the sitemaps of a host name.
pub(super) struct Listed {
    pub(super) pages: Vec<Url>,
    /// Whether all of them could be read.
    pub(super) is_complete: bool,
}

impl Hosts {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, known: Mutex::default() }
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Why robots may not read a URL; `None`: they may.
    pub(super) async fn forbids(&self, url: &Url) -> Option<Forbidden> {
        let host = self.host(url).await;
        let rules = self.rules(&host, url).await;
        match &rules.robots {
            Robots::Unknown(reason) => Some(Forbidden::Unknown(reason.clone())),
            robots if !robots.allows(url) => Some(Forbidden::ByRule),
            _ => None,
        }
    }

    /// Asks for a URL in its host's pace, again where the host asks for patience.
    pub(super) async fn get(&self, url: &Url, get: &Get<'_>) -> Result<Answer, FetchError> {
        let host = self.host(url).await;
        let delay = self.rules(&host, url).await.delay;
        let mut tries = 0;
        loop {
            host.wait_for_turn(delay).await;
            let answer = self.fetcher.get(url, get).await?;
            tries += 1;
            if !matches!(answer.status(), 429 | 503) || tries == MOST_TRIES {
                return Ok(answer);
            }
            let wanted = answer.header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
            tokio::time::sleep(Duration::from_secs(wanted.unwrap_or(1)).min(LONGEST_PATIENCE)).await;
        }
    }

    async fn host(&self, url: &Url) -> Arc<Host> {
        self.known.lock().await.entry(authority(url)).or_default().clone()
    }

    async fn rules<'a>(&self, host: &'a Host, url: &Url) -> &'a Rules {
        host.rules
            .get_or_init(|| async {
                let robots = self.robots(url).await;
                let delay = robots.delay();
                Rules { robots, delay }
            })
            .await
    }

    async fn robots(&self, url: &Url) -> Robots {
        let Ok(mut at) = url.join("/robots.txt") else { return Robots::Open };
        let unknown = |why: String| Robots::Unknown(format!("its robots.txt could not be read ({why})"));
        for _ in 0..=MOST_REDIRECTS {
            let answer = match self.fetcher.get(&at, &Get::default()).await {
                Ok(answer) => answer,
                // The page itself is refused in its own words.
                Err(FetchError::Refused(_)) if at.path() == "/robots.txt" && authority(&at) == authority(url) => {
                    return Robots::Open;
                }
                Err(error) => return unknown(error.to_string()),
            };
            match (answer.status(), answer.location()) {
                (_, Some(Ok(next))) => at = next,
                (200..=299, _) => {
                    return match answer.body(robots::MOST_BYTES).await {
                        // The parser is not this project's: whatever becomes of it, the process goes on.
                        Ok(body) => tokio::task::spawn_blocking(move || Robots::read(&body))
                            .await
                            .unwrap_or_else(|_| unknown("it cannot be understood".to_owned())),
                        Err(FetchError::TooLarge { .. }) => unknown("it is too large".to_owned()),
                        Err(error) => unknown(error.to_string()),
                    };
                }
                (status @ (429 | 500..=599), _) => return unknown(format!("it answered {status}")),
                _ => return Robots::Open,
            }
        }
        Robots::Open
    }

    /// The pages that the sitemaps of a host name, as far as `plan` admits them.
    pub(super) async fn list(&self, plan: &Plan, origin: &Url) -> anyhow::Result<Listed> {
        let host = self.host(origin).await;
        let rules = self.rules(&host, origin).await;
        let mut waiting: VecDeque<Url> =
            rules.robots.sitemaps().iter().filter_map(|map| Url::parse(map).ok()).collect();
        waiting.extend(origin.join("/sitemap.xml").ok());
        let mut listed = Listed { pages: Vec::new(), is_complete: true };
        let mut seen = HashSet::new();
        while let Some(at) = waiting.pop_front() {
            let at = canonical(at);
            if authority(&at) != authority(origin) || seen.len() >= MOST_SITEMAPS || !seen.insert(at.clone()) {
                continue;
            }
            let Some(found) = self.sitemap(&at).await else {
                listed.is_complete = false;
                continue;
            };
            waiting.extend(found.sitemaps.iter().filter_map(|map| Url::parse(map).ok()));
            let pages = found.pages.iter().filter_map(|page| Url::parse(page).ok()).map(canonical);
            let room = MOST_LISTED.saturating_sub(listed.pages.len());
            listed.pages.extend(pages.filter(|page| plan.admits(page)).take(room));
        }
        Ok(listed)
    }

    /// A sitemap; one that is not there is empty, and `None` one that should be there and could not be read.
    async fn sitemap(&self, at: &Url) -> Option<sitemap::Sitemap> {
        let mut at = at.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.get(&at, &Get::default()).await.ok()?;
            match (answer.status(), answer.location()) {
                (_, Some(Ok(next))) if authority(&next) == authority(&at) => at = next,
                (200, _) => {
                    let body = answer.body(sitemap::MOST_BYTES).await.ok()?;
                    return tokio::task::spawn_blocking(move || sitemap::read(&body)).await.ok();
                }
                (429 | 500..=599, _) => return None,
                _ => return Some(sitemap::Sitemap::default()),
            }
        }
        Some(sitemap::Sitemap::default())
    }
}

/// Why robots may not read a page.
pub(super) enum Forbidden {
    /// A rule says so.
    ByRule,
    /// The rules are not known, for this reason.
    Unknown(String),
}

impl Host {
    async fn wait_for_turn(&self, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        let at = {
            let mut next = self.next.lock().await;
            let at = next.unwrap_or_else(Instant::now).max(Instant::now());
            *next = Some(at + delay);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}
