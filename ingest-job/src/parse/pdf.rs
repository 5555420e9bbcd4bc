//! PDF to Markdown with page starts.

use unpdf::model::{Block, Document, Paragraph, Table};
use unpdf::{PdfParser, RenderOptions, render};

use super::{Format, ParseError, ParsedDocument, PdfEngine};

/// A table with a larger share of empty cells is text or a drawing that happened to line up.
const MAX_EMPTY_CELLS_PERCENT: usize = 50;

pub(super) fn parse(engine: PdfEngine, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let read = match engine {
        PdfEngine::Accurate => match accurate(bytes) {
            Err(ParseError::Damaged { .. }) => robust(bytes)?,
            other => other?,
        },
        PdfEngine::Robust => robust(bytes)?,
    };
    let mut markdown = String::new();
    let mut page_starts = Vec::with_capacity(read.pages.len());
    for page in &read.pages {
        page_starts.push(markdown.len());
        if !page.trim().is_empty() {
            markdown.push_str(page.trim());
            markdown.push_str("\n\n");
        }
    }
    Ok(ParsedDocument { title: read.title, markdown, page_starts })
}

/// Markdown of every page, in order.
struct Read {
    title: Option<String>,
    pages: Vec<String>,
}

fn accurate(bytes: &[u8]) -> Result<Read, ParseError> {
    let failed = |error: unpdf::Error| match error {
        unpdf::Error::Encrypted | unpdf::Error::InvalidPassword => ParseError::PasswordProtected,
        other => ParseError::damaged(Format::Pdf, other),
    };
    let options = unpdf::ParseOptions::new().sequential().with_resources(false);
    let mut document = PdfParser::from_bytes_with_options(bytes, options).and_then(|parser| parser.parse()).map_err(failed)?;
    let rendering = RenderOptions::new().with_standard_cleanup();
    let mut pages = Vec::with_capacity(document.pages.len());
    for mut page in std::mem::take(&mut document.pages) {
        page.elements = page.elements.into_iter().flat_map(dissolve_sparse_table).collect();
        let single = Document { pages: vec![page], ..Document::new() };
        pages.push(render::to_markdown(&single, &rendering).map_err(failed)?);
    }
    Ok(Read { title: document.metadata.title, pages })
}

fn robust(bytes: &[u8]) -> Result<Read, ParseError> {
    let failed = |error| match error {
        pdf_inspector::PdfError::Encrypted => ParseError::PasswordProtected,
        other => ParseError::damaged(Format::Pdf, other),
    };
    let extraction = pdf_inspector::extract_pages_markdown_mem(bytes, None).map_err(failed)?;
    Ok(Read { title: None, pages: extraction.pages.into_iter().map(|page| page.markdown).collect() })
}

fn dissolve_sparse_table(block: Block) -> Vec<Block> {
    match block {
        Block::Table(table) if is_sparse(&table) => table
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row.cells.iter().map(unpdf::model::TableCell::plain_text).collect();
                let words: Vec<&str> = cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
                Block::Paragraph(Paragraph::with_text(words.join(" ")))
            })
            .collect(),
        other => vec![other],
    }
}

fn is_sparse(table: &Table) -> bool {
    let cells = || table.rows.iter().flat_map(|row| &row.cells);
    let empty = cells().filter(|cell| cell.plain_text().trim().is_empty()).count();
    empty * 100 > cells().count() * MAX_EMPTY_CELLS_PERCENT
}
