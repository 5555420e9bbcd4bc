//! Comma separated values to a Markdown table.

use csv::{ReaderBuilder, StringRecord};

use super::{Format, ParseError, ParsedDocument, check_size};

/// Wider than this is data, not a table a person reads; one line of it would be one chunk.
const MAX_COLUMNS: usize = 1_000;

pub(super) fn parse(text: &str) -> Result<ParsedDocument, ParseError> {
    let mut reader = ReaderBuilder::new()
        .delimiter(sniff_delimiter(text))
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let mut markdown = String::with_capacity(text.len() * 3 / 2);
    let mut columns = 0;
    while let Some(record) = records.next().transpose().map_err(|error| ParseError::damaged(Format::Csv, error))? {
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if columns == 0 {
            columns = record.len();
            if columns > MAX_COLUMNS {
                return Err(ParseError::TooComplex { format: Format::Csv });
            }
            push_row(&mut markdown, &record, columns);
            markdown.push_str(&"| --- ".repeat(columns));
            markdown.push_str("|\n");
        } else {
            push_row(&mut markdown, &record, columns);
        }
        check_size(markdown.len())?;
    }
    Ok(ParsedDocument::from_markdown(markdown))
}

/// A row longer than the heading keeps its surplus in the last cell: a table row may not have more cells.
fn push_row(markdown: &mut String, record: &StringRecord, columns: usize) {
    for column in 0..columns {
        markdown.push_str(if column == 0 { "| " } else { " | " });
        push_cell(markdown, record.get(column).unwrap_or_default());
    }
    for surplus in record.iter().skip(columns) {
        markdown.push(' ');
        push_cell(markdown, surplus);
    }
    markdown.push_str(" |\n");
}

fn push_cell(markdown: &mut String, cell: &str) {
    for (index, word) in cell.split_whitespace().enumerate() {
        if index > 0 {
            markdown.push(' ');
        }
        markdown.push_str(&word.replace('|', "\\|"));
    }
}

/// The candidate that is most frequent in the first line, outside quotes.
fn sniff_delimiter(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |delimiter: u8| {
        let mut quoted = false;
        line.bytes()
            .filter(|&byte| {
                quoted ^= byte == b'"';
                !quoted && byte == delimiter
            })
            .count()
    };
    // The last maximum wins, so the comma comes last.
    *b"|\t;,".iter().max_by_key(|&&delimiter| count(delimiter)).unwrap_or(&b',')
}
