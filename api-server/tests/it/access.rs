//! Who may call what. Every operation of the OpenAPI document is walked, so a new one cannot be left out.

use axum::body::Body;
use axum::http::{Method, Request};
use docbrain_core::store::runs;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Form, Reply, Requests, TOKEN, World};

/// What nobody has to show anything for. A line here is a decision.
const PUBLIC: [&str; 3] = ["get_health", "get_metrics", "get_readiness"];

struct Operation {
    id: String,
    method: Method,
    path: String,
    guarded: bool,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(docbrain_api::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                guarded: operation["security"] == json!([{"admin_token": []}]),
            });
        }
    }
    found
}

#[test]
fn the_public_operations_are_known_by_name() {
    let mut public: Vec<String> =
        operations().into_iter().filter(|operation| !operation.guarded).map(|operation| operation.id).collect();
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn without_the_token_every_guarded_operation_is_refused(owner: PgPool) {
    let world = World::new(owner).await;
    for operation in operations().into_iter().filter(|operation| operation.guarded) {
        let path = operation.path.replace("{id}", "01980000-0000-7000-8000-000000000000").replace("{purpose}", "chat");
        let wrong = format!("Bearer {TOKEN}x");
        let basic = format!("Basic {TOKEN}");
        for shown in [None, Some(wrong.as_str()), Some(TOKEN), Some(basic.as_str()), Some("Bearer ")] {
            let mut request =
                Request::builder().method(&operation.method).uri(&path).header("x-docbrain-tenant", "acme");
            if let Some(shown) = shown {
                request = request.header("authorization", shown);
            }
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            reply.problem(401, "unauthorized");
            assert_eq!(reply.headers["www-authenticate"], "Bearer", "{}", operation.id);
        }
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn no_operation_reaches_another_tenants_rows(owner: PgPool) {
    let world = World::new(owner).await;
    let document = world.index(world.acme, "docs", "acme-only.md", &["The secret of acme."]).await;
    let source = world.source(world.acme, "docs").await;
    let mut tx = world.begin(world.acme).await;
    let run = runs::enqueue(&mut tx, source, "test").await.unwrap();
    tx.commit().await.unwrap();
    let listed = world.get("/chatbots").await.json(200);
    let helper = listed["chatbots"].as_array().unwrap().iter().find(|bot| bot["name"] == "helper").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();

    for operation in operations().into_iter().filter(|operation| operation.guarded) {
        let request = Request::builder().method(&operation.method).admin("rival");
        let at = |id: &str| operation.path.replace("{id}", id);
        let empty =
            |request: axum::http::request::Builder, path: String| request.uri(path).body(Body::empty()).unwrap();
        let (request, refusal) = match operation.id.as_str() {
            "create_reply" => {
                let body = json!({"chatbot": helper, "message": "What is the secret?"});
                (request.uri(&operation.path).json(&body), Some("chatbot_not_found"))
            }
            "create_documents" => (
                Form::default().field("chatbot", &helper).file("a.md", b"a").request("rival"),
                Some("chatbot_not_found"),
            ),
            "list_documents" => (empty(request, at(&helper)), Some("chatbot_not_found")),
            "delete_document" => (empty(request, at(&document.to_string())), Some("document_not_found")),
            "get_run" | "follow_run" => (empty(request, at(&run.to_string())), Some("run_not_found")),
            // Nothing in their paths names a row: providers.rs asks them as two tenants.
            "list_providers" | "put_provider" | "delete_provider" | "test_provider" => continue,
            "list_chatbots" => (empty(request, operation.path.clone()), None),
            other => panic!("say here how {other} is called as the wrong tenant"),
        };
        let reply = world.send(request).await;
        match refusal {
            Some(code) => drop(reply.problem(404, code)),
            None => assert_eq!(names(&reply.json(200)), ["guide"]),
        }
        assert!(!reply.text().contains("acme"), "{}", reply.text());
    }
    assert_eq!(world.get("/chatbots/helper/documents").await.json(200)["counts"]["indexed"], 1, "nothing was deleted");
}

fn names(list: &Value) -> Vec<String> {
    list["chatbots"].as_array().unwrap().iter().map(|bot| bot["name"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_request_says_which_tenant_it_is_for_unless_there_is_one(owner: PgPool) {
    let world = World::new(owner).await;
    let list = async |tenant: Option<&str>| -> Reply {
        let mut request = Request::get("/chatbots").header("authorization", format!("bearer {TOKEN}"));
        if let Some(tenant) = tenant {
            request = request.header("x-docbrain-tenant", tenant);
        }
        world.send(request.body(Body::empty()).unwrap()).await
    };
    let problem = list(None).await.problem(400, "tenant_required");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("X-DocBrain-Tenant") && !detail.contains("acme"), "{detail}");
    list(Some("nobody")).await.problem(404, "tenant_not_found");
    assert_eq!(names(&list(Some("acme")).await.json(200)), ["asleep", "helper", "pair"]);
    sqlx::query("delete from tenants where name = 'rival'").execute(&world.owner).await.unwrap();
    assert_eq!(names(&list(None).await.json(200)), ["asleep", "helper", "pair"]);
}
