//! Messages of conversations, and what visitors thought of the answers.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Error, TenantTx};
use crate::ids::{ConversationId, MessageId};

/// What a visitor thought of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rating {
    /// It helped.
    Up,
    /// It did not.
    Down,
}

impl Rating {
    /// As rows and clients name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The rating of this word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Up, Self::Down].into_iter().find(|rating| rating.word() == word)
    }
}

/// A message with what its answer took.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// Its id.
    pub id: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// `visitor` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// Of an answer: `generated`, `extractive` or `fallback`.
    pub kind: Option<String>,
    /// Of an answer: whether the documents held one.
    pub answerable: Option<bool>,
    /// Of an answer: best dense score of the passages.
    pub best_score: Option<f32>,
    /// Of an answer: its citations, as the API gives them.
    pub citations: Option<Value>,
    /// Of an answer: `up` or `down`.
    pub feedback: Option<String>,
    /// What the visitor added to the rating.
    pub feedback_comment: Option<String>,
    /// When it was rated.
    pub feedback_at: Option<DateTime<Utc>>,
    /// Of an answer: the model that was asked.
    pub model: Option<String>,
    /// Of an answer: tokens of the prompt.
    pub prompt_tokens: Option<i32>,
    /// Of an answer: tokens of the answer.
    pub completion_tokens: Option<i32>,
    /// Of an answer: its cost in millionths of a US dollar, where it is known.
    pub cost_micros: Option<i64>,
    /// Of an answer: time from the question to it.
    pub milliseconds: Option<i32>,
    /// When it was said.
    pub created_at: DateTime<Utc>,
}

/// Messages of some conversations, the newest conversation first and its oldest message first, after `after` in that
/// order, at most `limit`.
pub async fn list(
    tx: &mut TenantTx,
    conversations: &[ConversationId],
    after: Option<(ConversationId, MessageId)>,
    limit: u32,
) -> Result<Vec<MessageRow>, Error> {
    let conversations: Vec<_> = conversations.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        MessageRow,
        r#"select m.id as "id: _", m.conversation_id as "conversation: _", m.role, m.content, m.kind, m.answerable, m.best_score, m.citations,
                m.feedback, m.feedback_comment, m.feedback_at, u.model, u.prompt_tokens as "prompt_tokens?",
                u.completion_tokens as "completion_tokens?", u.cost_micros, u.milliseconds as "milliseconds?", m.created_at
         from messages m
         left join usage u on u.tenant_id = m.tenant_id and u.id = m.id
         where m.tenant_id = $1 and m.conversation_id = any ($2)
           and ($3::uuid is null or m.conversation_id < $3 or (m.conversation_id = $3 and m.id > $4))
         order by m.conversation_id desc, m.id limit $5"#,
        tx.tenant().0,
        &conversations,
        after.map(|(conversation, _)| conversation.0),
        after.map(|(_, message)| message.0),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Rates an answer, or takes the rating back with `None`. A visitor rates what it was answered itself; `None` is
/// somebody who may rate all.
pub async fn rate(
    tx: &mut TenantTx,
    message: MessageId,
    visitor: Option<&str>,
    rating: Option<Rating>,
    comment: Option<&str>,
) -> Result<(), Error> {
    let rated = sqlx::query!(
        "with rated as (
            update messages m set feedback = $4, feedback_comment = $5, feedback_at = case when $4::text is null then null else now() end
            from conversations c
            where m.tenant_id = $1 and m.id = $2 and m.role = 'assistant'
              and c.tenant_id = m.tenant_id and c.id = m.conversation_id and ($3::text is null or c.visitor = $3)
            returning m.id)
         update usage u set feedback = $4 from rated where u.tenant_id = $1 and u.id = rated.id",
        tx.tenant().0,
        message.0,
        visitor,
        rating.map(Rating::word),
        comment,
    )
    .execute(&mut **tx)
    .await?;
    if rated.rows_affected() == 0 {
        return Err(Error::NotFound { what: "message" });
    }
    Ok(())
}
