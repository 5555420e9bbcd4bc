//! Real documentation, and the questions its readers have: the right page is cited.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Machine, ModelServer, Up, stdout};

/// Questions, and the page that answers each.
const QUESTIONS: [(&str, &str); 8] = [
    ("What does the ? operator do?", "ch09-02-recoverable-errors-with-result.md"),
    ("How do I expire a key after ten seconds?", "expire.md"),
    ("How can I create a new project with cargo?", "ch01-03-hello-cargo.md"),
    ("What are the rules of ownership?", "ch04-01-what-is-ownership.md"),
    ("How do I remove the timeout of a key?", "persist.md"),
    ("What is the difference between a slice and a reference to the whole string?", "ch04-03-slices.md"),
    ("Which command increments the number stored at a key by one?", "incr.md"),
    ("How do I push an element to the head of a list?", "lpush.md"),
];

/// The Rust book's first chapters and the Redis commands, with and without a chat model.
#[tokio::test(flavor = "multi_thread")]
async fn questions_about_real_documentation_cite_the_right_page() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.is_dir() {
        println!("skipped: no documents in ../shared/data");
        return;
    }
    let (Some(machine), Some(model)) = (Machine::new(), ModelServer::start()) else { return };
    let book = data.join("rust-book/src");
    let chapters = std::fs::read_dir(&book).unwrap().map(|entry| entry.unwrap().path());
    let chapters = chapters.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        ["ch01", "ch03", "ch04", "ch09"].iter().any(|chapter| name.starts_with(chapter))
    });
    let mut ingest = machine.command();
    ingest.args(["ingest", "--json"]).args(chapters);
    let commands = std::fs::read_dir(data.join("redis-doc/commands")).unwrap().map(|entry| entry.unwrap().path());
    ingest.args(commands.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(['_', 'c', 'f', 'x'])));

    let up = Up::start(&machine, &[]).await;
    up.until_indexed(3).await;
    let report: Value = serde_json::from_str(&stdout(&ingest.output().unwrap())).unwrap();
    assert_eq!(report["documents"]["failed"], 0, "{report}");
    assert!(report["documents"]["indexed"].as_u64().unwrap() > 200, "{report}");
    ask_all(&up, "extractive").await;
    up.stop();

    let settings = [("DOCBRAIN_CHAT_BASE_URL", model.base_url.as_str()), ("DOCBRAIN_CHAT_MODEL", "stub-chat")];
    let up = Up::start(&machine, &settings).await;
    ask_all(&up, "generated").await;
    up.stop();
}

async fn ask_all(up: &Up, kind: &str) {
    for (question, page) in QUESTIONS {
        let reply = up.chat(question).await;
        assert_eq!(reply["kind"], kind, "{question}: {reply}");
        let cited: Vec<&str> = reply["citations"].as_array().unwrap().iter().take(3).map(file_name).collect();
        assert!(cited.contains(&page), "{question} cites {cited:?}: {}", reply["answer"]);
    }
}

fn file_name(citation: &Value) -> &str {
    citation["path"].as_str().unwrap().rsplit('/').next().unwrap()
}
