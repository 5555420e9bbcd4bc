//! What a web page says to whoever crawls: where it links to, what its own address is, what it does not want.

use std::cell::RefCell;
use std::collections::HashSet;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{ParseError, text};

/// Most links of a page that are taken.
const MOST_LINKS: usize = 5_000;
/// Longest address that is taken, in bytes.
pub(crate) const LONGEST_ADDRESS: usize = 2_000;

/// What a page says to whoever crawls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlinks {
    /// Absolute http and https URLs without fragments, in the order of the page, each once.
    pub links: Vec<String>,
    /// The page's own address, where it names one.
    pub canonical: Option<String>,
    /// Whether it may become a document.
    pub index: bool,
    /// Whether its links may be followed.
    pub follow: bool,
}

/// Reads the page `bytes` at `url`. Tags alone are looked at, and no tree is built of them: time and memory are in proportion
/// to the page, however it is nested.
pub fn find_outlinks(url: &str, bytes: &[u8]) -> Result<Outlinks, ParseError> {
    let text = text::decode(bytes)?;
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text.as_ref()));
    let tokenizer = Tokenizer::new(Tags::default(), TokenizerOpts::default());
    // None of the tags stops the tokenizer, so that once is enough.
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let found = tokenizer.sink.0.into_inner();

    let own = Url::parse(url).ok();
    let base = found.base.as_deref().and_then(|base| match &own {
        Some(own) => own.join(base.trim()).ok(),
        None => Url::parse(base.trim()).ok(),
    });
    let base = base.or(own);
    let absolute = |address: &str| {
        let address = address.trim();
        let mut url = match &base {
            Some(base) => base.join(address),
            None => Url::parse(address),
        }
        .ok()?;
        url.set_fragment(None);
        (matches!(url.scheme(), "http" | "https") && url.as_str().len() <= LONGEST_ADDRESS).then(|| String::from(url))
    };
    let mut outlinks = Outlinks {
        links: Vec::new(),
        canonical: found.canonical.as_deref().and_then(absolute),
        index: true,
        follow: true,
    };
    for words in &found.robots {
        outlinks.forbid(words);
    }
    let mut known = HashSet::new();
    let links = found.links.iter().filter_map(|link| absolute(link)).filter(|url| known.insert(url.clone()));
    outlinks.links = links.take(MOST_LINKS).collect();
    Ok(outlinks)
}

/// What the tags of a page say, as they say it.
#[derive(Default)]
struct Found {
    base: Option<String>,
    canonical: Option<String>,
    robots: Vec<String>,
    links: Vec<String>,
}

#[derive(Default)]
struct Tags(RefCell<Found>);

impl TokenSink for Tags {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else { return TokenSinkResult::Continue };
        if tag.kind == TagKind::EndTag {
            return TokenSinkResult::Continue;
        }
        let mut found = self.0.borrow_mut();
        match &*tag.name {
            "a" | "area" => found.link(&tag),
            "base" if found.base.is_none() => found.base = attribute(&tag, "href"),
            "link" if found.canonical.is_none() && has_word(&tag, "rel", "canonical") => {
                found.canonical = attribute(&tag, "href");
            }
            "meta" => found.meta(&tag),
            // What looks like tags in here is none.
            "script" => return TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => return TokenSinkResult::RawData(RawKind::Rawtext),
            "title" | "textarea" => return TokenSinkResult::RawData(RawKind::Rcdata),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Found {
    fn link(&mut self, tag: &Tag) {
        // Some of them come twice, or lead nowhere.
        if self.links.len() < 4 * MOST_LINKS && !has_word(tag, "rel", "nofollow") {
            self.links.extend(attribute(tag, "href").filter(|href| href.len() <= LONGEST_ADDRESS));
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let name = attribute(tag, "name").unwrap_or_default().trim().to_ascii_lowercase();
        if matches!(name.as_str(), "robots" | "docbrain") {
            self.robots.extend(attribute(tag, "content"));
        }
    }
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    let found = tag.attrs.iter().find(|attribute| &*attribute.name.local == name);
    found.map(|attribute| attribute.value.to_string())
}

fn has_word(tag: &Tag, name: &str, word: &str) -> bool {
    let text = attribute(tag, name).unwrap_or_default();
    text.split_ascii_whitespace().any(|other| other.eq_ignore_ascii_case(word))
}

impl Outlinks {
    /// Heeds the words of a robots `meta` element or an `X-Robots-Tag` header.
    pub(crate) fn forbid(&mut self, words: &str) {
        for word in words.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            self.index &= !matches!(word.as_str(), "noindex" | "none");
            self.follow &= !matches!(word.as_str(), "nofollow" | "none");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> Outlinks {
        find_outlinks("https://example.com/docs/start", html.as_bytes()).unwrap()
    }

    #[test]
    fn links_are_absolute_and_come_once() {
        let read = read(
            "<a href='b'>b</a><a href='/c#part'>c</a><a href=' ../d?x=1 '>d</a><a href='b#again'>b</a>
             <a href='mailto:a@b.c'>mail</a><a href='javascript:alert(1)'>no</a><a href='file:///etc/passwd'>no</a>
             <a href='//other.example/e'>e</a><map><area href='f'></map><a href='g' rel='nofollow noopener'>g</a>
             <a href='http://[broken'>h</a>",
        );
        let expected = ["docs/b", "c", "d?x=1"].map(|path| format!("https://example.com/{path}")).to_vec();
        assert_eq!(read.links[..3], expected);
        assert_eq!(read.links[3..], ["https://other.example/e", "https://example.com/docs/f"]);
        assert!(read.index && read.follow && read.canonical.is_none());
    }

    #[test]
    fn a_base_moves_links() {
        let read = read("<base href='/other/'><a href='b'>b</a>");
        assert_eq!(read.links, ["https://example.com/other/b"]);
    }

    #[test]
    fn the_canonical_address_and_what_robots_must_not_do_are_read() {
        let read = read(
            "<head><link rel='stylesheet' href='x.css'><link rel='Canonical' href='/docs/'>
             <meta name='ROBOTS' content='NoIndex, follow'></head><a href='b'>b</a>",
        );
        assert_eq!(read.canonical.as_deref(), Some("https://example.com/docs/"));
        assert!(!read.index && read.follow);
        let none = super::find_outlinks("https://example.com/", b"<meta name=docbrain content=none>text").unwrap();
        assert!(!none.index && !none.follow);
    }

    #[test]
    fn what_only_looks_like_a_link_is_none() {
        let read = read(
            "<!-- <a href='a'> --><script>document.write(\"<a href='b'>\")</script><style><a href='c'></style>
             <textarea><a href='d'></textarea><template><a href='e'></a></template><A HREF=f>",
        );
        assert_eq!(read.links, ["https://example.com/docs/e", "https://example.com/docs/f"]);
    }

    /// A parser that builds a tree of it needs minutes, and a stack.
    #[test]
    fn nesting_costs_nothing() {
        let html = format!("{}<a href='x'>{}", "<div><p><a>".repeat(50_000), "</div>".repeat(50_000));
        assert_eq!(read(&html).links, ["https://example.com/docs/x"]);
    }

    #[test]
    fn a_page_of_links_alone_is_bounded() {
        use std::fmt::Write as _;
        let mut html = String::new();
        for number in 0..20_000 {
            write!(html, "<a href='/{number}'>x</a>").unwrap();
        }
        write!(html, "<a href='/{}'>long</a>", "x".repeat(3_000)).unwrap();
        assert_eq!(read(&html).links.len(), MOST_LINKS);
    }
}
