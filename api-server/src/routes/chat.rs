//! A question to a chatbot, and its cited answer.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use docbrain_core::answer::{self, Answer, AnswerError, AnswerEvent, AnswerKind, BotProfile, Question, Role, Turn};
use docbrain_core::embed::Embedder;
use docbrain_core::ids::{ChatbotId, ConversationId, TenantId};
use docbrain_core::retrieve::{self, Arms, Scope};
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotRow};
use docbrain_core::store::conversations::{self, Exchange};
use docbrain_core::store::{Pool, TenantTx};
use docbrain_core::telemetry::metrics;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use crate::access::{TenantAccess, Visitor};
use crate::extract::Json;
use crate::middleware::{RequestId, log_causes, note_conversation};
use crate::problem::{Problem, ProblemKind};
use crate::sse;
use crate::state::{AppState, ChatModels};

mod wire;

use wire::{ChatReply, ChatRequest, CitationBody, Delta};

/// Messages of the conversation that a follow-up question is understood by.
const HISTORY: u32 = 10;

/// Ask a chatbot
///
/// With `Accept: text/event-stream` the answer comes as it is written: events `delta` with `{"text": …}`, then `done`
/// with the whole reply, or `error` with a problem.
#[utoipa::path(
    post, path = "/conversation/chat", tag = "conversations", request_body = ChatRequest,
    extensions(("x-problems" = json!([
        "bad_request", "origin_not_allowed", "chatbot_not_found", "conversation_not_found", "chatbot_suspended", "body_too_large", "unsupported_media_type",
        "invalid_field", "model_failed", "model_refused", "model_unavailable", "embedding_unavailable", "model_busy", "model_timeout"
    ]))),
    responses((status = 200, description = "The answer", content(
        (ChatReply = "application/json"),
        (String = "text/event-stream", example = "event: delta\ndata: {\"text\":\"Call \"}\n\nevent: done\ndata: {\"answer\":\"Call EXPIRE. [1]\"}\n\n")
    )))
)]
pub(crate) async fn create_reply(
    State(pool): State<Pool>,
    State(embedder): State<Arc<dyn Embedder>>,
    State(models): State<ChatModels>,
    access: TenantAccess,
    request_id: RequestId,
    headers: HeaderMap,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let (asked, events) = Asked::begin(pool, embedder, &models, access.tenant, access.visitor.as_ref(), request).await?;
    if wants_events(&headers) {
        Ok(asked.tell(events, request_id))
    } else {
        Ok(axum::Json(asked.wait(events).await?).into_response())
    }
}

/// Asks as `POST /conversation/chat` does, for a program that has the API in its own process. `body` and the reply, or
/// the problem, are the route's JSON.
pub async fn chat_once(state: &AppState, tenant: TenantId, body: Value) -> Result<Value, Value> {
    let reply = async {
        let request =
            serde_json::from_value(body).map_err(|error| Problem::new(ProblemKind::InvalidField, error.to_string()))?;
        let (pool, embedder) = (Pool::from_ref(state), Arc::<dyn Embedder>::from_ref(state));
        let (asked, events) = Asked::begin(pool, embedder, &ChatModels::from_ref(state), tenant, None, request).await?;
        asked.wait(events).await
    };
    match reply.await {
        Ok(reply) => Ok(serde_json::to_value(reply).expect("a reply is JSON")),
        Err(problem) => {
            let request_id = RequestId::new();
            log_causes(&problem);
            Err(serde_json::to_value(problem.body(&request_id)).expect("a problem is JSON"))
        }
    }
}

fn wants_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/event-stream")))
}

/// The chatbot that is asked, and what was said before.
async fn open(
    pool: &Pool,
    tenant: TenantId,
    visitor: Option<&Visitor>,
    request: &ChatRequest,
) -> Result<(ChatbotRow, Vec<Turn>), Problem> {
    let bot = chatbots::find(pool, tenant, &ChatbotRef::from(request.chatbot.as_str())).await?;
    if let Some(visitor) = visitor {
        visitor.check(&bot)?;
    }
    if bot.suspended {
        return Err(Problem::new(
            ProblemKind::ChatbotSuspended,
            "its tenant or the chatbot itself is suspended; nothing is lost",
        ));
    }
    let history = match request.conversation_id {
        Some(id) => {
            let mut tx = TenantTx::begin(pool, tenant).await?;
            let history = conversations::history(&mut tx, bot.id, id, HISTORY).await?;
            tx.commit().await?;
            history
        }
        None => Vec::new(),
    };
    let turn = |message: conversations::MessageRow| Turn {
        role: if message.from_visitor { Role::Visitor } else { Role::Assistant },
        content: message.content,
    };
    Ok((bot, history.into_iter().map(turn).collect()))
}

fn scope(tenant: TenantId, bot: &ChatbotRow) -> Scope<'_> {
    Scope {
        tenant,
        generations: &bot.generations,
        languages: &bot.languages,
        arms: if bot.spec.retrieval.hybrid { Arms::Hybrid } else { Arms::Dense },
        top_k: u32::try_from(bot.spec.retrieval.top_k).unwrap_or(1),
    }
}

fn profile(bot: ChatbotRow) -> BotProfile {
    let percent = bot.spec.model.and_then(|model| model.temperature_percent);
    BotProfile {
        display_name: bot.spec.display_name,
        system_prompt: bot.spec.system_prompt,
        fallback_text: bot.spec.fallback_text,
        temperature: percent.and_then(|percent| i16::try_from(percent).ok()).map(|percent| f32::from(percent) / 100.0),
        max_passages: usize::try_from(bot.spec.retrieval.top_k).unwrap_or(1),
        languages: bot.languages,
        ..BotProfile::default()
    }
}

type Events = BoxStream<'static, Result<AnswerEvent, AnswerError>>;

/// A question on its way to being answered.
struct Asked {
    pool: Pool,
    tenant: TenantId,
    chatbot: ChatbotId,
    conversation: ConversationId,
    message: String,
    /// Best dense score of the passages.
    best_score: Option<f32>,
    started: Instant,
    /// Time until the first text.
    first_text: OnceLock<Duration>,
}

impl Asked {
    /// Finds the passages for a question, and begins its answer.
    async fn begin(
        pool: Pool,
        embedder: Arc<dyn Embedder>,
        models: &ChatModels,
        tenant: TenantId,
        visitor: Option<&Visitor>,
        request: ChatRequest,
    ) -> Result<(Self, Events), Problem> {
        let started = Instant::now();
        let message = request.message()?.to_owned();
        let conversation = request.conversation_id.unwrap_or_else(ConversationId::new);
        note_conversation(conversation);
        let (bot, history) = open(&pool, tenant, visitor, &request).await?;
        let question = Question { text: message.clone(), history };
        let passages =
            retrieve::passages(&pool, embedder.as_ref(), &answer::search_text(&question), &scope(tenant, &bot)).await?;
        let asked = Self {
            pool,
            tenant,
            chatbot: bot.id,
            conversation,
            message,
            best_score: passages.iter().map(|passage| passage.dense_score).reduce(f32::max),
            started,
            first_text: OnceLock::new(),
        };
        let model = models.named(bot.spec.model.as_ref().and_then(|model| model.model.as_deref()));
        let events = answer::answer(question, passages, Arc::new(profile(bot)), model, embedder);
        Ok((asked, events))
    }

    /// The reply, when it is complete.
    async fn wait(self, mut events: Events) -> Result<ChatReply, Problem> {
        while let Some(event) = events.next().await {
            match event? {
                AnswerEvent::Delta(_) => self.note_text(),
                AnswerEvent::Done(answer) => return self.finish(answer).await,
            }
        }
        unreachable!("an answer ends with `Done` or an error")
    }

    /// The reply as it comes. When the client goes away the stream is dropped, and the model with it.
    fn tell(self, events: Events, request_id: RequestId) -> Response {
        let asked = Arc::new(self);
        sse::response(events.then(move |event| {
            let (asked, request_id) = (Arc::clone(&asked), request_id.clone());
            async move {
                match event {
                    Ok(AnswerEvent::Delta(text)) => {
                        asked.note_text();
                        sse::event("delta", &Delta { text: &text })
                    }
                    Ok(AnswerEvent::Done(answer)) => match asked.finish(answer).await {
                        Ok(reply) => sse::event("done", &reply),
                        Err(problem) => sse::failure(&problem, &request_id),
                    },
                    Err(error) => sse::failure(&error.into(), &request_id),
                }
            }
        }))
    }

    fn note_text(&self) {
        self.first_text.get_or_init(|| self.started.elapsed());
    }

    /// Keeps the exchange; the reply that tells it.
    async fn finish(&self, answer: Answer) -> Result<ChatReply, Problem> {
        let kind = word(answer.kind);
        let took = self.started.elapsed();
        let citations: Vec<CitationBody> = answer.citations.iter().map(CitationBody::from).collect();
        let exchange = Exchange {
            chatbot: self.chatbot,
            conversation: self.conversation,
            question: &self.message,
            answer: &answer.text,
            kind,
            answerable: answer.answerable,
            best_score: self.best_score,
            citations: &serde_json::to_value(&citations).expect("citations are JSON"),
            prompt_tokens: answer.usage.prompt_tokens,
            completion_tokens: answer.usage.completion_tokens,
            milliseconds: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        };
        let message = conversations::append(&self.pool, self.tenant, &exchange).await?;
        self.count(&answer);
        tracing::info!(kind, answerable = answer.answerable, milliseconds = exchange.milliseconds, "question answered");
        Ok(ChatReply::new(answer, kind, citations, self.conversation, message))
    }

    fn count(&self, answer: &Answer) {
        let metrics = metrics();
        metrics.chat_seconds.with_label_values(&[word(answer.kind)]).observe(self.started.elapsed().as_secs_f64());
        metrics.tokens_total.with_label_values(&["prompt"]).inc_by(answer.usage.prompt_tokens.into());
        metrics.tokens_total.with_label_values(&["completion"]).inc_by(answer.usage.completion_tokens.into());
        if !answer.answerable {
            metrics.unanswered_total.inc();
        }
        if let (AnswerKind::Generated, Some(first)) = (answer.kind, self.first_text.get()) {
            metrics.first_token_seconds.observe(first.as_secs_f64());
        }
    }
}

/// The kind of an answer as rows, metrics and clients name it.
fn word(kind: AnswerKind) -> &'static str {
    match kind {
        AnswerKind::Generated => "generated",
        AnswerKind::Extractive => "extractive",
        AnswerKind::Fallback => "fallback",
    }
}
