//! A question on its way to being answered, whichever route it came by.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::FromRef;
use docbrain_core::answer::{self, Answer, AnswerError, AnswerEvent, AnswerKind, BotProfile, Question, Relevance};
use docbrain_core::chat::TokenUsage;
use docbrain_core::embed::Embedder;
use docbrain_core::ids::{ChatbotId, ConversationId, TenantId};
use docbrain_core::limits::Limits;
use docbrain_core::providers::{Priced, Providers};
use docbrain_core::retrieve::{self, Arms, Passage, Scope};
use docbrain_core::store::Pool;
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotRow};
use docbrain_core::store::conversations::{self, Channel, Exchange, Visitor};
use docbrain_core::telemetry::metrics;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::wire::{ChatReply, CitationBody};
use crate::access::TenantAccess;
use crate::limit;
use crate::middleware::note_conversation;
use crate::problem::{Problem, ProblemKind};
use crate::state::AppState;

/// Longest question in characters.
const LONGEST_QUESTION: usize = 4_000;

/// The text of a question, without its margins, if it is one; `field` is what the client calls it.
pub(crate) fn question<'a>(field: &str, text: &'a str) -> Result<&'a str, Problem> {
    let text = text.trim();
    // Postgres stores no NUL.
    let fits = (1..=LONGEST_QUESTION).contains(&text.chars().count()) && !text.contains('\0');
    let refused = || {
        let detail = format!("`{field}` must be a text of 1 to {LONGEST_QUESTION} characters, without NUL");
        Problem::new(ProblemKind::InvalidField, detail)
    };
    fits.then_some(text).ok_or_else(refused)
}

/// The chatbot of this name or id, if it may answer the caller.
pub(crate) async fn open(pool: &Pool, access: &TenantAccess, chatbot: &str) -> Result<ChatbotRow, Problem> {
    let bot = chatbots::find(pool, access.tenant, &ChatbotRef::from(chatbot)).await?;
    if let Some(visitor) = &access.visitor {
        visitor.check(&bot)?;
    }
    if bot.suspended {
        return Err(Problem::new(
            ProblemKind::ChatbotSuspended,
            "its tenant or the chatbot itself is suspended; nothing is lost",
        ));
    }
    Ok(bot)
}

/// Where a chatbot searches, and how. `comparable`: whether the index was made with the model that questions are embedded
/// with; while it is made again with another one, the search goes by words alone.
fn scope(tenant: TenantId, bot: &ChatbotRow, comparable: bool) -> Scope<'_> {
    Scope {
        tenant,
        generations: &bot.generations,
        languages: &bot.languages,
        arms: match (comparable, bot.spec.retrieval.hybrid) {
            (false, _) => Arms::Text,
            (true, true) => Arms::Hybrid,
            (true, false) => Arms::Dense,
        },
        top_k: u32::try_from(bot.spec.retrieval.top_k).unwrap_or(1),
    }
}

/// What the documents of a chatbot hold about a question.
pub(crate) struct Found {
    pub(crate) passages: Vec<Passage>,
    embedder: Arc<dyn Embedder>,
    comparable: bool,
}

/// Counts a question, or refuses it, and finds at most `top_k` passages; the chatbot's own number when that is `None`.
pub(crate) async fn find(
    state: &AppState,
    access: &TenantAccess,
    bot: &ChatbotRow,
    question: &str,
    top_k: Option<u32>,
) -> Result<Found, Problem> {
    let (pool, providers, tenant) = (Pool::from_ref(state), Providers::from_ref(state), access.tenant);
    limit::admit(&Limits::from_ref(state), tenant, bot, access.asker()).await?;
    let embedder = providers.embedder(tenant).await?;
    let comparable = providers.made_with(tenant, &bot.generations, embedder.model()).await?;
    let mut scope = scope(tenant, bot, comparable);
    scope.top_k = top_k.unwrap_or(scope.top_k);
    let passages = retrieve::passages(&pool, embedder.as_ref(), question, &scope).await?;
    Ok(Found { passages, embedder, comparable })
}

fn profile(bot: ChatbotRow, comparable: bool) -> BotProfile {
    let percent = bot.spec.model.and_then(|model| model.temperature_percent);
    BotProfile {
        display_name: bot.spec.display_name,
        system_prompt: bot.spec.system_prompt,
        fallback_text: bot.spec.fallback_text,
        temperature: percent.and_then(|percent| i16::try_from(percent).ok()).map(|percent| f32::from(percent) / 100.0),
        max_passages: usize::try_from(bot.spec.retrieval.top_k).unwrap_or(1),
        languages: bot.languages,
        relevance: if comparable { Relevance::default() } else { Relevance::BY_WORDS },
        ..BotProfile::default()
    }
}

/// A question as a client asks it.
pub(crate) struct Ask {
    pub(crate) access: TenantAccess,
    pub(crate) bot: ChatbotRow,
    pub(crate) question: Question,
    /// The conversation, or the one to begin with it.
    pub(crate) conversation: ConversationId,
    pub(crate) channel: Channel,
}

/// More of an answer.
pub(crate) enum Step {
    /// Text.
    Text(String),
    /// The whole reply; nothing follows.
    Reply(ChatReply),
}

/// A question on its way to being answered.
pub(crate) struct Asked {
    exchange: Arc<Begun>,
    events: BoxStream<'static, Result<AnswerEvent, AnswerError>>,
}

impl Asked {
    /// Finds the passages for a question, and begins its answer.
    pub(crate) async fn begin(state: &AppState, ask: Ask) -> Result<Self, Problem> {
        let started = Instant::now();
        note_conversation(ask.conversation);
        let Ask { access, bot, question, conversation, channel } = ask;
        let tenant = access.tenant;
        let Found { passages, embedder, comparable } =
            find(state, &access, &bot, &answer::search_text(&question), None).await?;
        let visitor = access.visitor.map(|visitor| Visitor { id: visitor.id, identity: visitor.identity });
        let model = Providers::from_ref(state).chat_model(tenant, bot.spec.model.as_ref()).await?;
        let exchange = Begun {
            limits: Limits::from_ref(state),
            pool: Pool::from_ref(state),
            tenant,
            chatbot: bot.id,
            conversation,
            channel,
            visitor,
            model: model.clone(),
            question: question.text.clone(),
            best_score: passages.iter().map(|passage| passage.dense_score).reduce(f32::max),
            started,
            first_text: OnceLock::new(),
        };
        let events = answer::answer(
            question,
            passages,
            Arc::new(profile(bot, comparable)),
            model.map(|priced| priced.model),
            embedder,
        );
        Ok(Self { exchange: Arc::new(exchange), events })
    }

    /// The answer as it comes, up to the reply or a problem.
    pub(crate) fn steps(self) -> impl Stream<Item = Result<Step, Problem>> + Send + 'static {
        let Self { exchange, events } = self;
        events.then(move |event| {
            let exchange = Arc::clone(&exchange);
            async move {
                match event? {
                    AnswerEvent::Delta(text) => {
                        exchange.note_text();
                        Ok(Step::Text(text))
                    }
                    AnswerEvent::Done(answer) => Ok(Step::Reply(exchange.finish(answer).await?)),
                }
            }
        })
    }

    /// The reply, when it is complete.
    pub(crate) async fn reply(self) -> Result<ChatReply, Problem> {
        let mut steps = pin!(self.steps());
        while let Some(step) = steps.next().await {
            if let Step::Reply(reply) = step? {
                return Ok(reply);
            }
        }
        unreachable!("an answer ends with `Done` or an error")
    }
}

/// What is kept of an exchange, but for its answer.
struct Begun {
    limits: Limits,
    pool: Pool,
    tenant: TenantId,
    chatbot: ChatbotId,
    conversation: ConversationId,
    channel: Channel,
    visitor: Option<Visitor>,
    /// The chat model, and what it takes where that is known.
    model: Option<Priced>,
    question: String,
    /// Best dense score of the passages.
    best_score: Option<f32>,
    started: Instant,
    /// Time until the first text.
    first_text: OnceLock<Duration>,
}

impl Begun {
    fn note_text(&self) {
        self.first_text.get_or_init(|| self.started.elapsed());
    }

    /// Keeps the exchange; the reply that tells it.
    async fn finish(&self, answer: Answer) -> Result<ChatReply, Problem> {
        let kind = word(answer.kind);
        let took = self.started.elapsed();
        let citations: Vec<CitationBody> = answer.citations.iter().map(CitationBody::from).collect();
        let model = self.model.as_ref().filter(|_| answer.usage != TokenUsage::default());
        // Where no model was asked there is nothing to pay.
        let cost_micros = model.map_or(Some(0), |priced| priced.price.map(|price| price.of(answer.usage)));
        let exchange = Exchange {
            chatbot: self.chatbot,
            conversation: self.conversation,
            channel: self.channel,
            visitor: self.visitor.as_ref(),
            question: &self.question,
            answer: &answer.text,
            kind,
            answerable: answer.answerable,
            best_score: self.best_score,
            citations: &serde_json::to_value(&citations).expect("citations are JSON"),
            model: model.map(|priced| priced.model.name()),
            prompt_tokens: answer.usage.prompt_tokens,
            completion_tokens: answer.usage.completion_tokens,
            cost_micros,
            milliseconds: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        };
        let message = conversations::append(&self.pool, self.tenant, &exchange).await?;
        self.limits.record(self.tenant, self.chatbot, limit::used(answer.usage, cost_micros));
        tracing::info!(kind, answerable = answer.answerable, milliseconds = exchange.milliseconds, "question answered");
        self.count(&answer);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_counted_in_characters_without_its_margins() {
        assert_eq!(question("message", "  why? \n").unwrap(), "why?");
        assert!(question("message", &"ü".repeat(4_000)).is_ok());
        for bad in [String::new(), " \n".into(), "ü".repeat(4_001), "a\0b".into()] {
            assert_eq!(question("message", &bad).unwrap_err().kind, ProblemKind::InvalidField);
        }
    }
}
