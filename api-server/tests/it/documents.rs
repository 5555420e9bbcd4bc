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
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = world.get(&format!("/chatbots/pair/documents{query}")).await.json(200);
        assert_eq!(page["counts"]["pending"], 5);
        seen.extend(paths(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(seen, ["0.md", "1.md", "1.md", "2.md", "a/b.md"]);
    for bad in ["?limit=0", "?limit=1001", "?after=1.md", "?after=x/1.md"] {
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
