//! How often may be asked, and how much may be used up, counted for all processes together.
//!
//! **Rates** are permits of a calendar minute. A process leases them in batches, a thirty-second of what remains and at
//! least one, and uses them without a round trip; so the sum over all processes never exceeds a limit, and a process
//! leaves at most a thirty-second of it unused; permits of a limit below 64 are leased one by one. A request asks for all the batches it needs in one statement. A key that
//! has run dry is remembered until the minute ends: a flood of refused requests costs the database nothing. Of two
//! processes whose clocks differ each counts its own minute.
//!
//! **Budgets** are tokens and money of a day and a month of UTC. What an answer used up is told to the database in the
//! background, twice a second, by the statement that also reads the totals of all processes. So a total is known
//! everywhere within two seconds, and a budget may be overrun by what is answered in these two seconds and by the answers
//! that are under way when it is reached: a question is refused, a started answer is finished. A process that is killed
//! forgets what it used up in its last half second.
//!
//! When the database is away, so is everything that a permit is needed for: nothing is guessed.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use docbrain_crds::Budget;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use uuid::Uuid;

use crate::ids::{ChatbotId, TenantId};
use crate::store::limits::Wish;
use crate::store::{self, Pool};

mod permits;
mod spending;

use permits::{Permits, Taken};
use spending::{Judged, Spending};

pub use spending::Amount;

/// How often what was used up is told and asked.
const REPORT_PERIOD: Duration = Duration::from_millis(500);

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitOf {
    /// One visitor of a chatbot.
    Visitor,
    /// All visitors behind one network address.
    Address,
    /// A chatbot.
    Chatbot,
    /// A tenant.
    Tenant,
    /// A tenant's uploads.
    Uploads,
}

/// What is counted under one name: a hash, from which no address and no visitor can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

/// At most `limit` in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What is limited.
    pub of: LimitOf,
    /// Most in a minute.
    pub limit: u32,
    key: Key,
}

impl Rate {
    /// At most `limit` in a minute of `name`, which is unique among those of its kind.
    pub fn new(of: LimitOf, name: &impl fmt::Display, limit: u32) -> Self {
        let digest = Sha256::digest(format!("{of:?}/{name}"));
        Self { of, limit, key: Key(digest[..16].try_into().expect("a digest has 32 bytes")) }
    }
}

/// What a tenant or a chatbot may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What is limited.
    pub of: LimitOf,
    subject: Uuid,
    budget: Budget,
}

impl Allowance {
    /// What a tenant may use up.
    pub fn of_tenant(tenant: TenantId, budget: Budget) -> Self {
        Self { of: LimitOf::Tenant, subject: tenant.0, budget }
    }

    /// What a chatbot may use up.
    pub fn of_chatbot(chatbot: ChatbotId, budget: Budget) -> Self {
        Self { of: LimitOf::Chatbot, subject: chatbot.0, budget }
    }
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tokens of prompts and answers.
    Tokens,
    /// Money, by the configured prices.
    Money,
}

/// How long a budget lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
}

/// Why a request may not go on.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// As many as are allowed were made in this minute.
    #[error("the limit of {limit} a minute is reached")]
    TooMany {
        /// What is limited.
        of: LimitOf,
        /// Most in a minute.
        limit: u32,
        /// Until the minute ends.
        retry_after: Duration,
    },
    /// A budget is used up.
    #[error("the budget is used up")]
    UsedUp {
        /// Whose budget.
        of: LimitOf,
        /// What it counts.
        unit: Unit,
        /// How long it lasts.
        period: Period,
        /// Until the period ends.
        retry_after: Duration,
    },
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The limits as this process knows them; cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    pool: Pool,
    permits: Mutex<Permits>,
    spending: Mutex<Spending>,
    /// Held by those who lease, by key: whoever waits finds what the one before has leased.
    leasing: [AsyncMutex<()>; LEASERS],
}

const LEASERS: usize = 64;

impl Limits {
    /// Limits over a pool that logs in as the API's role.
    pub fn new(pool: Pool) -> Self {
        Self(Arc::new(Shared {
            pool,
            permits: Mutex::default(),
            spending: Mutex::default(),
            leasing: std::array::from_fn(|_| AsyncMutex::default()),
        }))
    }

    /// Counts a request under every rate, if none is exhausted and every budget has something left; otherwise it is
    /// counted nowhere.
    pub async fn admit(&self, tenant: TenantId, rates: &[Rate], allowances: &[Allowance]) -> Result<(), LimitError> {
        self.check_budgets(tenant, allowances).await?;
        self.take_permits(tenant, rates).await
    }

    /// Notes what an answer used up.
    pub fn record(&self, tenant: TenantId, chatbot: ChatbotId, amount: Amount) {
        if amount != Amount::default() {
            self.spending().record(Utc::now(), tenant, chatbot, amount);
        }
    }

    /// Tells the database what was used up, and learns the totals of all processes.
    pub async fn report(&self) -> Result<(), store::Error> {
        let now = Utc::now();
        let mut reports = self.spending().reports(now).into_iter();
        while let Some(report) = reports.next() {
            let today = now.date_naive();
            match store::limits::spend(&self.0.pool, report.tenant, &report.used, &report.subjects, today).await {
                Ok(totals) => self.spending().learn(now, report.tenant, today, totals),
                Err(error) => {
                    let mut spending = self.spending();
                    std::iter::once(report).chain(reports).for_each(|report| spending.take_back(report));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Reports all the time until `end` completes, and then once more.
    pub async fn report_until<E>(&self, end: impl Future<Output = E>) {
        let mut end = pin!(end);
        loop {
            let ended = tokio::time::timeout(REPORT_PERIOD, &mut end).await.is_ok();
            self.report_or_warn().await;
            if ended {
                return;
            }
        }
    }

    async fn report_or_warn(&self) {
        if let Err(error) = self.report().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to report what was used up, trying again");
        }
    }

    async fn check_budgets(&self, tenant: TenantId, allowances: &[Allowance]) -> Result<(), LimitError> {
        loop {
            let now = Utc::now();
            let judged = self.spending().judge(now, tenant, allowances);
            match judged {
                Judged::Left => return Ok(()),
                Judged::UsedUp(Allowance { of, .. }, unit, period) => {
                    let retry_after = spending::time_left(period, now);
                    return Err(LimitError::UsedUp { of, unit, period, retry_after });
                }
                Judged::Unknown(subjects) => {
                    let today = now.date_naive();
                    let totals = store::limits::spend(&self.0.pool, tenant, &[], &subjects, today).await?;
                    self.spending().learn(Utc::now(), tenant, today, totals);
                }
            }
        }
    }

    async fn take_permits(&self, tenant: TenantId, rates: &[Rate]) -> Result<(), LimitError> {
        let mut turn = Turn::default();
        loop {
            let now = Utc::now();
            let second = u64::try_from(now.timestamp().rem_euclid(60)).unwrap_or(0);
            let taken = self.permits().take(now.timestamp().div_euclid(60), tenant, rates);
            match taken {
                Taken::All => return Ok(()),
                Taken::Exhausted(rate) => {
                    let retry_after = Duration::from_secs(60 - second);
                    return Err(LimitError::TooMany { of: rate.of, limit: rate.limit, retry_after });
                }
                Taken::Missing { minute, wishes, first } => {
                    let places = places(&wishes);
                    if turn.places != places {
                        // Whoever had the turn before may have leased enough for two.
                        drop(turn);
                        turn = self.turn(places).await;
                        continue;
                    }
                    let leases = store::limits::lease(&self.0.pool, tenant, minute, &wishes, first).await?;
                    self.permits().put(minute, tenant, &wishes, &leases);
                }
            }
        }
    }

    /// Waits until nobody else leases at these places.
    async fn turn(&self, places: Vec<usize>) -> Turn<'_> {
        let mut held = Vec::with_capacity(places.len());
        for &place in &places {
            held.push(self.0.leasing[place].lock().await);
        }
        Turn { places, _held: held }
    }

    fn permits(&self) -> MutexGuard<'_, Permits> {
        self.0.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.0.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to lease under some keys.
#[derive(Default)]
struct Turn<'a> {
    places: Vec<usize>,
    _held: Vec<AsyncMutexGuard<'a, ()>>,
}

/// Where those wait who lease under the same keys: in ascending order, so that nobody waits in a circle.
fn places(wishes: &[Wish]) -> Vec<usize> {
    let mut places: Vec<usize> = wishes.iter().map(|wish| usize::from(wish.key[0]) % LEASERS).collect();
    places.sort_unstable();
    places.dedup();
    places
}
