use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{FromRef, State};
use axum::middleware::from_fn;
use axum::routing::post;
use serde_json::json;
use sqlx::PgPool;
use tower::ServiceExt;

use super::*;
use crate::draining::Draining;
use crate::middleware::carry_through;

/// A router that creates things, and how many it has created.
#[derive(Clone)]
struct Things {
    pool: Pool,
    tenant: TenantId,
    created: Arc<AtomicU32>,
}

impl FromRef<Things> for Pool {
    fn from_ref(things: &Things) -> Self {
        things.pool.clone()
    }
}

type Thing = Result<(StatusCode, Value), Problem>;

impl Things {
    async fn new(pool: PgPool) -> Self {
        let tenant = TenantId::new();
        sqlx::query("insert into tenants (tenant_id, name, spec) values ($1, 'acme', '{}')")
            .bind(tenant.0)
            .execute(&pool)
            .await
            .unwrap();
        Self { pool, tenant, created: Arc::default() }
    }

    async fn create(&self, body: Value) -> Thing {
        if let Some(pause) = body["pause"].as_u64() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if body["bad"] == true {
            return Err(Problem::new(ProblemKind::InvalidField, "it is bad"));
        }
        let number = self.created.fetch_add(1, Ordering::SeqCst) + 1;
        Ok((StatusCode::CREATED, json!({"number": number})))
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, bool, Value) {
        let routes = Router::new().route("/things", post(create_thing)).route("/tokens", post(create_token));
        let routes = routes.layer(from_fn(carry_through));
        let routes = crate::middleware::around(routes, Draining::default()).with_state(self.clone());
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let response = routes.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let replayed = response.headers().get(REPLAY).is_some_and(|value| value == "true");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, replayed, serde_json::from_slice(&body).unwrap())
    }

    fn created(&self) -> u32 {
        self.created.load(Ordering::SeqCst)
    }
}

async fn create_thing(State(things): State<Things>, Create { body, once }: Create<Value>) -> Result<Response, Problem> {
    once.answer(&things.pool, things.tenant, things.create(body)).await
}

async fn create_token(State(things): State<Things>, Create { body, once }: Create<Value>) -> Result<Response, Problem> {
    once.answer_with_secret(&things.pool, things.tenant, things.create(body)).await
}

fn code(problem: &(u16, bool, Value)) -> (u16, &str) {
    (problem.0, problem.2["code"].as_str().unwrap_or_default())
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_same_request_is_answered_as_before(pool: PgPool) {
    let things = Things::new(pool).await;
    let body = json!({"name": "a"});
    assert_eq!(things.post("/things", Some("k"), &body).await, (201, false, json!({"number": 1})));
    assert_eq!(things.post("/things", Some("k"), &body).await, (201, true, json!({"number": 1})));
    assert_eq!(things.post("/things", Some("other"), &body).await, (201, false, json!({"number": 2})));
    assert_eq!(things.post("/things", None, &body).await, (201, false, json!({"number": 3})));
    assert_eq!(things.post("/things", None, &body).await, (201, false, json!({"number": 4})));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_key_belongs_to_one_request(pool: PgPool) {
    let things = Things::new(pool).await;
    things.post("/things", Some("k"), &json!({"name": "a"})).await;
    let reused = (422, "idempotency_key_reused");
    assert_eq!(code(&things.post("/things", Some("k"), &json!({"name": "b"})).await), reused);
    assert_eq!(code(&things.post("/tokens", Some("k"), &json!({"name": "a"})).await), reused);
    for key in ["", "two words", &"x".repeat(129)] {
        assert_eq!(code(&things.post("/things", Some(key), &json!({})).await), (422, "invalid_field"), "{key:?}");
    }
    assert_eq!(things.created(), 1);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn of_many_at_once_one_is_carried_out(pool: PgPool) {
    let things = Things::new(pool).await;
    let body = json!({"pause": 300});
    let answers = futures::future::join_all((0..8).map(|_| things.post("/things", Some("k"), &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.0 == 201 && !answer.1).count(), 1);
    let others = |answer: &&(u16, bool, Value)| code(answer) == (409, "idempotency_key_in_use") || answer.1;
    assert_eq!((answers.iter().filter(others).count(), things.created()), (7, 1));
    assert_eq!(things.post("/things", Some("k"), &body).await, (201, true, json!({"number": 1})));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_request_that_failed_may_be_sent_again(pool: PgPool) {
    let things = Things::new(pool).await;
    for _ in 0..2 {
        assert_eq!(code(&things.post("/things", Some("k"), &json!({"bad": true})).await), (422, "invalid_field"));
    }
    assert_eq!(things.post("/things", Some("k"), &json!({})).await, (201, false, json!({"number": 1})));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_secret_is_answered_once_and_never_kept(pool: PgPool) {
    let things = Things::new(pool).await;
    assert_eq!(things.post("/tokens", Some("k"), &json!({})).await, (201, false, json!({"number": 1})));
    assert_eq!(code(&things.post("/tokens", Some("k"), &json!({})).await), (409, "already_created"));
    let kept: Option<Value> =
        sqlx::query_scalar("select body from idempotency_keys").fetch_one(&things.pool).await.unwrap();
    assert_eq!((kept, things.created()), (None, 1));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_key_is_forgotten_after_a_day_and_sooner_when_its_process_died(pool: PgPool) {
    let things = Things::new(pool).await;
    let age = async |hours: f64| {
        sqlx::query("update idempotency_keys set created_at = created_at - make_interval(secs => $1 * 3600)")
            .bind(hours)
            .execute(&things.pool)
            .await
            .unwrap();
    };
    things.post("/things", Some("k"), &json!({})).await;
    age(23.9).await;
    assert_eq!(things.post("/things", Some("k"), &json!({})).await, (201, true, json!({"number": 1})));
    age(0.2).await;
    assert_eq!(things.post("/things", Some("k"), &json!({})).await, (201, false, json!({"number": 2})));
    sqlx::query("update idempotency_keys set status = null, body = null").execute(&things.pool).await.unwrap();
    assert_eq!(code(&things.post("/things", Some("k"), &json!({})).await), (409, "idempotency_key_in_use"));
    age(0.1).await;
    assert_eq!(things.post("/things", Some("k"), &json!({})).await, (201, false, json!({"number": 3})));
}
