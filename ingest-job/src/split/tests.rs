//! Golden files for each strategy, and what holds for every document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::{Just, ProptestConfig, prop, prop_oneof, proptest};
use tokenizers::Tokenizer;

use super::layout::Layout;
use super::*;

const GUIDE: &str = include_str!("../../testdata/split/guide.md");
const PLAIN: &str = include_str!("../../testdata/split/plain.txt");

fn settings(strategy: Strategy, size: usize) -> SplitSettings {
    SplitSettings { strategy, size, overlap: size / 5, window: 1 }
}

fn document<'a>(title: &'a str, markdown: &'a str) -> Document<'a> {
    Document { title, markdown, page_starts: &[] }
}

/// Splits; for `Semantic` the embedding of a sentence is the number of its words of each length.
fn chunks(document: Document<'_>, settings: SplitSettings, counter: &TokenCounter) -> Vec<Chunk> {
    match split(document, settings, counter) {
        Split::Ready(chunks) => chunks,
        Split::NeedsSentenceEmbeddings(sentences) => {
            let embed = |text: &String| {
                let mut lengths = vec![0.0; 16];
                text.split_whitespace().for_each(|word| lengths[word.len() % 16] += 1.0);
                lengths
            };
            sentences.split(&sentences.texts().iter().map(embed).collect::<Vec<_>>()).unwrap()
        }
    }
}

fn markdown_chunks(markdown: &str, size: usize) -> Vec<Chunk> {
    chunks(document("", markdown), settings(Strategy::Markdown, size), &TokenCounter::approximate())
}

fn golden(strategy: Strategy, size: usize, markdown: &str) -> String {
    let mut report = String::new();
    for chunk in chunks(document("Orchard guide", markdown), settings(strategy, size), &TokenCounter::approximate()) {
        let Chunk { text, embedding_text, heading_path, span, tokens, .. } = chunk;
        writeln!(report, "════ {span:?}, {tokens} tokens, {heading_path:?}\n{text}\n──── embedded\n{embedding_text}")
            .unwrap();
    }
    report
}

#[test]
fn golden_standard() {
    insta::assert_snapshot!(golden(Strategy::Standard, 50, PLAIN));
}

#[test]
fn golden_markdown() {
    insta::assert_snapshot!(golden(Strategy::Markdown, 100, GUIDE));
}

#[test]
fn golden_semantic() {
    insta::assert_snapshot!(golden(Strategy::Semantic, 60, PLAIN));
}

#[test]
fn golden_window() {
    insta::assert_snapshot!(golden(Strategy::Window, 60, PLAIN));
}

#[test]
fn a_large_table_repeats_its_header_and_loses_no_row() {
    let rows: Vec<String> = (0..200).map(|row| format!("| {row} | fruit number {row} |")).collect();
    let table = format!("| id | name |\n|---|---|\n{}\n", rows.join("\n"));
    let chunks = markdown_chunks(&format!("# Fruit\n\n{table}"), 100);
    assert!(chunks.len() > 10);
    let mut seen = Vec::new();
    for chunk in &chunks {
        let rows = chunk.text.trim_start_matches("# Fruit\n\n").strip_prefix("| id | name |\n|---|---|\n");
        let body = rows.unwrap_or_else(|| panic!("{chunk:#?}"));
        seen.extend(body.lines().map(str::to_owned));
        assert!(chunk.embedding_text.starts_with("Fruit\n| id | name |\n"), "{}", chunk.embedding_text);
        assert_eq!(chunk.heading_path, ["Fruit"]);
    }
    assert_eq!(seen, rows);
}

#[test]
fn the_parts_of_a_large_code_block_are_fenced_again() {
    let lines: Vec<String> = (0..100).map(|line| format!("    let fruit_{line} = pick({line});")).collect();
    let chunks = markdown_chunks(&format!("~~~~rust\n{}\n~~~~\n", lines.join("\n")), 100);
    assert!(chunks.len() > 5);
    let code =
        |chunk: &Chunk| chunk.text.strip_prefix("~~~~rust\n").unwrap().strip_suffix("\n~~~~").unwrap().to_owned();
    assert_eq!(chunks.iter().map(code).collect::<Vec<_>>().join("\n"), lines.join("\n"));
}

#[test]
fn a_list_is_cut_between_its_outer_items() {
    let item =
        |item| format!("- Item {item} is about a fruit.\n  - It has a first remark.\n  - It has a second remark.\n");
    let list: String = (0..12).map(item).collect();
    let chunks = markdown_chunks(&list, 80);
    assert!(chunks.len() > 2);
    assert!(chunks.iter().all(|chunk| chunk.text.starts_with("- Item")), "{chunks:#?}");
}

#[test]
fn no_chunk_is_only_a_heading_unless_the_document_is() {
    let body = "An apple a day keeps the doctor away, they say. ".repeat(8);
    let markdown = format!("# A\n\n## B\n\n{body}\n\n## Empty\n\n## C\n\n{body}\n\n# Last\n");
    let chunks = markdown_chunks(&markdown, 100);
    assert!(chunks.iter().all(|chunk| chunk.text.contains("doctor")), "{chunks:#?}");
    assert_eq!(chunks[0].heading_path, ["A", "B"]);
    assert!(chunks.last().unwrap().text.ends_with("# Last"));
    assert_eq!(markdown_chunks("# A\n\n## B\n", 100).len(), 1);
}

#[test]
fn small_sections_share_a_chunk_under_what_they_have_in_common() {
    let chunks = markdown_chunks("# Keys\n\n## DEL\n\nRemoves a key.\n\n## GET\n\nReads a key.\n", 100);
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].heading_path, ["Keys"]);
    assert_eq!(chunks[0].embedding_text, "Keys\n## DEL\n\nRemoves a key.\n\n## GET\n\nReads a key.");
}

#[test]
fn the_title_is_not_repeated_where_the_first_heading_is_the_title() {
    let counter = TokenCounter::approximate();
    let split = |title| chunks(document(title, "# Keys\n\nText."), settings(Strategy::Markdown, 100), &counter);
    assert_eq!(split("Keys")[0].embedding_text, "Keys\nText.");
    assert_eq!(split("Redis")[0].embedding_text, "Redis › Keys\nText.");
    let endless = "endless ".repeat(1000);
    assert_eq!(split(&endless)[0].embedding_text, "Keys\nText.");
}

#[test]
fn markup_without_words_is_shown_but_not_embedded() {
    let data = "A".repeat(5000);
    let markdown = format!(
        "See **[the `?` guide](https://x.y/z)**<!-- no --> and [more][m].![pic](data:image/png;base64,{data})\n\n[m]: u\n"
    );
    let chunk = &markdown_chunks(&markdown, 100)[0];
    assert_eq!(chunk.text, "See **[the `?` guide](https://x.y/z)** and [more][m].pic");
    assert_eq!(chunk.embedding_text, "See the ? guide and more.pic");
}

#[test]
fn pages_are_those_of_the_span() {
    let markdown = "The first page is as long as the second, for else it would share its chunk.\n\n# Two\n\nSecond page, which is long enough to stand alone in a chunk, yes, it is.\n";
    let two = markdown.find("# Two").unwrap();
    let second = markdown.find("which").unwrap();
    let document = Document { title: "", markdown, page_starts: &[0, two, second] };
    let chunks = chunks(document, settings(Strategy::Markdown, MIN_SIZE), &TokenCounter::approximate());
    assert_eq!(chunks.iter().map(|chunk| chunk.pages.unwrap()).collect::<Vec<_>>(), [(1, 1), (2, 3)]);
}

#[test]
fn semantic_cuts_where_the_subject_changes() {
    let (apples, engines) = ("Apples grow on trees in the garden. ", "Engines burn fuel in their cylinders. ");
    let markdown = [apples.repeat(7), engines.repeat(8), apples.repeat(7)].concat();
    let Split::NeedsSentenceEmbeddings(sentences) =
        split(document("", &markdown), settings(Strategy::Semantic, 200), &TokenCounter::approximate())
    else {
        panic!("semantic splitting asks for embeddings")
    };
    let embed = |text: &String| if text.contains("Apples") { vec![1.0, 0.1] } else { vec![0.1, 1.0] };
    let chunks = sentences.split(&sentences.texts().iter().map(embed).collect::<Vec<_>>()).unwrap();
    let counts: Vec<_> = chunks
        .iter()
        .map(|chunk| [chunk.text.matches("Apples").count(), chunk.text.matches("Engines").count()])
        .collect();
    assert_eq!(counts, [[7, 0], [0, 8], [7, 0]]);
    assert_eq!(sentences.split(&[]), Err(WrongEmbeddingCount { sentences: 22, embeddings: 0 }));
}

/// What must hold for all documents.
fn check(document: Document<'_>, settings: SplitSettings, counter: &TokenCounter) {
    let markdown = document.markdown;
    let chunks = chunks(document, settings, counter);
    let size = settings.size.max(MIN_SIZE);
    let mut begun = 0;
    let mut covered = vec![false; markdown.len()];
    for chunk in &chunks {
        assert!(markdown.get(chunk.span.clone()).is_some_and(|slice| !slice.trim().is_empty()), "{chunk:?}");
        assert!(chunk.span.start >= begun, "{chunk:?} begins before {begun}");
        begun = chunk.span.start;
        assert!(!chunk.text.trim().is_empty() && !chunk.embedding_text.trim().is_empty(), "{chunk:?}");
        assert!(chunk.tokens <= size, "{} of {size} tokens: {chunk:?}", chunk.tokens);
        covered[chunk.span.clone()].fill(true);
    }
    Layout::of(markdown).unread.into_iter().for_each(|range| covered[range].fill(true));
    let lost = markdown.char_indices().find(|&(at, letter)| !covered[at] && !letter.is_whitespace());
    let may_lose = settings.strategy == Strategy::Window;
    assert!(lost.is_none() || may_lose, "lost {lost:?} of {markdown:?} by {settings:?}: {chunks:#?}");
    assert_eq!(chunks, self::chunks(document, settings, counter));
}

const STRATEGIES: [Strategy; 4] = [Strategy::Standard, Strategy::Markdown, Strategy::Semantic, Strategy::Window];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn invariants_hold_for_any_markdown(
        lines in prop::collection::vec(
            prop_oneof![
                "#{1,6} [a-z]{1,9}( [a-z`*]{1,9}){0,30}",
                "[A-Za-z,`*_ ]{0,80}[.?!:] ?[A-Z]?[a-z]{0,9}",
                "( {0,4}(-|[0-9]\\.|>|\\*) ?){1,4}[a-zé漢字。 ]{0,50}",
                "(\\| ?[a-z`]{0,9} ?){2,5}\\|",
                "(\\|-{1,5}){2,5}\\|",
                " {0,3}(```|~~~)[a-z]{0,4}",
                "</?[a-z]{1,5}>|<!--|-->|<!-- [a-z]{1,5} -->|---|===|\\*\\*\\*",
                "\\[[a-z]\\]: [a-z]{1,9}|!?\\[[a-z]{0,5}\\](\\([a-z]{0,9}\\)?|\\[[a-z]\\])",
                "[a-z漢é\u{301}]{200,900}",
                "\\PC{0,40}",
                Just(String::new()),
                Just("\r".to_owned()),
            ],
            0..60,
        ),
        title in "[a-z ]{0,30}",
        size in 1_usize..150,
        strategy in prop::sample::select(&STRATEGIES[..]),
    ) {
        let markdown = lines.join("\n");
        check(document(&title, &markdown), settings(strategy, size), &TokenCounter::approximate());
    }
}

#[test]
fn hostile_documents_are_split_in_linear_time() {
    let rows = "| a cell | another |\n".repeat(100_000);
    let documents = BTreeMap::from([
        ("one word", "x".repeat(1_000_000)),
        ("one ideographic word", "漢".repeat(300_000)),
        ("one letter with accents", format!("a{}", "\u{301}".repeat(500_000))),
        ("spaces", format!("a{}b", " ".repeat(1_000_000))),
        ("a table", format!("| a | b |\n|---|---|\n{rows}")),
        ("nested lists", format!("{}foo\n", "- ".repeat(100_000))),
        ("nested quotes", format!("{}foo\n", "> ".repeat(100_000))),
        ("one sentence", "lorem ipsum dolor ".repeat(50_000)),
        ("images", "![a](x.png)".repeat(20_000)),
        ("open brackets", "[".repeat(100_000)),
        ("headings", "# A\n\n### B\n\n".repeat(20_000)),
    ]);
    for (name, markdown) in &documents {
        let chunks = markdown_chunks(markdown, 254);
        assert!(chunks.len() > 1, "{name}: {} chunks", chunks.len());
        let largest = chunks.iter().map(|chunk| chunk.text.len()).max().unwrap();
        assert!(largest <= 254 * 64, "{name}: a chunk of {largest} bytes");
    }
}

/// The folder of real documents beside the checkout, where there is one.
fn real_documents() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let mut folders = vec![data.join("rust-book"), data.join("redis-doc")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn invariants_hold_for_real_documents() {
    let files = real_documents();
    if files.is_empty() {
        println!("SKIPPED: no documents in ../shared/data");
    }
    for (index, file) in files.iter().enumerate() {
        let markdown = std::fs::read_to_string(file).unwrap();
        let title = file.file_stem().unwrap().to_string_lossy();
        let strategy = STRATEGIES[index % STRATEGIES.len()];
        check(document(&title, &markdown), settings(strategy, 254), &TokenCounter::approximate());
        check(document(&title, &markdown), settings(Strategy::Markdown, 254), &TokenCounter::approximate());
    }
}

/// With the model's own tokenizer the count is that of tokenising the embedded text afresh, but for a word that markup
/// divides.
#[test]
fn counted_tokens_are_those_of_the_model() {
    let Some(folder) = std::env::var_os("DOCBRAIN_MODEL_DIR") else {
        println!("SKIPPED: DOCBRAIN_MODEL_DIR is not set");
        return;
    };
    let mut tokenizer = Tokenizer::from_file(Path::new(&folder).join("tokenizer.json")).unwrap();
    let counter = TokenCounter::exact(&tokenizer);
    tokenizer.with_padding(None).with_truncation(None).unwrap();
    let files = real_documents();
    let texts = files.iter().step_by(10).map(|file| std::fs::read_to_string(file).unwrap());
    for markdown in texts.chain([GUIDE.to_owned(), PLAIN.to_owned()]) {
        assert_eq!(counter.count(&markdown), tokenizer.encode(markdown.as_str(), false).unwrap().len());
        for chunk in chunks(document("Title", &markdown), settings(Strategy::Markdown, 254), &counter) {
            let tokens = tokenizer.encode(chunk.embedding_text.as_str(), false).unwrap().len();
            assert!(tokens <= chunk.tokens + 1, "{tokens} tokens, {} counted: {chunk:?}", chunk.tokens);
        }
    }
}
