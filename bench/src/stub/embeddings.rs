//! `POST /v1/embeddings`: unit vectors from the words of a text by feature hashing.
//!
//! Each word, and the first five letters of a longer one (so that "expire" and "expires" meet), adds to a few signed places of the
//! vector; repeated words count logarithmically and short ones little. All vectors share one direction, as those of real models do
//! (Ethayarajh 2019, "How Contextual are Contextualized Word Representations?"), so that related texts are as close as theirs.
//! Components are whole millionths: they print without a float formatter, and the JSON and the base64 form carry exactly the same
//! numbers.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::bad_request;
use crate::random::{below, mix};

const DEFAULT_DIMENSIONS: usize = 384;
const MAX_DIMENSIONS: usize = 8_192;
const PLACES_PER_WORD: u64 = 4;
const STEM_LETTERS: usize = 5;
/// Cosine of two texts without a common word.
const UNRELATED: f32 = 0.3;
const MILLIONTHS: f32 = 1e6;

#[derive(Deserialize)]
struct Params {
    input: Input,
    #[serde(default)]
    model: String,
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Encoding,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

pub(super) async fn create_embeddings(body: Bytes) -> Response {
    let params: Params = match serde_json::from_slice(&body) {
        Ok(params) => params,
        Err(error) => {
            return bad_request(&format!("the body is not an embeddings request (input must be text): {error}"));
        }
    };
    let dimensions = params.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return bad_request("dimensions must be from 1 to 8192");
    }
    let texts = match &params.input {
        Input::One(text) => std::slice::from_ref(text),
        Input::Many(texts) => texts,
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return bad_request("input must hold at least one text, and no empty one");
    }
    let reply = render(texts, &params.model, dimensions, params.encoding_format);
    ([(CONTENT_TYPE, "application/json")], reply).into_response()
}

fn render(texts: &[String], model: &str, dimensions: usize, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::with_capacity(texts.len() * dimensions * 10 + 256);
    out.extend_from_slice(br#"{"object":"list","data":["#);
    let mut tokens = 0;
    for (index, text) in texts.iter().enumerate() {
        let words = words(text);
        tokens += words.len();
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!(r#"{{"object":"embedding","index":{index},"embedding":"#).as_bytes());
        write_vector(&mut out, &vector(&words, dimensions), encoding);
        out.push(b'}');
    }
    // A string always serialises.
    let model = serde_json::to_string(model).unwrap_or_default();
    out.extend_from_slice(
        format!(r#"],"model":{model},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#).as_bytes(),
    );
    out
}

/// One word: the hash of all its letters, of its stem when it is longer than that, and how much it counts.
#[derive(Clone, Copy, Debug)]
struct Word {
    whole: u64,
    stem: Option<u64>,
    weight: f32,
}

/// The words of a text; a text without any (`"???"`) counts as one word made of all its characters.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = text.split(|letter: char| !letter.is_alphanumeric()).filter_map(word).collect();
    if words.is_empty() {
        words.extend(word(text));
    }
    words
}

fn word(letters: &str) -> Option<Word> {
    let (mut hash, mut stem, mut length) = (0xCBF2_9CE4_8422_2325_u64, None, 0);
    let mut add = |letter: u64| {
        if length == STEM_LETTERS {
            stem = Some(mix(!hash));
        }
        hash = (hash ^ letter).wrapping_mul(0x0000_0100_0000_01B3);
        length += 1;
    };
    if letters.is_ascii() {
        letters.bytes().for_each(|letter| add(letter.to_ascii_lowercase().into()));
    } else {
        letters.chars().flat_map(char::to_lowercase).for_each(|letter| add(letter.into()));
    }
    let weight = match length {
        0 => return None,
        1 | 2 => 0.1,
        3 => 0.4,
        _ => 1.0,
    };
    Some(Word { whole: mix(hash), stem, weight })
}

/// The vector of a text in millionths, of unit length within rounding.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "components lie in -1..=1, counts are small"
)]
fn vector(words: &[Word], dimensions: usize) -> Vec<i32> {
    let mut features: Vec<(u64, f32)> = Vec::with_capacity(words.len() * 2);
    for word in words {
        features.push((word.whole, word.weight));
        features.extend(word.stem.map(|stem| (stem, word.weight / 2.0)));
    }
    features.sort_unstable_by_key(|feature| feature.0);
    let mut sums = vec![0.0_f32; dimensions];
    for same in features.chunk_by(|left, right| left.0 == right.0) {
        let weight = same[0].1 * (1.0 + (same.len() as f32).ln());
        for place in 0..PLACES_PER_WORD {
            let bits = mix(same[0].0.wrapping_add(place));
            sums[below(bits, dimensions)] += if bits & 1 == 0 { weight } else { -weight };
        }
    }
    // All words may cancel out, but only with very few dimensions.
    let own = (1.0 - UNRELATED).sqrt() / length(&sums).max(f32::MIN_POSITIVE);
    let shared = (UNRELATED / dimensions as f32).sqrt();
    for (place, sum) in sums.iter_mut().enumerate() {
        *sum = *sum * own + if mix(place as u64) & 1 == 0 { shared } else { -shared };
    }
    if length(&sums) == 0.0 {
        sums[0] = 1.0;
    }
    let length = length(&sums);
    let scale = MILLIONTHS / length;
    sums.iter().map(|sum| (sum * scale).round() as i32).collect()
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|component| component * component).sum::<f32>().sqrt()
}

#[expect(clippy::cast_precision_loss, reason = "millionths of a unit vector are below 2^24")]
fn write_vector(out: &mut Vec<u8>, vector: &[i32], encoding: Encoding) {
    match encoding {
        Encoding::Float => {
            out.push(b'[');
            for (index, &component) in vector.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_millionths(out, component);
            }
            out.push(b']');
        }
        Encoding::Base64 => {
            let bytes: Vec<u8> =
                vector.iter().flat_map(|&component| (component as f32 / MILLIONTHS).to_le_bytes()).collect();
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// Writes millionths as a decimal number: `-1234` becomes `-0.001234`.
fn write_millionths(out: &mut Vec<u8>, value: i32) {
    if value == 0 {
        out.push(b'0');
        return;
    }
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let mut digits = *b"0.000000";
    for place in (2..digits.len()).rev() {
        digits[place] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits[0] = b'0' + u8::try_from(rest).unwrap_or(0);
    out.extend_from_slice(&digits);
}
