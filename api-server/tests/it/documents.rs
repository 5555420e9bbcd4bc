//! Uploading, listing and deleting documents.

use axum::body::Body;
use axum::http::Request;
use docbrain_core::store::runs;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Form, Reply, Requests, World};

/// How many runs were asked for.
async fn runs_asked_for(world: &World) -> usize {
    runs::due(&world.owner).await.unwrap().len()
}

fn paths(list: &Value) -> Vec<&str> {
    list["documents"].as_array().unwrap().iter().map(|document| document["path"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn several_files_are_stored_and_wait_for_one_run(owner: PgPool) {
    let world = World::new(owner).await;
    let form = Form::default()
        .field("chatbot", "helper")
        .file("a.md", b"# A")
        .file("guide/ü.txt", b"")
        .file("c.pdf", &[0, 255, 13, 10]);
    let accepted = world.upload(&form).await.json(202);
    let statuses: Vec<&Value> =
        accepted["documents"].as_array().unwrap().iter().map(|document| &document["status"]).collect();
    assert_eq!(statuses, [&json!("pending"); 3]);
    assert_eq!(paths(&accepted), ["a.md", "guide/ü.txt", "c.pdf"]);
    assert_eq!(runs_asked_for(&world).await, 1);
    let run = world.get(&format!("/runs/{}", accepted["run_id"].as_str().unwrap())).await.json(200);
    assert_eq!(run["state"], "queued");
    let listed = world.get("/chatbots/helper/documents").await.json(200);
    assert_eq!(paths(&listed), ["a.md", "c.pdf", "guide/ü.txt"]);
    assert_eq!(listed["counts"], json!({"pending": 3, "indexed": 0, "failed": 0, "chunks": 0}));
    assert_eq!(listed["documents"][1]["size_bytes"], 4);
    let (bytes,): (Vec<u8>,) = sqlx::query_as("select bytes from originals where octet_length(bytes) = 4")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    assert_eq!(bytes, [0, 255, 13, 10]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_is_indexed_already_needs_no_run(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "a.md", &["The text of the document."]).await;
    let form = || Form::default().field("source", "docs");
    let same = world.upload(&form().file("a.md", b"The text of the document.")).await.json(202);
    assert_eq!((&same["run_id"], &same["documents"][0]["status"]), (&Value::Null, &json!("unchanged")));
    assert_eq!(runs_asked_for(&world).await, 0);
    let changed = world.upload(&form().file("a.md", b"Another text.")).await.json(202);
    assert_eq!(changed["documents"][0]["id"], same["documents"][0]["id"]);
    assert!(changed["run_id"].is_string());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_mirror_loses_what_was_not_sent(owner: PgPool) {
    let world = World::new(owner).await;
    for path in ["old.md", "kept.md"] {
        world.index(world.acme, "docs", path, &["The text of the document."]).await;
    }
    world.index(world.acme, "news", "other.md", &["The text of another source."]).await;
    let form = Form::default()
        .field("source", "docs")
        .file("kept.md", b"The text of the document.")
        .field("replace_all", "true");
    world.upload(&form).await.json(202);
    assert_eq!(paths(&world.get("/chatbots/pair/documents").await.json(200)), ["kept.md", "other.md"]);
    // Half a request must not delete the other half.
    let broken =
        Form::default().field("source", "docs").field("replace_all", "true").file("new.md", b"New.").broken_off("acme");
    world.send(broken).await.problem(400, "bad_request");
    assert_eq!(paths(&world.get("/chatbots/helper/documents").await.json(200)), ["kept.md"]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_was_stored_before_a_refusal_gets_its_run(owner: PgPool) {
    let world = World::new(owner).await;
    let form = Form::default().field("chatbot", "helper").file("a.md", b"a").file("../b.md", b"b").file("c.md", b"c");
    let problem = world.upload(&form).await.problem(422, "invalid_path");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("../b.md") && detail.contains("files before it were stored: 1"), "{detail}");
    assert_eq!(runs_asked_for(&world).await, 1);
    assert_eq!(paths(&world.get("/chatbots/helper/documents").await.json(200)), ["a.md"]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_file_that_is_too_large_is_named(owner: PgPool) {
    let world = World::new(owner).await;
    let large = vec![b'x'; 201 * 1024 * 1024 + 1];
    let problem = world
        .upload(&Form::default().field("chatbot", "helper").file("large.txt", &large))
        .await
        .problem(413, "body_too_large");
    assert!(problem["detail"].as_str().unwrap().contains("large.txt"), "{problem}");
    // More than any other route takes is fine here.
    world.upload(&Form::default().field("chatbot", "helper").file("a.txt", &large[..1024 * 1024])).await.json(202);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_form_says_where_its_files_go(owner: PgPool) {
    let world = World::new(owner).await;
    let refused = async |form: Form, status: u16, code: &str| {
        world.upload(&form).await.problem(status, code)["detail"].to_string()
    };
    let form = Form::default;
    refused(form().file("a.md", b"a"), 422, "knowledge_source_required").await;
    let several = refused(form().field("chatbot", "pair").file("a.md", b"a"), 422, "knowledge_source_required").await;
    assert!(several.contains("`source`"), "{several}");
    let none = refused(form().field("chatbot", "asleep").file("a.md", b"a"), 422, "knowledge_source_required").await;
    assert!(none.contains("no knowledge source"), "{none}");
    refused(form().field("chatbot", "nobody").file("a.md", b"a"), 404, "chatbot_not_found").await;
    refused(form().field("source", "manual").file("a.md", b"a"), 404, "knowledge_source_not_found").await;
    refused(
        form().field("chatbot", "helper").field("source", "news").file("a.md", b"a"),
        404,
        "knowledge_source_not_found",
    )
    .await;
    refused(form().field("source", "closed").file("a.md", b"a"), 409, "knowledge_source_suspended").await;
    refused(form().field("chatbot", "helper"), 422, "invalid_field").await;
    refused(form().field("chatbot", "helper").field("files", "a"), 422, "invalid_field").await;
    refused(form().field("chatbot", "helper").field("replace_all", "yes"), 422, "invalid_field").await;
    refused(form().field("chatbot", &"x".repeat(2_000)), 422, "invalid_field").await;
    let late =
        refused(form().field("chatbot", "helper").file("a.md", b"a").field("source", "docs"), 422, "invalid_field")
            .await;
    assert!(late.contains("before the first file"), "{late}");
    world.upload(&form().field("chatbot", "pair").field("source", "news").file("n.md", b"n")).await.json(202);
    let json = world.post("/document/ingest", &json!({})).await;
    json.problem(415, "unsupported_media_type");
    sqlx::query("update tenants set suspended = true").execute(&world.owner).await.unwrap();
    refused(form().field("source", "docs").file("a.md", b"a"), 409, "knowledge_source_suspended").await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_list_comes_in_pages(owner: PgPool) {
    let world = World::new(owner).await;
    let form = |source| Form::default().field("chatbot", "pair").field("source", source);
    let docs = (0..3).fold(form("docs"), |form, n| form.file(&format!("{n}.md"), b"x"));
    world.upload(&docs).await.json(202);
    world.upload(&form("news").file("1.md", b"y").file("a/b.md", b"y")).await.json(202);
    let seen = async |path: &str| -> Vec<String> {
        let documents = world.pages(path, "documents", async || {}).await;
        documents.iter().map(|document| document["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen("/chatbots/pair/documents").await, ["0.md", "1.md", "1.md", "2.md", "a/b.md"]);
    assert_eq!(seen("/chatbots/pair/documents?sort=newest").await, ["a/b.md", "1.md", "2.md", "1.md", "0.md"]);
    assert_eq!(world.get("/chatbots/pair/documents?limit=5").await.json(200)["next"], Value::Null);
    for bad in ["?limit=0", "?limit=1001", "?after=1.md", "?after=Mg"] {
        world.get(&format!("/chatbots/helper/documents{bad}")).await.problem(422, "invalid_field");
    }
    for bad in ["?limit=x", "?page=2"] {
        world.get(&format!("/chatbots/helper/documents{bad}")).await.problem(400, "bad_request");
    }
    world.get("/chatbots/nobody/documents").await.problem(404, "chatbot_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn failures_are_listed_with_their_reason(owner: PgPool) {
    let world = World::new(owner).await;
    world.upload(&Form::default().field("source", "docs").file("a.pdf", b"x")).await.json(202);
    sqlx::query("update documents set status = 'failed', error_code = 'encrypted', error_detail = 'it is protected by a password'")
        .execute(&world.owner)
        .await
        .unwrap();
    let listed = world.get("/chatbots/helper/documents").await.json(200);
    assert_eq!(listed["documents"][0]["status"], "failed");
    assert_eq!(
        listed["documents"][0]["error"],
        json!({"code": "encrypted", "detail": "it is protected by a password"})
    );
    assert_eq!(listed["counts"]["failed"], 1);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_deleted_document_answers_no_more(owner: PgPool) {
    let world = World::new(owner).await;
    let id = world.index(world.acme, "docs", "a.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let question = "Which command sets a timeout on a key?";
    assert_eq!(world.chat(question).await.json(200)["answerable"], true);
    let delete = async |id: &str| -> Reply {
        world.send(Request::delete(format!("/document/{id}")).admin("acme").body(Body::empty()).unwrap()).await
    };
    let gone = delete(&id.to_string()).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(world.chat(question).await.json(200)["answerable"], false);
    delete(&id.to_string()).await.problem(404, "document_not_found");
    delete("a.md").await.problem(404, "document_not_found");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_list_is_filtered(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "guide/start.md", &["How to start."]).await;
    world.index(world.acme, "news", "2024.md", &["What is new."]).await;
    world
        .upload(&Form::default().field("source", "docs").file("guide/100%.md", b"x").file("b.md", b"x"))
        .await
        .json(202);
    let found = async |query: &str| -> Vec<String> {
        let list = world.get(&format!("/chatbots/pair/documents?{query}")).await.json(200);
        paths(&list).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(found("status=indexed").await, ["2024.md", "guide/start.md"]);
    assert_eq!(found("status=pending&source=docs").await, ["b.md", "guide/100%.md"]);
    assert_eq!(found("source=news").await, ["2024.md"]);
    assert_eq!(found("search=GUIDE").await, ["2024.md", "guide/100%.md", "guide/start.md"], "by path and by title");
    assert_eq!(found("search=100%25").await, ["guide/100%.md"]);
    assert!(found("search=1_0").await.is_empty(), "no character stands for others");
    for bad in ["search=%00", &format!("search={}", "x".repeat(201)), "source=%00"] {
        world.get(&format!("/chatbots/pair/documents?{bad}")).await.problem(422, "invalid_field");
    }
    for bad in ["status=lost", "sort=size"] {
        world.get(&format!("/chatbots/pair/documents?{bad}")).await.problem(400, "bad_request");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_document_is_indexed_anew(owner: PgPool) {
    let world = World::new(owner).await;
    let question = "Which command sets a timeout on a key?";
    let id = world.index(world.acme, "docs", "a.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let path = format!("/document/{id}");
    let document = world.get(&path).await.json(200);
    assert_eq!(
        (&document["path"], &document["status"], &document["last_run"]),
        (&json!("a.md"), &json!("indexed"), &Value::Null)
    );
    let run = world.post(&format!("{path}/reingest"), &Value::Null).await.json(202)["run_id"].clone();
    assert_eq!(world.get(&format!("/runs/{}", run.as_str().unwrap())).await.json(200)["state"], "queued");
    assert_eq!(world.get(&path).await.json(200)["status"], "pending");
    assert_eq!(world.chat(question).await.json(200)["answerable"], true, "it is found in the meantime");

    // A failure is told with the run it comes from, and forgotten by the next try.
    sqlx::query("insert into run_documents (tenant_id, run_id, document_id, path, outcome, reason) select tenant_id, $1, $2, 'a.md', 'failed', 'it is broken' from tenants where name = 'acme'")
        .bind(run.as_str().unwrap().parse::<uuid::Uuid>().unwrap())
        .bind(id.0)
        .execute(&world.owner)
        .await
        .unwrap();
    sqlx::query("update documents set status = 'failed', error_code = 'broken', attempts = 5")
        .execute(&world.owner)
        .await
        .unwrap();
    let failed = world.get(&path).await.json(200);
    assert_eq!((&failed["last_run"]["run_id"], &failed["last_run"]["reason"]), (&run, &json!("it is broken")));
    assert_eq!(failed["error"]["code"], "broken");
    let again = world.post(&format!("{path}/reingest"), &Value::Null).await.json(202);
    assert_ne!(again["run_id"], run);
    let pending = world.get(&path).await.json(200);
    assert_eq!((&pending["status"], &pending["error"]), (&json!("pending"), &Value::Null));

    sqlx::query("update knowledge_sources set suspended = true").execute(&world.owner).await.unwrap();
    sqlx::query("update documents set status = 'indexed'").execute(&world.owner).await.unwrap();
    world.post(&format!("{path}/reingest"), &Value::Null).await.problem(409, "knowledge_source_suspended");
    assert_eq!(world.get(&path).await.json(200)["status"], "indexed", "a refusal changes nothing");
    for unknown in ["01980000-0000-7000-8000-000000000000", "a.md"] {
        world.get(&format!("/document/{unknown}")).await.problem(404, "document_not_found");
        world.post(&format!("/document/{unknown}/reingest"), &Value::Null).await.problem(404, "document_not_found");
        world.get(&format!("/document/{unknown}/original")).await.problem(404, "document_not_found");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_original_is_saved_as_it_came(owner: PgPool) {
    let world = World::new(owner).await;
    let bytes: Vec<u8> = (0..2_500_001_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    let form = Form::default().field("source", "docs").file("plans/Maße.html", &bytes).file("empty.txt", b"");
    let accepted = world.upload(&form).await.json(202);
    let path = |n: usize| format!("/document/{}/original", accepted["documents"][n]["id"].as_str().unwrap());
    let reply = world.get(&path(0)).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == bytes, "the bytes differ");
    let header = |name: &str| reply.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("content-length"), "2500001");
    assert_eq!(header("content-disposition"), "attachment; filename=\"Ma_e.html\"; filename*=UTF-8''Ma%C3%9Fe.html");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");

    let again = Request::get(path(0)).admin("acme").header("if-none-match", header("etag"));
    let again = world.send(again.body(Body::empty()).unwrap()).await;
    assert_eq!((again.status.as_u16(), again.body.len(), &again.headers["etag"]), (304, 0, &reply.headers["etag"]));
    let other = Request::get(path(0)).admin("acme").header("if-none-match", "\"0000\"");
    assert_eq!(world.send(other.body(Body::empty()).unwrap()).await.status, 200);
    let empty = world.get(&path(1)).await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
}
