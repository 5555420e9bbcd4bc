//! Office documents and books to Markdown.

use docling::{
    ContentLayer, ContentLayers, DoclingDocument, DocumentConverter, InputFormat, MarkdownExportOptions, Node,
    SourceDocument,
};

use super::markdown::Fence;
use super::workbook::{self, Prepared};
use super::{Format, ParseError, ParsedDocument};

pub(super) fn parse(format: Format, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let input = match format {
        Format::Docx => InputFormat::Docx,
        Format::Pptx => InputFormat::Pptx,
        Format::Xlsx => InputFormat::Xlsx,
        Format::Odt => InputFormat::Odt,
        Format::Epub => InputFormat::Epub,
        other => return Err(ParseError::Unsupported { found: other.to_string() }),
    };
    let prepared = match format {
        Format::Xlsx => workbook::prepare(bytes).map_err(|error| ParseError::damaged(format, error))?,
        _ => Prepared { bytes: bytes.into(), filled_sheets: Vec::new() },
    };
    let converter = DocumentConverter::with_allowed_formats([input]).strict(true).compact_tables(true);
    let source = SourceDocument::from_bytes("document", input, prepared.bytes.into_owned());
    let title = converter.document_metadata(&source).title;
    let mut document = match converter.convert(source) {
        Ok(result) => result.document,
        Err(error) if error.encryption().is_some() => return Err(ParseError::PasswordProtected),
        Err(error) => return Err(ParseError::damaged(format, error)),
    };
    if !document.notices.is_empty() {
        return Err(ParseError::TooComplex { format });
    }
    let pages = split_pages(std::mem::take(&mut document.nodes));
    // Hidden sheets are read too, and left out only of the text.
    if !prepared.filled_sheets.iter().all(|name| pages.iter().any(|page| sheet_name(page).as_ref() == Some(name))) {
        return Err(ParseError::TooComplex { format });
    }
    let mut parsed = ParsedDocument { title, markdown: String::new(), page_starts: Vec::new() };
    for page in pages {
        if format == Format::Pptx {
            parsed.page_starts.push(parsed.markdown.len());
        }
        let sheet = sheet_name(&page);
        document.nodes = page;
        let text = export(&document, format);
        if !text.trim().is_empty() {
            if let Some(sheet) = sheet {
                parsed.markdown.extend(["## ", &sheet, "\n\n"]);
            }
            parsed.markdown.push_str(text.trim());
            parsed.markdown.push_str("\n\n");
        }
    }
    parsed.markdown = tidy(&parsed.markdown, format);
    Ok(parsed)
}

/// The engine marks the start of each slide and sheet; other formats are one page.
fn split_pages(nodes: Vec<Node>) -> Vec<Vec<Node>> {
    let mut pages: Vec<Vec<Node>> = Vec::new();
    for node in nodes {
        match (node, pages.last_mut()) {
            (Node::PageInfo { .. }, _) => pages.push(Vec::new()),
            (Node::PageBreak, _) => {}
            (node, Some(page)) => page.push(node),
            (node, None) => pages.push(vec![node]),
        }
    }
    pages
}

fn sheet_name(page: &[Node]) -> Option<String> {
    page.iter().find_map(|node| match node {
        Node::Group { label, name, children, .. } if label == "sheet" && !children.is_empty() => name.clone(),
        _ => None,
    })
}

fn export(document: &DoclingDocument, format: Format) -> String {
    // What a speaker says is content; what a reviewer remarked in a document is not.
    let layers = match format {
        Format::Pptx => ContentLayers::BODY.with(ContentLayer::Notes),
        _ => ContentLayers::BODY,
    };
    let options = MarkdownExportOptions {
        layers,
        escape_html: false,
        escape_underscores: false,
        image_placeholder: String::new(),
        ..MarkdownExportOptions::default()
    };
    document.export_to_markdown_with_options(&options).0
}

/// Undoes the engine's habits: it keeps level 1 for a title that most documents have not, writes `|` in cells
/// as an entity, escapes ODT text like HTML, and draws every empty row of a form.
fn tidy(markdown: &str, format: Format) -> String {
    let surplus = match format {
        Format::Docx | Format::Odt => lowest_heading(markdown).saturating_sub(1),
        _ => 0,
    };
    let mut fence = Fence::default();
    let mut tidied = String::with_capacity(markdown.len());
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if fence.holds(line) {
            tidied.push_str(line);
        } else if line.starts_with('|') {
            let heads = lines.peek().is_some_and(|next| is_table_rule(next));
            if !heads && line.bytes().all(|byte| matches!(byte, b'|' | b' ')) {
                continue;
            }
            tidied.push_str(&unescape(line, format).replace("&#124;", "\\|"));
        } else {
            let line = if heading_level(line) > 0 { &line[surplus..] } else { line };
            tidied.push_str(&unescape(line, format).replace("&#124;", "|"));
        }
        tidied.push('\n');
    }
    tidied
}

fn unescape(line: &str, format: Format) -> String {
    match format {
        Format::Odt => line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"),
        _ => line.to_owned(),
    }
}

fn lowest_heading(markdown: &str) -> usize {
    let mut fence = Fence::default();
    let levels = markdown.lines().filter(|line| !fence.holds(line)).map(heading_level);
    levels.filter(|&level| level > 0).min().unwrap_or(0)
}

/// 0 for a line that is no heading.
fn heading_level(line: &str) -> usize {
    let level = line.bytes().take_while(|&byte| byte == b'#').count();
    if (1..=6).contains(&level) && line[level..].starts_with(' ') { level } else { 0 }
}

fn is_table_rule(line: &str) -> bool {
    line.starts_with("| -") && line.bytes().all(|byte| matches!(byte, b'|' | b' ' | b'-' | b':'))
}
