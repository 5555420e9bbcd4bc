//! Conversations, their messages, and what each exchange used.

use serde_json::Value;

use super::{Error, Pool, TenantTx};
use crate::ids::{ChatbotId, ConversationId, MessageId, TenantId};

/// A message as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Whether the visitor said it; otherwise the chatbot did.
    pub from_visitor: bool,
    /// Its text.
    pub content: String,
}

/// The last `limit` messages of a conversation with this chatbot, oldest first.
pub async fn history(
    tx: &mut TenantTx,
    chatbot: ChatbotId,
    conversation: ConversationId,
    limit: u32,
) -> Result<Vec<MessageRow>, Error> {
    let found = sqlx::query_scalar!(
        "select 1 from conversations where tenant_id = $1 and id = $2 and chatbot_id = $3",
        tx.tenant().0,
        conversation.0,
        chatbot.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    if found.is_none() {
        return Err(Error::NotFound { what: "conversation" });
    }
    let mut rows = sqlx::query_as!(
        MessageRow,
        r#"select role = 'visitor' as "from_visitor!", content from messages
         where tenant_id = $1 and conversation_id = $2 order by id desc limit $3"#,
        tx.tenant().0,
        conversation.0,
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.reverse();
    Ok(rows)
}

/// A question with its answer.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// The conversation, or the one to begin with it.
    pub conversation: ConversationId,
    /// What the visitor asked.
    pub question: &'a str,
    /// What was answered.
    pub answer: &'a str,
    /// `generated`, `extractive` or `fallback`.
    pub kind: &'a str,
    /// Whether the documents held an answer.
    pub answerable: bool,
    /// Best dense score of the passages.
    pub best_score: Option<f32>,
    /// The citations, as the API gives them.
    pub citations: &'a Value,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Time from question to answer.
    pub milliseconds: u32,
}

/// Stores an exchange, in one round trip; the id of the answer.
pub async fn append(pool: &Pool, tenant: TenantId, exchange: &Exchange<'_>) -> Result<MessageId, Error> {
    let answer_id = MessageId::new();
    sqlx::query!(
        "select append_exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        tenant.0,
        exchange.chatbot.0,
        exchange.conversation.0,
        MessageId::new().0,
        exchange.question,
        answer_id.0,
        exchange.answer,
        exchange.kind,
        exchange.answerable,
        exchange.best_score,
        exchange.citations,
        integer(exchange.prompt_tokens),
        integer(exchange.completion_tokens),
        integer(exchange.milliseconds),
    )
    .execute(pool)
    .await?;
    Ok(answer_id)
}

fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
