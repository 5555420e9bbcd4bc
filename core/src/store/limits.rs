//! What all processes have handed out and used up together ([`crate::limits`]).

use chrono::NaiveDate;
use uuid::Uuid;

use super::{Error, Pool};
use crate::ids::{ChatbotId, TenantId};
use crate::limits::Amount;

/// What a process asks for under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is limited, hashed.
    pub key: [u8; 16],
    /// Permits of a minute.
    pub limit: u32,
    /// Permits wanted.
    pub wanted: u32,
}

/// What a process was given under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is limited, hashed.
    pub key: [u8; 16],
    /// Permits given to this process now.
    pub granted: u32,
    /// Permits given to all processes in this minute.
    pub leased: u32,
}

/// Asks for permits of `minute` (since 1970) under several keys, in one round trip; `tidy` forgets earlier minutes.
pub async fn lease(
    pool: &Pool,
    tenant: TenantId,
    minute: i64,
    wishes: &[Wish],
    tidy: bool,
) -> Result<Vec<Lease>, Error> {
    let keys: Vec<Vec<u8>> = wishes.iter().map(|wish| wish.key.to_vec()).collect();
    let limits: Vec<i32> = wishes.iter().map(|wish| integer(wish.limit)).collect();
    let wanted: Vec<i32> = wishes.iter().map(|wish| integer(wish.wanted)).collect();
    let rows = sqlx::query!(
        r#"select key as "key!", granted as "granted!", leased as "leased!" from lease_permits($1, $2, $3, $4, $5, $6)"#,
        tenant.0,
        minute,
        &keys,
        &limits,
        &wanted,
        tidy,
    )
    .fetch_all(pool)
    .await?;
    let count = |count: i32| u32::try_from(count).unwrap_or(0);
    Ok(rows
        .into_iter()
        .map(|row| Lease {
            key: row.key.try_into().expect("the table holds keys of 16 bytes"),
            granted: count(row.granted),
            leased: count(row.leased),
        })
        .collect())
}

/// What a chatbot has used up on a day of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// The day.
    pub day: NaiveDate,
    /// How much.
    pub amount: Amount,
}

/// What a subject has used up in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// A chatbot's id, or the tenant's.
    pub subject: Uuid,
    /// On the day that was asked for.
    pub day: Amount,
    /// From the first of its month to that day.
    pub month: Amount,
}

/// Adds what chatbots have used up, to them and to their tenant, and reads the totals of some subjects for `today`; in
/// one round trip.
pub async fn spend(
    pool: &Pool,
    tenant: TenantId,
    used: &[Used],
    subjects: &[Uuid],
    today: NaiveDate,
) -> Result<Vec<Total>, Error> {
    let chatbots: Vec<Uuid> = used.iter().map(|used| used.chatbot.0).collect();
    let days: Vec<NaiveDate> = used.iter().map(|used| used.day).collect();
    let tokens: Vec<i64> = used.iter().map(|used| long(used.amount.tokens)).collect();
    let micros: Vec<i64> = used.iter().map(|used| long(used.amount.cost_micros)).collect();
    let rows = sqlx::query!(
        r#"select subject as "subject!", day_tokens as "day_tokens!", day_micros as "day_micros!",
                month_tokens as "month_tokens!", month_micros as "month_micros!"
         from spend($1, $2, $3, $4, $5, $6, $7)"#,
        tenant.0,
        &chatbots,
        &days,
        &tokens,
        &micros,
        subjects,
        today,
    )
    .fetch_all(pool)
    .await?;
    let amount = |tokens: i64, micros: i64| Amount {
        tokens: u64::try_from(tokens).unwrap_or(0),
        cost_micros: u64::try_from(micros).unwrap_or(0),
    };
    Ok(rows
        .into_iter()
        .map(|row| Total {
            subject: row.subject,
            day: amount(row.day_tokens, row.day_micros),
            month: amount(row.month_tokens, row.month_micros),
        })
        .collect())
}

fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
