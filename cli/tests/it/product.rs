//! `docbrain up` from its first start to a clean stop, with uploads and questions in between.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Machine, TOKEN, Up, stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_start_to_a_cited_answer_and_a_clean_stop() {
    let Some(machine) = Machine::new() else { return };
    let up = Up::start(&machine, &[]).await;
    up.until_indexed(3).await;
    let reply = up.chat("What happens when an ingestion is killed?").await;
    assert_eq!((reply["answerable"].as_bool(), reply["kind"].as_str()), (Some(true), Some("extractive")), "{reply}");
    let cited = reply["citations"].as_array().unwrap();
    assert!(cited.iter().any(|citation| citation["path"] == "ARCHITECTURE.md"), "{reply}");

    let lamp =
        "# Lamp L-17\n\n## Changing the bulb\n\nPull the green lever, then turn the bulb of the L-17 to the left.\n";
    let form = Form::new()
        .text("chatbot", "demo")
        .part("file", Part::bytes(lamp.as_bytes()).file_name("manuals/lamp.md"))
        .part("file", Part::bytes(&b""[..]).file_name("empty.md"));
    let accepted =
        up.client.post(format!("{}/document/ingest", up.url)).bearer_auth(TOKEN).multipart(form).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let accepted: Value = accepted.json().await.unwrap();
    let list = up.until_indexed(4).await;
    let empty = list["documents"].as_array().unwrap().iter().find(|d| d["path"] == "empty.md").unwrap();
    assert_eq!((empty["status"].as_str(), empty["error"]["code"].as_str()), (Some("failed"), Some("empty")), "{empty}");
    let run = up.get(&format!("/runs/{}", accepted["run_id"].as_str().unwrap())).await;
    assert_eq!((run["documents_indexed"].as_u64(), run["documents_failed"].as_u64()), (Some(1), Some(1)), "{run}");
    let reply = up.chat("How do I change the bulb of lamp L-17?").await;
    assert!(reply["answer"].as_str().unwrap().contains("green lever"), "{reply}");
    assert_eq!(reply["citations"][0]["path"], "manuals/lamp.md");

    let reply = up.chat("Who won the chess championship of 1972 in Reykjavik?").await;
    assert_eq!(
        (reply["answerable"].as_bool(), reply["citations"].as_array().map(Vec::len)),
        (Some(false), Some(0)),
        "{reply}"
    );

    // A hand tool beside the running server.
    let told = stdout(&machine.run(&["ask", "How do I change the bulb of lamp L-17?"]));
    assert!(told.contains("green lever") && told.contains("manuals/lamp.md"), "{told}");

    let metrics = up.client.get(format!("{}/metrics", up.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("docbrain_chat_seconds_count"), "{metrics}");
    up.stop();

    let started = Instant::now();
    let up = Up::start(&machine, &[]).await;
    assert!(started.elapsed() < Duration::from_secs(5), "a second start took {:?}", started.elapsed());
    assert_eq!(up.get("/chatbots/demo/documents").await["counts"]["indexed"], 4);
    up.stop();
}

#[test]
fn ingest_mirrors_a_folder_and_reports_failures() {
    let Some(machine) = Machine::new() else { return };
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo.yaml");
    stdout(&machine.run(&["apply", "-f", demo]));
    machine.write("docs/a.md", "# Pump\n\nThe pump is started with the red button.\n");
    let second = machine.write("docs/sub/b.md", "# Valve\n\nThe valve closes by itself after ten minutes.\n");
    machine.write("docs/broken.pdf", "%PDF-1.4 and nothing more");
    let docs = second.parent().unwrap().parent().unwrap().to_str().unwrap();
    let output = machine.run(&["ingest", docs, "--json"]);
    assert!(!stderr(&output).contains("ingestion run"), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (report["documents"]["indexed"].as_u64(), report["documents"]["failed"].as_u64()),
        (Some(2), Some(1)),
        "{report}"
    );
    assert_eq!(report["failures"][0]["path"], "broken.pdf");

    std::fs::remove_file(&second).unwrap();
    let output = machine.run(&["ingest", docs, "--mirror", "--log-filter", "info"]);
    assert!(stderr(&output).contains("ingestion run ended"), "{}", stderr(&output));
    let again = stdout(&output);
    assert!(again.contains("0 documents indexed"), "{again}");
    let reply = machine.run(&["ask", "When does the valve close?", "--json"]);
    let reply: Value = serde_json::from_str(&stdout(&reply)).unwrap();
    assert!(!reply["answer"].as_str().unwrap().contains("ten minutes"), "{reply}");

    let missing = machine.run(&["ingest", "/nowhere/at/all"]);
    assert!(stderr(&missing).contains("cannot read /nowhere/at/all"), "{}", stderr(&missing));
}

#[test]
fn a_small_data_set_is_measured_in_all_arms() {
    let Some(machine) = Machine::new() else { return };
    let corpus = [
        ("d1", "Pumps", "The pump is started with the red button."),
        ("d2", "Valves", "A valve closes after ten minutes."),
        ("d3", "Lamps", "Bulbs are turned to the left."),
    ];
    let lines: Vec<String> =
        corpus.iter().map(|(id, title, text)| json!({ "_id": id, "title": title, "text": text }).to_string()).collect();
    let path = machine.write("beir/corpus.jsonl", &lines.join("\n"));
    machine.write("beir/queries.jsonl", &json!({ "_id": "q1", "text": "how to start a pump" }).to_string());
    machine.write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n");
    let output = machine.run(&["eval", "--beir", path.parent().unwrap().to_str().unwrap(), "--json"]);
    let results: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for (index, arms) in ["dense", "text", "hybrid"].iter().enumerate() {
        assert_eq!(results[index]["arms"], *arms);
        assert_eq!(results[index]["ndcg_at_10"], 1.0, "{results}");
    }
}
