//! What the spreadsheet engine needs before and after it: it drops a sheet without a word when a number in it
//! has a space around it (Excel accepts that, and statistics packages write it) or when the sheet is huge.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read, Write};

use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A sheet with at least so many values cannot come out empty.
const MIN_VALUES: usize = 20;

/// A workbook the engine can read.
pub(super) struct Prepared<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Names of the sheets that must come out.
    pub(super) filled_sheets: Vec<String>,
}

pub(super) fn prepare(bytes: &[u8]) -> ZipResult<Prepared<'_>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let names =
        sheet_names(&text(&mut archive, "xl/workbook.xml")?, &text(&mut archive, "xl/_rels/workbook.xml.rels")?);
    let mut filled_sheets = Vec::new();
    let mut repaired = HashMap::new();
    for (part, name) in names {
        let sheet = text(&mut archive, &part)?;
        if sheet.matches("<v>").take(MIN_VALUES).count() == MIN_VALUES {
            filled_sheets.push(name);
        }
        if sheet.contains("<v> ") || sheet.contains(" </v>") {
            repaired.insert(part, trim_values(&sheet));
        }
    }
    let bytes = if repaired.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(rewrite(&mut archive, &repaired)?) };
    Ok(Prepared { bytes, filled_sheets })
}

/// An entry's text; empty where there is none, or none in UTF-8: that is for the engine to judge.
fn text(archive: &mut ZipArchive<Cursor<&[u8]>>, part: &str) -> ZipResult<String> {
    let mut text = String::new();
    if archive.index_for_name(part).is_some() && archive.by_name(part)?.read_to_string(&mut text).is_err() {
        text.clear();
    }
    Ok(text)
}

/// Part and name of every sheet.
fn sheet_names(workbook: &str, relations: &str) -> Vec<(String, String)> {
    let parts: HashMap<String, String> = elements(relations, "<Relationship ")
        .filter_map(|relation| {
            let target = attribute(relation, "Target")?;
            let part = target.strip_prefix('/').map_or_else(|| format!("xl/{target}"), str::to_owned);
            Some((attribute(relation, "Id")?, part))
        })
        .collect();
    elements(workbook, "<sheet ")
        .filter_map(|sheet| Some((parts.get(&attribute(sheet, "r:id")?)?.clone(), attribute(sheet, "name")?)))
        .collect()
}

/// The inside of every tag that starts with `opening`.
fn elements<'a>(xml: &'a str, opening: &'static str) -> impl Iterator<Item = &'a str> {
    xml.split(opening).skip(1).map(|rest| rest.split_once('>').map_or(rest, |(element, _)| element))
}

fn attribute(element: &str, name: &str) -> Option<String> {
    let (_, value) = element.split_once(&format!("{name}=\""))?;
    let (value, _) = value.split_once('"')?;
    Some(["&lt;<", "&gt;>", "&quot;\"", "&apos;'", "&amp;&"].iter().fold(value.to_owned(), |value, pair| {
        let (entity, character) = pair.split_at(pair.len() - 1);
        value.replace(entity, character)
    }))
}

fn trim_values(sheet: &str) -> String {
    let mut trimmed = String::with_capacity(sheet.len());
    let mut parts = sheet.split("<v>");
    trimmed.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (value, rest) = part.split_once("</v>").unwrap_or((part, ""));
        trimmed.extend(["<v>", value.trim(), "</v>", rest]);
    }
    trimmed
}

fn rewrite(archive: &mut ZipArchive<Cursor<&[u8]>>, repaired: &HashMap<String, String>) -> ZipResult<Vec<u8>> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut target = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let sheet = repaired.get_key_value(entry.name()?.as_ref());
        match sheet {
            Some((name, sheet)) => {
                target.start_file(name, stored)?;
                target.write_all(sheet.as_bytes())?;
            }
            None => target.raw_copy_file(entry)?,
        }
    }
    Ok(target.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::{sheet_names, trim_values};

    #[test]
    fn sheets_are_found_through_their_relations() {
        let workbook =
            r#"<sheets><sheet name="R&amp;D" sheetId="1" r:id="rId7"/><sheet name="x" r:id="rId8"/></sheets>"#;
        let relations =
            r#"<Relationship Id="rId7" Target="worksheets/sheet1.xml"/><Relationship Id="rId8" Target="/xl/a.xml"/>"#;
        let expected = [("xl/worksheets/sheet1.xml", "R&D"), ("xl/a.xml", "x")];
        assert_eq!(sheet_names(workbook, relations), expected.map(|(part, name)| (part.to_owned(), name.to_owned())));
    }

    #[test]
    fn only_the_space_around_values_goes() {
        assert_eq!(trim_values("<c><v> 41</v></c> <c><v>7 </v></c>"), "<c><v>41</v></c> <c><v>7</v></c>");
        assert_eq!(trim_values("<c/>"), "<c/>");
    }
}
