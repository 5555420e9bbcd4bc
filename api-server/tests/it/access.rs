//! Who may call what. Every operation of the OpenAPI document is walked, so a new one cannot be left out.

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Method, Request};
use docbrain_core::store::members::Role;
use docbrain_core::store::runs;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Form, Reply, Requests, TOKEN, World};

/// What nobody has to show anything for. A line here is a decision.
const PUBLIC: [&str; 11] = [
    "create_account",
    "create_login",
    "create_refresh",
    "create_session",
    "get_health",
    "get_liveness",
    "get_metrics",
    "get_oidc_callback",
    "get_oidc_login",
    "get_readiness",
    "get_startup",
];

struct Operation {
    id: String,
    method: Method,
    path: String,
    caller: String,
}

impl Operation {
    /// A request with nothing in its body: the guard comes before the handler.
    fn bare(&self) -> Builder {
        let path = filled(&self.path, "01980000-0000-7000-8000-000000000000");
        Request::builder().method(&self.method).uri(path)
    }
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(docbrain_api::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let caller = operation["x-caller"].as_str().expect("every operation names its caller").to_owned();
            assert_eq!(operation.get("security").is_none(), caller == "public", "{path}");
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                caller,
            });
        }
    }
    found
}

fn guarded() -> impl Iterator<Item = Operation> {
    operations().into_iter().filter(|operation| operation.caller != "public")
}

#[test]
fn the_public_operations_are_known_by_name() {
    let public = operations().into_iter().filter(|operation| operation.caller == "public");
    let mut public: Vec<String> = public.map(|operation| operation.id).collect();
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn nobody_reaches_a_guarded_operation(owner: PgPool) {
    let world = World::new(owner).await;
    let (wrong, basic) = (format!("Bearer {TOKEN}x"), format!("Basic {TOKEN}"));
    let unsigned = format!("Bearer {}", unsigned());
    for operation in guarded() {
        let shown = [
            None,
            Some(wrong.as_str()),
            Some(TOKEN),
            Some(&basic),
            Some("Bearer "),
            Some(&unsigned),
            Some("Bearer docb_x"),
        ];
        for shown in shown {
            let mut request = operation.bare().header("x-docbrain-tenant", "acme");
            if let Some(shown) = shown {
                request = request.header("authorization", shown);
            }
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(reply.status, 401, "{}", reply.text());
            assert!(reply.text().contains("\"unauthorized\""), "{}", reply.text());
            assert_eq!(reply.headers["www-authenticate"], "Bearer", "{}", operation.id);
        }
    }
}

/// A token that says it needs no signature.
fn unsigned() -> String {
    // {"alg":"none","kid":"tests"} and claims of an account far in the future.
    let body = "eyJhdWQiOiJkb2NicmFpbi1hcGkiLCJpc3MiOiJkb2NicmFpbiIsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoiMDE5ODAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIiwic2lkIjoiMDE5ODAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIn0";
    format!("eyJhbGciOiJub25lIiwia2lkIjoidGVzdHMifQ.{body}.")
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn visitors_and_members_reach_what_is_declared_for_them(owner: PgPool) {
    let world = World::new(owner).await;
    let callers = [
        ("visitor", world.visitor(&world.chatbot("helper").await).await),
        ("viewer", world.member(world.acme, Role::Viewer, "viewer@acme.example").await),
        ("editor", world.member(world.acme, Role::Editor, "editor@acme.example").await),
        ("admin", world.member(world.acme, Role::Admin, "admin@acme.example").await),
    ];
    // Ending the session of the walk would end the walk.
    for operation in guarded().filter(|operation| operation.id != "create_logout") {
        for (rank, (caller, token)) in callers.iter().enumerate() {
            let needed = callers.iter().position(|(name, _)| *name == operation.caller);
            let allowed = match operation.caller.as_str() {
                "account" | "client" => *caller != "visitor",
                "superuser" => false,
                _ => rank >= needed.unwrap(),
            };
            let reply = world.send(operation.bare().bearer(token).body(Body::empty()).unwrap()).await;
            let name = format!("{} as {caller}: {}", operation.id, reply.text());
            if allowed {
                assert!(!matches!(reply.status.as_u16(), 401 | 403), "{name}");
            } else {
                assert!(reply.status == 403 && reply.text().contains(r#""code":"forbidden""#), "{name}");
            }
        }
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn no_operation_reaches_another_tenants_rows(owner: PgPool) {
    let world = World::new(owner).await;
    let victim = Victim::new(&world).await;
    let rival = world.member(world.rival, Role::Admin, "admin@rival.example").await;
    for operation in guarded().filter(|operation| operation.caller != "account") {
        let Some((request, refusal)) = victim.attack(&operation, Request::builder().method(&operation.method)) else {
            continue;
        };
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("authorization", format!("Bearer {rival}").parse().unwrap());
        // Once as what the account is, once claiming to be of the other tenant.
        for claimed in [None, Some("acme")] {
            if claimed.is_some() {
                parts.headers.insert("x-docbrain-tenant", "acme".parse().unwrap());
            }
            let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
            let reply = world.send(request).await;
            let name = format!("{}: {}", operation.id, reply.text());
            let (status, code) = refusal.for_caller(claimed.is_some());
            match code {
                Some(code) => {
                    assert_eq!(reply.status, status, "{name}");
                    assert!(reply.text().contains(&format!(r#""code":"{code}""#)), "{name}");
                }
                None => assert!(reply.status.is_success(), "{name}"),
            }
            assert!(!reply.text().contains("acme"), "{name}");
        }
    }
    victim.is_unharmed(&world).await;
}

/// A path with its parameters filled in.
fn filled(path: &str, id: &str) -> String {
    let fill = |part: &str| if part.starts_with('{') { id.to_owned() } else { part.to_owned() };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// How an operation answers the admin of another tenant.
struct Refusal(Option<&'static str>);

impl Refusal {
    fn for_caller(&self, claims_the_tenant: bool) -> (u16, Option<&'static str>) {
        match self.0 {
            Some("forbidden") => (403, Some("forbidden")),
            _ if claims_the_tenant => (404, Some("tenant_not_found")),
            Some(code) => (404, Some(code)),
            None => (200, None),
        }
    }
}

/// What `acme` has, by id.
struct Victim {
    chatbot: String,
    source: String,
    document: String,
    run: String,
    conversation: String,
    message: String,
    member: String,
    invitation: String,
    token: String,
}

impl Victim {
    async fn new(world: &World) -> Self {
        let document = world.index(world.acme, "docs", "acme-only.md", &["The secret of acme."]).await.to_string();
        let source = world.source(world.acme, "docs").await;
        let mut tx = world.begin(world.acme).await;
        let run = runs::enqueue(&mut tx, source, "test").await.unwrap().to_string();
        tx.commit().await.unwrap();
        let (conversation, message) = world.exchange("What is the secret of acme?", |_| {}).await;
        world.member(world.acme, Role::Admin, "admin@acme.example").await;
        let id = |reply: Reply, status: u16| reply.json(status)["id"].as_str().unwrap().to_owned();
        let invitation = json!({"email": "new@acme.example", "role": "viewer"});
        let token = json!({"name": "build", "scopes": ["read"]});
        let members = world.get("/members").await.json(200);
        Self {
            chatbot: world.chatbot("helper").await,
            source: source.to_string(),
            document,
            run,
            conversation: conversation.to_string(),
            message: message.to_string(),
            member: members["members"][0]["id"].as_str().unwrap().to_owned(),
            invitation: id(world.post("/invitations", &invitation).await, 201),
            token: id(world.post("/tokens", &token).await, 201),
        }
    }

    /// The request that would do harm, and how it is refused; `None` where an operation names nothing of a tenant.
    fn attack(&self, operation: &Operation, request: Builder) -> Option<(Request<String>, Refusal)> {
        let at = |id: &str| filled(&operation.path, id);
        let bare = |request: Builder, path: String| request.uri(path).body(String::new()).unwrap();
        let json = |request: Builder, path: String, body: Value| {
            request
                .uri(path)
                .header("content-type", "application/json")
                .header("if-match", "*")
                .body(body.to_string())
                .unwrap()
        };
        let spec = json!({"spec": {"suspended": true}});
        let (request, code) = match operation.id.as_str() {
            "create_reply" => {
                let body = json!({"chatbot": self.chatbot, "message": "What is the secret?"});
                (json(request, operation.path.clone(), body), Some("chatbot_not_found"))
            }
            "create_documents" => (
                Form::default().field("chatbot", &self.chatbot).file("a.md", b"a").text_request(),
                Some("chatbot_not_found"),
            ),
            "get_chatbot"
            | "get_model"
            | "delete_chatbot"
            | "list_documents"
            | "list_sources"
            | "list_conversations"
            | "get_chatbot_ownership"
            | "create_identity_key"
            | "delete_identity_key"
            | "export_conversations" => (bare(request, at(&self.chatbot)), Some("chatbot_not_found")),
            "update_chatbot" => (json(request, at(&self.chatbot), spec), Some("chatbot_not_found")),
            "create_source" => (json(request, at(&self.chatbot), json!({"name": "mine"})), Some("chatbot_not_found")),
            "create_completion" => {
                let messages = json!([{"role": "user", "content": "What is the secret?"}]);
                let body = json!({"model": self.chatbot, "messages": messages});
                (json(request, operation.path.clone(), body), Some("chatbot_not_found"))
            }
            "call_mcp" => {
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
                (json(request, at(&self.chatbot), body), Some("chatbot_not_found"))
            }
            "get_overview" | "list_usage" => {
                (bare(request, format!("{}?chatbot={}", operation.path, self.chatbot)), Some("chatbot_not_found"))
            }
            "get_source" | "delete_source" | "create_sync" | "list_runs" | "get_source_ownership" => {
                (bare(request, at(&self.source)), Some("knowledge_source_not_found"))
            }
            "update_source" => (json(request, at(&self.source), spec), Some("knowledge_source_not_found")),
            "get_document" | "get_original" | "reingest_document" | "delete_document" => {
                (bare(request, at(&self.document)), Some("document_not_found"))
            }
            "get_run" | "follow_run" | "list_run_documents" | "cancel_run" => {
                (bare(request, at(&self.run)), Some("run_not_found"))
            }
            "get_conversation" | "delete_conversation" => {
                (bare(request, at(&self.conversation)), Some("conversation_not_found"))
            }
            "put_feedback" => (json(request, at(&self.message), json!({"rating": "down"})), Some("message_not_found")),
            "delete_feedback" => (bare(request, at(&self.message)), Some("message_not_found")),
            "update_member" => (json(request, at(&self.member), json!({"role": "viewer"})), Some("member_not_found")),
            "delete_member" => (bare(request, at(&self.member)), Some("member_not_found")),
            "delete_invitation" => (bare(request, at(&self.invitation)), Some("invitation_not_found")),
            "delete_token" => (bare(request, at(&self.token)), Some("api_token_not_found")),
            "list_models"
            | "list_chatbots"
            | "list_members"
            | "list_invitations"
            | "list_tokens"
            | "list_changes"
            | "get_settings"
            | "get_settings_ownership" => (bare(request, operation.path.clone()), None),
            "list_tenants" => (bare(request, operation.path.clone()), Some("forbidden")),
            "update_tenant" => (json(request, at("acme"), json!({"suspended": true})), Some("forbidden")),
            // They make things of the caller's own tenant, and name nothing else; providers.rs asks for two tenants.
            "list_providers" | "put_provider" | "delete_provider" | "test_provider" | "create_chatbot"
            | "create_invitation" | "create_token" | "update_settings" => return None,
            other => panic!("say here how {other} is called as the wrong tenant"),
        };
        Some((request, Refusal(code)))
    }

    async fn is_unharmed(&self, world: &World) {
        let counts = world.get("/chatbots/helper/documents").await.json(200)["counts"].clone();
        assert_eq!(counts["indexed"], 1, "nothing was deleted");
        let run = world.get(&format!("/runs/{}", self.run)).await.json(200);
        assert_eq!(run["state"], "queued", "nothing was cancelled");
        let kept = world.get(&format!("/conversations/{}", self.conversation)).await.json(200);
        assert_eq!((&kept["messages"], &kept["down"]), (&json!(2), &json!(0)), "nothing was rated");
        let chatbot = world.get("/chatbots/helper").await.json(200);
        assert_eq!(chatbot["spec"]["suspended"], false);
        assert_eq!(chatbot["knowledge_sources"], json!(["docs"]));
        assert_eq!(world.get("/members").await.json(200)["members"][0]["role"], "admin");
        assert_eq!(world.get("/tokens").await.json(200)["tokens"].as_array().unwrap().len(), 1);
        assert_eq!(world.get("/invitations").await.json(200)["invitations"].as_array().unwrap().len(), 1);
    }
}

fn names(list: &Value) -> Vec<String> {
    list["chatbots"].as_array().unwrap().iter().map(|bot| bot["name"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_installation_says_which_tenant_it_acts_for_unless_there_is_one(owner: PgPool) {
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
