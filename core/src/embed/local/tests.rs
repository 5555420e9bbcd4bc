use std::{env, fs, path::PathBuf, time::Instant};

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

/// A graph that looks up three numbers for each of six tokens:
/// `[CLS]` (1 0 0), `[SEP]` (0 1 0), `cat` (0 0 2), `dog` (3 0 4).
fn tiny() -> TempDir {
    let folder = TempDir::new().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tiny-model");
    for file in fs::read_dir(source).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn put(folder: &TempDir, name: &str, content: &str) {
    let file = folder.path().join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

async fn embed(embedder: &LocalEmbedder, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
    embedder.embed(&texts).await.unwrap()
}

fn refusal(folder: &TempDir) -> EmbedError {
    LocalEmbedder::load(folder.path()).err().unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / length(a) / length(b)
}

#[tokio::test]
async fn a_text_is_the_mean_of_its_tokens() {
    let embedder = LocalEmbedder::load(tiny().path()).unwrap();
    assert_eq!(embedder.model().dimensions, 3);
    let vectors = embed(&embedder, &["dog", "cat dog"]).await;
    assert!(cosine(&vectors[0], &[4.0, 1.0, 4.0]) > 0.999_999);
    assert!(cosine(&vectors[1], &[4.0, 1.0, 6.0]) > 0.999_999);
}

#[tokio::test]
async fn the_folder_chooses_the_pooling() {
    let folder = tiny();
    put(&folder, "1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    let embedder = LocalEmbedder::load(folder.path()).unwrap();
    assert_eq!(embed(&embedder, &["dog"]).await, [[1.0, 0.0, 0.0]]);

    put(&folder, "1_Pooling/config.json", r#"{"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false}"#);
    let embedder = LocalEmbedder::load(folder.path()).unwrap();
    assert_eq!(embed(&embedder, &["dog"]).await, [[0.0, 1.0, 0.0]]);

    put(&folder, "1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}"#);
    assert!(matches!(refusal(&folder), EmbedError::UnusableModel { .. }));
}

#[tokio::test]
async fn what_is_too_long_is_cut_before_the_last_special_token() {
    let folder = tiny();
    let embedder = LocalEmbedder::load(folder.path()).unwrap();
    assert_eq!(embedder.model().max_tokens, 8);
    let tokens = embedder.engine.tokenize(&"cat ".repeat(100)).unwrap();
    assert_eq!(tokens.get_ids(), [2, 4, 4, 4, 4, 4, 4, 3]);

    put(&folder, "sentence_bert_config.json", r#"{"max_seq_length": 100000}"#);
    assert_eq!(LocalEmbedder::load(folder.path()).unwrap().model().max_tokens, 512);
}

#[test]
fn the_tokenizer_handed_out_neither_cuts_nor_pads() {
    let tokenizer = LocalEmbedder::load(tiny().path()).unwrap().tokenizer();
    assert_eq!(tokenizer.encode("cat", false).unwrap().len(), 1);
    assert_eq!(tokenizer.encode("cat ".repeat(100), false).unwrap().len(), 100);
}

#[test]
fn name_and_precision_are_told_or_guessed() {
    let folder = tiny();
    let model = LocalEmbedder::load(folder.path()).unwrap().model().clone();
    assert_eq!(model.name, folder.path().file_name().unwrap().to_str().unwrap());
    assert_eq!(model.precision, "fp32");

    put(&folder, "docbrain.json", r#"{"name": "tiny", "precision": "int8"}"#);
    let model = LocalEmbedder::load(folder.path()).unwrap().model().clone();
    assert_eq!((model.name.as_str(), model.precision.as_str()), ("tiny", "int8"));
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(refusal(&folder), EmbedError::MissingModel { .. }));
    assert!(refusal(&folder).to_string().contains("`make up`"));

    let folder = tiny();
    put(&folder, "model.onnx", "this is no protobuf");
    assert!(matches!(refusal(&folder), EmbedError::BrokenModel { path, .. } if path.ends_with("model.onnx")));

    let folder = tiny();
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(matches!(refusal(&folder), EmbedError::MissingModel { path } if path.ends_with("tokenizer.json")));
    put(&folder, "tokenizer.json", "{}");
    assert!(matches!(refusal(&folder), EmbedError::BrokenModel { path, .. } if path.ends_with("tokenizer.json")));

    let folder = tiny();
    put(&folder, "modules.json", r#"[{"type": "sentence_transformers.models.Dense"}]"#);
    assert!(refusal(&folder).to_string().ends_with("`sentence_transformers.models.Dense`"));

    // A graph of six words, and a tokenizer of more.
    let folder = tiny();
    let tokenizer = fs::read_to_string(folder.path().join("tokenizer.json")).unwrap();
    put(&folder, "tokenizer.json", &tokenizer.replace(r#""[UNK]": 1"#, r#""[UNK]": 1000"#));
    assert!(matches!(refusal(&folder), EmbedError::Mismatch { .. }));

    let folder = tiny();
    let graph = fs::read(folder.path().join("model.onnx")).unwrap();
    let at = |name: &[u8]| {
        graph.windows(name.len()).enumerate().filter(|(_, part)| *part == name).map(|(i, _)| i).collect::<Vec<_>>()
    };
    let mut renamed = graph.clone();
    for i in at(b"input_ids") {
        renamed[i..i + 9].copy_from_slice(b"pixel_val");
    }
    fs::write(folder.path().join("model.onnx"), renamed).unwrap();
    assert!(refusal(&folder).to_string().contains("`pixel_val`"));
}

/// The real model, if it is there.
fn mini_lm() -> Option<LocalEmbedder> {
    let Some(folder) = env::var_os("DOCBRAIN_MODEL_DIR") else {
        println!("SKIPPED: DOCBRAIN_MODEL_DIR is not set");
        return None;
    };
    Some(LocalEmbedder::load(&PathBuf::from(folder)).unwrap())
}

#[derive(Deserialize)]
struct Reference {
    text: String,
    vector: Vec<f32>,
}

/// Computed in 32 bits from the original weights by an independent program. The first is published with the model.
fn references() -> Vec<Reference> {
    serde_json::from_str(include_str!("../../../testdata/minilm-reference.json")).unwrap()
}

#[tokio::test]
async fn vectors_equal_the_published_ones_within_quantisation() {
    let Some(embedder) = mini_lm() else { return };
    let references = references();
    let published = [-0.034_478, 0.031_02, 0.006_73, 0.026_11, -0.039_362];
    for (x, published) in references[0].vector.iter().zip(published) {
        assert!((x - published).abs() < 1e-5, "{x} is not {published}");
    }
    for Reference { text, vector } in &references {
        let ours = embed(&embedder, &[text]).await.remove(0);
        let cosine = cosine(&ours, vector);
        println!("{cosine:.5} {text:.40}");
        assert!(cosine > 0.995, "{cosine} for {text}");
    }
}

#[tokio::test]
async fn a_batch_gives_exactly_what_its_texts_give_alone() {
    let Some(embedder) = mini_lm() else { return };
    let references = references();
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).chain(["", "a"]).collect();
    let together = embed(&embedder, &texts).await;
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(&embed(&embedder, &[text]).await[0], vector, "{text}");
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-6);
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "length {length} for {text}");
    }
    assert!(embed(&embedder, &[]).await.is_empty());
}

#[tokio::test]
async fn what_stands_behind_256_tokens_changes_nothing() {
    let Some(embedder) = mini_lm() else { return };
    assert_eq!(embedder.model().max_tokens, 256);
    let long = "memory ".repeat(254);
    let vectors = embed(&embedder, &[&long, &format!("{long} and a cat"), &long[7..]]).await;
    assert_eq!(vectors[0], vectors[1]);
    assert_ne!(vectors[0], vectors[2]);
}

/// Prints speed and memory: `cargo test -p docbrain-core --lib -- --ignored --nocapture speed_of_the_model`.
#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_the_model() {
    let before = resident_megabytes();
    let Some(embedder) = mini_lm() else { return };
    println!("loaded: {} MB more than {before} MB", resident_megabytes() - before);
    let text = "ownership ".repeat(190);
    println!("long text: {} tokens", embedder.engine.tokenize(&text).unwrap().len());

    let query = ["how do I delete a key after ten".to_owned()];
    println!("query: {} tokens", embedder.engine.tokenize(&query[0]).unwrap().len());
    let mut times = Vec::new();
    for _ in 0..300 {
        let begin = Instant::now();
        embedder.embed(&query).await.unwrap();
        times.push(begin.elapsed());
    }
    times.sort();
    println!("query: p50 {:.2?} p95 {:.2?} best {:.2?}", times[150], times[285], times[0]);
    println!("after queries: {} MB", resident_megabytes());

    // The engine alone: the same text with nothing around it, on one core and on all.
    let tokens = embedder.engine.tokenize(&text).unwrap();
    let (begin, count) = (Instant::now(), 32);
    for _ in 0..count {
        embedder.engine.run(&tokens, &embedder.engine.together).unwrap();
    }
    let raw = f64::from(count) / begin.elapsed().as_secs_f64();
    let texts = vec![text; 128];
    let begin = Instant::now();
    embedder.embed(&texts).await.unwrap();
    let whole = 128.0 / begin.elapsed().as_secs_f64();
    println!("long texts a second: engine one by one {raw:.1}, embedder {whole:.1}");
    println!("after bulk: {} MB", resident_megabytes());
}

fn resident_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
