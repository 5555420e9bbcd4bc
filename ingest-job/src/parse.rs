//! One document's bytes to Markdown: pure, no IO.
//!
//! The engines behind it can be made to overflow the stack, abort or eat gigabytes by a hostile file, so
//! whatever comes from outside goes through [`crate::sandbox::Sandbox`]; this module only decides and converts.

use serde::{Deserialize, Serialize};

mod delimited;
mod format;
mod html;
mod markdown;
mod office;
mod outlinks;
mod pdf;
mod text;
mod workbook;

pub use format::Format;
pub(crate) use outlinks::LONGEST_ADDRESS;
pub use outlinks::{Outlinks, find_outlinks};

/// Most Markdown one document may become, in bytes; about 8 million tokens, ten times the Bible.
pub const MAX_MARKDOWN_BYTES: usize = 32 << 20;

/// A document as Markdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParsedDocument {
    /// What the document calls itself, else its first top heading, else its file name without the extension.
    pub title: Option<String>,
    /// The content; never empty.
    pub markdown: String,
    /// Byte offset in `markdown` where page n (from 1) begins; empty where the format has no pages.
    pub page_starts: Vec<usize>,
}

/// Which of the two PDF engines reads; the second one exists for files that break the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PdfEngine {
    /// The one with the better tables and reading order.
    #[default]
    Accurate,
    /// The one that never crashed.
    Robust,
}

/// Why a document could not become Markdown; the text is for the person who owns the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ParseError {
    /// No bytes, or nothing but white space.
    #[error("the file is empty")]
    Empty,
    /// A format DocBrain does not read.
    #[error("this looks like {found}, which cannot be read; upload {}", Format::SUPPORTED)]
    Unsupported {
        /// The format, in words.
        found: String,
    },
    /// The name promises one format, the bytes are another.
    #[error(
        "the name says {expected}, but the content is {found}; check that this is the right file and give it its true extension"
    )]
    Mismatch {
        /// What the extension promises.
        expected: Format,
        /// What the bytes are, in words.
        found: String,
    },
    /// Encrypted.
    #[error("the file is protected with a password; save a copy without the password and upload that")]
    PasswordProtected,
    /// Broken or cut off.
    #[error("the {format} is damaged or incomplete; open it in its own program, save it again and upload the new copy")]
    Damaged {
        /// The format it was read as.
        format: Format,
        /// The engine's own words, for the log only.
        detail: String,
    },
    /// Pages without a text layer.
    #[error("no text was found in the {format}{}", if *format == Format::Pdf { "; if its pages are scanned images, run text recognition (OCR) first" } else { "" })]
    NoText {
        /// The format it was read as.
        format: Format,
    },
    /// More Markdown than one document may hold.
    #[error("the document holds {} MB of text, but one document may hold at most {} MB; split it into several files", megabytes(*bytes), limit_bytes >> 20)]
    TooLarge {
        /// What the document has, at least.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Structure beyond what any person writes: nesting, or the size of one table.
    #[error(
        "the {format} is too complex to be read without losing text; make its tables smaller and its nesting flatter, or split it"
    )]
    TooComplex {
        /// The format it was read as.
        format: Format,
    },
}

impl ParseError {
    /// The stable name of this failure, for interfaces and statistics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unsupported { .. } => "unsupported",
            Self::Mismatch { .. } => "mismatch",
            Self::PasswordProtected => "password_protected",
            Self::Damaged { .. } => "damaged",
            Self::NoText { .. } => "no_text",
            Self::TooLarge { .. } => "too_large",
            Self::TooComplex { .. } => "too_complex",
        }
    }

    fn damaged(format: Format, detail: impl std::fmt::Display) -> Self {
        Self::Damaged { format, detail: detail.to_string() }
    }
}

/// Converts the file `name` holding `bytes`.
pub fn parse(name: &str, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    parse_with(PdfEngine::default(), name, bytes)
}

/// [`parse`] with a choice of PDF engine; other formats have one engine each.
pub fn parse_with(engine: PdfEngine, name: &str, bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let format = format::detect(name, bytes)?;
    let mut document = match format {
        Format::Markdown => markdown::parse(&text::decode(bytes)?),
        Format::Text => ParsedDocument::from_markdown(text::decode(bytes)?.into_owned()),
        Format::Html => html::parse(&text::decode(bytes)?)?,
        Format::Csv => delimited::parse(&text::decode(bytes)?)?,
        Format::Pdf => pdf::parse(engine, bytes)?,
        Format::Docx | Format::Pptx | Format::Xlsx | Format::Odt | Format::Epub => office::parse(format, bytes)?,
    };
    if document.markdown.trim().is_empty() {
        return Err(ParseError::NoText { format });
    }
    check_size(document.markdown.len())?;
    let own = document.title.as_deref().and_then(tidy_title).filter(|title| !is_placeholder(title));
    let heading = || markdown::title_heading(&document.markdown).as_deref().and_then(tidy_title);
    document.title = own.or_else(heading).or_else(|| file_stem(name));
    Ok(document)
}

impl ParsedDocument {
    /// A document of a format without pages that says no title apart from its text.
    fn from_markdown(markdown: String) -> Self {
        Self { title: None, markdown, page_starts: Vec::new() }
    }
}

fn check_size(bytes: usize) -> Result<(), ParseError> {
    if bytes > MAX_MARKDOWN_BYTES {
        return Err(ParseError::TooLarge { bytes: bytes as u64, limit_bytes: MAX_MARKDOWN_BYTES as u64 });
    }
    Ok(())
}

/// Rounded up, so that a limit broken by one byte does not read "32 of 32".
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// One line, at most 300 characters; `None` when nothing is left.
fn tidy_title(title: &str) -> Option<String> {
    let title: String = title.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then(|| title.chars().take(300).collect())
}

/// Titles that programs fill in when nobody wrote one.
fn is_placeholder(title: &str) -> bool {
    let title = title.to_ascii_lowercase();
    let ends = [".doc", ".docx", ".dvi", ".indd", ".odt", ".ppt", ".pptx", ".tex", ".xls", ".xlsx"];
    title.starts_with("microsoft word - ")
        || title.starts_with("untitled")
        || ends.iter().any(|end| title.ends_with(end))
}

fn file_stem(name: &str) -> Option<String> {
    let file = name.rsplit(['/', '\\']).next()?;
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    tidy_title(if stem.is_empty() { file } else { stem })
}

#[cfg(test)]
mod tests;
