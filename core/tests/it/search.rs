//! Search: both arms, the fusion, and the same results from the shared table and a generation's own.

use docbrain_core::lexical::{self, Language};
use docbrain_core::store::search::{Query, passages};
use docbrain_core::store::{documents, generations};
use sqlx::PgPool;

use crate::harness::{DIMENSIONS, Tenant, World, embedding};

const TEXTS: [&str; 4] = [
    "expire sets a timeout on a key",
    "persist removes the timeout of a key",
    "zzz zzz zzz zzz",
    "lists keep their elements in the order of insertion",
];

async fn search(
    world: &World,
    tenant: &Tenant,
    question: &str,
    dense: bool,
    text: bool,
) -> Vec<(String, f32, f32, f32)> {
    let vector = embedding(question);
    let terms = if text { lexical::question_terms(question, &[Language::English]) } else { vec![] };
    let query = Query {
        generations: &[tenant.generation.id],
        embedding: dense.then_some(vector.as_slice()),
        terms: &terms,
        candidates: 100,
        results: 10,
        dense_weight: match (dense, text) {
            (true, true) => 0.5,
            (true, false) => 1.0,
            _ => 0.0,
        },
    };
    let found = passages(&world.api, tenant.id, &query).await.unwrap();
    found.into_iter().map(|p| (p.text, p.dense_score, p.lexical_score, p.score)).collect()
}

async fn indexed(world: &World) -> Tenant {
    let tenant = world.tenant("acme").await;
    for (number, text) in TEXTS.iter().enumerate() {
        world.document(&tenant, &format!("{number}.md"), &[text]).await;
    }
    let mut tx = world.begin(tenant.id).await;
    generations::refresh_statistics(&mut tx, tenant.generation.id).await.unwrap();
    tx.commit().await.unwrap();
    tenant
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn words_are_found_by_the_text_arm_and_scored_as_bm25(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = indexed(&world).await;
    let found = search(&world, &tenant, "how does a key expire?", false, true).await;
    let texts: Vec<&str> = found.iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!(texts, [TEXTS[0], TEXTS[1]]);
    // Lucene's BM25 by hand: `key` in two of four chunks, `expir` in one, each once in its chunk.
    let weight = |length: f32| 1.0 / (1.0 + 0.9 * (1.0 - 0.4 + 0.4 * length / 110.0));
    let idf = |n: f32| (1.0 + (4.0 - n + 0.5) / (n + 0.5)).ln();
    let length = lexical::terms(TEXTS[0], Language::English)
        .into_values()
        .map(|n| f32::from(u16::try_from(n).unwrap()))
        .sum::<f32>();
    let expected = weight(length) * (idf(2.0) + idf(1.0));
    assert!((found[0].2 - expected).abs() < 1e-3, "{} is not {expected}", found[0].2);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn both_arms_agree_between_the_shared_and_an_own_table(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = indexed(&world).await;
    let questions = ["timeout of a key", "order of elements", "zzz"];
    let mut before = Vec::new();
    for question in questions {
        for (dense, text) in [(true, true), (true, false), (false, true)] {
            before.push(search(&world, &tenant, question, dense, text).await);
        }
    }
    let mut tx = world.begin(tenant.id).await;
    generations::give_own_table(&mut tx, tenant.generation.id, DIMENSIONS).await.unwrap();
    tx.commit().await.unwrap();
    let mut after = Vec::new();
    for question in questions {
        for (dense, text) in [(true, true), (true, false), (false, true)] {
            after.push(search(&world, &tenant, question, dense, text).await);
        }
    }
    assert!(before.iter().all(|found| !found.is_empty()));
    assert_eq!(before, after);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn hybrid_search_ranks_what_both_arms_like_first(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = indexed(&world).await;
    let found = search(&world, &tenant, "a timeout on a key", true, true).await;
    assert_eq!(found[0].0, TEXTS[0]);
    assert!((found[0].3 - 1.0).abs() < 1e-6, "best in both arms scores one: {found:?}");
    assert!(found.windows(2).all(|pair| pair[0].3 >= pair[1].3));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn deleted_documents_are_not_found(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = indexed(&world).await;
    let mut tx = world.begin(tenant.id).await;
    let first =
        documents::list(&mut tx, &[tenant.source], &documents::Filter::default(), None, 1).await.unwrap().remove(0);
    documents::delete(&mut tx, first.id).await.unwrap();
    tx.commit().await.unwrap();
    let found = search(&world, &tenant, "expire timeout", true, true).await;
    assert!(found.iter().all(|(text, ..)| text != TEXTS[0]), "{found:?}");
    let mut tx = world.begin(tenant.id).await;
    assert_eq!(generations::get(&mut tx, tenant.generation.id).await.unwrap().chunks, 3);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn nothing_indexed_is_no_error(owner: PgPool) {
    let world = World::new(owner).await;
    let tenant = world.tenant("acme").await;
    assert_eq!(search(&world, &tenant, "anything", true, true).await, []);
}
