//! Sources that fetch their documents, on one machine: by schedule, with credentials from a Secret.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::harness::{Machine, TOKEN, Up, stderr, stdout};

/// A site whose every page is HTML; it notes the `Authorization` headers that it is sent.
struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<BTreeMap<String, String>>>,
    authorizations: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (pages, authorizations) =
            (Arc::<Mutex<BTreeMap<String, String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (shared, noted) = (Arc::clone(&pages), Arc::clone(&authorizations));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().filter_map(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
                noted
                    .lock()
                    .unwrap()
                    .extend(lines.iter().filter(|line| line.to_lowercase().starts_with("authorization")).cloned());
                let page = shared.lock().unwrap().get(path).cloned();
                let (status, body) = page.map_or(("404 Not Found", String::new()), |page| ("200 OK", page));
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has gone away is no failure of the site.
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { address, pages, authorizations }
    }

    fn put(&self, path: &str, title: &str, text: &str) {
        let page =
            format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>");
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }
}

/// The last run of a source that has ended.
async fn ended(up: &Up, source: &str) -> Value {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let runs = up.get(&format!("/sources/{source}/runs")).await;
        if let Some(run) =
            runs["runs"].as_array().and_then(|runs| runs.iter().rev().find(|run| !run["finished_at"].is_null()))
        {
            return run.clone();
        }
        assert!(Instant::now() < deadline, "{runs}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_read_when_it_is_applied_and_again_by_its_schedule() {
    let Some(machine) = Machine::new() else { return };
    let site = Site::start();
    site.put("/docs/", "Lamps", "All lamps of the house: <a href='l17'>L-17</a> <a href='l18'>L-18</a>");
    site.put(
        "/docs/l17",
        "Lamp L-17",
        "To change the bulb of lamp L-17, pull the green lever and turn the bulb to the left.",
    );
    let start = format!("http://{}/docs/", site.address);
    let yaml = format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: site, namespace: demo}}\n\
         spec: {{source: {{web: {{startUrls: ['{start}']}}}}, schedule: '* * * * *'}}\n---\n\
         apiVersion: docbrain.dev/v1alpha1\nkind: Chatbot\nmetadata: {{name: lamps, namespace: demo}}\n\
         spec: {{displayName: Lamps, knowledgeSources: [{{name: site}}]}}\n"
    );
    let file = machine.write("site.yaml", &yaml);
    let up = Up::start(&machine, &[("DOCBRAIN_ALLOWED_NETWORKS", "127.0.0.0/8")]).await;
    up.until_indexed(3).await;
    stdout(&machine.run(&["apply", "-f", file.to_str().unwrap()]));
    let run = ended(&up, "site").await;
    assert_eq!((run["state"].as_str(), run["documents_indexed"].as_u64()), (Some("succeeded"), Some(2)), "{run}");
    let asked = up.client.post(format!("{}/conversation/chat", up.url)).bearer_auth(TOKEN);
    let asked =
        asked.json(&serde_json::json!({ "chatbot": "lamps", "message": "How do I change the bulb of lamp L-17?" }));
    let reply: Value = asked.send().await.unwrap().json().await.unwrap();
    assert!(reply["answer"].as_str().unwrap().contains("green lever"), "{reply}");
    assert_eq!(reply["citations"][0]["url"], format!("{start}l17"), "{reply}");

    // Nobody asks for this one.
    site.put("/docs/l18", "Lamp L-18", "The bulb of lamp L-18 is changed by the house's own electrician.");
    let deadline = Instant::now() + Duration::from_secs(100);
    while up.get("/chatbots/lamps/documents").await["counts"]["indexed"] != 3 {
        assert!(Instant::now() < deadline, "{}", up.get("/sources/site/runs").await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    // What is fetched is not uploaded.
    let form = Form::new().text("source", "site").part("file", Part::bytes(&b"# text"[..]).file_name("a.md"));
    let refused =
        up.client.post(format!("{}/document/ingest", up.url)).bearer_auth(TOKEN).multipart(form).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["code"], "knowledge_source_not_for_uploads", "{refused}");
    let output = machine.run(&["ingest", file.to_str().unwrap(), "--chatbot", "lamps"]);
    assert!(stderr(&output).contains("are fetched from its web site, not uploaded"), "{}", stderr(&output));
    up.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_repository_it_is_for() {
    let Some(machine) = Machine::new() else { return };
    let site = Site::start();
    site.put("/docs.git/info/refs?service=git-upload-pack", "No repository", "");
    let yaml = format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: handbook, namespace: demo}}\n\
         spec: {{source: {{git: {{url: 'http://{}/docs.git', credentialsSecretRef: {{name: repository}}}}}}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: repository, namespace: demo}}\nstringData: {{username: bot, password: the word}}\n",
        site.address
    );
    let file = machine.write("handbook.yaml", &yaml);
    let file = file.to_str().unwrap();
    let up = Up::start(&machine, &[("DOCBRAIN_ALLOWED_NETWORKS", "127.0.0.0/8")]).await;
    up.until_indexed(3).await;
    let applied = stdout(&machine.run(&["apply", "-f", file]));
    assert_eq!(applied, "secret/repository configured\nknowledgesource/handbook configured\n");
    let run = ended(&up, "handbook").await;
    let reason = run["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, format!("«http://{}/docs.git» is no git repository", site.address), "{run}");
    let sent = site.authorizations.lock().unwrap().clone();
    assert!(sent.iter().any(|line| line.ends_with("Basic Ym90OnRoZSB3b3Jk")), "{sent:?}");
    assert!(!machine.log().contains("the word") && !machine.log().contains("Ym90OnRoZSB3b3Jk"));
    assert!(stdout(&machine.run(&["apply", "-f", file])).contains("secret/repository unchanged"));
    assert!(stdout(&machine.run(&["delete", "-f", file])).contains("secret/repository deleted"));
    up.stop();
}
