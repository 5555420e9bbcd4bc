//! Configuration in a cluster: who owns what, what is refused, and that the API reads its own writes.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use chrono::{TimeDelta, Utc};
use docbrain_api::{ControlPlane, Kubernetes};
use docbrain_core::store::tenants;
use docbrain_crds::{ALLOW_DELETE, MANAGED_BY_LABEL, REGISTRATION_LABEL};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::cluster::{Cluster, eventually, kubeconfig, provision_object};
use crate::harness::{Reply, Requests, World, settings, state_over};

async fn patch(world: &World, path: &str, revision: &str, spec: &Value) -> Reply {
    let request = Request::patch(path).admin("acme").header("if-match", revision);
    world.send(request.json(&json!({ "spec": spec }))).await
}

fn sources(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "name": name })).collect()
}

fn cluster(world: &World) -> &Cluster {
    world.cluster.as_ref().unwrap()
}

async fn spec(world: &World, name: &str) -> Value {
    cluster(world).get("Chatbot", "acme", name).await.unwrap().data["spec"].clone()
}

fn sorted(list: &Value) -> Vec<String> {
    let mut list: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().or(item.as_str()).unwrap().to_owned())
        .collect();
    list.sort();
    list
}

/// The fields of the API, as the ownership route tells them.
async fn own_fields(world: &World, path: &str) -> Vec<String> {
    let told = world.get(&format!("{path}/ownership")).await.json(200);
    let own = told["managers"].as_array().unwrap().iter().find(|manager| manager["editable"] == true);
    own.map(|own| own["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
enum Hand {
    GitOps,
    Kubectl,
    Dashboard,
}

impl Hand {
    async fn change(self, world: &World) -> DynamicObject {
        let cluster = cluster(world);
        match self {
            Self::GitOps => {
                let spec = json!({
                    "displayName": "Git", "knowledgeSources": sources(&["docs"]), "allowedOrigins": ["https://git.example"],
                });
                cluster.apply("argocd-controller", "Chatbot", "acme", "matrix", spec).await
            }
            Self::Kubectl => cluster.edit("Chatbot", "acme", "matrix", json!({"systemPrompt": "By hand."})).await,
            Self::Dashboard => {
                // As a form sends it: the lists whole.
                let mut names = sorted(&spec(world, "matrix").await["knowledgeSources"]);
                names.push("news".to_owned());
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut origins = spec(world, "matrix").await["allowedOrigins"].clone();
                origins.as_array_mut().unwrap().push("https://dash.example".into());
                let change =
                    json!({"retrieval": {"topK": 5}, "knowledgeSources": sources(&names), "allowedOrigins": origins});
                patch(world, "/chatbots/matrix", "*", &change).await.json(200);
                cluster.get("Chatbot", "acme", "matrix").await.unwrap()
            }
        }
    }
}

/// Whoever finds a change first, operator or API, the audit log has it once, with its author.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_audit_log_names_every_hand(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    world.post("/chatbots", &json!({"name": "matrix", "spec": {"displayName": "Made"}})).await.json(201);
    // Field managers are known to the second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    cluster(&world).apply("argocd-controller", "Chatbot", "acme", "matrix", json!({"systemPrompt": "Git."})).await;
    patch(&world, "/chatbots/matrix", "*", &json!({"displayName": "Mine"})).await.json(200);
    patch(&world, "/chatbots/matrix", "*", &json!({"displayName": "Mine"})).await.json(200);
    let changes = world.get("/audit").await.json(200)["changes"].clone();
    let changes: Vec<&Value> =
        changes.as_array().unwrap().iter().filter(|change| change["target"] == "matrix").collect();
    let told: Vec<Value> =
        changes.iter().map(|change| json!([change["action"], change["actor_kind"], change["actor"]])).collect();
    assert_eq!(
        told,
        [
            json!(["chatbot.update", "installation", "admin token"]),
            json!(["chatbot.update", "manager", "argocd-controller"]),
            json!(["chatbot.create", "installation", "admin token"]),
        ]
    );
    assert_eq!(changes[0]["detail"]["patch"], json!({"displayName": "Mine"}));
}

/// GitOps, kubectl and the dashboard change one chatbot in every order: no field is lost or fought over.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn no_order_of_hands_loses_a_field(owner: PgPool) {
    use Hand::{Dashboard, GitOps, Kubectl};
    let Some(world) = World::in_cluster(owner).await else { return };
    for order in [
        [GitOps, Kubectl, Dashboard],
        [GitOps, Dashboard, Kubectl],
        [Kubectl, GitOps, Dashboard],
        [Kubectl, Dashboard, GitOps],
        [Dashboard, GitOps, Kubectl],
        [Dashboard, Kubectl, GitOps],
    ] {
        world.post("/chatbots", &json!({"name": "matrix", "spec": {"displayName": "Made"}})).await.json(201);
        for hand in order {
            hand.change(&world).await;
        }
        let check = async |after: &str| {
            let spec = spec(&world, "matrix").await;
            assert_eq!(
                (&spec["displayName"], &spec["systemPrompt"]),
                (&json!("Git"), &json!("By hand.")),
                "{order:?} {after}"
            );
            assert_eq!(spec["retrieval"], json!({"topK": 5, "hybrid": true}), "{order:?} {after}");
            assert_eq!(sorted(&spec["knowledgeSources"]), ["docs", "news"], "{order:?} {after}");
            assert_eq!(
                sorted(&spec["allowedOrigins"]),
                ["https://dash.example", "https://git.example"],
                "{order:?} {after}"
            );
        };
        check("at first").await;
        // GitOps comes round again and again, and finds nothing to do.
        let before = cluster(&world).get("Chatbot", "acme", "matrix").await.unwrap();
        let after = GitOps.change(&world).await;
        assert_eq!(before.metadata.resource_version, after.metadata.resource_version, "{order:?}");

        // What others own is refused with their names; nothing of the change is made.
        for (change, said) in [
            (
                json!({"displayName": "Mine", "retrieval": {"topK": 7}}),
                "spec.displayName is managed by argocd-controller (GitOps)",
            ),
            (json!({"systemPrompt": "Mine."}), "spec.systemPrompt is managed by kubectl-edit (by hand)"),
            (json!({"systemPrompt": null}), "spec.systemPrompt is managed by kubectl-edit (by hand)"),
            (
                json!({"knowledgeSources": sources(&["news"])}),
                "spec.knowledgeSources[name=\"docs\"] is managed by argocd-controller",
            ),
            (
                json!({"allowedOrigins": []}),
                "spec.allowedOrigins[\"https://git.example\"] is managed by argocd-controller",
            ),
        ] {
            let refused = patch(&world, "/chatbots/matrix", "*", &change).await.problem(409, "field_owned_elsewhere");
            assert!(refused["detail"].as_str().unwrap().contains(said), "{order:?}: {refused}");
        }
        check("after refusals").await;
        let own = [
            "spec.allowedOrigins[\"https://dash.example\"]",
            "spec.knowledgeSources[name=\"news\"]",
            "spec.retrieval.topK",
        ];
        assert_eq!(own_fields(&world, "/chatbots/matrix").await, own, "{order:?}: no default is owned");

        // What the dashboard owns alone it can change and take away, and a form may send what has not changed.
        let change = json!({
            "displayName": "Git", "systemPrompt": "By hand.", "retrieval": {"topK": null}, "knowledgeSources": sources(&["docs"]),
        });
        let changed = patch(&world, "/chatbots/matrix", "*", &change).await.json(200);
        assert_eq!(changed["spec"]["retrieval"]["topK"], 8);
        assert_eq!(changed["knowledge_sources"], json!(["docs"]));
        world.delete("/chatbots/matrix").await.problem(409, "field_owned_elsewhere");
        let chatbots = cluster(&world).objects("Chatbot", "acme");
        chatbots.delete("matrix", &DeleteParams::default()).await.unwrap();
        // Its rows are left over, and the API removes them.
        assert_eq!(world.delete("/chatbots/matrix").await.status, 204);
    }
}

/// A field that both want stays while one of them does; one that GitOps lets go can be had.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_two_managers_own_is_not_taken_from_either(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    let spec_of = json!({"displayName": "Both", "knowledgeSources": sources(&["docs", "news"])});
    world.post("/chatbots", &json!({"name": "both", "spec": spec_of})).await.json(201);
    let git = async |spec: Value| cluster(&world).apply("argocd-controller", "Chatbot", "acme", "both", spec).await;
    git(json!({"displayName": "Both", "knowledgeSources": sources(&["docs"])})).await;
    // The item and the name are of both now.
    let refused = patch(&world, "/chatbots/both", "*", &json!({"knowledgeSources": sources(&["news"])})).await;
    let refused = refused.problem(409, "field_owned_elsewhere");
    assert!(refused["detail"].as_str().unwrap().contains("argocd-controller"), "{refused}");
    patch(&world, "/chatbots/both", "*", &json!({"displayName": "Mine"})).await.problem(409, "field_owned_elsewhere");
    let own = own_fields(&world, "/chatbots/both").await;
    assert!(own.contains(&"spec.knowledgeSources[name=\"docs\"]".to_owned()), "a refusal gives nothing away: {own:?}");
    // GitOps drops the item: it stays, for the dashboard wants it; now it can go.
    git(json!({"displayName": "Both"})).await;
    assert_eq!(sorted(&spec(&world, "both").await["knowledgeSources"]), ["docs", "news"]);
    patch(&world, "/chatbots/both", "*", &json!({"knowledgeSources": sources(&["news"])})).await.json(200);
    assert_eq!(sorted(&spec(&world, "both").await["knowledgeSources"]), ["news"]);
    // GitOps takes a field by force, and lets it go: it is back at its default, and anybody's.
    patch(&world, "/chatbots/both", "*", &json!({"retrieval": {"topK": 5}})).await.json(200);
    git(json!({"displayName": "Both", "retrieval": {"topK": 6}})).await;
    patch(&world, "/chatbots/both", "*", &json!({"retrieval": {"topK": 7}}))
        .await
        .problem(409, "field_owned_elsewhere");
    git(json!({"displayName": "Both"})).await;
    assert_eq!(spec(&world, "both").await["retrieval"]["topK"], 8);
    let again = patch(&world, "/chatbots/both", "*", &json!({"retrieval": {"topK": 7}})).await.json(200);
    assert_eq!(again["spec"]["retrieval"]["topK"], 7);
}

/// What was made elsewhere is edited field by field, and nothing but the edited field becomes the dashboard's.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_gitops_has_made_keeps_its_owner(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    let made = cluster(&world)
        .apply(
            "kustomize-controller",
            "Chatbot",
            "acme",
            "given",
            json!({"displayName": "Given", "model": {"model": "m"}}),
        )
        .await;
    provision_object(&world.owner, "Chatbot", made).await;
    assert_eq!(own_fields(&world, "/chatbots/given").await, Vec::<String>::new());
    let changed = patch(&world, "/chatbots/given", "\"1\"", &json!({"model": {"temperaturePercent": 20}})).await;
    assert_eq!(changed.headers["etag"], "\"2\"");
    let model = changed.json(200)["spec"]["model"].clone();
    assert_eq!(model, json!({"model": "m", "provider": "compatible", "temperaturePercent": 20}));
    assert_eq!(own_fields(&world, "/chatbots/given").await, ["spec.model.temperaturePercent"]);
    let label = cluster(&world).get("Chatbot", "acme", "given").await.unwrap().labels().get(MANAGED_BY_LABEL).cloned();
    assert_eq!(label, None, "it is not the dashboard's");
    // The API server's own rules are told like the API's.
    let source = json!({"source": {"web": {"startUrls": ["https://docs.example/"]}, "upload": null}});
    let refused = patch(&world, "/sources/docs", "*", &source).await.problem(422, "invalid_field");
    assert!(refused["detail"].as_str().unwrap().contains("the kind of source cannot change"), "{refused}");
}

/// The operator is away: the API reads what it writes, and finds what others have written.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn revisions_hold_without_an_operator(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    let made = world.post("/chatbots", &json!({"name": "sales", "spec": {"displayName": "Sales"}})).await;
    assert_eq!(made.headers["etag"], "\"1\"");
    assert_eq!(own_fields(&world, "/chatbots/sales").await, ["spec.displayName"], "no default is owned");
    let object = cluster(&world).get("Chatbot", "acme", "sales").await.unwrap();
    assert_eq!(object.labels()[MANAGED_BY_LABEL], "dashboard");
    world
        .post("/chatbots", &json!({"name": "sales", "spec": {"displayName": "X"}}))
        .await
        .problem(409, "chatbot_exists");

    let unseen =
        cluster(&world).apply("argocd-controller", "Chatbot", "acme", "sales", json!({"systemPrompt": "Git."})).await;
    let change = json!({"retrieval": {"topK": 3}});
    patch(&world, "/chatbots/sales", "\"1\"", &change).await.problem(412, "precondition_failed");
    let seen = world.get("/chatbots/sales").await;
    assert_eq!(seen.headers["etag"], "\"2\"");
    assert_eq!(seen.json(200)["spec"]["systemPrompt"], "Git.");
    assert_eq!(patch(&world, "/chatbots/sales", "\"2\"", &change).await.headers["etag"], "\"3\"");
    // The operator comes late, first with what is old, then with what is there.
    provision_object(&world.owner, "Chatbot", unseen).await;
    let now = cluster(&world).get("Chatbot", "acme", "sales").await.unwrap();
    provision_object(&world.owner, "Chatbot", now).await;
    let read = world.get("/chatbots/sales").await;
    assert_eq!(read.headers["etag"], "\"3\"", "it writes nothing");
    assert_eq!(read.json(200)["spec"]["retrieval"]["topK"], 3);
    let same = patch(&world, "/chatbots/sales", "*", &change).await;
    assert_eq!(same.headers["etag"], "\"3\"", "what changes nothing is no revision");
    let object = cluster(&world).get("Chatbot", "acme", "sales").await.unwrap();
    assert_eq!(object.metadata.generation, Some(3));
}

/// Two edits at once, with the status being written all the time: both are made, none twice.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn edits_at_the_same_time_are_all_made(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    let writes = async {
        for n in 0..10 {
            let body = json!({"metadata": {"annotations": {"tests/n": n.to_string()}}});
            let chatbots = cluster(&world).objects("Chatbot", "acme");
            chatbots.patch("helper", &PatchParams::default(), &Patch::Merge(body)).await.unwrap();
        }
    };
    let changes =
        [json!({"retrieval": {"topK": 3}}), json!({"systemPrompt": "P"}), json!({"limits": {"questionsPerMinute": 9}})];
    let [one, two, three] = changes.each_ref().map(|change| patch(&world, "/chatbots/helper", "*", change));
    let ((), one, two, three) = tokio::join!(writes, one, two, three);
    let mut revisions = [one, two, three].map(|reply| {
        reply.json(200);
        reply.headers["etag"].to_str().unwrap().to_owned()
    });
    revisions.sort();
    assert_eq!(revisions, ["\"2\"", "\"3\"", "\"4\""]);
    let spec = spec(&world, "helper").await;
    assert_eq!((&spec["retrieval"]["topK"], &spec["systemPrompt"]), (&json!(3), &json!("P")));
    assert_eq!(spec["limits"]["questionsPerMinute"], 9);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_is_deleted_is_gone_at_once(owner: PgPool) {
    let Some(world) = World::in_cluster(owner).await else { return };
    // `news` would go with `pair`, but GitOps has it.
    cluster(&world)
        .apply("argocd-controller", "KnowledgeSource", "acme", "news", json!({"source": {"upload": {}}}))
        .await;
    assert_eq!(world.delete("/chatbots/pair").await.status, 204);
    world.get("/chatbots/pair").await.problem(404, "chatbot_not_found");
    assert!(cluster(&world).get("Chatbot", "acme", "pair").await.is_none());
    world.get("/sources/news").await.json(200);
    let refused = world.delete("/sources/news").await.problem(409, "field_owned_elsewhere");
    let said = "the knowledge source \"news\" is managed by argocd-controller (GitOps); delete it there";
    assert_eq!(refused["detail"], said);
    // What somebody has only touched by hand is the dashboard's.
    cluster(&world).edit("Chatbot", "acme", "helper", json!({"systemPrompt": "By hand."})).await;
    assert_eq!(world.delete("/chatbots/helper").await.status, 204);
    assert!(cluster(&world).get("KnowledgeSource", "acme", "docs").await.is_none(), "its own source goes with it");
}

async fn register(world: &World, tenant: &str, email: &str) -> Reply {
    let body =
        json!({"email": email, "password": "correct horse battery staple", "company": "Initech", "tenant": tenant});
    world.send(Request::post("/auth/register").json(&body)).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_registration_makes_a_tenant_once(owner: PgPool) {
    let Some(mut world) = World::in_cluster(owner.clone()).await else { return };
    world.start_operator().await;
    // Somebody is quicker with the name: one of the two has the tenant, the other one nothing.
    let (one, two) =
        tokio::join!(register(&world, "initech", "a@a.example"), register(&world, "initech", "b@b.example"));
    let (made, refused, quicker) =
        if one.status == 201 { (one, two, "a@a.example") } else { (two, one, "b@b.example") };
    made.json(201);
    refused.problem(409, "tenant_name_taken");
    let members: i64 = sqlx::query_scalar("select count(*) from memberships").fetch_one(&owner).await.unwrap();
    assert_eq!(members, 1);
    let tenant = cluster(&world).get("Tenant", "", "initech").await.unwrap();
    assert_eq!(tenant.labels()[MANAGED_BY_LABEL], "dashboard");
    assert_eq!(tenant.labels().get(REGISTRATION_LABEL), None);
    assert_eq!(tenant.data["spec"]["deletionPolicy"], "Retain");
    for (kind, name) in [("KnowledgeSource", "docs"), ("Chatbot", "assistant")] {
        assert!(cluster(&world).get(kind, "initech", name).await.is_some(), "{kind}");
    }
    let revisions: Vec<i64> =
        sqlx::query_scalar("select revision from chatbots where name = 'assistant'").fetch_all(&owner).await.unwrap();
    assert_eq!(revisions, [1], "the operator has found the rows of the API");
    // Namespaces of others are not to be had.
    register(&world, "kube-system", "c@c.example").await.problem(409, "tenant_name_taken");
    register(&world, "fresh", quicker).await.problem(409, "email_taken");
    assert!(cluster(&world).get("Tenant", "", "fresh").await.is_none());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_registration_without_an_operator_leaves_nothing(owner: PgPool) {
    let Some(world) = World::in_cluster(owner.clone()).await else { return };
    let refused = register(&world, "orphan", "a@a.example").await;
    assert_eq!(refused.headers["retry-after"], "60");
    let refused = refused.problem(503, "control_plane_unavailable");
    assert!(refused["detail"].as_str().unwrap().contains("the operator does not answer"), "{refused}");
    assert!(cluster(&world).get("Tenant", "", "orphan").await.is_none());
    let accounts: i64 = sqlx::query_scalar("select count(*) from accounts").fetch_one(&owner).await.unwrap();
    assert_eq!(accounts, 0);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn registrations_that_broke_off_are_taken_back(owner: PgPool) {
    let Some(mut world) = World::in_cluster(owner.clone()).await else { return };
    world.start_operator().await;
    register(&world, "whole", "a@a.example").await.json(201);
    let plane = Kubernetes::of_file(world.api.clone(), &kubeconfig().unwrap()).await.unwrap();
    let pending = |name: &str| {
        json!({
            "apiVersion": docbrain_crds::API_VERSION, "kind": "Tenant", "spec": {"displayName": name},
            "metadata": {"name": name, "labels": {REGISTRATION_LABEL: "pending"}},
        })
    };
    // As the API leaves them: applied by it, and nobody else.
    for name in ["broken", "whole"] {
        let tenants = cluster(&world).objects("Tenant", "");
        let parameters = PatchParams::apply("docbrain-dashboard").force();
        tenants.patch(name, &parameters, &Patch::Apply(pending(name))).await.unwrap();
    }
    cluster(&world).create("Tenant", pending("theirs")).await;
    let is_there = async |name: &str| tenants::named(&owner, name).await.unwrap().is_some();
    eventually("rows of the broken tenant", async || is_there("broken").await).await;

    plane.keep_up(Utc::now()).await.unwrap();
    assert!(cluster(&world).get("Tenant", "", "broken").await.is_some(), "it may still be under way");
    plane.keep_up(Utc::now() + TimeDelta::minutes(11)).await.unwrap();
    assert!(cluster(&world).get("Tenant", "", "broken").await.is_none());
    eventually("no rows of the broken tenant", async || !is_there("broken").await).await;
    let whole = cluster(&world).get("Tenant", "", "whole").await.unwrap();
    assert_eq!(whole.labels().get(REGISTRATION_LABEL), None, "it has a member, so it is whole");
    assert!(!whole.annotations().contains_key(ALLOW_DELETE));
    assert!(cluster(&world).get("Tenant", "", "theirs").await.is_some(), "somebody else has made it");
}

/// Nobody answers where the cluster should be: chat and reads go on, changes are refused for the moment.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn chat_goes_on_while_the_cluster_is_away(owner: PgPool) {
    let world = World::new(owner).await;
    world.index(world.acme, "docs", "expire.md", &["The EXPIRE command sets a timeout on a key."]).await;
    let folder = tempfile::tempdir().unwrap();
    let plane = Arc::new(nowhere(&world, folder.path()).await);
    let state = state_over(&world.api, world.providers.clone(), settings(), plane);
    let send = async |request: Request<Body>| world.send_to(&state, request).await;

    let ask = json!({"chatbot": "helper", "message": "Which command sets a timeout on a key?"});
    assert_eq!(send(Request::post("/conversation/chat").admin("acme").json(&ask)).await.json(200)["answerable"], true);
    send(Request::get("/chatbots/helper").admin("acme").body(Body::empty()).unwrap()).await.json(200);
    let edit = Request::patch("/chatbots/helper").admin("acme").header("if-match", "*");
    let made = json!({"name": "new", "spec": {"displayName": "New"}});
    for request in [
        edit.json(&json!({"spec": {"displayName": "New"}})),
        Request::post("/chatbots").admin("acme").json(&made),
        Request::delete("/chatbots/helper").admin("acme").body(Body::empty()).unwrap(),
        Request::get("/chatbots/helper/ownership").admin("acme").body(Body::empty()).unwrap(),
        Request::post("/auth/register")
            .json(&json!({"email": "a@a.example", "password": "correct horse battery staple"})),
    ] {
        let refused = send(request).await;
        assert_eq!(refused.headers["retry-after"], "5");
        refused.problem(503, "control_plane_unavailable");
    }
    send(Request::get("/chatbots/new").admin("acme").body(Body::empty()).unwrap())
        .await
        .problem(404, "chatbot_not_found");
    send(Request::get("/chatbots/helper").admin("acme").body(Body::empty()).unwrap()).await.json(200);
}

/// A cluster where nothing listens.
async fn nowhere(world: &World, folder: &Path) -> Kubernetes {
    let path = folder.join("kubeconfig");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    Kubernetes::of_file(world.api.clone(), &path).await.unwrap()
}

/// On one machine nobody but the last editor owns a field.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn one_machine_has_no_managers(owner: PgPool) {
    let world = World::new(owner).await;
    if world.cluster.is_none() {
        for path in ["/chatbots/helper", "/sources/docs", "/tenant/settings"] {
            assert_eq!(world.get(&format!("{path}/ownership")).await.json(200), json!({"managers": null}));
        }
    }
    world.get("/chatbots/nobody/ownership").await.problem(404, "chatbot_not_found");
}
