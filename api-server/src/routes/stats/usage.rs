//! What was used, in rows that can be billed.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use docbrain_core::ids::{ChatbotId, TenantId};
use docbrain_core::store::stats::{self, BillingKey, BillingRow, Period};
use docbrain_core::store::{Pool, TenantTx};
use futures::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Counted;
use crate::access::TenantAccess;
use crate::export::{self, FileForm, Format, Record};
use crate::extract::SplitQuery;
use crate::paging::Page;
use crate::problem::Problem;

/// Rows of a file that are held in memory at a time.
const ROWS: u32 = 1_000;

/// What was used, by day, chatbot and model.
#[derive(Serialize, ToSchema)]
struct UsageList {
    /// This page of it.
    usage: Vec<UsageBody>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// What a chatbot used in a day with a model.
#[derive(Serialize, ToSchema)]
struct UsageBody {
    /// The day, in UTC.
    day: NaiveDate,
    /// The chatbot.
    chatbot_id: Uuid,
    /// Its name; null: it was deleted.
    chatbot: Option<String>,
    /// The model; null: none was asked.
    #[schema(example = "gpt-4.1-mini")]
    model: Option<String>,
    /// Questions.
    chats: i64,
    /// Conversations that began.
    conversations: i64,
    /// Tokens of prompts.
    prompt_tokens: i64,
    /// Tokens of answers.
    completion_tokens: i64,
    /// Estimated cost in millionths of a US dollar; null: the model's price is not known.
    cost_micros: Option<i64>,
}

impl Record for UsageBody {
    const COLUMNS: &[&str] = &[
        "day",
        "chatbot_id",
        "chatbot",
        "model",
        "chats",
        "conversations",
        "prompt_tokens",
        "completion_tokens",
        "cost_micros",
    ];
}

/// What was used, by day, chatbot and model
///
/// JSON in pages, or all of it as CSV.
#[utoipa::path(
    get, path = "/stats/usage", tag = "statistics", params(Counted, FileForm, Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "The rows", content((UsageList = "application/json"), (String = "text/csv"))))
)]
pub(crate) async fn list_usage(
    State(pool): State<Pool>,
    admin: TenantAccess,
    headers: HeaderMap,
    SplitQuery(page, SplitQuery(form, counted)): SplitQuery<Page, SplitQuery<FileForm, Counted>>,
) -> Result<Response, Problem> {
    let period = counted.period()?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let chatbot = counted.chatbot(&mut tx).await?.map(|bot| bot.id);
    let format = form.wanted(&headers);
    if format == Format::Csv {
        tx.commit().await?;
        let pages = Reader { pool, tenant: admin.tenant, period, chatbot, last: None }.pages();
        return Ok(export::response(&format!("usage-{}-{}", period.from, period.to), format, pages));
    }
    let after: Option<BillingKey> = page.after()?;
    let mut rows = stats::billing(&mut tx, period, chatbot, after.as_ref(), page.rows()?).await?;
    tx.commit().await?;
    let next = page.cut(&mut rows, key);
    Ok(axum::Json(UsageList { usage: rows.into_iter().map(Into::into).collect(), next }).into_response())
}

fn key(row: &BillingRow) -> BillingKey {
    (row.day, row.chatbot, row.model.clone())
}

/// Reads the rows piece by piece. No transaction is open while the client takes a piece.
struct Reader {
    pool: Pool,
    tenant: TenantId,
    period: Period,
    chatbot: Option<ChatbotId>,
    last: Option<BillingKey>,
}

impl Reader {
    fn pages(self) -> impl Stream<Item = Result<Vec<UsageBody>, Problem>> + Send {
        stream::try_unfold(self, async |mut reader| {
            let mut tx = TenantTx::begin(&reader.pool, reader.tenant).await?;
            let rows = stats::billing(&mut tx, reader.period, reader.chatbot, reader.last.as_ref(), ROWS).await?;
            tx.commit().await?;
            let Some(last) = rows.last() else { return Ok(None) };
            reader.last = Some(key(last));
            Ok(Some((rows.into_iter().map(Into::into).collect(), reader)))
        })
    }
}

impl From<BillingRow> for UsageBody {
    fn from(row: BillingRow) -> Self {
        Self {
            day: row.day,
            chatbot_id: row.chatbot.0,
            chatbot: row.chatbot_name,
            model: (!row.model.is_empty()).then_some(row.model),
            chats: row.chats,
            conversations: row.conversations,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cost_micros: row.cost_micros,
        }
    }
}
