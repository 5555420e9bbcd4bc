//! Runs of the real program: complete, incremental, and killed at any moment.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use docbrain_core::store::documents;
use docbrain_core::store::runs::{self, RunState};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::{Random, Tenant, World};

const MARKDOWN: &str = "{strategy: Markdown, size: 64, overlap: 0}";

/// Forty documents of a few chunks, and three that cannot be read.
async fn fill(world: &World, tenant: &Tenant) {
    for number in 0..40 {
        let mut text = format!("# Chapter {number}\n\n");
        for section in 0..4 {
            write!(
                text,
                "## Section {section} of {number}\n\nThe valve number {number} is opened by turning handle {section} to the left. \
                 After {section} minutes the pressure falls, and the lamp of chamber {number} goes out.\n\n"
            )
            .unwrap();
        }
        world.put(tenant, &format!("chapters/{number:02}.md"), text.as_bytes()).await;
    }
    world.put(tenant, "empty.md", b"").await;
    world.put(tenant, "broken.docx", b"PK\x03\x04 this is no archive").await;
    world.put(tenant, "mystery.bin", &[0, 159, 146, 150, 0, 0, 1, 2, 3]).await;
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_run_indexes_what_it_can_and_says_why_the_rest_failed(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    let row = world.finish(&tenant, run).await;
    assert_eq!(row.state, RunState::Succeeded);
    assert_eq!((row.documents_total, row.documents_indexed, row.documents_failed), (43, 40, 3));
    assert!(row.chunks >= 80 && row.bytes > 10_000, "{row:?}");
    let mut tx = world.begin(tenant.id).await;
    let failures = runs::failures(&mut tx, run, 10).await.unwrap();
    let paths: Vec<&str> = failures.iter().map(|failure| failure.path.as_str()).collect();
    assert_eq!(paths, ["broken.docx", "empty.md", "mystery.bin"]);
    assert!(failures.iter().all(|failure| failure.reason.len() > 15), "{failures:?}");
    let counts = documents::count(&mut tx, Some(&[tenant.source])).await.unwrap();
    assert_eq!((counts.pending, counts.indexed, counts.failed), (0, 40, 3));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_quota_of_chunks_holds_and_what_it_leaves_out_says_so(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let set_quota = async |chunks: i32| {
        sqlx::query(
            "update tenants set spec = spec || jsonb_build_object('quota', jsonb_build_object('maxChunks', $1))",
        )
        .bind(chunks)
        .execute(&world.owner)
        .await
        .unwrap();
    };
    set_quota(30).await;
    let run = world.enqueue(&tenant, "first").await;
    let row = world.finish(&tenant, run).await;
    assert_eq!(row.state, RunState::Succeeded);
    let mut tx = world.begin(tenant.id).await;
    let counts = documents::count(&mut tx, Some(&[tenant.source])).await.unwrap();
    assert!((27..=30).contains(&counts.chunks), "{counts:?}");
    let failures = runs::failures(&mut tx, run, 50).await.unwrap();
    let over = failures.iter().filter(|failure| failure.reason.contains("quota of 30 chunks")).count();
    assert_eq!(over, 40 - counts.indexed as usize, "{failures:?}");
    drop(tx);

    // A new index beside the old one is no reason to have less.
    world.apply_source("acme", "{strategy: Standard, size: 64, overlap: 0}").await;
    set_quota(30).await;
    let run = world.enqueue(&tenant, "other chunks").await;
    let row = world.finish(&tenant, run).await;
    assert!(row.documents_indexed >= 6 && row.chunks <= 30, "{row:?}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn only_what_changed_is_embedded_again(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    world.finish(&tenant, run).await;
    let before = world.index(&tenant).await;

    fill(&world, &tenant).await;
    world.texts_embedded.store(0, Ordering::SeqCst);
    let run = world.enqueue(&tenant, "the same again").await;
    let row = world.finish(&tenant, run).await;
    assert_eq!((row.documents_indexed, row.documents_unchanged), (0, 40));
    assert_eq!(world.texts_embedded.load(Ordering::SeqCst), 1, "only the question for the model's dimensions");
    assert_eq!(world.index(&tenant).await, before);

    world.put(&tenant, "chapters/07.md", b"# Chapter 7\n\nThere is no valve any more.\n").await;
    let run = world.enqueue(&tenant, "one changed").await;
    let row = world.finish(&tenant, run).await;
    assert_eq!((row.documents_indexed, row.chunks), (1, 1));
    let after = world.index(&tenant).await;
    assert_eq!(after.iter().filter(|row| row.starts_with("chunk chapters/07.md")).count(), 1);
    let others = |rows: &[String]| {
        rows.iter().filter(|row| row.starts_with("chunk") && !row.contains("07.md")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn every_strategy_indexes_and_a_change_of_it_switches_generations(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    world.finish(&tenant, run).await;
    for strategy in ["Standard", "Semantic", "Window"] {
        world.apply_source("acme", &format!("{{strategy: {strategy}, size: 64, overlap: 16}}")).await;
        let run = world.enqueue(&tenant, strategy).await;
        let row = world.finish(&tenant, run).await;
        assert_eq!((row.state, row.documents_indexed), (RunState::Succeeded, 40), "{strategy}");
        let states: Vec<String> =
            sqlx::query_scalar("select state from generations where tenant_id = $1 order by state")
                .bind(tenant.id.0)
                .fetch_all(&world.owner)
                .await
                .unwrap();
        assert_eq!(states, ["active", "retired"], "the old one stays for a rollback");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_model_server_that_is_gone_fails_the_run_and_no_document(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    let elsewhere = World::new(world.owner.clone()).await.without_embeddings().await;
    elsewhere.start(&tenant, run).wait().await.unwrap();
    let mut tx = world.begin(tenant.id).await;
    let counts = documents::count(&mut tx, Some(&[tenant.source])).await.unwrap();
    assert_eq!(counts.pending, 43);
    drop(tx);
    assert_eq!(world.finish(&tenant, run).await.documents_indexed, 40);
}

/// What an undisturbed run of the same documents leaves behind.
async fn undisturbed(world: &World) -> Vec<String> {
    let tenant = world.tenant("calm", MARKDOWN).await;
    fill(world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    world.finish(&tenant, run).await;
    world.index(&tenant).await
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn killed_at_each_table_it_writes_the_next_process_completes_the_run(owner: PgPool) {
    let world = World::new(owner).await;
    let expected = undisturbed(&world).await;
    for table in
        ["runs", "generations", "documents", "run_documents", "chunks", "indexed_documents", "generation_terms"]
    {
        let tenant = world.tenant(&table.replace('_', "-"), MARKDOWN).await;
        fill(&world, &tenant).await;
        let run = world.enqueue(&tenant, "first").await;
        // The process stops exactly where it first writes this table, and dies there.
        let mut lock = world.owner.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(format!("lock table {table} in exclusive mode"))).execute(&mut *lock).await.unwrap();
        let mut process = world.start(&tenant, run);
        wait_for_lock(&world, table).await;
        process.kill().await.unwrap();
        lock.rollback().await.unwrap();

        let row = world.finish(&tenant, run).await;
        assert_eq!(row.state, RunState::Succeeded, "after a death at {table}");
        assert_eq!(world.index(&tenant).await, expected, "after a death at {table}");
    }
}

async fn wait_for_lock(world: &World, table: &str) {
    for _ in 0..1_500 {
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from pg_locks where not granted and relation = $1::regclass and database = (select oid from pg_database where datname = current_database())")
                .bind(table)
                .fetch_one(&world.owner)
                .await
                .unwrap();
        if waiting > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the process never wrote {table}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn killed_fifty_times_at_random_it_leaves_what_an_undisturbed_run_leaves(owner: PgPool) {
    let world = World::new(owner).await;
    let expected = undisturbed(&world).await;
    let mut random = Random(20_261_123);
    let mut kills = 0;
    let mut round = 0;
    while kills < 50 {
        round += 1;
        let tenant = world.tenant(&format!("storm-{round}"), MARKDOWN).await;
        fill(&world, &tenant).await;
        let run = world.enqueue(&tenant, "first").await;
        // A few deaths a run: a document that is in flight each time would rightly be blamed.
        kills += world.kill_at_random(&tenant, run, &mut random, (4, 60, 900)).await;
        let row = world.finish(&tenant, run).await;
        assert_eq!(row.state, RunState::Succeeded, "round {round}");
        assert_eq!(world.index(&tenant).await, expected, "round {round}");
        assert_eq!((row.documents_indexed, row.documents_failed), (40, 3), "round {round}");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_lease_of_a_dead_process_is_awaited_and_that_of_a_living_one_is_not_taken(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    let mut first = world.start(&tenant, run);
    while world.run(&tenant, run).await.state == RunState::Queued {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill().await.unwrap();
    // As the next pod of a Job does: at once, and nobody ends the lease.
    assert!(world.start(&tenant, run).wait().await.unwrap().success());
    let row = world.run(&tenant, run).await;
    assert_eq!((row.state, row.documents_indexed, row.documents_failed), (RunState::Succeeded, 40, 3));

    let run = world.enqueue(&tenant, "second").await;
    let mut tx = world.begin(tenant.id).await;
    let (lease, _) = runs::acquire(&mut tx, run).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let mut second = world.start(&tenant, run);
    let ended = loop {
        let mut tx = world.begin(tenant.id).await;
        runs::heartbeat(&mut tx, lease).await.unwrap();
        tx.commit().await.unwrap();
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(2), second.wait()).await {
            break ended.unwrap();
        }
    };
    assert!(ended.success(), "somebody else's run is no failure of this process");
    assert_eq!(world.run(&tenant, run).await.state, RunState::Running);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn told_to_stop_it_lets_the_next_process_go_on_at_once(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme", MARKDOWN).await;
    fill(&world, &tenant).await;
    let run = world.enqueue(&tenant, "first").await;
    let mut first = world.start(&tenant, run);
    while world.run(&tenant, run).await.documents_indexed == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = Instant::now();
    let id = Pid::from_raw(i32::try_from(first.id().unwrap()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(!first.wait().await.unwrap().success(), "a Job counts it as a pod that has to be replaced");
    assert!(told.elapsed() < Duration::from_secs(5), "it took {:?} to stop", told.elapsed());
    let row = world.run(&tenant, run).await;
    assert!(row.state == RunState::Running && row.documents_indexed < 40, "{row:?}");
    let mut tx = world.begin(tenant.id).await;
    assert!(runs::acquire(&mut tx, run).await.unwrap().is_some(), "its lease still holds");
    drop(tx);
    world.start(&tenant, run).wait().await.unwrap();
    let row = world.run(&tenant, run).await;
    assert_eq!((row.state, row.documents_indexed, row.documents_failed), (RunState::Succeeded, 40, 3));
}
