//! What a file is, by its bytes and its name.

use std::fmt;
use std::io::{Cursor, Read};

use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use super::ParseError;

/// Most markup inside an office file or book, unpacked; more is a bomb, or a database in disguise.
const MAX_MARKUP_BYTES: u64 = 256 << 20;

/// A format DocBrain reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Portable Document Format.
    Pdf,
    /// Word 2007 and later.
    Docx,
    /// `PowerPoint` 2007 and later.
    Pptx,
    /// Excel 2007 and later.
    Xlsx,
    /// `OpenDocument` text.
    Odt,
    /// Electronic book.
    Epub,
    /// Web page.
    Html,
    /// Markdown.
    Markdown,
    /// Comma, semicolon, tab or bar separated values.
    Csv,
    /// Plain text.
    Text,
}

impl Format {
    /// Every readable format, for a message.
    pub(super) const SUPPORTED: &str = "PDF, DOCX, PPTX, XLSX, CSV, ODT, EPUB, HTML, Markdown or plain text";

    /// What the extension of a name promises.
    pub fn from_extension(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Some(match extension.to_ascii_lowercase().as_str() {
            "pdf" => Self::Pdf,
            "docx" | "docm" | "dotx" => Self::Docx,
            "pptx" | "pptm" | "ppsx" => Self::Pptx,
            "xlsx" | "xlsm" | "xltx" => Self::Xlsx,
            "odt" | "ott" => Self::Odt,
            "epub" => Self::Epub,
            "html" | "htm" | "xhtml" => Self::Html,
            "md" | "markdown" | "mdown" | "mkd" | "mdx" => Self::Markdown,
            "csv" | "tsv" => Self::Csv,
            "txt" | "text" | "log" | "rst" | "adoc" => Self::Text,
            _ => return None,
        })
    }

    /// Whether the bytes carry the PDF signature.
    pub(crate) fn is_pdf(bytes: &[u8]) -> bool {
        find(head(bytes), b"%PDF-").is_some()
    }

    /// Formats whose bytes are characters, so that no signature tells them apart.
    fn is_text(self) -> bool {
        matches!(self, Self::Html | Self::Markdown | Self::Csv | Self::Text)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pdf => "PDF",
            Self::Docx => "Word document (DOCX)",
            Self::Pptx => "presentation (PPTX)",
            Self::Xlsx => "spreadsheet (XLSX)",
            Self::Odt => "OpenDocument text (ODT)",
            Self::Epub => "electronic book (EPUB)",
            Self::Html => "web page (HTML)",
            Self::Markdown => "Markdown file",
            Self::Csv => "table (CSV)",
            Self::Text => "text file",
        })
    }
}

/// Decides the format, and refuses what cannot or must not be read as what its name says.
pub(super) fn detect(name: &str, bytes: &[u8]) -> Result<Format, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    let promised = Format::from_extension(name);
    match (promised, signature(bytes, promised)?) {
        (None, Content::Known(found)) => Ok(found),
        (Some(expected), Content::Known(found)) if expected == found => Ok(found),
        (Some(expected), Content::Known(found)) => Err(ParseError::Mismatch { expected, found: format!("a {found}") }),
        (Some(expected), Content::Other(found)) => Err(ParseError::Mismatch { expected, found: found.to_owned() }),
        (None, Content::Other(found)) => Err(ParseError::Unsupported { found: found.to_owned() }),
        (Some(expected), Content::Characters) if expected.is_text() => Ok(expected),
        (Some(expected), Content::Characters) => Err(ParseError::Mismatch { expected, found: "plain text".to_owned() }),
        (None, Content::Characters) => Ok(if looks_like_html(bytes) { Format::Html } else { Format::Text }),
    }
}

enum Content {
    /// The bytes carry the signature of a format DocBrain reads.
    Known(Format),
    /// They carry another one, named in words.
    Other(&'static str),
    /// They read as characters.
    Characters,
}

/// Signatures of files that people upload by mistake.
const OTHERS: &[(&[u8], &str)] = &[
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a media file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"{\\rtf", "an RTF document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%!PS", "a PostScript file"),
];

fn signature(bytes: &[u8], promised: Option<Format>) -> Result<Content, ParseError> {
    // The PDF rules allow junk in front of the header, and real files have it.
    let head = head(bytes);
    if head.starts_with(b"%PDF-") || promised == Some(Format::Pdf) && Format::is_pdf(head) {
        return Ok(Content::Known(Format::Pdf));
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return zip_content(bytes, promised);
    }
    if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        let encrypted: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
        return if find(bytes, &encrypted).is_some() {
            Err(ParseError::PasswordProtected)
        } else {
            Ok(Content::Other("an Office 97-2003 file"))
        };
    }
    if let Some((_, words)) = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Ok(Content::Other(words));
    }
    Ok(if looks_binary(head) { Content::Other("binary data") } else { Content::Characters })
}

/// Looks into the archive's directory: office files differ only by what is inside.
fn zip_content(bytes: &[u8], promised: Option<Format>) -> Result<Content, ParseError> {
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => {
            return match promised {
                Some(format) if !format.is_text() && format != Format::Pdf => Err(ParseError::damaged(format, error)),
                _ => Ok(Content::Other("a damaged ZIP archive")),
            };
        }
    };
    let has = |entry: &str| archive.index_for_name(entry).is_some();
    let found = if has("word/document.xml") {
        Content::Known(Format::Docx)
    } else if has("ppt/presentation.xml") {
        Content::Known(Format::Pptx)
    } else if has("xl/workbook.xml") {
        Content::Known(Format::Xlsx)
    } else if has("xl/workbook.bin") {
        Content::Other("a binary Excel workbook (XLSB)")
    } else {
        match entry_head(&mut archive, "mimetype").as_slice() {
            b"application/vnd.oasis.opendocument.text" => Content::Known(Format::Odt),
            b"application/epub+zip" => Content::Known(Format::Epub),
            mime if mime.starts_with(b"application/vnd.oasis.opendocument") => {
                Content::Other("an OpenDocument file other than text")
            }
            _ => return Ok(Content::Other("a ZIP archive")),
        }
    };
    if is_encrypted(&mut archive) {
        return Err(ParseError::PasswordProtected);
    }
    let bytes = markup_bytes(&mut archive);
    if bytes > MAX_MARKUP_BYTES {
        return Err(ParseError::TooLarge { bytes, limit_bytes: MAX_MARKUP_BYTES });
    }
    Ok(found)
}

/// What the directory says that the text parts unpack to.
fn markup_bytes(archive: &mut ZipArchive<Cursor<&[u8]>>) -> u64 {
    let sizes = (0..archive.len()).filter_map(|index| {
        let entry = archive.by_index_raw(index).ok()?;
        let name = entry.name().ok()?.to_ascii_lowercase();
        [".xml", "html", ".htm"].iter().any(|end| name.ends_with(end)).then(|| entry.size())
    });
    sizes.fold(0, u64::saturating_add)
}

/// Office and book formats keep their own encryption inside an ordinary archive; a font that is merely
/// obfuscated in a book is not encryption.
fn is_encrypted(archive: &mut ZipArchive<Cursor<&[u8]>>) -> bool {
    let manifest = entry_head(archive, "META-INF/manifest.xml");
    let book = entry_head(archive, "META-INF/encryption.xml");
    find(&manifest, b"encryption-data").is_some()
        || find(&book, b"xmlenc#aes").is_some()
        || (0..archive.len().min(64)).any(|index| archive.by_index_raw(index).is_ok_and(|entry| entry.encrypted()))
}

/// The first 64 KB of an entry, trimmed; empty if there is none.
fn entry_head(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(entry) = archive.by_name(name) {
        // An unreadable entry is like an absent one here: the engine will say what is wrong.
        let _ = entry.take(64 << 10).read_to_end(&mut head);
    }
    head.trim_ascii().to_vec()
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// A zero byte is in no text but UTF-16 and UTF-32, which start with a mark.
fn looks_binary(head: &[u8]) -> bool {
    let marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    !marked && head.contains(&0)
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(1024)]
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
