//! Everything that needs the built program or files beside the code.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by unwrapping and skips with a line")]

mod git;
mod harness;
mod hostile;
mod parse;
mod real;
mod repository;
mod runs;
mod site;
mod web;

use std::path::{Path, PathBuf};

use docbrain_ingest::parse::{ParseError, ParsedDocument, PdfEngine, parse_with};
use docbrain_ingest::sandbox::{Limits, Sandbox};

/// A sandbox around the program under test.
fn sandbox(limits: Limits) -> Sandbox {
    Sandbox::new(PathBuf::from(env!("CARGO_BIN_EXE_docbrain-ingest")), limits)
}

/// Parses a trusted file in this process.
fn parse_file(engine: PdfEngine, path: &Path) -> Result<ParsedDocument, ParseError> {
    let bytes = std::fs::read(path).unwrap();
    parse_with(engine, &path.file_name().unwrap().to_string_lossy(), &bytes)
}

/// The text of page `number`, from 1.
fn page(document: &ParsedDocument, number: usize) -> &str {
    let end = document.page_starts.get(number).copied().unwrap_or(document.markdown.len());
    &document.markdown[document.page_starts[number - 1]..end]
}
