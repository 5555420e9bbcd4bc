//! Documents this project did not make; `tools/real-documents.sh` fetches them.

use std::path::PathBuf;

use docbrain_ingest::parse::{ParsedDocument, PdfEngine};

use super::{page, parse_file};

/// `None`, with a line that says so, where the document is not at hand.
fn real(name: &str) -> Option<ParsedDocument> {
    let folder = std::env::var_os("DOCBRAIN_REAL_DOCUMENTS").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: {name} is not in the folder DOCBRAIN_REAL_DOCUMENTS (run tools/real-documents.sh FOLDER)");
    }
    Some(parse_file(PdfEngine::Accurate, &path?).unwrap())
}

/// Asserts that the lines stand in the document, in this order, among others.
fn in_order(text: &str, lines: &[&str]) {
    let mut rest = text.lines();
    for line in lines {
        assert!(rest.any(|found| found.trim_end() == *line), "no line {line:?} after the ones before it");
    }
}

#[test]
fn a_manual_of_114_pages_keeps_headings_tables_and_page_numbers() {
    let Some(manual) = real("developers-reference.pdf") else { return };
    assert_eq!(manual.title.as_deref(), Some("Debian Developer's Reference"));
    assert_eq!(manual.page_starts.len(), 114);
    in_order(page(&manual, 31), &["#### 4.6.4.1 Stable, testing, and unstable"]);
    in_order(
        page(&manual, 65),
        &["|  | alpha | arm | hurd-i386 |", "| testing | 1 | 1 | - |", "| unstable | 2 | - | 1 |"],
    );
}

#[test]
fn a_manual_of_311_pages_keeps_its_tables_on_their_pages() {
    let Some(manual) = real("gnuplot.pdf") else { return };
    assert_eq!(manual.page_starts.len(), 311);
    assert!(page(&manual, 34).contains("| Unicode point U+221E INFINITY |"));
    assert!(page(&manual, 37).contains("| acosh(x) | any |"));
    assert!(page(&manual, 42).contains("| * bitwise exclusive OR |"));
}

#[test]
fn a_book_keeps_its_chapters_lists_and_tables() {
    let Some(book) = real("developers-reference.epub") else { return };
    in_order(
        &book.markdown,
        &[
            "# 4. Resources for Debian Members",
            "## 4.1. Mailing lists",
            "### 4.1.1. Basic rules for use",
            "| testing | 1 | - |",
        ],
    );
    assert!(book.page_starts.is_empty());
}

#[test]
fn a_word_document_keeps_headings_lists_and_its_merged_table() {
    let Some(report) = real("example.docx") else { return };
    in_order(
        &report.markdown,
        &[
            "# Title 1",
            "# Title 2",
            "1. Quisque tristique",
            "2. Augue nisi, et convallis",
            "## Sub title 1",
            "- Quisque tristique",
            "| Petals | Internode | Sepal | Bract |",
            "| 5,645575295 | Merged cell | 2,278691288 | 17,31304737  17,07215724  18,2902189 |",
        ],
    );
}

#[test]
fn slides_keep_their_order() {
    let Some(deck) = real("example.pptx") else { return };
    assert_eq!(deck.page_starts.len(), 3);
    in_order(page(&deck, 1), &["# Title", "| Header 1 | Header 2 | Header 3 |", "| C | 6 | Hello |"]);
    in_order(page(&deck, 2), &["# Hi", "    - an unordered", "2. list of paragraphs"]);
}

#[test]
fn a_workbook_keeps_sheets_and_dates() {
    let Some(deaths) = real("deaths.xlsx") else { return };
    in_order(
        &deaths.markdown,
        &["## arts", "| David Bowie | musician | 69 | True | 1947-01-08 | 2016-01-10 |", "## other"],
    );
    let Some(datasets) = real("datasets.xlsx") else { return };
    in_order(&datasets.markdown, &["## iris", "## mtcars", "## chickwts", "## quakes"]);
}
