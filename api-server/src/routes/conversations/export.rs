//! All messages of many conversations as a file.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use docbrain_core::ids::{ChatbotId, ConversationId, MessageId, TenantId};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::conversations::{self, ConversationRow, Filter};
use docbrain_core::store::messages::{self, MessageRow};
use docbrain_core::store::{Pool, TenantTx};
use futures::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ConversationFilter;
use crate::access::TenantAccess;
use crate::export::{self, FileForm, Record};
use crate::extract::{Path, SplitQuery};
use crate::problem::Problem;

/// Conversations that are looked at together.
const CONVERSATIONS: u32 = 100;
/// Messages that are held in memory at a time.
const MESSAGES: u32 = 500;

/// A message as exported.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportedMessage {
    conversation_id: Uuid,
    channel: String,
    visitor: Option<String>,
    message_id: Uuid,
    role: String,
    created_at: DateTime<Utc>,
    content: String,
    kind: Option<String>,
    answerable: Option<bool>,
    best_score: Option<f32>,
    feedback: Option<String>,
    feedback_comment: Option<String>,
    model: Option<String>,
    prompt_tokens: Option<i32>,
    completion_tokens: Option<i32>,
    cost_micros: Option<i64>,
    milliseconds: Option<i32>,
}

impl Record for ExportedMessage {
    const COLUMNS: &[&str] = &[
        "conversation_id",
        "channel",
        "visitor",
        "message_id",
        "role",
        "created_at",
        "content",
        "kind",
        "answerable",
        "best_score",
        "feedback",
        "feedback_comment",
        "model",
        "prompt_tokens",
        "completion_tokens",
        "cost_micros",
        "milliseconds",
    ];
}

/// The conversations with a chatbot as a file
///
/// A row a message: the newest conversation first, in it the oldest message first.
#[utoipa::path(
    get, path = "/chatbots/{id}/conversations/export", tag = "conversations",
    params(("id" = String, Path, description = "Name or id of the chatbot"), FileForm, ConversationFilter),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "The file", content(
        (Vec<ExportedMessage> = "application/json"), (String = "text/csv")
    )))
)]
pub(crate) async fn export_conversations(
    State(pool): State<Pool>,
    admin: TenantAccess,
    Path(id): Path<String>,
    SplitQuery(form, filter): SplitQuery<FileForm, ConversationFilter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (format, filter) = (form.wanted(&headers), filter.checked()?);
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let bot = chatbots::get(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    tx.commit().await?;
    let name = format!("{}-conversations", bot.name);
    let reader = Reader { pool, tenant: admin.tenant, chatbot: bot.id, filter, batch: HashMap::new(), last: None };
    Ok(export::response(&name, format, reader.pages()))
}

/// Reads what is asked for piece by piece. No transaction is open while the client takes a piece.
struct Reader {
    pool: Pool,
    tenant: TenantId,
    chatbot: ChatbotId,
    filter: Filter,
    /// The conversations that are being read.
    batch: HashMap<ConversationId, ConversationRow>,
    /// The last message that was read.
    last: Option<(ConversationId, MessageId)>,
}

impl Reader {
    fn pages(self) -> impl Stream<Item = Result<Vec<ExportedMessage>, Problem>> + Send {
        stream::try_unfold(self, async |mut reader| Ok(reader.page().await?.map(|page| (page, reader))))
    }

    /// The next messages; `None` after the last.
    async fn page(&mut self) -> Result<Option<Vec<ExportedMessage>>, Problem> {
        let mut tx = TenantTx::begin(&self.pool, self.tenant).await?;
        let mut rows = self.messages(&mut tx).await?;
        if rows.is_empty() {
            let before = self.batch.keys().min().copied();
            let batch = conversations::list(&mut tx, self.chatbot, &self.filter, before, CONVERSATIONS).await?;
            if batch.is_empty() {
                return Ok(None);
            }
            self.batch = batch.into_iter().map(|conversation| (conversation.id, conversation)).collect();
            rows = self.messages(&mut tx).await?;
        }
        tx.commit().await?;
        self.last = rows.last().map(|last| (last.conversation, last.id)).or(self.last);
        Ok(Some(rows.into_iter().filter_map(|row| self.exported(row)).collect()))
    }

    async fn messages(&self, tx: &mut TenantTx) -> Result<Vec<MessageRow>, Problem> {
        let batch: Vec<_> = self.batch.keys().copied().collect();
        Ok(if batch.is_empty() { Vec::new() } else { messages::list(tx, &batch, self.last, MESSAGES).await? })
    }

    fn exported(&self, row: MessageRow) -> Option<ExportedMessage> {
        let conversation = self.batch.get(&row.conversation)?;
        Some(ExportedMessage {
            conversation_id: row.conversation.0,
            channel: conversation.channel.clone(),
            visitor: conversation.visitor.clone(),
            message_id: row.id.0,
            role: row.role,
            created_at: row.created_at,
            content: row.content,
            kind: row.kind,
            answerable: row.answerable,
            best_score: row.best_score,
            feedback: row.feedback,
            feedback_comment: row.feedback_comment,
            model: row.model,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cost_micros: row.cost_micros,
            milliseconds: row.milliseconds,
        })
    }
}
