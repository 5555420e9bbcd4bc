//! PDF to Markdown with page starts.

use std::collections::HashMap;

use unpdf::model::{Block, Document, Paragraph, Table, TableCell};
use unpdf::render::{self, CleanupOptions, CleanupPipeline};
use unpdf::{PdfParser, RenderOptions};

use super::{Format, ParseError, ParsedDocument, PdfEngine};

/// A table with a larger share of empty cells is text or a drawing that happened to line up.
const MAX_EMPTY_CELLS_PERCENT: usize = 50;

/// A line that opens or closes this many pages, but for its digits, is a running header or footer.
const MIN_REPEATS: usize = 3;

pub(super) fn parse(engine: PdfEngine, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let (title, mut pages) = match engine {
        PdfEngine::Accurate => match accurate(bytes) {
            Err(ParseError::Damaged { .. }) => robust(bytes)?,
            other => other?,
        },
        PdfEngine::Robust => robust(bytes)?,
    };
    // Readers make up for a lost end, at worst with empty pages.
    if pages.iter().all(|page| page.trim().is_empty()) && !has_end(bytes) {
        return Err(ParseError::damaged(Format::Pdf, "no text and no end of file mark"));
    }
    strip_running_lines(&mut pages);
    let mut parsed = ParsedDocument { title, markdown: String::new(), page_starts: Vec::with_capacity(pages.len()) };
    for page in pages {
        parsed.page_starts.push(parsed.markdown.len());
        if !page.trim().is_empty() {
            parsed.markdown.push_str(page.trim());
            parsed.markdown.push_str("\n\n");
        }
    }
    Ok(parsed)
}

fn has_end(bytes: &[u8]) -> bool {
    bytes[bytes.len().saturating_sub(1024)..].windows(5).any(|window| window == b"%%EOF")
}

/// Title, and the Markdown of every page in order.
type Read = (Option<String>, Vec<String>);

fn accurate(bytes: &[u8]) -> Result<Read, ParseError> {
    let failed = |error| match error {
        unpdf::Error::Encrypted | unpdf::Error::InvalidPassword => ParseError::PasswordProtected,
        other => ParseError::damaged(Format::Pdf, other),
    };
    let options = unpdf::ParseOptions::new().sequential().with_resources(false);
    let parser = PdfParser::from_bytes_with_options(bytes, options).map_err(failed)?;
    let document = parser.parse().map_err(failed)?;
    let cleanup = CleanupPipeline::new(CleanupOptions { remove_toc: true, ..CleanupOptions::standard() });
    let rendering = RenderOptions::new();
    let mut pages = Vec::with_capacity(document.pages.len());
    for mut page in document.pages {
        page.elements = page.elements.into_iter().flat_map(dissolve_sparse_table).collect();
        // Page by page, so that no marker has to be found again in text that could contain it.
        let single = Document { pages: vec![page], ..Document::new() };
        pages.push(cleanup.process(&render::to_markdown(&single, &rendering).map_err(failed)?));
    }
    Ok((document.metadata.title, pages))
}

fn robust(bytes: &[u8]) -> Result<Read, ParseError> {
    let failed = |error| match error {
        pdf_inspector::PdfError::Encrypted => ParseError::PasswordProtected,
        other => ParseError::damaged(Format::Pdf, other),
    };
    let extraction = pdf_inspector::extract_pages_markdown_mem(bytes, None).map_err(failed)?;
    Ok((None, extraction.pages.into_iter().map(|page| page.markdown).collect()))
}

fn dissolve_sparse_table(block: Block) -> Vec<Block> {
    let Block::Table(table) = block else { return vec![block] };
    if !is_sparse(&table) {
        return vec![Block::Table(table)];
    }
    let row_text = |cells: &[TableCell]| {
        let cells: Vec<String> = cells.iter().map(TableCell::plain_text).collect();
        cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
    };
    table.rows.iter().map(|row| Block::Paragraph(Paragraph::with_text(row_text(&row.cells)))).collect()
}

fn is_sparse(table: &Table) -> bool {
    let cells = || table.rows.iter().flat_map(|row| &row.cells);
    let empty = cells().filter(|cell| cell.plain_text().trim().is_empty()).count();
    empty * 100 > cells().count() * MAX_EMPTY_CELLS_PERCENT
}

/// Removes first and last lines that repeat on at least a third of the pages; their page numbers may differ.
fn strip_running_lines(pages: &mut [String]) {
    let ends: [fn(&str) -> Option<&str>; 2] =
        [|page| page.lines().find(|line| !line.is_empty()), |page| page.lines().rfind(|line| !line.is_empty())];
    for end in ends {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for page in pages.iter() {
            if let Some(shape) = end(page.trim()).and_then(running_shape) {
                *counts.entry(shape).or_default() += 1;
            }
        }
        let enough = MIN_REPEATS.max(pages.len() / 3);
        for page in pages.iter_mut() {
            let text = page.trim();
            let Some(line) = end(text) else { continue };
            if running_shape(line).is_some_and(|shape| counts[&shape] >= enough) {
                let rest = text.strip_prefix(line).or_else(|| text.strip_suffix(line)).unwrap_or(text);
                *page = rest.trim().to_owned();
            }
        }
    }
}

/// The line without digits, if it can be a running line: short, and no table, list or code.
fn running_shape(line: &str) -> Option<String> {
    let is_plain = line.len() <= 120 && !line.starts_with(['|', '`', '-', '~']);
    is_plain.then(|| line.chars().filter(|character| !character.is_ascii_digit()).collect())
}
