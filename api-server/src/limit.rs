//! Which limits hold for a request, and what it is told when one is reached.

use std::borrow::Cow;

use docbrain_core::chat::TokenUsage;
use docbrain_core::ids::TenantId;
use docbrain_core::limits::{Allowance, Amount, LimitError, LimitOf, Limits, Period, Rate};
use docbrain_core::store::chatbots::ChatbotRow;
use docbrain_core::store::{Pool, quotas};
use docbrain_core::telemetry::metrics;
use uuid::Uuid;

use crate::client_ip::ClientIp;
use crate::problem::{Problem, ProblemKind};

/// Uploads of a tenant in a minute, where its quota does not say so.
const UPLOADS_PER_MINUTE: u32 = 600;

/// Who asks a question.
#[derive(Clone, Copy, Debug)]

pub(crate) enum Asker<'a> {
    /// A visitor of a page, who is limited as a person and by address.
    Visitor {
        /// Tells it apart from the chatbot's other visitors.
        id: &'a str,
        /// Where it is.
        address: ClientIp,
    },
    /// Somebody who has signed in, who is limited as a person.
    Account(Uuid),
    /// A program, which may ask for many visitors.
    Token,
    /// The installation's own programs, for any tenant.
    Installation,
}

/// Counts a question, or refuses it.
pub(crate) async fn admit(
    limits: &Limits,
    tenant: TenantId,
    bot: &ChatbotRow,
    asker: Asker<'_>,
) -> Result<(), Problem> {
    limits.admit(tenant, &rates(tenant, bot, asker), &allowances(tenant, bot)).await.map_err(refusal)
}

/// Counts an upload, or refuses it.
pub(crate) async fn admit_upload(limits: &Limits, pool: &Pool, tenant: TenantId) -> Result<(), Problem> {
    let limit = quotas::uploads_per_minute(pool, tenant).await?.unwrap_or(UPLOADS_PER_MINUTE);
    limits.admit(tenant, &[Rate::new(LimitOf::Uploads, &tenant, limit)], &[]).await.map_err(refusal)
}

/// What an answer used up; `cost_micros` in millionths of a US dollar, where the model's price is known.
pub(crate) fn used(usage: TokenUsage, cost_micros: Option<u64>) -> Amount {
    let tokens = u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens);
    Amount { tokens, cost_micros: cost_micros.unwrap_or(0) }
}

/// The narrowest first: it is the one a refusal speaks of.
fn rates(tenant: TenantId, bot: &ChatbotRow, asker: Asker<'_>) -> Vec<Rate> {
    let limits = &bot.spec.limits;
    let rate = |of, name: &dyn std::fmt::Display, limit: i32| Rate::new(of, &name, u32::try_from(limit).unwrap_or(0));
    let per_visitor = limits.questions_per_minute_per_visitor;
    let mut rates = match asker {
        Asker::Visitor { id, address } => {
            let network = format!("{}/{}", bot.id, address.network());
            vec![
                rate(LimitOf::Visitor, &format!("{}/visitor/{id}", bot.id), per_visitor),
                rate(LimitOf::Address, &network, limits.questions_per_minute_per_ip),
            ]
        }
        Asker::Account(id) => vec![rate(LimitOf::Visitor, &format!("{}/account/{id}", bot.id), per_visitor)],
        Asker::Token | Asker::Installation => Vec::new(),
    };
    rates.extend(limits.questions_per_minute.map(|limit| rate(LimitOf::Chatbot, &bot.id, limit)));
    rates.extend(bot.quota.requests_per_minute.map(|limit| rate(LimitOf::Tenant, &tenant, limit)));
    rates
}

fn allowances(tenant: TenantId, bot: &ChatbotRow) -> Vec<Allowance> {
    let of_chatbot = bot.spec.limits.budget.clone().map(|budget| Allowance::of_chatbot(bot.id, budget));
    let of_tenant = bot.quota.budget.clone().map(|budget| Allowance::of_tenant(tenant, budget));
    of_chatbot.into_iter().chain(of_tenant).collect()
}

/// A refusal in words that a visitor may be shown; it is counted.
fn refusal(error: LimitError) -> Problem {
    if let LimitError::TooMany { of, .. } | LimitError::UsedUp { of, .. } = &error {
        metrics().limited_total.with_label_values(&[word(*of)]).inc();
    }
    match error {
        LimitError::TooMany { of, limit, retry_after } => {
            let detail: Cow<'static, str> = match of {
                LimitOf::Visitor | LimitOf::Address => {
                    "you have asked a lot in a short time; please wait a moment and ask again".into()
                }
                LimitOf::Chatbot | LimitOf::Tenant => {
                    "many people are asking just now; please wait a moment and ask again".into()
                }
                LimitOf::Uploads => {
                    format!("the tenant may send {limit} uploads a minute; send more files in each").into()
                }
            };
            Problem::new(ProblemKind::RateLimited, detail).retry_after(retry_after)
        }
        LimitError::UsedUp { period, retry_after, .. } => {
            let detail = match period {
                Period::Day => "the chatbot has answered all it may today; please come back tomorrow",
                Period::Month => "the chatbot has answered all it may this month; please come back next month",
            };
            Problem::new(ProblemKind::BudgetExhausted, detail).retry_after(retry_after)
        }
        LimitError::Store(error) => error.into(),
    }
}

/// What is limited, as metrics name it.
fn word(of: LimitOf) -> &'static str {
    match of {
        LimitOf::Visitor => "visitor",
        LimitOf::Address => "address",
        LimitOf::Chatbot => "chatbot",
        LimitOf::Tenant => "tenant",
        LimitOf::Uploads => "uploads",
    }
}

#[cfg(test)]
mod tests;
