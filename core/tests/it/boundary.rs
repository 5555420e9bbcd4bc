//! The tenant boundary, by raw SQL as each role.

use chrono::Utc;
use docbrain_core::ids::{AccountId, ConversationId, SessionId, TenantId};
use docbrain_core::store::accounts::{self, NewAccount};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::NewDocument;
use docbrain_core::store::members::{self, Role};
use docbrain_core::store::{
    Pool, TenantTx, conversations, documents, fetches, generations, provider_settings, runs, stats,
};
use sqlx::{AssertSqlSafe, PgPool, Row};

use crate::harness::{DIMENSIONS, Tenant, World};
use crate::secrets::secrets;

/// Every table that carries a tenant, however it came to be.
async fn tables(owner: &Pool) -> Vec<String> {
    sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

/// How many rows of which tenants a transaction sees in each table it may read.
async fn seen(pool: &Pool, tenant: Option<TenantId>, tables: &[String]) -> Vec<(String, Vec<TenantId>)> {
    let mut seen = Vec::new();
    for table in tables {
        let mut tx = match tenant {
            Some(tenant) => {
                pool.begin_with(AssertSqlSafe(format!("begin; set local docbrain.tenant = '{tenant}'"))).await.unwrap()
            }
            None => pool.begin().await.unwrap(),
        };
        let rows =
            sqlx::query(AssertSqlSafe(format!("select distinct tenant_id from {table}"))).fetch_all(&mut *tx).await;
        match rows {
            Ok(rows) => seen.push((table.clone(), rows.iter().map(|row| TenantId(row.get(0))).collect())),
            Err(error) => assert!(error.to_string().contains("permission denied"), "{table}: {error}"),
        }
    }
    seen
}

/// A row of each table that nothing above has written to.
const ROWS: [&str; 7] = [
    "insert into invitations values ($1, $1, 'new@example.com', 'viewer', sha256($1::text::bytea), now(), now())",
    "insert into api_tokens values ($1, $1, 'build', sha256($1::text::bytea), 'abcd', '{read}', 'admin', now())",
    "insert into audit_log (tenant_id, id, actor_kind, actor, action, target, request_id)
     values ($1, $1, 'installation', 'admin', 'test', 'test', 'r')",
    "insert into idempotency_keys (tenant_id, key, request_sha256) values ($1, 'k', sha256('r'))",
    "insert into permits values ($1, 1, '\\x00112233445566778899aabbccddeeff', 1, 1)",
    "insert into spending values ($1, $1, current_date, 1, 1)",
    "insert into fetched_pages (tenant_id, knowledge_source_id, address, run_id) select $1, id, 'example.com/', $1 from knowledge_sources",
];

/// Two tenants with a row in every table.
async fn two_tenants(world: &World) -> (Tenant, Tenant) {
    let (acme, rival) = (world.tenant("acme").await, world.tenant("rival").await);
    for tenant in [&acme, &rival] {
        world.document(tenant, "a.md", &["the price list", "the secret recipe"]).await;
        let mut tx = world.begin(tenant.id).await;
        let chatbot = chatbots::get(&mut tx, &ChatbotRef::Name("manual".into())).await.unwrap();
        let exchange = conversations::Exchange {
            chatbot: chatbot.id,
            conversation: ConversationId::new(),
            channel: conversations::Channel::Api,
            visitor: None,
            question: "q",
            answer: "a",
            kind: "extractive",
            answerable: true,
            best_score: Some(0.5),
            citations: &serde_json::json!([]),
            model: None,
            prompt_tokens: 1,
            completion_tokens: 1,
            cost_micros: None,
            milliseconds: 1,
        };
        conversations::append(&world.api, tenant.id, &exchange).await.unwrap();
        let run = runs::enqueue(&mut tx, tenant.source, "test").await.unwrap();
        sqlx::query("insert into run_documents (tenant_id, run_id, document_id, path, outcome) select $1, $2, id, path, 'indexed' from documents")
            .bind(tenant.id.0)
            .bind(run.0)
            .execute(&mut *tx)
            .await
            .unwrap();
        let account = NewAccount {
            id: AccountId::new(),
            email: &format!("admin@{}.example", tenant.id),
            name: "",
            password_hash: None,
            oidc: None,
        };
        accounts::insert(&mut tx, &account).await.unwrap();
        members::put(&mut tx, account.id, Role::Admin).await.unwrap();
        for insert in ROWS {
            sqlx::query(insert).bind(tenant.id.0).execute(&mut *tx).await.unwrap();
        }
        secrets(1).put(&mut tx, "a", &"secret".into()).await.unwrap();
        provider_settings::get_for_update(&mut tx).await.unwrap();
        sqlx::query("update usage set created_at = created_at - interval '2 days'").execute(&mut *tx).await.unwrap();
        stats::close_days(&mut tx, Utc::now().date_naive()).await.unwrap();
        generations::refresh_statistics(&mut tx, tenant.generation.id).await.unwrap();
        tx.commit().await.unwrap();
    }
    // One generation in the shared table, one in a table of its own.
    let mut tx = world.begin(rival.id).await;
    generations::give_own_table(&mut tx, rival.generation.id, DIMENSIONS).await.unwrap();
    tx.commit().await.unwrap();
    (acme, rival)
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn every_table_is_behind_the_border(owner: PgPool) {
    let world = World::new(owner).await;
    two_tenants(&world).await;
    let tables = tables(&world.owner).await;
    assert!(tables.len() >= 17, "{tables:?}");
    for table in tables {
        let (enabled, forced, policies): (bool, bool, i64) = sqlx::query_as(
            "select relrowsecurity, relforcerowsecurity,
                    (select count(*) from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant_isolation')
             from pg_class c where c.relname = $1",
        )
        .bind(&table)
        .fetch_one(&world.owner)
        .await
        .unwrap();
        assert!(
            enabled && forced && policies == 1,
            "{table} is open: repeat the block of 0002_create_tenant_boundary.sql"
        );
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_api_sees_the_tenant_it_set_and_no_other(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = two_tenants(&world).await;
    let tables = tables(&world.owner).await;
    for (own, other) in [(acme.id, rival.id), (rival.id, acme.id)] {
        let seen = seen(&world.api, Some(own), &tables).await;
        assert_eq!(seen.len(), tables.len(), "the API may read every table");
        for (table, tenants) in seen {
            assert!(!tenants.contains(&other), "{table} shows another tenant's rows");
            let shared_is_empty =
                table == "chunks" && own == rival.id || table.starts_with("chunks_") && own == acme.id;
            assert!(shared_is_empty || tenants == [own], "{table} hides the tenant's own rows");
        }
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn nothing_is_visible_with_no_tenant_set(owner: PgPool) {
    let world = World::new(owner).await;
    two_tenants(&world).await;
    let tables = tables(&world.owner).await;
    for (table, tenants) in seen(&world.api, None, &tables).await {
        assert!(tenants.is_empty(), "{table} shows rows of {tenants:?} to nobody in particular");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_ingestion_role_is_bound_by_its_name(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = two_tenants(&world).await;
    let tables = tables(&world.owner).await;
    let pool = world.ingest(acme.id).await;
    // It claims to be the rival; its name says otherwise.
    let seen = seen(&pool, Some(rival.id), &tables).await;
    for (table, tenants) in &seen {
        assert!(tenants.is_empty() || *tenants == [acme.id], "{table} shows {tenants:?} to the role of {}", acme.id);
    }
    let readable: Vec<&str> = seen.iter().map(|(table, _)| table.as_str()).collect();
    for private in ["accounts", "conversations", "messages", "usage", "chatbots"] {
        assert!(!readable.contains(&private), "an ingestion role may read {private}");
    }
    assert!(seen.contains(&("documents".to_owned(), vec![acme.id])));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn rows_cannot_be_written_across_the_border(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = two_tenants(&world).await;
    for pool in [world.api.clone(), world.ingest(acme.id).await] {
        let mut tx = TenantTx::begin(&pool, acme.id).await.unwrap();
        let insert =
            sqlx::query("insert into generation_terms (tenant_id, generation_id, term, chunks) values ($1, $2, 7, 7)")
                .bind(rival.id.0)
                .bind(rival.generation.id.0)
                .execute(&mut *tx)
                .await;
        assert!(insert.unwrap_err().to_string().contains("row-level security"));

        let mut tx = TenantTx::begin(&pool, acme.id).await.unwrap();
        let updated = sqlx::query("update documents set title = 'taken over' where tenant_id = $1")
            .bind(rival.id.0)
            .execute(&mut *tx)
            .await;
        assert_eq!(updated.unwrap().rows_affected(), 0);
    }
}

/// A run of a web site or a repository puts and removes documents itself.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_ingestion_role_fetches_for_its_own_tenant_alone(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = two_tenants(&world).await;
    let quota = "update tenants set spec = spec || '{\"quota\": {\"maxDocuments\": 3}}' where tenant_id = $1";
    sqlx::query(quota).bind(acme.id.0).execute(&world.owner).await.unwrap();
    let pool = world.ingest(acme.id).await;
    let mut tx = TenantTx::begin(&pool, acme.id).await.unwrap();
    let run = runs::enqueue(&mut tx, acme.source, "schedule:test").await.unwrap();
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    let new = |bytes: &'static [u8]| NewDocument { path: "example.com/a", url: None, bytes };
    let put = documents::put_fetched(&mut tx, acme.source, &new(b"one"), Some("text/html")).await.unwrap();
    let again = documents::put_fetched(&mut tx, acme.source, &new(b"two"), Some("text/html")).await.unwrap();
    assert_eq!(put.id(), again.id());
    let page = fetches::NewPage {
        address: "example.com/a",
        document: Some(put.id()),
        etag: None,
        last_modified: None,
        links: &[],
    };
    fetches::put_page(&mut tx, acme.source, run, &page).await.unwrap();
    fetches::set_state(&mut tx, acme.source, Some("state")).await.unwrap();
    let failure = documents::Failure { code: "too_slow", detail: "it did not answer in time" };
    let failed =
        documents::fail_unfetched(&mut tx, acme.source, "example.com/b", None, failure).await.unwrap().unwrap();
    assert_eq!(documents::delete_others(&mut tx, acme.source, &[put.id(), failed]).await.unwrap(), 1);
    runs::note(&mut tx, lease, Some("a note")).await.unwrap();
    runs::heartbeat(&mut tx, lease).await.unwrap();
    tx.commit().await.unwrap();
    let kept: i64 =
        sqlx::query_scalar("select count(*) from originals where tenant_id = $1 and sha256 <> sha256('two')")
            .bind(acme.id.0)
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!(kept, 0, "what nobody needs any more is gone");

    // Named by its id, another tenant's source is not there; named as its own, neither.
    for tenant in [acme.id, rival.id] {
        let mut tx = TenantTx::begin(&pool, tenant).await.unwrap();
        assert!(documents::put_fetched(&mut tx, rival.source, &new(b"three"), None).await.is_err());
        let mut tx = TenantTx::begin(&pool, tenant).await.unwrap();
        assert!(runs::enqueue(&mut tx, rival.source, "schedule:test").await.is_err());
        let mut tx = TenantTx::begin(&pool, tenant).await.unwrap();
        fetches::set_state(&mut tx, rival.source, Some("state")).await.unwrap();
        assert_eq!(documents::delete_others(&mut tx, rival.source, &[]).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }
    let mut tx = world.begin(rival.id).await;
    assert_eq!(fetches::state(&mut tx, rival.source).await.unwrap(), None);
    assert_eq!(documents::count(&mut tx, Some(&[rival.source])).await.unwrap().indexed, 1);
    // A spec is not its own to change.
    let mut tx = TenantTx::begin(&pool, acme.id).await.unwrap();
    let changed = sqlx::query("update knowledge_sources set spec = '{}'").execute(&mut *tx).await.unwrap_err();
    assert!(changed.to_string().contains("permission denied"), "{changed}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn functions_with_wider_rights_cannot_be_called_into_another_tenant(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = two_tenants(&world).await;
    let vector = format!("[{}]", ["0.3"; DIMENSIONS].join(","));
    let search = "select count(*) from search_chunks($1, $2, $3::text::halfvec, '{}', 100, 10, 1)";
    for (own, other) in [(&acme, &rival), (&rival, &acme)] {
        for (wanted, expected) in [
            (vec![own.generation.id.0], 2),
            (vec![other.generation.id.0], 0),
            (vec![own.generation.id.0, other.generation.id.0], 2),
        ] {
            let asked = sqlx::query_scalar(search).bind(own.id.0).bind(&wanted).bind(&vector);
            let found: i64 = asked.fetch_one(&world.api).await.unwrap();
            assert_eq!(found, expected, "generations {wanted:?} as {}", own.id);
        }
        // A transaction that is bound to one tenant cannot be led to another.
        let mut tx = world.begin(own.id).await;
        let asked = sqlx::query(search).bind(other.id.0).bind(vec![other.generation.id.0]).bind(&vector);
        assert!(asked.fetch_one(&mut *tx).await.unwrap_err().to_string().contains("another tenant"));
        let mut tx = world.begin(own.id).await;
        let manual = ChatbotRef::Name("manual".into());
        assert!(chatbots::find(&mut *tx, other.id, &manual).await.is_err());
        let mut tx = world.begin(own.id).await;
        assert!(generations::drop(&mut tx, other.generation.id).await.is_err());
        let mut tx = world.begin(own.id).await;
        assert!(generations::give_own_table(&mut tx, other.generation.id, DIMENSIONS).await.is_err());
    }
    // Counts of another tenant are counts of nothing.
    let period = stats::Period { from: Utc::now().date_naive() - chrono::Days::new(7), to: Utc::now().date_naive() };
    let mut tx = world.begin(acme.id).await;
    assert_eq!(stats::usage(&mut tx, period, None).await.unwrap()[0].counts.chats, 1);
    let counted = "select count(*) from usage_by_day($1, $2, $3, null)";
    let counted = sqlx::query_scalar(counted).bind(rival.id.0).bind(period.from).bind(period.to);
    let counted: i64 = counted.fetch_one(&mut *tx).await.unwrap();
    assert_eq!(counted, 0);
    // What a statement was bound to is gone with it.
    let mut nobody = world.api.acquire().await.unwrap();
    chatbots::find(&mut *nobody, acme.id, &ChatbotRef::Name("manual".into())).await.unwrap();
    let visible: i64 = sqlx::query_scalar("select count(*) from chatbots").fetch_one(&mut *nobody).await.unwrap();
    assert_eq!(visible, 0);
    // Whose runs are due, and when, is nobody's business but the owner's.
    assert!(sqlx::query("select * from sources_scheduled()").execute(&world.api).await.is_err());
    assert!(sqlx::query("select * from runs_due()").execute(&mut *nobody).await.is_err());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_same_name_and_content_in_two_tenants_stay_two(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = (world.tenant("acme").await, world.tenant("rival").await);
    for tenant in [&acme, &rival] {
        let mut tx = world.begin(tenant.id).await;
        documents::put(&mut tx, tenant.source, &NewDocument { path: "same.md", url: None, bytes: b"same" })
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = world.begin(acme.id).await;
    let document =
        documents::list(&mut tx, &[acme.source], &documents::Filter::default(), None, 10).await.unwrap().remove(0);
    documents::delete(&mut tx, document.id).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.begin(rival.id).await;
    let kept = documents::list(&mut tx, &[rival.source], &documents::Filter::default(), None, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    let work = documents::work(&mut tx, rival.source, rival.generation.id).await.unwrap();
    assert_eq!(documents::original(&mut tx, &work[0].content_sha256).await.unwrap(), b"same");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_account_is_known_to_itself_and_its_tenants(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, _) = two_tenants(&world).await;
    let known = async |setting: &str| -> i64 {
        let mut tx = world.api.begin_with(AssertSqlSafe(format!("begin; {setting}"))).await.unwrap();
        sqlx::query_scalar("select count(*) from accounts").fetch_one(&mut *tx).await.unwrap()
    };
    assert_eq!(known("select 1").await, 0, "nobody knows anybody");
    assert_eq!(known(&format!("set local docbrain.tenant = '{}'", acme.id)).await, 1, "a tenant knows its members");
    let email = format!("admin@{}.example", acme.id);
    let account = accounts::by_email(&world.api, &email).await.unwrap().unwrap().id;
    assert_eq!(known(&format!("set local docbrain.account = '{account}'")).await, 1);
    assert_eq!(known(&format!("set local docbrain.account = '{}'", AccountId::new())).await, 0);
    let standing = accounts::standing(&world.api, account, SessionId::new()).await.unwrap();
    assert_eq!(standing, None, "without a session an account stands for nothing");
    let superuser = sqlx::query("update accounts set superuser = true").execute(&world.api).await.unwrap_err();
    assert!(superuser.to_string().contains("permission denied"), "{superuser}");
}
