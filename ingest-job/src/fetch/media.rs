//! What an origin says a file is, and what the parser is to take it for.

use crate::parse::Format;

/// The media types that are read, each with the extension of its format.
const READ: [(&str, &str); 15] = [
    ("text/html", "html"),
    ("application/xhtml+xml", "html"),
    ("text/markdown", "md"),
    ("text/x-markdown", "md"),
    ("text/plain", "txt"),
    ("text/csv", "csv"),
    ("text/tab-separated-values", "csv"),
    ("application/pdf", "pdf"),
    ("application/x-pdf", "pdf"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/epub+zip", "epub"),
    ("text/x-rst", "txt"),
];

/// The media type to keep for a file at `path` that its server calls `media_type`; `None`: nothing that is read.
pub(crate) fn read_as(media_type: Option<&str>, path: &str) -> Option<&'static str> {
    let named = Format::from_extension(last_part(path));
    let by_name = || named.map(media_type_of);
    match media_type {
        // A server that does not know says so, or says nothing.
        None | Some("application/octet-stream" | "binary/octet-stream") => {
            by_name().filter(|&found| found != "text/html")
        }
        // Raw files of a repository come as plain text.
        Some("text/plain") if matches!(named, Some(Format::Markdown | Format::Csv)) => by_name(),
        Some(media_type) => READ.iter().map(|&(known, _)| known).find(|&known| known == media_type),
    }
}

/// Whether files of this media type are pages, which link to others.
pub(crate) fn is_page(media_type: &str) -> bool {
    matches!(media_type, "text/html" | "application/xhtml+xml")
}

/// The name by which the parser knows a document: its extension says what the origin said.
pub fn parser_name(path: &str, media_type: Option<&str>) -> String {
    let Some(extension) = media_type.and_then(|wanted| READ.iter().find(|(known, _)| *known == wanted)) else {
        return path.to_owned();
    };
    let extension = extension.1;
    let part = last_part(path);
    if Format::from_extension(part) == Format::from_extension(&format!("x.{extension}")) {
        return part.to_owned();
    }
    format!("{part}.{extension}")
}

/// Whether a path names, by its extension, what no document is: there is no need to ask for it.
pub(crate) fn is_no_document(path: &str) -> bool {
    const NONE: [&str; 40] = [
        "7z", "apk", "avi", "avif", "bmp", "bz2", "css", "deb", "dmg", "eot", "exe", "gif", "gz", "ico", "iso", "jar",
        "jpeg", "jpg", "js", "json", "map", "mjs", "mov", "mp3", "mp4", "ogg", "otf", "png", "rar", "rpm", "rss",
        "svg", "tar", "tgz", "ttf", "wasm", "webm", "webp", "woff", "zip",
    ];
    let extension = last_part(path).rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| NONE.contains(&extension.as_str()) || extension == "woff2" || extension == "xml")
}

fn media_type_of(format: Format) -> &'static str {
    match format {
        Format::Pdf => "application/pdf",
        Format::Docx => READ[9].0,
        Format::Pptx => READ[10].0,
        Format::Xlsx => READ[11].0,
        Format::Odt => READ[12].0,
        Format::Epub => READ[13].0,
        Format::Html => "text/html",
        Format::Markdown => "text/markdown",
        Format::Csv => "text/csv",
        Format::Text => "text/plain",
    }
}

/// The last part of a path that is not empty, without a query.
fn last_part(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or(path).trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_media_type_that_is_read_as_it() {
        for extension in ["pdf", "docx", "pptx", "xlsx", "odt", "epub", "html", "md", "csv", "txt"] {
            let format = Format::from_extension(&format!("x.{extension}")).unwrap();
            let name = parser_name("example.com/page", Some(media_type_of(format)));
            assert_eq!(Format::from_extension(&name), Some(format), "{extension}");
        }
    }

    #[test]
    fn a_server_is_believed_unless_it_does_not_know() {
        for (media_type, path, expected) in [
            (Some("text/html"), "/docs/", Some("text/html")),
            (Some("text/html"), "/manual.pdf", Some("text/html")),
            (Some("image/png"), "/a.png", None),
            (Some("application/json"), "/a", None),
            (Some("application/octet-stream"), "/manual.pdf?download=1", Some("application/pdf")),
            (Some("application/octet-stream"), "/setup", None),
            (Some("application/octet-stream"), "/page.html", None),
            (None, "/guide.md", Some("text/markdown")),
            (None, "/guide", None),
            (Some("text/plain"), "/raw/README.md", Some("text/markdown")),
            (Some("text/plain"), "/notes", Some("text/plain")),
        ] {
            assert_eq!(read_as(media_type, path), expected, "{media_type:?} {path}");
        }
    }

    #[test]
    fn the_parser_is_told_what_the_server_said() {
        for (path, media_type, expected) in [
            ("example.com/", Some("text/html"), "example.com.html"),
            ("example.com/docs/install.php?x=1", Some("text/html"), "install.php.html"),
            ("example.com/docs/v1.md", Some("text/html"), "v1.md.html"),
            ("example.com/docs/v1.md", Some("text/markdown"), "v1.md"),
            ("example.com/manual.pdf", Some("application/pdf"), "manual.pdf"),
            ("docs/guide.md", None, "docs/guide.md"),
        ] {
            assert_eq!(parser_name(path, media_type), expected, "{path}");
        }
    }

    #[test]
    fn pictures_and_scripts_are_not_asked_for() {
        for (path, expected) in
            [("/a/b.PNG", true), ("/a/b.js?v=1", true), ("/a/b.pdf", false), ("/a/b", false), ("/sitemap.xml", true)]
        {
            assert_eq!(is_no_document(path), expected, "{path}");
        }
    }
}
