//! What was asked and answered, counted by UTC days.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Days, NaiveDate, Utc};
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotRow};
use docbrain_core::store::stats::{self, FeedbackRow, Gap, Part, Period, UsageCounts, UsageRow};
use docbrain_core::store::{Pool, TenantTx, documents};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::documents::CountsBody;
use crate::access::TenantAccess;
use crate::extract::Query;
use crate::problem::{Problem, ProblemKind};

pub(super) mod usage;

/// Days that are counted, unless the request says otherwise.
const DAYS: u64 = 30;
const MOST_DAYS: u64 = 400;
/// Unanswered questions that are listed.
const GAPS: u32 = 20;

/// Which chats are counted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Counted {
    /// The first day, in UTC; left out: 29 days before the last.
    from: Option<NaiveDate>,
    /// The last day, in UTC; left out: today. At most 400 days are counted.
    to: Option<NaiveDate>,
    /// Name or id of a chatbot; left out: all of them.
    chatbot: Option<String>,
}

impl Counted {
    fn period(&self) -> Result<Period, Problem> {
        let to = self.to.unwrap_or_else(|| Utc::now().date_naive());
        let from = self.from.or_else(|| to.checked_sub_days(Days::new(DAYS - 1))).unwrap_or(to);
        let length = u64::try_from((to - from).num_days()).ok().filter(|days| *days < MOST_DAYS);
        let known = (1970..10_000).contains(&chrono::Datelike::year(&from)) && chrono::Datelike::year(&to) < 10_000;
        if length.is_none() || !known {
            return Err(Problem::new(
                ProblemKind::InvalidField,
                "`to` is the day of `from` or one of the 399 after it",
            ));
        }
        Ok(Period { from, to })
    }

    async fn chatbot(&self, tx: &mut TenantTx) -> Result<Option<ChatbotRow>, Problem> {
        Ok(match &self.chatbot {
            Some(chatbot) => Some(chatbots::get(tx, &ChatbotRef::from(chatbot.as_str())).await?),
            None => None,
        })
    }
}

/// A period in numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Overview {
    /// Its first day.
    from: NaiveDate,
    /// Its last day.
    to: NaiveDate,
    /// All of it.
    totals: Counts,
    /// Time from question to answer.
    latency: Latency,
    /// Day by day, without a gap.
    days: Vec<DayBody>,
    /// By chatbot, the most asked one first.
    chatbots: Vec<ChatbotCounts>,
    /// By model, the most asked one first.
    models: Vec<ModelCounts>,
    /// Documents as they are now.
    documents: CountsBody,
    /// Questions that the documents held no answer to, the latest first, at most twenty.
    unanswered_questions: Vec<GapBody>,
}

/// Chats, counted.
#[derive(Default, Serialize, ToSchema)]
struct Counts {
    /// Questions.
    chats: i64,
    /// Conversations that began.
    conversations: i64,
    /// Answers that the documents held.
    answered: i64,
    /// Answers that they did not hold.
    unanswered: i64,
    /// Answers that were rated up.
    up: i64,
    /// Answers that were rated down.
    down: i64,
    /// Tokens of prompts.
    prompt_tokens: i64,
    /// Tokens of answers.
    completion_tokens: i64,
    /// Estimated cost in millionths of a US dollar; null: no price is known.
    cost_micros: Option<i64>,
}

/// How long answers took, in milliseconds, right to 5 %; null without answers.
#[derive(Serialize, ToSchema)]
struct Latency {
    /// Half of them took no longer.
    p50_milliseconds: Option<f64>,
    /// Nineteen of twenty took no longer.
    p95_milliseconds: Option<f64>,
}

/// A day.
#[derive(Serialize, ToSchema)]
struct DayBody {
    /// The day, in UTC.
    day: NaiveDate,
    #[serde(flatten)]
    counts: Counts,
}

/// A chatbot's share.
#[derive(Serialize, ToSchema)]
struct ChatbotCounts {
    /// Its id.
    chatbot_id: Uuid,
    /// Its name; null: it was deleted.
    chatbot: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

/// A model's share.
#[derive(Serialize, ToSchema)]
struct ModelCounts {
    /// Its name; null: no model was asked.
    #[schema(example = "gpt-4.1-mini")]
    model: Option<String>,
    /// Questions.
    chats: i64,
    /// Tokens of prompts.
    prompt_tokens: i64,
    /// Tokens of answers.
    completion_tokens: i64,
    /// Estimated cost in millionths of a US dollar; null: its price is not known.
    cost_micros: Option<i64>,
}

/// A question that the documents held no answer to.
#[derive(Serialize, ToSchema)]
struct GapBody {
    /// The question.
    question: String,
    /// The conversation.
    conversation_id: Uuid,
    /// What was said instead.
    message_id: Uuid,
    /// The chatbot.
    chatbot_id: Uuid,
    /// Best score among the passages that were found.
    best_score: Option<f32>,
    /// When it was asked.
    created_at: DateTime<Utc>,
}

/// A period in numbers
#[utoipa::path(
    get, path = "/stats/overview", tag = "statistics", params(Counted),
    extensions(("x-problems" = json!(["bad_request", "invalid_field", "chatbot_not_found"]))),
    responses((status = 200, description = "The numbers", body = Overview))
)]
pub(crate) async fn get_overview(
    State(pool): State<Pool>,
    access: TenantAccess,
    Query(counted): Query<Counted>,
) -> Result<Json<Overview>, Problem> {
    let period = counted.period()?;
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let bot = counted.chatbot(&mut tx).await?;
    let id = bot.as_ref().map(|bot| bot.id);
    let usage = stats::usage(&mut tx, period, id).await?;
    let feedback = stats::feedback(&mut tx, period, id).await?;
    let latencies = stats::latencies(&mut tx, period, id).await?;
    let documents = documents::count(&mut tx, bot.as_ref().map(|bot| bot.sources.as_slice())).await?;
    let gaps = stats::gaps(&mut tx, period, id, GAPS).await?;
    tx.commit().await?;
    let latency = Latency {
        p50_milliseconds: latencies.percentile(0.5).map(f64::round),
        p95_milliseconds: latencies.percentile(0.95).map(f64::round),
    };
    let unanswered_questions = gaps.into_iter().map(Into::into).collect();
    Ok(Json(Overview::new(period, usage, &feedback, latency, documents.into(), unanswered_questions)))
}

impl Overview {
    fn new(
        period: Period,
        usage: Vec<UsageRow>,
        feedback: &[FeedbackRow],
        latency: Latency,
        documents: CountsBody,
        unanswered_questions: Vec<GapBody>,
    ) -> Self {
        let rated = |wanted: &dyn Fn(&FeedbackRow) -> bool| {
            let rows = feedback.iter().filter(|row| wanted(row));
            rows.fold((0, 0), |(up, down), row| (up + row.up, down + row.down))
        };
        let by_day = feedback.iter().fold(HashMap::<NaiveDate, (i64, i64)>::new(), |mut days, row| {
            let (up, down) = days.entry(row.day).or_default();
            *up += row.up;
            *down += row.down;
            days
        });
        let (mut totals, mut chatbots, mut models) = (Counts::default(), Vec::new(), Vec::new());
        let mut days: HashMap<NaiveDate, UsageCounts> = HashMap::new();
        for UsageRow { part, counts } in usage {
            match part {
                Part::All => totals = Counts::new(counts, rated(&|_| true)),
                Part::Day(day) => drop(days.insert(day, counts)),
                Part::Chatbot(id, chatbot) => {
                    let counts = Counts::new(counts, rated(&|row| row.chatbot == id));
                    chatbots.push(ChatbotCounts { chatbot_id: id.0, chatbot, counts });
                }
                Part::Model(model) => models.push(ModelCounts {
                    model,
                    chats: counts.chats,
                    prompt_tokens: counts.prompt_tokens,
                    completion_tokens: counts.completion_tokens,
                    cost_micros: counts.cost_micros,
                }),
            }
        }
        let day = |day| {
            let counts = days.get(&day).copied().unwrap_or_default();
            DayBody { day, counts: Counts::new(counts, by_day.get(&day).copied().unwrap_or_default()) }
        };
        Self {
            from: period.from,
            to: period.to,
            totals,
            latency,
            days: period.days().map(day).collect(),
            chatbots,
            models,
            documents,
            unanswered_questions,
        }
    }
}

impl Counts {
    fn new(counts: UsageCounts, (up, down): (i64, i64)) -> Self {
        Self {
            chats: counts.chats,
            conversations: counts.conversations,
            answered: counts.answered,
            unanswered: counts.chats - counts.answered,
            up,
            down,
            prompt_tokens: counts.prompt_tokens,
            completion_tokens: counts.completion_tokens,
            cost_micros: counts.cost_micros,
        }
    }
}

impl From<Gap> for GapBody {
    fn from(gap: Gap) -> Self {
        Self {
            question: gap.question,
            conversation_id: gap.conversation.0,
            message_id: gap.message.0,
            chatbot_id: gap.chatbot.0,
            best_score: gap.best_score,
            created_at: gap.created_at,
        }
    }
}
