//! Bytes to characters.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};

use super::{ParseError, check_size};

/// How much of the text the encoding is guessed from.
const SAMPLE_BYTES: usize = 256 << 10;

/// Decodes by byte order mark, as UTF-8, or as the most likely older encoding; line ends become `\n`.
/// Bytes that fit no encoding become U+FFFD, so that one bad byte does not cost the document.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    check_size(bytes.len())?;
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or_else(|| (guess(bytes), 0));
    let (text, _) = encoding.decode_without_bom_handling(&bytes[mark..]);
    if text.trim().is_empty() {
        return Err(ParseError::Empty);
    }
    if text.contains(['\r', '\0']) {
        return Ok(Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}")));
    }
    Ok(text)
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => return UTF_8,
        Err(error) => error.valid_up_to(),
    };
    // Around the place where UTF-8 first fails: thousands of plain letters before it say nothing.
    let sample = &bytes[valid.saturating_sub(SAMPLE_BYTES)..bytes.len().min(valid + SAMPLE_BYTES)];
    if mostly_utf8(sample) {
        return UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// UTF-8 with a few broken bytes: most of what is not ASCII still decodes as whole characters.
fn mostly_utf8(sample: &[u8]) -> bool {
    let lossy = String::from_utf8_lossy(sample);
    let (mut whole, mut broken) = (0_usize, 0_usize);
    for character in lossy.chars().filter(|character| !character.is_ascii()) {
        if character == '\u{fffd}' { broken += 1 } else { whole += 1 }
    }
    whole > broken
}
