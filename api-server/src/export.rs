//! Rows as a file, CSV or JSON, written page by page as the client takes them.

use std::borrow::Cow;
use std::io;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use docbrain_core::telemetry::Scope;
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::attachment;
use crate::extract::Pairs;
use crate::middleware::log_causes;
use crate::problem::Problem;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Comma-separated values with a header line (RFC 4180), in UTF-8. A text that a spreadsheet would take for a formula
    /// begins with an apostrophe.
    Csv,
    /// An array of objects.
    Json,
}

/// Which form a file has.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FileForm {
    /// Left out, the header `Accept` chooses: `text/csv`, or else JSON.
    #[param(inline)]
    format: Option<Format>,
}

impl Pairs for FileForm {
    const NAMES: &[&str] = &["format"];
}

impl FileForm {
    /// The form that was asked for.
    pub(crate) fn wanted(&self, headers: &HeaderMap) -> Format {
        let csv =
            headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/csv")));
        self.format.unwrap_or(if csv { Format::Csv } else { Format::Json })
    }
}

impl Format {
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        })
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// A row of a file; `COLUMNS` are the names of its fields in their order.
pub(crate) trait Record: Serialize {
    const COLUMNS: &[&str];
}

/// A file of all rows of these pages. A failure on the way breaks it off, so that no client takes it for whole.
pub(crate) fn response<R: Record>(
    name: &str,
    format: Format,
    pages: impl Stream<Item = Result<Vec<R>, Problem>> + Send + 'static,
) -> Response {
    let (scope, mut first) = (Scope::current(), true);
    let pages = pages.map(move |page| match page {
        Ok(rows) => {
            let bytes = match format {
                Format::Csv => lines(&rows),
                Format::Json => objects(&rows, first),
            };
            first &= rows.is_empty();
            Ok(Bytes::from(bytes))
        }
        Err(problem) => {
            scope.enter(|| log_causes(&problem));
            Err(io::Error::other("the rows cannot be read"))
        }
    });
    let (begin, end) = match format {
        Format::Csv => (line(R::COLUMNS), Vec::new()),
        Format::Json => (b"[".to_vec(), b"\n]\n".to_vec()),
    };
    let piece = |bytes: Vec<u8>| stream::once(async { Ok::<_, io::Error>(Bytes::from(bytes)) });
    let body = Body::from_stream(piece(begin).chain(pages).chain(piece(end)));
    let headers = attachment::headers(&format!("{name}.{}", format.ending()));
    ([(CONTENT_TYPE, format.media_type())], headers, body).into_response()
}

fn objects<R: Serialize>(rows: &[R], mut first: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend_from_slice(if first { b"\n" } else { b",\n" });
        first = false;
        serde_json::to_writer(&mut bytes, row).expect("a row is JSON");
    }
    bytes
}

fn line(cells: &[&str]) -> Vec<u8> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells).expect("memory takes all bytes");
    writer.into_inner().expect("memory takes all bytes")
}

/// Written twice: what any cell holds is known only when its row is written.
fn lines<R: Serialize>(rows: &[R]) -> Vec<u8> {
    let mut raw = WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in rows {
        raw.serialize(row).expect("a row is a list of cells");
    }
    let raw = raw.into_inner().expect("memory takes all bytes");
    let mut writer = WriterBuilder::new().from_writer(Vec::with_capacity(raw.len()));
    for record in ReaderBuilder::new().has_headers(false).from_reader(raw.as_slice()).into_byte_records() {
        let record: ByteRecord = record.expect("it was written just now").iter().map(harmless).collect();
        writer.write_byte_record(&record).expect("memory takes all bytes");
    }
    writer.into_inner().expect("memory takes all bytes")
}

/// The cell as text, where a spreadsheet would compute it (OWASP, "CSV Injection"); numbers stay numbers.
fn harmless(cell: &[u8]) -> Cow<'_, [u8]> {
    const TRIGGERS: [&str; 11] = ["=", "+", "-", "@", "\t", "\r", "\n", "\u{ff1d}", "\u{ff0b}", "\u{ff0d}", "\u{ff20}"];
    let is_number = || std::str::from_utf8(cell).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
    if TRIGGERS.iter().any(|trigger| cell.starts_with(trigger.as_bytes())) && !is_number() {
        return Cow::Owned([b"'", cell].concat());
    }
    Cow::Borrowed(cell)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[derive(Serialize)]
    struct Row {
        text: &'static str,
        number: f32,
        nothing: Option<u32>,
    }

    fn row(text: &'static str) -> Row {
        Row { text, number: -0.5, nothing: None }
    }

    #[test]
    fn no_cell_is_a_formula() {
        let dangerous = ["=1+1", "+49 30 1", "-cmd", "@SUM(A1)", "\t=1", "\r\n=1", "\u{ff1d}1+1"];
        let harmless = ["a=1", "it's \"so\", he said", "", "two\nlines", "-12"];
        let expected = dangerous.iter().map(|text| format!("'{text}")).chain(harmless.map(str::to_owned));
        let written = lines(&dangerous.iter().chain(&harmless).map(|text| row(text)).collect::<Vec<_>>());
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(written.as_slice());
        let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|record| record[0].to_owned()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert!(read.iter().all(|record| (&record[1], &record[2]) == ("-0.5", "")));
    }

    #[test]
    fn pages_make_one_array() {
        let pages = [objects(&[row("a"), row("b")], true), objects(&[row("c")], false)].concat();
        let whole = [b"[", pages.as_slice(), b"\n]\n"].concat();
        let whole: Vec<serde_json::Value> = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole.iter().map(|row| row["text"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn the_parameter_goes_before_the_header() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/csv, */*"))]);
        assert_eq!(FileForm::default().wanted(&headers), Format::Csv);
        assert_eq!(FileForm { format: Some(Format::Json) }.wanted(&headers), Format::Json);
        assert_eq!(FileForm::default().wanted(&HeaderMap::new()), Format::Json);
    }
}
