//! Golden results of the sample documents; `testdata/README.md` says where they come from.

use std::path::{Path, PathBuf};

use docbrain_ingest::parse::{Format, ParseError, ParsedDocument, PdfEngine, parse};
use docbrain_ingest::sandbox::Limits;

use super::{page, parse_file, sandbox};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn parsed(name: &str) -> ParsedDocument {
    parse_file(PdfEngine::Accurate, &sample(name)).unwrap()
}

fn check(name: &str) {
    let ParsedDocument { title, markdown, page_starts } = parsed(name);
    let title = title.unwrap_or_default();
    insta::assert_snapshot!(name, format!("title: {title}\npages: {page_starts:?}\n\n{markdown}"));
}

#[test]
fn every_format_gives_its_golden_markdown() {
    for name in [
        "manual.docx",
        "training.pptx",
        "stock.xlsx",
        "manual.odt",
        "manual.epub",
        "manual.pdf",
        "page.html",
        "guide.md",
        "customers.csv",
        "notes.txt",
    ] {
        check(name);
    }
}

#[test]
fn pages_and_slides_begin_where_they_say() {
    let manual = parsed("manual.pdf");
    assert_eq!(manual.page_starts.len(), 3);
    assert!(page(&manual, 1).starts_with("# Pump P-40 maintenance"));
    assert!(page(&manual, 2).contains("| Bearing R&D | B-22 | 2 years |"));
    assert!(page(&manual, 3).contains("pump_ctl --reset"));
    let training = parsed("training.pptx");
    assert_eq!(training.page_starts.len(), 3);
    assert!(page(&training, 2).contains("the valve is on the left"), "speaker notes are content");
    assert!(page(&training, 3).contains("| S-117 |"));
}

#[test]
fn running_lines_are_not_content() {
    assert!(!parsed("manual.pdf").markdown.contains("of 3"));
    assert!(!parsed("manual.docx").markdown.contains("Running header"));
    let page = parsed("page.html").markdown;
    for furniture in ["cookies", "Blog", "newsletter", "Imprint", "tracking"] {
        assert!(!page.contains(furniture), "{furniture}");
    }
}

#[test]
fn the_second_pdf_engine_reads_the_same_pages() {
    let manual = parse_file(PdfEngine::Robust, &sample("manual.pdf")).unwrap();
    assert_eq!(manual.page_starts.len(), 3);
    assert!(page(&manual, 2).contains("B-22"));
}

#[test]
fn a_restriction_is_no_password_but_a_password_is() {
    assert_eq!(parsed("unprintable.pdf").markdown, parsed("manual.pdf").markdown);
    for engine in [PdfEngine::Accurate, PdfEngine::Robust] {
        assert_eq!(parse_file(engine, &sample("locked.pdf")), Err(ParseError::PasswordProtected));
        assert_eq!(parse_file(engine, &sample("scanned.pdf")), Err(ParseError::NoText { format: Format::Pdf }));
    }
}

#[test]
fn a_page_without_an_article_is_kept_whole() {
    let rows: Vec<_> = (0..40).map(|n| format!("<li><a href='/{n}'>Command {n}</a> does {n}</li>")).collect();
    let html = format!("<html><head><title>Index</title></head><body><ul>{}</ul></body></html>", rows.concat());
    let index = parse("index.html", html.as_bytes()).unwrap();
    assert_eq!(index.title.as_deref(), Some("Index"));
    assert!(index.markdown.contains("Command 0") && index.markdown.contains("Command 39"));
}

/// The documentation the product is tried with; beside the checkout, not in it.
#[tokio::test]
async fn every_page_of_two_real_documentations_parses() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.exists() {
        println!("skipped: no {}", data.display());
        return;
    }
    let mut sandbox = sandbox(Limits::default());
    let mut folders = vec![data.join("rust-book"), data.join("redis-doc")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let bytes = std::fs::read(&path).unwrap();
                let document = sandbox.parse(&path.to_string_lossy(), &bytes).await.unwrap();
                assert!(!document.markdown.starts_with("---\ntitle"), "{}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 500, "only {count} documents");
}
