//! Pages of web sites.
//!
//! The walk is decided by `plan` alone and pages are settled in its order, so that two crawls of the same site come to
//! the same pages. What untrusted pages link to is read in the parser's sandbox.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use docbrain_core::fetch::Fetcher;
use docbrain_core::ids::DocumentId;
use docbrain_core::store;
use docbrain_core::store::documents::{self, Failure, NewDocument};
use docbrain_core::store::fetches::{self, NewPage};
use docbrain_crds::WebSource;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use sha2::{Digest, Sha256};
use url::Url;

use self::host::Hosts;
use self::plan::{Frontier, Plan, Target, address, authority, canonical};
use self::visit::{Page, Visited, Visitor};
use super::{Fetch, Misfortune};

mod host;
mod plan;
mod robots;
mod sitemap;
mod visit;

/// Changes when what is kept of a page changes so much that each one is to be read anew.
const VERSION: u8 = 1;
/// Requests at a time: all of a crawl, so at most as many for one host.
const AT_A_TIME: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");
/// How many documents the tenant's quota may refuse before the crawl goes no further.
const MOST_REFUSED: usize = 20;
/// Longest time a crawl goes on.
const MOST_TIME: Duration = Duration::from_hours(6);
/// Who asks, to the servers that are asked.
const AGENT: &str = concat!("DocBrain/", env!("CARGO_PKG_VERSION"));

/// Brings the documents in line with the pages; what is to be said about it.
pub(super) async fn fetch(fetch: &Fetch<'_>, spec: &WebSource) -> anyhow::Result<Vec<String>> {
    let plan = Plan::new(spec)?;
    forget_if_changed(fetch, spec).await?;
    let fetcher = Fetcher::new(&fetch.reach.addresses, AGENT, fetch.reach.patience)?;
    let hosts = Hosts::new(fetcher);
    let crawl = Crawl {
        fetch,
        visitor: Visitor { fetch, hosts: &hosts },
        frontier: Frontier::new(plan),
        owned: HashSet::new(),
        kept: Vec::new(),
        missed: 0,
        refused: 0,
        quota: None,
    };
    crawl.carry_out(spec.sitemap).await
}

/// A changed spec wants every page read anew: what is kept of them was chosen by the old one.
async fn forget_if_changed(fetch: &Fetch<'_>, spec: &WebSource) -> Result<(), store::Error> {
    let mut hash = Sha256::new();
    hash.update([VERSION]);
    hash.update(serde_json::to_vec(spec).expect("a spec is JSON"));
    let state = format!("web:{}", hex::encode(&hash.finalize()[..16]));
    let mut tx = fetch.begin().await?;
    if fetches::state(&mut tx, fetch.source).await?.as_deref() != Some(&state) {
        fetches::forget_all(&mut tx, fetch.source).await?;
        fetches::set_state(&mut tx, fetch.source, Some(&state)).await?;
    }
    fetch.commit(tx).await
}

/// A crawl as it goes on.
struct Crawl<'a> {
    fetch: &'a Fetch<'a>,
    visitor: Visitor<'a>,
    frontier: Frontier,
    /// Addresses that a page has claimed for its own: one document each.
    owned: HashSet<String>,
    /// Documents that stay.
    kept: Vec<DocumentId>,
    /// Pages that could not be seen though an earlier run saw them.
    missed: usize,
    /// Documents that the quota refused.
    refused: usize,
    quota: Option<String>,
}

impl Crawl<'_> {
    async fn carry_out(mut self, sitemaps: bool) -> anyhow::Result<Vec<String>> {
        self.start().await?;
        if sitemaps {
            self.list().await?;
        }
        let (visitor, began) = (self.visitor, Instant::now());
        let mut under_way = FuturesOrdered::new();
        loop {
            while under_way.len() < AT_A_TIME.get()
                && let Some(target) = self.frontier.next(under_way.len())
            {
                if began.elapsed() > MOST_TIME {
                    self.missed += 1;
                    self.frontier.close(format!("the crawl took more than {} hours", MOST_TIME.as_secs() / 3600));
                    break;
                }
                let plan = Arc::clone(self.frontier.plan());
                under_way.push_back(async move {
                    let visited = visitor.visit(&plan, &target.url, false).await;
                    (target, visited)
                });
            }
            let Some((target, visited)) = under_way.next().await else { break };
            self.settle(&target, visited?).await?;
        }
        self.finish().await
    }

    /// The start URLs, whose answers say where pages are taken from. One that cannot be read ends the crawl.
    async fn start(&mut self) -> anyhow::Result<()> {
        let mut arrived = Vec::new();
        let plan = Arc::clone(self.frontier.plan());
        for start in plan.starts().to_vec() {
            let visited = self.visitor.visit(&plan, &start, true).await?;
            let url = match &visited {
                Visited::Page(page) => page.url.clone(),
                Visited::Unchanged { url, .. } => url.clone(),
                Visited::Gone { status } => {
                    return Err(Misfortune::lasting(format!("«{start}» answered {status}")).into());
                }
                Visited::Skipped { reason } => {
                    return Err(Misfortune::lasting(format!("«{start}» cannot be read: {reason}")).into());
                }
                Visited::Failed(failure) => {
                    let reason = format!("«{start}» cannot be read: {}", failure.detail);
                    return Err(Misfortune { reason, is_lasting: failure.is_lasting }.into());
                }
            };
            arrived.push((start, url, visited));
        }
        for (start, url, _) in &arrived {
            self.frontier.add_scope(start, url);
        }
        let mut settled = HashSet::new();
        for (start, url, visited) in arrived {
            self.frontier.mark_seen(&address(&start));
            self.frontier.mark_seen(&address(&url));
            if settled.insert(address(&url)) {
                self.settle(&Target { url, depth: 0 }, visited).await?;
            }
        }
        Ok(())
    }

    /// What the sitemaps name, after the start URLs.
    async fn list(&mut self) -> anyhow::Result<()> {
        for origin in self.frontier.plan().hosts() {
            let listed = self.visitor.hosts.list(self.frontier.plan(), &origin).await?;
            for url in &listed.pages {
                self.frontier.add_listed(url);
            }
            self.missed += usize::from(!listed.is_complete);
        }
        Ok(())
    }

    /// Stores what came of a visit, and adds the pages it links to.
    async fn settle(&mut self, target: &Target, visited: Visited) -> anyhow::Result<()> {
        match visited {
            Visited::Page(page) => self.settle_page(target, *page).await,
            Visited::Unchanged { url, known } => {
                if self.is_come_to_by_itself(target, &url) {
                    return Ok(());
                }
                if let Some(path) = &known.path
                    && self.owned.contains(path)
                {
                    self.follow(&known.links, target.depth);
                    return Ok(());
                }
                if !self.frontier.take(known.bytes) {
                    return Ok(());
                }
                if let Some(path) = &known.path {
                    self.frontier.mark_seen(path);
                    self.owned.insert(path.clone());
                }
                self.kept.extend(known.document);
                let mut tx = self.fetch.begin().await?;
                fetches::keep_page(&mut tx, self.fetch.source, self.fetch.lease.run, &address(&url)).await?;
                self.fetch.commit(tx).await?;
                self.follow(&known.links, target.depth);
                Ok(())
            }
            Visited::Gone { .. } | Visited::Skipped { .. } => Ok(()),
            Visited::Failed(failure) => {
                let path = address(&target.url);
                let mut tx = self.fetch.begin().await?;
                let was_seen = fetches::page(&mut tx, self.fetch.source, &path).await?.is_some();
                let has_document = documents::id_at(&mut tx, self.fetch.source, &path).await?.is_some();
                tx.commit().await?;
                if failure.is_closed && !has_document {
                    return Ok(());
                }
                let (code, detail) = (failure.code, failure.detail.as_str());
                let failed = self.fetch.fail(&path, Some(target.url.as_str()), Failure { code, detail }).await?;
                self.kept.extend(failed);
                self.missed += usize::from(was_seen || failed.is_none());
                Ok(())
            }
        }
    }

    async fn settle_page(&mut self, target: &Target, page: Page) -> anyhow::Result<()> {
        let own = address(&page.url);
        if self.is_come_to_by_itself(target, &page.url) {
            return Ok(());
        }
        let url = self.identity(&page);
        let path = address(&url);
        let is_document = page.outlinks.index && self.frontier.plan().is_document(&url);
        if is_document && self.owned.contains(&path) {
            self.follow(&page.outlinks.links, target.depth);
            return Ok(());
        }
        if !self.frontier.take(page.bytes.len() as u64) {
            return Ok(());
        }
        if page.links_are_lost {
            self.missed += usize::from(page.had_links);
        }
        let links = self.links_to_keep(&page);
        let mut tx = self.fetch.begin().await?;
        let mut document = None;
        if is_document {
            let new = NewDocument { path: &path, url: Some(url.as_str()), bytes: &page.bytes };
            match documents::put_fetched(&mut tx, self.fetch.source, &new, Some(page.media_type)).await {
                Ok(put) => document = Some(put.id()),
                Err(error @ store::Error::QuotaExceeded { .. }) => {
                    drop(tx);
                    return self.refuse(&path, &error, &page, target).await;
                }
                Err(error) => return Err(error.into()),
            }
            self.owned.insert(path.clone());
            self.frontier.mark_seen(&path);
        }
        let new = NewPage {
            address: &own,
            document,
            etag: page.etag.as_deref(),
            last_modified: page.last_modified.as_deref(),
            links: &links,
        };
        fetches::put_page(&mut tx, self.fetch.source, self.fetch.lease.run, &new).await?;
        self.fetch.commit(tx).await?;
        self.kept.extend(document);
        self.follow(&links, target.depth);
        Ok(())
    }

    /// Whether a target redirected to a page that has its own turn.
    fn is_come_to_by_itself(&mut self, target: &Target, arrived: &Url) -> bool {
        let arrived = address(arrived);
        address(&target.url) != arrived && !self.frontier.mark_seen(&arrived)
    }

    /// The URL that a page is known by: its own, or the one that it names where that is on the same host.
    fn identity(&self, page: &Page) -> Url {
        let named = page.outlinks.canonical.as_deref().and_then(|named| Url::parse(named).ok()).map(canonical);
        let is_fit = |named: &Url| authority(named) == authority(&page.url) && self.frontier.plan().admits(named);
        named.filter(is_fit).unwrap_or_else(|| page.url.clone())
    }

    /// The quota refuses a document: what was indexed of it stays, and in the end the crawl goes no further.
    async fn refuse(&mut self, path: &str, error: &store::Error, page: &Page, target: &Target) -> anyhow::Result<()> {
        self.quota.get_or_insert_with(|| error.to_string());
        self.refused += 1;
        let mut tx = self.fetch.begin().await?;
        let known = documents::id_at(&mut tx, self.fetch.source, path).await?;
        tx.commit().await?;
        self.kept.extend(known);
        self.owned.insert(path.to_owned());
        self.follow(&page.outlinks.links, target.depth);
        if self.refused == MOST_REFUSED {
            self.missed += 1;
            self.frontier.close("the crawl ended early".to_owned());
        }
        Ok(())
    }

    /// The links of a page that a crawl by this spec could follow.
    fn links_to_keep(&self, page: &Page) -> Vec<String> {
        if !page.outlinks.follow {
            return Vec::new();
        }
        let urls = page.outlinks.links.iter().filter_map(|link| Url::parse(link).ok()).map(canonical);
        let mut kept: Vec<String> = urls.filter(|url| self.frontier.plan().admits(url)).map(String::from).collect();
        let mut known = HashSet::new();
        kept.retain(|link| known.insert(link.clone()));
        kept
    }

    fn follow(&mut self, links: &[String], depth: u32) {
        for link in links.iter().filter_map(|link| Url::parse(link).ok()) {
            self.frontier.add_link(&link, depth);
        }
    }

    /// Removes what has vanished, if everything that an earlier run saw could be seen.
    async fn finish(self) -> anyhow::Result<Vec<String>> {
        let mut notes: Vec<String> = self.frontier.note().into_iter().collect();
        if let Some(quota) = self.quota {
            notes.push(format!("{quota}; pages beyond it were left out"));
        }
        if self.missed > 0 {
            notes.push(format!(
                "{} addresses could not be read this time, so nothing was removed and what is indexed of them stays",
                self.missed
            ));
            return Ok(notes);
        }
        let mut tx = self.fetch.begin().await?;
        let gone = documents::delete_others(&mut tx, self.fetch.source, &self.kept).await?;
        fetches::forget_others(&mut tx, self.fetch.source, self.fetch.lease.run).await?;
        self.fetch.commit(tx).await?;
        if gone > 0 {
            tracing::info!(documents = gone, "documents whose pages are gone were removed");
        }
        Ok(notes)
    }
}
