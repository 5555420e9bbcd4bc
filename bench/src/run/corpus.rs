//! What is ingested, and what is asked about it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::random::Random;

/// Kinds of files worth ingesting, and whether their bytes are text that questions can be made of.
const KINDS: [(&str, bool); 12] = [
    ("md", true),
    ("markdown", true),
    ("txt", true),
    ("html", true),
    ("htm", true),
    ("csv", true),
    ("pdf", false),
    ("docx", false),
    ("pptx", false),
    ("xlsx", false),
    ("odt", false),
    ("epub", false),
];

pub(super) struct Document {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Corpus {
    pub(super) documents: Vec<Document>,
    pub(super) description: String,
}

impl Corpus {
    /// All documents below the folders, in the order of their paths.
    pub(super) fn of_folders(folders: &[PathBuf]) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for folder in folders {
            let mut paths = Vec::new();
            list(folder, &mut paths)?;
            paths.sort();
            for path in paths {
                documents.push(read(folder, &path)?);
            }
        }
        let named = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        Self::new(documents, &named)
    }

    /// The Markdown pages of this project, and `generated` bytes of text made up from a fixed seed.
    pub(super) fn own(checkout: &Path, generated: usize) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        let mut paths = Vec::new();
        for part in ["docs", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
            let path = checkout.join(part);
            if path.is_dir() {
                list(&path, &mut paths)?;
            } else if path.is_file() {
                paths.push(path);
            }
        }
        // The page this program writes would make the corpus differ from run to run.
        paths.retain(|path| path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("benchmarks.md"));
        paths.sort();
        for path in paths {
            documents.push(read(checkout, &path)?);
        }
        documents.extend(generate(generated));
        Self::new(documents, "the project's own pages and generated text")
    }

    /// `bytes` of generated text alone.
    pub(super) fn generated(bytes: usize) -> anyhow::Result<Self> {
        Self::new(generate(bytes), "generated text")
    }

    fn new(documents: Vec<Document>, source: &str) -> anyhow::Result<Self> {
        let bytes: usize = documents.iter().map(|document| document.bytes.len()).sum();
        if bytes == 0 {
            bail!("there is nothing to ingest in {source}; name a folder with documents by --corpus");
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let description = format!("{} documents, {:.1} MB: {source}", documents.len(), bytes as f64 / 1e6);
        Ok(Self { documents, description })
    }

    pub(super) fn bytes(&self) -> usize {
        self.documents.iter().map(|document| document.bytes.len()).sum()
    }

    /// Different questions made of words that stand close together in a document, so that there is something to find.
    pub(super) fn questions(&self, count: usize) -> Vec<String> {
        let texts: Vec<Vec<&str>> = self.documents.iter().filter_map(asked_words).collect();
        let mut random = Random::seeded(2);
        let mut questions = Vec::with_capacity(count);
        for number in 0..count {
            let Some(words) = random.pick(&texts) else { break };
            let near = random.below(words.len() - NEAR + 1);
            let mut word = || words[near + random.below(NEAR)];
            questions.push(match number % 4 {
                0 => format!("What does {} mean for {}?", word(), word()),
                1 => format!("How do I use {} with {} and {}?", word(), word(), word()),
                2 => format!("Why is {} {} when {} comes after {}?", word(), word(), word(), word()),
                _ => format!("{} {} {}", word(), word(), word()),
            });
        }
        questions
    }
}

/// Words a question is made of stand within this many.
const NEAR: usize = 12;

/// The longer words of a text document; nothing when there are too few.
fn asked_words(document: &Document) -> Option<Vec<&str>> {
    is_text(Path::new(&document.name)).then_some(())?;
    let text = std::str::from_utf8(&document.bytes).ok()?;
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphabetic()).filter(|word| word.len() >= 4).collect();
    (words.len() >= NEAR).then_some(words)
}

fn kind(path: &Path) -> Option<(&'static str, bool)> {
    let kind = path.extension()?.to_str()?.to_ascii_lowercase();
    KINDS.into_iter().find(|(known, _)| *known == kind)
}

fn is_text(path: &Path) -> bool {
    kind(path).is_some_and(|(_, text)| text)
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("failed to list the folder {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            list(&path, into)?;
        } else if kind(&path).is_some() {
            into.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path) -> anyhow::Result<Document> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(Document { name: path.strip_prefix(root).unwrap_or(path).display().to_string(), bytes })
}

/// Bytes of one generated document, about ten printed pages.
const DOCUMENT_BYTES: usize = 30_000;
/// Words all generated documents share, and further ones each document has for itself.
const SHARED_WORDS: usize = 6_000;
const OWN_WORDS: usize = 60;

/// Markdown of made-up words with the shape of documentation: headings, paragraphs, lists, code. Frequent words are much more
/// frequent than rare ones, as in language, and each document has words of its own, so retrieval has something to tell apart.
fn generate(bytes: usize) -> Vec<Document> {
    let mut random = Random::seeded(1);
    let shared: Vec<String> = (0..SHARED_WORDS).map(|_| made_up_word(&mut random)).collect();
    (0..bytes.div_ceil(DOCUMENT_BYTES))
        .map(|number| {
            let own: Vec<String> = (0..OWN_WORDS).map(|_| made_up_word(&mut random)).collect();
            let text = made_up_page(&mut random, &shared, &own);
            Document { name: format!("generated/page-{number:04}.md"), bytes: text.into_bytes() }
        })
        .collect()
}

fn made_up_page(random: &mut Random, shared: &[String], own: &[String]) -> String {
    let mut page = format!("# {}\n", title(random, own));
    while page.len() < DOCUMENT_BYTES {
        // Writing into a string cannot fail.
        let _ = match random.below(8) {
            0 | 1 => writeln!(page, "\n## {}\n", title(random, own)),
            2 => writeln!(page, "\n- {}\n- {}", sentence(random, shared, own), sentence(random, shared, own)),
            3 => writeln!(page, "\n```\n{} = {}\n```", word(random, shared, own), random.below(1000)),
            _ => {
                let sentences: Vec<String> = (0..3 + random.below(4)).map(|_| sentence(random, shared, own)).collect();
                writeln!(page, "\n{}", sentences.join(" "))
            }
        };
    }
    page
}

fn title(random: &mut Random, own: &[String]) -> String {
    let words: Vec<&str> = (0..2).filter_map(|_| random.pick(own)).map(String::as_str).collect();
    words.join(" ")
}

fn sentence(random: &mut Random, shared: &[String], own: &[String]) -> String {
    let words: Vec<&str> = (0..6 + random.below(12)).map(|_| word(random, shared, own)).collect();
    format!("{}.", words.join(" "))
}

/// One word in eight is the document's own; of the shared ones the square of a random share favours the first.
fn word<'a>(random: &mut Random, shared: &'a [String], own: &'a [String]) -> &'a str {
    if random.below(8) == 0 {
        return random.pick(own).map_or("", String::as_str);
    }
    let limit = 1 + random.below(shared.len());
    let limit = 1 + random.below(limit);
    &shared[random.below(limit)]
}

fn made_up_word(random: &mut Random) -> String {
    const SYLLABLES: [&str; 32] = [
        "ba", "ke", "ti", "mo", "ru", "san", "lor", "vek", "din", "pa", "fer", "gul", "tra", "blo", "cre", "ny", "sto",
        "ple", "quo", "zan", "mer", "tol", "ash", "ing", "er", "ul", "ost", "ent", "ach", "im", "ord", "eth",
    ];
    (0..2 + random.below(3)).filter_map(|_| random.pick(&SYLLABLES).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_corpus_is_generated_every_time() {
        let (once, again) = (generate(100_000), generate(100_000));
        assert_eq!(once.len(), 4);
        assert!(once.iter().zip(&again).all(|(one, other)| one.bytes == other.bytes && one.name == other.name));
        let first = String::from_utf8(once[0].bytes.clone()).unwrap();
        assert!(first.starts_with("# ") && first.contains("\n## ") && first.contains("\n```\n"), "{first:.300}");
        assert!(once.windows(2).all(|pair| pair[0].bytes != pair[1].bytes));
    }

    #[test]
    fn questions_are_many_different_and_about_the_documents() {
        let corpus = Corpus::generated(300_000).unwrap();
        let questions = corpus.questions(1_000);
        let different: HashSet<&String> = questions.iter().collect();
        assert!(different.len() > 950, "{}", different.len());
        let text: String = corpus.documents.iter().map(|document| String::from_utf8_lossy(&document.bytes)).collect();
        let keywords = questions.iter().skip(3).step_by(4).take(20).flat_map(|question| question.split(' '));
        assert!(keywords.into_iter().all(|word| text.contains(word)));
    }

    #[test]
    fn folders_give_known_kinds_only_and_an_empty_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Corpus::of_folders(&[folder.path().to_owned()]).is_err());
        fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["sub/b.MD", "a.pdf", "c.rs"] {
            fs::write(folder.path().join(name), "text").unwrap();
        }
        let corpus = Corpus::of_folders(&[folder.path().to_owned()]).unwrap();
        let names: Vec<&str> = corpus.documents.iter().map(|document| document.name.as_str()).collect();
        assert_eq!(names, ["a.pdf", "sub/b.MD"]);
    }

    #[test]
    fn the_default_corpus_is_found_in_the_checkout() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let corpus = Corpus::own(&checkout, 60_000).unwrap();
        assert!(corpus.bytes() >= 60_000 && corpus.documents.len() >= 2);
    }
}
