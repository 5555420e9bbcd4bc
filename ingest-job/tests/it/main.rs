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
use std::process::Command;

use docbrain_ingest::parse::{ParseError, ParsedDocument, PdfEngine, parse_with};
use docbrain_ingest::sandbox::{Limits, Sandbox};

/// A sandbox around the program under test.
fn sandbox(limits: Limits) -> Sandbox {
    Sandbox::new(PathBuf::from(env!("CARGO_BIN_EXE_docbrain-ingest")), limits)
}

/// Puts a copy of `source` at `program`, to be run.
///
/// Another process writes it: a child that some other test forks meanwhile would hold this one's open file until its
/// own program is loaded, and a file that is open for writing cannot be run (`ETXTBSY`, execve(2)).
fn install(source: &Path, program: &Path) {
    let copied = Command::new("install").args(["-m", "755"]).args([source, program]).status().unwrap();
    assert!(copied.success(), "install: {copied}");
}

/// Puts a shell script at `program`, to be run.
fn install_script(script: &str, program: &Path) {
    let source = program.with_extension("sh");
    std::fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
    install(&source, program);
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
