//! Sitemaps (sitemaps.org): pages, and other sitemaps.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Largest sitemap that is read, in bytes; the protocol allows 50 MB.
pub(super) const MOST_BYTES: u64 = 50 << 20;
/// Most addresses of one sitemap, by the protocol.
const MOST_ADDRESSES: usize = 50_000;

/// What a sitemap names, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sitemap {
    pub(crate) pages: Vec<String>,
    pub(crate) sitemaps: Vec<String>,
}

/// Reads a sitemap as far as it is one.
pub(crate) fn read(xml: &[u8]) -> Sitemap {
    let mut sitemap = Sitemap::default();
    let xml = String::from_utf8_lossy(xml);
    let mut reader = Reader::from_str(&xml);
    reader.config_mut().check_end_names = false;
    let (mut of_sitemap, mut within_location) = (false, false);
    let mut text = String::new();
    while sitemap.pages.len() + sitemap.sitemaps.len() < MOST_ADDRESSES {
        match reader.read_event() {
            Ok(Event::Start(start)) => match start.local_name().as_ref() {
                "sitemap" => of_sitemap = true,
                "url" => of_sitemap = false,
                "loc" => {
                    within_location = true;
                    text.clear();
                }
                _ => {}
            },
            Ok(Event::Text(piece)) if within_location => text.push_str(&piece),
            Ok(Event::CData(piece)) if within_location => text.push_str(&piece),
            Ok(Event::GeneralRef(name)) if within_location => text.push_str(entity(&name)),
            Ok(Event::End(end)) if end.local_name().as_ref() == "loc" => {
                within_location = false;
                let list = if of_sitemap { &mut sitemap.sitemaps } else { &mut sitemap.pages };
                let address = text.trim();
                if !address.is_empty() {
                    list.push(address.to_owned());
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    sitemap
}

/// The five entities of XML; a sitemap's document type is not read, and so defines none.
fn entity(name: &str) -> &'static str {
    match name {
        "amp" | "#38" | "#x26" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" | "#39" => "'",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_sitemaps_are_told_apart() {
        let pages = read(
            br#"<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
            <url><loc> https://example.com/a?x=1&amp;y=2 </loc><lastmod>2026-01-01</lastmod>
              <image:image><image:loc>https://example.com/a.png</image:loc></image:image></url>
            <url><loc><![CDATA[https://example.com/b]]></loc></url><url><loc></loc></url></urlset>"#,
        );
        assert_eq!(
            pages.pages,
            ["https://example.com/a?x=1&y=2", "https://example.com/a.png", "https://example.com/b"]
        );
        assert!(pages.sitemaps.is_empty());
        let index = read(b"<sitemapindex><sitemap><loc>https://example.com/1.xml</loc></sitemap><sitemap><loc>https://example.com/2.xml</loc></sitemap></sitemapindex>");
        assert_eq!(index.sitemaps, ["https://example.com/1.xml", "https://example.com/2.xml"]);
        assert!(index.pages.is_empty());
    }

    #[test]
    fn what_is_no_sitemap_names_nothing() {
        for text in [&b""[..], b"<html><body>Not found</body></html>", b"\xff\xfe\0", b"<urlset><url><loc>"] {
            assert_eq!(read(text), Sitemap::default(), "{text:?}");
        }
        let cut = read(b"<urlset><url><loc>https://example.com/a</loc></url><url><loc>https://exa");
        assert_eq!(cut.pages, ["https://example.com/a"]);
    }

    #[test]
    fn entities_do_not_multiply() {
        let bomb = br#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><urlset><url><loc>https://example.com/&b;</loc></url></urlset>"#;
        assert_eq!(read(bomb).pages, ["https://example.com/"]);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read(xml: Vec<u8>) {
            let _ = read(&xml);
        }
    }
}
