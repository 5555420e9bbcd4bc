//! What a host lets robots read (RFC 9309).

use std::time::Duration;

use texting_robots::Robot;
use url::Url;

/// The name of this robot in `robots.txt`.
const NAME: &str = "docbrain";
/// Longest pause between two requests that is kept; a site that wants a longer one waits this long.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// How much of a `robots.txt` is read, in bytes (RFC 9309, section 2.5).
pub(super) const MOST_BYTES: u64 = 512 << 10;

/// The rules of one host.
#[derive(Debug)]
pub(crate) enum Robots {
    /// There are none.
    Open,
    /// These.
    Rules(Robot),
    /// They could not be read, so that nothing may be asked; in a sentence.
    Unknown(String),
}

impl Robots {
    /// Reads the rules. What cannot be understood forbids nothing.
    pub(crate) fn read(text: &[u8]) -> Self {
        let text = &text[..text.len().min(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX))];
        Robot::new(NAME, text).map_or(Self::Open, Self::Rules)
    }

    pub(crate) fn allows(&self, url: &Url) -> bool {
        match self {
            Self::Open => true,
            Self::Rules(rules) => rules.allowed(url.as_str()),
            Self::Unknown(_) => false,
        }
    }

    /// The pause between two requests.
    pub(crate) fn delay(&self) -> Duration {
        let wanted = if let Self::Rules(rules) = self { rules.delay } else { None };
        let wanted = wanted.and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
        wanted.unwrap_or_default().min(LONGEST_DELAY)
    }

    pub(crate) fn sitemaps(&self) -> &[String] {
        if let Self::Rules(rules) = self { &rules.sitemaps } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(robots: &Robots, path: &str) -> bool {
        robots.allows(&Url::parse("https://example.com").unwrap().join(path).unwrap())
    }

    #[test]
    fn rules_for_everybody_and_for_this_robot_are_kept() {
        let robots = Robots::read(
            b"User-agent: *\nDisallow: /private/\nAllow: /private/open\nCrawl-delay: 2.5\nSitemap: https://example.com/map.xml\n",
        );
        assert!(allows(&robots, "/docs/") && allows(&robots, "/private/open"));
        assert!(!allows(&robots, "/private/x"));
        assert_eq!(robots.delay(), Duration::from_millis(2_500));
        assert_eq!(robots.sitemaps(), ["https://example.com/map.xml"]);

        let robots = Robots::read(
            b"User-agent: *\nDisallow: /\n\nUser-agent: DocBrain\nDisallow: /drafts/\nCrawl-delay: 9999\n",
        );
        assert!(allows(&robots, "/docs/") && !allows(&robots, "/drafts/x"));
        assert_eq!(robots.delay(), LONGEST_DELAY);
    }

    #[test]
    fn nonsense_forbids_nothing() {
        for text in [
            &b""[..],
            b"\0\xff\xfe",
            b"<html><body>not found</body></html>",
            b"Disallow",
            b"Crawl-delay: -1\nCrawl-delay: nan",
        ] {
            let robots = Robots::read(text);
            assert!(allows(&robots, "/docs/"), "{text:?}");
            assert_eq!(robots.delay(), Duration::ZERO, "{text:?}");
        }
        assert!(!allows(&Robots::Unknown("it answered 503".into()), "/"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text: Vec<u8>) {
            let _ = allows(&Robots::read(&text), "/docs/a?b");
        }
    }
}
