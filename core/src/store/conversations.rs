//! Conversations, and what each exchange used.
//!
//! The id of a conversation sorts by the time it began, so that lists, periods and retention need no index but the
//! one they have.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::messages::Rating;
use super::{Error, Pool, TenantTx};
use crate::ids::{ChatbotId, ConversationId, MessageId, TenantId};

/// How a question came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// By the chat route.
    #[default]
    Api,
    /// From a page that embeds the widget.
    Widget,
    /// By the route that speaks `OpenAI`'s protocol.
    OpenAi,
    /// By the Model Context Protocol.
    Mcp,
    /// From the command line.
    Cli,
}

impl Channel {
    const ALL: [Self; 5] = [Self::Api, Self::Widget, Self::OpenAi, Self::Mcp, Self::Cli];

    /// As rows and clients name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Widget => "widget",
            Self::OpenAi => "openai",
            Self::Mcp => "mcp",
            Self::Cli => "cli",
        }
    }

    /// The channel of this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.word() == word)
    }
}

/// A visitor, as far as the channel tells visitors apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Visitor {
    /// An opaque word of 1 to 128 characters.
    pub id: String,
    /// Who the embedding site says it is.
    pub identity: Option<Value>,
}

/// What was said, as a follow-up is understood by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether the visitor said it; otherwise the chatbot did.
    pub from_visitor: bool,
    /// Its text.
    pub content: String,
}

/// The last `limit` messages of a conversation with this chatbot, oldest first. A visitor has its own conversations
/// only; `None` is somebody who may read all.
pub async fn history(
    tx: &mut TenantTx,
    chatbot: ChatbotId,
    conversation: ConversationId,
    visitor: Option<&str>,
    limit: u32,
) -> Result<Vec<Said>, Error> {
    let found = sqlx::query_scalar!(
        "select 1 from conversations
         where tenant_id = $1 and id = $2 and chatbot_id = $3 and ($4::text is null or visitor = $4)",
        tx.tenant().0,
        conversation.0,
        chatbot.0,
        visitor,
    )
    .fetch_optional(&mut **tx)
    .await?;
    if found.is_none() {
        return Err(Error::NotFound { what: "conversation" });
    }
    let mut rows = sqlx::query_as!(
        Said,
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
    /// How the conversation began, if this begins it.
    pub channel: Channel,
    /// Who began it.
    pub visitor: Option<&'a Visitor>,
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
    /// The model that was asked, if any was.
    pub model: Option<&'a str>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Millionths of a US dollar; `None`: the model's price is not known.
    pub cost_micros: Option<u64>,
    /// Time from question to answer.
    pub milliseconds: u32,
}

/// Stores an exchange, in one round trip; the id of the answer.
pub async fn append(pool: &Pool, tenant: TenantId, exchange: &Exchange<'_>) -> Result<MessageId, Error> {
    let (question_id, answer_id) = (MessageId::new(), MessageId::new());
    sqlx::query!(
        "select append_exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        tenant.0,
        exchange.chatbot.0,
        exchange.conversation.0,
        exchange.channel.word(),
        exchange.visitor.map(|visitor| visitor.id.as_str()),
        exchange.visitor.and_then(|visitor| visitor.identity.as_ref()),
        question_id.0,
        exchange.question,
        answer_id.0,
        exchange.answer,
        exchange.kind,
        exchange.answerable,
        exchange.best_score,
        exchange.citations,
        exchange.model,
        integer(exchange.prompt_tokens),
        integer(exchange.completion_tokens),
        exchange.cost_micros.map(|micros| i64::try_from(micros).unwrap_or(i64::MAX)),
        integer(exchange.milliseconds),
    )
    .execute(pool)
    .await?;
    Ok(answer_id)
}

fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Which conversations are wanted; all by default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// With an answer of which this is true.
    pub answerable: Option<bool>,
    /// With an answer that was rated so.
    pub feedback: Option<Rating>,
    /// That began at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// That began before this time.
    pub to: Option<DateTime<Utc>>,
    /// With a message that holds this text, in any case.
    pub search: Option<String>,
    /// That came over this channel.
    pub channel: Option<Channel>,
}

/// A conversation as listed.
#[derive(Clone, Debug)]
pub struct ConversationRow {
    /// Its id.
    pub id: ConversationId,
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// How it came.
    pub channel: String,
    /// The visitor's opaque word.
    pub visitor: Option<String>,
    /// Who the embedding site says it is.
    pub visitor_identity: Option<Value>,
    /// The first question.
    pub question: String,
    /// How many messages it has.
    pub messages: i32,
    /// How many of the answers had nothing in the documents.
    pub unanswered: i64,
    /// How many were rated up.
    pub up: i64,
    /// How many were rated down.
    pub down: i64,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When its last answer was given.
    pub last_at: DateTime<Utc>,
}

/// Conversations with a chatbot, newest first, those that began before `before`, at most `limit`.
pub async fn list(
    tx: &mut TenantTx,
    chatbot: ChatbotId,
    filter: &Filter,
    before: Option<ConversationId>,
    limit: u32,
) -> Result<Vec<ConversationRow>, Error> {
    let since = filter.from.map_or(Uuid::nil(), |from| ConversationId::since(from).0);
    let until = filter.to.map_or(Uuid::max(), |to| ConversationId::since(to).0);
    let rows = sqlx::query_as!(
        ConversationRow,
        r#"select c.id as "id: _", c.chatbot_id as "chatbot: _", c.channel, c.visitor, c.visitor_identity, c.messages,
                coalesce((select m.content from messages m where m.tenant_id = c.tenant_id and m.conversation_id = c.id order by m.id limit 1), '')
                    as "question!",
                n.unanswered as "unanswered!", n.up as "up!", n.down as "down!", c.created_at, c.last_at
         from conversations c
         cross join lateral (
            select count(*) filter (where not m.answerable) as unanswered, count(*) filter (where m.feedback = 'up') as up,
                   count(*) filter (where m.feedback = 'down') as down
            from messages m where m.tenant_id = c.tenant_id and m.conversation_id = c.id) n
         where c.tenant_id = $1 and c.chatbot_id = $2 and c.id >= $3 and c.id < least($4::uuid, $5::uuid)
           and ($6::text is null or c.channel = $6)
           and ($7::boolean is null or exists (
                select from messages m where m.tenant_id = c.tenant_id and m.conversation_id = c.id and m.answerable = $7))
           and ($8::text is null or exists (
                select from messages m where m.tenant_id = c.tenant_id and m.conversation_id = c.id and m.feedback = $8))
           and ($9::text is null or exists (
                select from messages m where m.tenant_id = c.tenant_id and m.conversation_id = c.id and strpos(lower(m.content), lower($9)) > 0))
         order by c.id desc limit $10"#,
        tx.tenant().0,
        chatbot.0,
        since,
        until,
        before.map_or(Uuid::max(), |before| before.0),
        filter.channel.map(Channel::word),
        filter.answerable,
        filter.feedback.map(Rating::word),
        filter.search,
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// The conversation with this id.
pub async fn get(tx: &mut TenantTx, id: ConversationId) -> Result<ConversationRow, Error> {
    let chatbot = sqlx::query_scalar!(
        "select chatbot_id from conversations where tenant_id = $1 and id = $2",
        tx.tenant().0,
        id.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let not_found = || Error::NotFound { what: "conversation" };
    let next = ConversationId(Uuid::from_u128(id.0.as_u128().saturating_add(1)));
    let chatbot = chatbot.ok_or_else(not_found)?.into();
    list(tx, chatbot, &Filter::default(), Some(next), 1).await?.pop().ok_or_else(not_found)
}

/// Deletes a conversation with its messages; what it used stays counted.
pub async fn delete(tx: &mut TenantTx, id: ConversationId) -> Result<(), Error> {
    let deleted = sqlx::query!("delete from conversations where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound { what: "conversation" });
    }
    Ok(())
}

/// Deletes conversations whose last answer was given before `before`, at most `limit`; how many went.
pub async fn delete_older(tx: &mut TenantTx, before: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "delete from conversations where tenant_id = $1 and id = any (array(
            select c.id from conversations c
            where c.tenant_id = $1 and c.id < $2 and c.last_at < $3 order by c.id limit $4))",
        tx.tenant().0,
        ConversationId::since(before).0,
        before,
        i64::from(limit),
    )
    .execute(&mut **tx)
    .await?;
    Ok(deleted.rows_affected())
}
