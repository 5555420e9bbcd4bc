//! Which pages a crawl comes to, and in which order: pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use docbrain_crds::WebSource;
use url::Url;

use crate::fetch::Misfortune;
use crate::fetch::media;
use crate::fetch::patterns::Patterns;
use crate::parse::LONGEST_ADDRESS;

/// Most addresses that wait at a time; a site that makes up links has no end.
const MOST_WAITING: usize = 200_000;

/// Parameters of a query that tell who sent a visitor, and nothing of the page.
const TRACKING: [&str; 6] = ["fbclid", "gclid", "mc_cid", "mc_eid", "msclkid", "yclid"];

/// The one spelling of a page's URL: no fragment, no tracking parameters, no needless escapes. Host, default port and dots
/// in the path are the parser's work.
pub(crate) fn canonical(mut url: Url) -> Url {
    url.set_fragment(None);
    if let Some(query) = url.query() {
        let is_tracking = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            name.starts_with("utm_") || TRACKING.contains(&name.as_str())
        };
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_tracking(pair)).collect();
        let kept = kept.join("&");
        url.set_query((!kept.is_empty()).then_some(&kept));
    }
    let path = unescape_unreserved(url.path());
    if path != url.path() {
        url.set_path(&path);
    }
    url
}

/// `%7E` is `~` (RFC 3986, section 6.2.2.2); other escapes are written in capitals.
fn unescape_unreserved(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3);
        let byte = escape.and_then(|escape| u8::from_str_radix(&escape[1..], 16).ok());
        match (byte, escape) {
            (Some(byte), _) if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) => plain.push(byte.into()),
            (Some(_), Some(escape)) => plain.push_str(&escape.to_ascii_uppercase()),
            _ => {
                plain.push('%');
                rest = &rest[at + 1..];
                continue;
            }
        }
        rest = &rest[at + 3..];
    }
    plain + rest
}

/// A page's URL without its scheme: the same page by http and https.
pub(crate) fn address(url: &Url) -> String {
    url.as_str().split_once("://").map_or(url.as_str(), |(_, address)| address).to_owned()
}

/// Host and port of a URL, which share a `robots.txt`.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A host and a folder, below which pages are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// The root of the host.
    origin: Url,
    authority: String,
    folder: String,
}

/// A page to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its URL in the one spelling.
    pub(crate) url: Url,
    /// Links from a start URL.
    pub(crate) depth: u32,
}

/// What of the web a source takes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    starts: Vec<Url>,
    scopes: Vec<Scope>,
    patterns: Patterns,
    max_depth: u32,
    max_pages: usize,
    max_bytes: u64,
}

impl Plan {
    /// Reads a spec. Scopes come with the start URLs' answers: [`Plan::add_scope`].
    pub(crate) fn new(spec: &WebSource) -> Result<Self, Misfortune> {
        let starts = spec.start_urls.iter().map(|start| {
            let url =
                Url::parse(start).map_err(|error| Misfortune::lasting(format!("«{start}» is no URL: {error}")))?;
            Ok(canonical(url))
        });
        let number = |number: i32| usize::try_from(number).unwrap_or(0);
        Ok(Self {
            starts: starts.collect::<Result<_, Misfortune>>()?,
            scopes: Vec::new(),
            patterns: Patterns::new(&spec.include, &spec.exclude)?,
            max_depth: u32::try_from(spec.max_depth).unwrap_or(0),
            max_pages: number(spec.max_pages),
            max_bytes: u64::try_from(spec.max_megabytes).unwrap_or(0) << 20,
        })
    }

    pub(crate) fn starts(&self) -> &[Url] {
        &self.starts
    }

    /// Takes pages at or below the folder of a URL. A start URL that redirects to another host stays in scope itself.
    pub(crate) fn add_scope(&mut self, start: &Url, arrived: &Url) {
        let moved = authority(start) != authority(arrived);
        for url in [Some(arrived), moved.then_some(start)].into_iter().flatten() {
            let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut origin = url.clone();
            origin.set_path("/");
            origin.set_query(None);
            let scope = Scope { origin, authority: authority(url), folder: format!("{folder}/") };
            if !self.scopes.contains(&scope) {
                self.scopes.push(scope);
            }
        }
    }

    /// The roots of the hosts that pages are taken from.
    pub(crate) fn hosts(&self) -> Vec<Url> {
        let mut known = HashSet::new();
        let origins = self.scopes.iter().filter(|scope| known.insert(&scope.authority));
        origins.map(|scope| scope.origin.clone()).collect()
    }

    /// Whether a URL is where pages are taken from at all.
    pub(crate) fn is_in_scope(&self, url: &Url) -> bool {
        let authority = authority(url);
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.as_str().len() <= LONGEST_ADDRESS
            && self.scopes.iter().any(|scope| scope.authority == authority && url.path().starts_with(&scope.folder))
    }

    /// Whether a page may be asked for: in scope, and by the patterns.
    pub(crate) fn admits(&self, url: &Url) -> bool {
        self.is_in_scope(url) && self.is_document(url) && !media::is_no_document(url.path())
    }

    /// Whether the patterns take a page for a document. A start URL is read in any case.
    pub(crate) fn is_document(&self, url: &Url) -> bool {
        let path = readable(url.path());
        !self.patterns.excludes(&path) && self.patterns.includes(&path) != Some(false)
    }
}

/// A path as people write it, for patterns.
fn readable(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The pages that are still to come to, in the order of a breadth-first walk, and the limits of it.
#[derive(Debug)]
pub(crate) struct Frontier {
    plan: Arc<Plan>,
    waiting: VecDeque<Target>,
    seen: HashSet<String>,
    asked: usize,
    pages: usize,
    bytes: u64,
    full: Option<String>,
    dropped: bool,
}

impl Frontier {
    pub(crate) fn new(plan: Plan) -> Self {
        let seen = HashSet::new();
        let plan = Arc::new(plan);
        Self { plan, waiting: VecDeque::new(), seen, asked: 0, pages: 0, bytes: 0, full: None, dropped: false }
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// See [`Plan::add_scope`].
    pub(crate) fn add_scope(&mut self, start: &Url, arrived: &Url) {
        Arc::make_mut(&mut self.plan).add_scope(start, arrived);
    }

    /// Counts an address as come to; `false` if it was before.
    pub(crate) fn mark_seen(&mut self, address: &str) -> bool {
        self.seen.insert(address.to_owned())
    }

    /// Adds a page that a page at `depth` links to.
    pub(crate) fn add_link(&mut self, url: &Url, depth: u32) {
        if depth < self.plan.max_depth {
            self.add(url, depth + 1);
        }
    }

    /// Adds a page that a sitemap names.
    pub(crate) fn add_listed(&mut self, url: &Url) {
        self.add(url, 0);
    }

    fn add(&mut self, url: &Url, depth: u32) {
        let url = canonical(url.clone());
        if !self.plan.admits(&url) {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.dropped = true;
        } else if self.seen.insert(address(&url)) {
            self.waiting.push_back(Target { url, depth });
        }
    }

    /// The next page to ask for while `under_way` others are asked for.
    pub(crate) fn next(&mut self, under_way: usize) -> Option<Target> {
        if self.full.is_some() || self.pages + under_way >= self.plan.max_pages {
            return None;
        }
        // A site may make up links to pages that are none, without end.
        if self.asked >= self.plan.max_pages.saturating_mul(3).saturating_add(100) {
            self.close(format!("of {} addresses only {} were pages", self.asked, self.pages));
            return None;
        }
        let target = self.waiting.pop_front()?;
        self.asked += 1;
        Some(target)
    }

    /// Counts a page of `bytes`; `false`: it is beyond a limit, and not taken.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        if self.full.is_some() || self.pages >= self.plan.max_pages {
            return false;
        }
        if self.bytes + bytes > self.plan.max_bytes {
            self.full = Some(format!("the limit of {} megabytes was reached", self.plan.max_bytes >> 20));
            return false;
        }
        self.pages += 1;
        self.bytes += bytes;
        true
    }

    /// Takes no more pages, for a reason.
    pub(crate) fn close(&mut self, reason: String) {
        self.full.get_or_insert(reason);
    }

    /// What limits have left out, in a sentence.
    pub(crate) fn note(&self) -> Option<String> {
        let left = self.waiting.len();
        let more = if left > 0 { format!(": {left} addresses were left out") } else { String::new() };
        if let Some(reason) = &self.full {
            return Some(format!("{reason}{more}"));
        }
        if left > 0 && self.pages >= self.plan.max_pages {
            return Some(format!("the limit of {} pages was reached{more}", self.plan.max_pages));
        }
        self.dropped.then(|| format!("the site has more than {MOST_WAITING} links that wait; the rest was left out"))
    }
}

#[cfg(test)]
mod tests;
