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
    /// Sheets that must come out with text.
    pub(super) filled_sheets: usize,
}

pub(super) fn prepare(bytes: &[u8]) -> ZipResult<Prepared<'_>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let mut filled_sheets = 0;
    let mut repaired = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if !name.starts_with("xl/worksheets/sheet") {
            continue;
        }
        let mut sheet = String::new();
        // A sheet that is not UTF-8 is left to the engine.
        if entry.read_to_string(&mut sheet).is_err() {
            continue;
        }
        filled_sheets += usize::from(sheet.matches("<v>").take(MIN_VALUES).count() == MIN_VALUES);
        if sheet.contains("<v> ") || sheet.contains(" </v>") {
            repaired.insert(name, trim_values(&sheet));
        }
    }
    let bytes = if repaired.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(rewrite(&mut archive, &repaired)?) };
    Ok(Prepared { bytes, filled_sheets })
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
    use super::trim_values;

    #[test]
    fn only_the_space_around_values_goes() {
        assert_eq!(trim_values("<c><v> 41</v></c> <c><v>7 </v></c>"), "<c><v>41</v></c> <c><v>7</v></c>");
        assert_eq!(trim_values("<c/>"), "<c/>");
    }
}
