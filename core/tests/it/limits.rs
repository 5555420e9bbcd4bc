//! Limits of several processes over one database.

use std::time::Duration;

use chrono::{Timelike, Utc};
use docbrain_core::ids::{ChatbotId, TenantId};
use docbrain_core::limits::{Allowance, Amount, LimitError, LimitOf, Limits, Period, Rate, Unit};
use docbrain_crds::Budget;
use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::oneshot;

use crate::harness::World;

/// Waits until the minute has `seconds` left, so that what follows falls into one.
async fn in_one_minute(seconds: u32) {
    while Utc::now().second() + seconds >= 60 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn two_processes(world: &World) -> [Limits; 2] {
    [Limits::new(world.api.clone()), Limits::new(world.another_api().await)]
}

/// How many of so many requests at once are let through.
async fn let_through(limits: &Limits, tenant: TenantId, rates: &[Rate], requests: usize) -> usize {
    let asked = join_all((0..requests).map(|_| limits.admit(tenant, rates, &[]))).await;
    asked
        .into_iter()
        .filter(|asked| match asked {
            Ok(()) => true,
            Err(LimitError::TooMany { retry_after, .. }) => {
                assert!((1..=60).contains(&retry_after.as_secs()));
                false
            }
            Err(other) => panic!("{other}"),
        })
        .count()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn two_processes_keep_a_limit_together(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = (world.tenant("acme").await.id, world.tenant("rival").await.id);
    let [one, two] = two_processes(&world).await;
    let [acmes, rivals] = [acme, rival].map(|tenant| [Rate::new(LimitOf::Tenant, &tenant, 100)]);
    in_one_minute(20).await;
    let (first, second) = tokio::join!(let_through(&one, acme, &acmes, 150), let_through(&two, acme, &acmes, 150));
    assert!((95..=100).contains(&(first + second)), "{first} + {second}");
    // In turns, with nothing at the same time: whoever asks first at once may well get it all, but not here.
    let (mut first, mut second, rates) = (0, 0, [Rate::new(LimitOf::Chatbot, &"in turns", 100)]);
    for _ in 0..60 {
        first += let_through(&one, acme, &rates, 1).await;
        second += let_through(&two, acme, &rates, 1).await;
    }
    assert!((95..=100).contains(&(first + second)), "{first} + {second}");
    assert!(first > 10 && second > 10, "both had their share: {first} + {second}");
    // Another tenant's requests count for themselves.
    assert_eq!(let_through(&one, rival, &rivals, 40).await, 40);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn who_uses_one_process_alone_gets_what_it_may(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let [one, two] = two_processes(&world).await;
    in_one_minute(10).await;
    let rates = [Rate::new(LimitOf::Visitor, &"v", 20), Rate::new(LimitOf::Address, &"a", 60)];
    assert_eq!(let_through(&one, acme, &rates, 50).await, 20);
    assert_eq!(let_through(&two, acme, &rates, 5).await, 0, "a visitor finds no second limit in another process");
    let neighbour = [Rate::new(LimitOf::Visitor, &"w", 20), rates[1]];
    assert_eq!(let_through(&two, acme, &neighbour, 50).await, 20);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn permits_are_used_without_a_round_trip(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let limits = Limits::new(world.api.clone());
    in_one_minute(10).await;
    let rates = [Rate::new(LimitOf::Tenant, &acme, 32_000)];
    assert_eq!(let_through(&limits, acme, &rates, 1).await, 1);
    world.api.close().await;
    assert_eq!(let_through(&limits, acme, &rates, 999).await, 999);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_flood_of_refused_requests_costs_the_database_nothing(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let limits = Limits::new(world.api.clone());
    in_one_minute(10).await;
    let rates = [Rate::new(LimitOf::Visitor, &"v", 3)];
    assert_eq!(let_through(&limits, acme, &rates, 10).await, 3);
    world.api.close().await;
    assert_eq!(let_through(&limits, acme, &rates, 10_000).await, 0);
    let other = limits.admit(acme, &[Rate::new(LimitOf::Visitor, &"w", 3)], &[]).await.unwrap_err();
    assert!(matches!(other, LimitError::Store(error) if error.is_unavailable()));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn earlier_minutes_are_forgotten_and_no_address_is_kept(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    sqlx::query("insert into permits select $1, 1, '\\x00112233445566778899aabbccddeeff', 1, 1")
        .bind(acme.0)
        .execute(&world.owner)
        .await
        .unwrap();
    let rates = [Rate::new(LimitOf::Address, &"203.0.113.9/32", 60)];
    Limits::new(world.api.clone()).admit(acme, &rates, &[]).await.unwrap();
    let rows: Vec<(i64, String)> =
        sqlx::query_as("select minute, p::text from permits p").fetch_all(&world.owner).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].0 > 1 && !rows[0].1.contains("203.0"), "{rows:?}");
}

fn tokens(tokens: u64) -> Amount {
    Amount { tokens, cost_micros: 0 }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_is_used_up_is_known_everywhere_within_two_seconds(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let chatbot = ChatbotId::new();
    let [one, two] = two_processes(&world).await;
    let budget = Budget { tokens_per_day: Some(1_000), cents_per_month: Some(5), ..Budget::default() };
    let allowances = [Allowance::of_chatbot(chatbot, budget.clone()), Allowance::of_tenant(acme, budget)];
    let (end, ended) = oneshot::channel::<()>();
    let (end_too, ended_too) = oneshot::channel::<()>();
    let work = async {
        for limits in [&one, &two] {
            limits.admit(acme, &[], &allowances).await.unwrap();
        }
        one.record(acme, chatbot, tokens(600));
        two.record(acme, chatbot, tokens(399));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for limits in [&one, &two] {
            limits.admit(acme, &[], &allowances).await.unwrap();
        }
        // Somebody asks all the time: what is known is refreshed by the reports.
        one.record(acme, chatbot, tokens(1));
        let reached = async {
            while two.admit(acme, &[], &allowances).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), reached).await.unwrap();
        for limits in [&one, &two] {
            let refusal = limits.admit(acme, &[], &allowances).await.unwrap_err();
            let LimitError::UsedUp { of, unit, period, retry_after } = refusal else { panic!("{refusal}") };
            assert_eq!((of, unit, period), (LimitOf::Chatbot, Unit::Tokens, Period::Day));
            assert!(retry_after <= Duration::from_hours(24));
        }
        drop((end, end_too));
    };
    tokio::join!(work, one.report_until(ended), two.report_until(ended_too));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_was_used_up_survives_the_process_that_ends(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let chatbot = ChatbotId::new();
    let [one, two] = two_processes(&world).await;
    one.record(acme, chatbot, Amount { tokens: 10, cost_micros: 50_000 });
    one.report_until(std::future::ready(())).await;
    let budget = Budget { cents_per_month: Some(5), ..Budget::default() };
    for allowance in [Allowance::of_chatbot(chatbot, budget.clone()), Allowance::of_tenant(acme, budget.clone())] {
        let refusal = two.admit(acme, &[], &[allowance]).await.unwrap_err();
        assert!(matches!(refusal, LimitError::UsedUp { unit: Unit::Money, period: Period::Month, .. }), "{refusal}");
    }
    let other = Allowance::of_chatbot(ChatbotId::new(), budget);
    two.admit(acme, &[], &[other]).await.unwrap();
}
