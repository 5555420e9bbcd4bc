//! What visitors asked, and what they were answered.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use docbrain_core::ids::{ConversationId, MessageId};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::conversations::{self, Channel, ConversationRow};
use docbrain_core::store::messages::{self, MessageRow, Rating};
use docbrain_core::store::{Pool, TenantTx, audit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::chat::wire::CitationBody;
use crate::access::TenantAccess;
use crate::extract::{Path, Query, SplitQuery};
use crate::paging::Page;
use crate::problem::{Problem, ProblemKind};

pub(super) mod export;
pub(super) mod feedback;

/// Longest text to search for, in characters.
const LONGEST_SEARCH: usize = 200;

/// Which conversations.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConversationFilter {
    /// With an answer that the documents held (`true`), or did not hold (`false`).
    answerable: Option<bool>,
    /// With an answer that was rated so: `up` or `down`.
    #[param(example = "down")]
    feedback: Option<String>,
    /// That began at this time or later.
    from: Option<DateTime<Utc>>,
    /// That began before this time.
    to: Option<DateTime<Utc>>,
    /// With a message that holds this text, in any case.
    #[param(max_length = 200)]
    search: Option<String>,
    /// That came over this channel: `api`, `widget`, `openai`, `mcp` or `cli`.
    #[param(example = "widget")]
    channel: Option<String>,
}

impl ConversationFilter {
    fn checked(self) -> Result<conversations::Filter, Problem> {
        let invalid = |detail: &'static str| Problem::new(ProblemKind::InvalidField, detail);
        let rating = |word: String| Rating::named(&word).ok_or_else(|| invalid("`feedback` is `up` or `down`"));
        let channel = |word: String| {
            Channel::named(&word)
                .ok_or_else(|| invalid("`channel` is one of `api`, `widget`, `openai`, `mcp` and `cli`"))
        };
        Ok(conversations::Filter {
            answerable: self.answerable,
            feedback: self.feedback.map(rating).transpose()?,
            from: self.from,
            to: self.to,
            search: self.search.map(searched).transpose()?,
            channel: self.channel.map(channel).transpose()?,
        })
    }
}

/// A text that can be searched for.
pub(super) fn searched(text: String) -> Result<String, Problem> {
    // Postgres takes no NUL.
    if text.chars().count() > LONGEST_SEARCH || text.contains('\0') {
        return Err(Problem::new(
            ProblemKind::InvalidField,
            "`search` is a text of at most 200 characters, without NUL",
        ));
    }
    Ok(text)
}

/// Conversations, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationList {
    /// This page of them.
    conversations: Vec<ConversationBody>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// A conversation.
#[derive(Serialize, ToSchema)]
struct ConversationBody {
    /// Its id.
    id: Uuid,
    /// The chatbot.
    chatbot_id: Uuid,
    /// How it came: `api`, `widget`, `openai`, `mcp` or `cli`.
    #[schema(example = "widget")]
    channel: String,
    /// An opaque word for the visitor; null where nobody tells visitors apart.
    visitor: Option<String>,
    /// Who the embedding site says the visitor is.
    #[schema(value_type = Option<Object>)]
    visitor_identity: Option<Value>,
    /// The first question.
    #[schema(example = "How do I expire a key?")]
    question: String,
    /// How many messages it has.
    #[schema(example = 4)]
    messages: i32,
    /// How many of its answers the documents did not hold.
    unanswered: i64,
    /// How many of its answers were rated up.
    up: i64,
    /// How many of its answers were rated down.
    down: i64,
    /// When it began.
    created_at: DateTime<Utc>,
    /// When its last answer was given.
    last_at: DateTime<Utc>,
}

/// A conversation with its messages.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationDetail {
    #[serde(flatten)]
    conversation: ConversationBody,
    /// This page of its messages, oldest first.
    transcript: Vec<MessageBody>,
    /// What to send as `after` for the next page of messages; null on the last one.
    next: Option<String>,
}

/// A message.
#[derive(Serialize, ToSchema)]
struct MessageBody {
    /// Its id.
    id: Uuid,
    /// `visitor` or `assistant`.
    #[schema(example = "assistant")]
    role: String,
    /// Its text; Markdown in an answer.
    content: String,
    /// When it was said.
    created_at: DateTime<Utc>,
    /// What only an answer has; null in a question.
    answer: Option<AnswerDetail>,
}

/// What an answer rests on and what it took.
#[derive(Serialize, ToSchema)]
struct AnswerDetail {
    /// `generated` by a chat model, `extractive`: quoted word for word, or the chatbot's `fallback` text.
    #[schema(example = "generated")]
    kind: String,
    /// Whether the documents held an answer.
    answerable: Option<bool>,
    /// Best score among the passages that were found.
    best_score: Option<f32>,
    /// The passages that it cites.
    #[schema(value_type = Vec<CitationBody>)]
    citations: Value,
    /// What the visitor thought of it.
    feedback: Option<FeedbackBody>,
    /// The model that was asked; null: none was.
    #[schema(example = "gpt-4.1-mini")]
    model: Option<String>,
    /// Tokens of the prompt.
    prompt_tokens: Option<i32>,
    /// Tokens of the answer.
    completion_tokens: Option<i32>,
    /// Cost in millionths of a US dollar; null: the model's price is not known.
    cost_micros: Option<i64>,
    /// Time from the question to the answer.
    milliseconds: Option<i32>,
}

/// What a visitor thought of an answer.
#[derive(Serialize, ToSchema)]
struct FeedbackBody {
    /// `up` or `down`.
    #[schema(example = "down")]
    rating: String,
    /// What the visitor added.
    comment: Option<String>,
    /// When.
    at: Option<DateTime<Utc>>,
}

/// The conversations with a chatbot, newest first
#[utoipa::path(
    get, path = "/chatbots/{id}/conversations", tag = "conversations",
    params(("id" = String, Path, description = "Name or id of the chatbot"), ConversationFilter, Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "A page of the list", body = ConversationList))
)]
pub(crate) async fn list_conversations(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    SplitQuery(page, filter): SplitQuery<Page, ConversationFilter>,
) -> Result<Json<ConversationList>, Problem> {
    let (rows, before, filter) = (page.rows()?, page.after()?, filter.checked()?);
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let bot = chatbots::get(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    let mut conversations = conversations::list(&mut tx, bot.id, &filter, before, rows).await?;
    tx.commit().await?;
    let next = page.cut(&mut conversations, |last| last.id);
    Ok(Json(ConversationList { conversations: conversations.into_iter().map(Into::into).collect(), next }))
}

/// A conversation with its messages
#[utoipa::path(
    get, path = "/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path, description = "Id of the conversation"), Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "conversation_not_found"]))),
    responses((status = 200, description = "The conversation, and a page of its messages", body = ConversationDetail))
)]
pub(crate) async fn get_conversation(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<ConversationDetail>, Problem> {
    let (id, rows) = (parse(&id)?, page.rows()?);
    let after = page.after::<MessageId>()?.map(|message| (id, message));
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let conversation = conversations::get(&mut tx, id).await?.into();
    let mut messages = messages::list(&mut tx, &[id], after, rows).await?;
    tx.commit().await?;
    let next = page.cut(&mut messages, |last| last.id);
    Ok(Json(ConversationDetail { conversation, transcript: messages.into_iter().map(Into::into).collect(), next }))
}

/// Delete a conversation
///
/// What it used stays counted.
#[utoipa::path(
    delete, path = "/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path, description = "Id of the conversation")),
    extensions(("x-problems" = json!(["conversation_not_found"]))),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete_conversation(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse(&id)?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    conversations::delete(&mut tx, id).await?;
    audit::record(&mut tx, access.actor()?, "conversation.delete", &id.to_string(), &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<ConversationId, Problem> {
    id.parse().map_err(|_| {
        Problem::new(ProblemKind::ConversationNotFound, "the id of a conversation is a UUID, as a reply returns it")
    })
}

impl From<ConversationRow> for ConversationBody {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id.0,
            chatbot_id: row.chatbot.0,
            channel: row.channel,
            visitor: row.visitor,
            visitor_identity: row.visitor_identity,
            question: row.question,
            messages: row.messages,
            unanswered: row.unanswered,
            up: row.up,
            down: row.down,
            created_at: row.created_at,
            last_at: row.last_at,
        }
    }
}

impl From<MessageRow> for MessageBody {
    fn from(row: MessageRow) -> Self {
        let (comment, at) = (row.feedback_comment, row.feedback_at);
        let answer = row.kind.map(|kind| AnswerDetail {
            kind,
            answerable: row.answerable,
            best_score: row.best_score,
            citations: row.citations.unwrap_or_else(|| Value::Array(Vec::new())),
            feedback: row.feedback.map(|rating| FeedbackBody { rating, comment, at }),
            model: row.model,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cost_micros: row.cost_micros,
            milliseconds: row.milliseconds,
        });
        Self { id: row.id.0, role: row.role, content: row.content, created_at: row.created_at, answer }
    }
}
