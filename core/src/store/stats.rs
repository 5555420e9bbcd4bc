//! What was asked and answered, counted.
//!
//! Days that are over are counted once (`usage_days`, `latency_days`); the functions `usage_by_day` and `latencies_of` add
//! those that are not. A day is a day in UTC.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use super::{Error, TenantTx};
use crate::ids::{ChatbotId, ConversationId, MessageId};

/// Some days, the first and the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
}

impl Period {
    /// Every day of it.
    pub fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.from.iter_days().take_while(move |day| *day <= self.to)
    }

    fn begins(self) -> DateTime<Utc> {
        self.from.and_time(NaiveTime::MIN).and_utc()
    }

    fn ends(self) -> DateTime<Utc> {
        (self.to + Days::new(1)).and_time(NaiveTime::MIN).and_utc()
    }
}

/// Which part of the chats a [`UsageRow`] counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// Those of one day.
    Day(NaiveDate),
    /// Those with one chatbot, and its name while it exists.
    Chatbot(ChatbotId, Option<String>),
    /// Those that asked one model, or none.
    Model(Option<String>),
}

/// Some chats, counted.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// Which.
    pub part: Part,
    /// Their counts.
    pub counts: UsageCounts,
}

/// Counts of chats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Questions that were answered, well or not.
    pub chats: i64,
    /// Conversations that began.
    pub conversations: i64,
    /// Answers that the documents held.
    pub answered: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of answers.
    pub completion_tokens: i64,
    /// Millionths of a US dollar, of answers whose price is known; `None`: of none it is.
    pub cost_micros: Option<i64>,
}

/// The chats of a period: all of them, and by day, by chatbot and by model. What has no chats has no row.
pub async fn usage(tx: &mut TenantTx, period: Period, chatbot: Option<ChatbotId>) -> Result<Vec<UsageRow>, Error> {
    let rows = sqlx::query!(
        r#"select g.day, g.chatbot_id, b.name as "name?", g.model, g.part as "part!", g.chats as "chats!", g.conversations as "conversations!",
                g.answered as "answered!", g.prompt_tokens as "prompt_tokens!", g.completion_tokens as "completion_tokens!", g.cost_micros
         from (
            select day, chatbot_id, model, grouping(day, chatbot_id, model) as part, coalesce(sum(chats), 0)::bigint as chats,
                   coalesce(sum(conversations), 0)::bigint as conversations, coalesce(sum(answered), 0)::bigint as answered,
                   coalesce(sum(prompt_tokens), 0)::bigint as prompt_tokens, coalesce(sum(completion_tokens), 0)::bigint as completion_tokens,
                   sum(cost_micros)::bigint as cost_micros
            from usage_by_day($1, $2, $3, $4)
            group by grouping sets ((), (day), (chatbot_id), (model))) g
         left join chatbots b on b.tenant_id = $1 and b.id = g.chatbot_id
         order by g.day, g.chats desc, g.chatbot_id, g.model"#,
        tx.tenant().0,
        period.from,
        period.to,
        chatbot.map(|id| id.0),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| UsageRow {
            part: match (row.day, row.chatbot_id, row.model) {
                (Some(day), ..) => Part::Day(day),
                (None, Some(id), _) => Part::Chatbot(id.into(), row.name),
                (None, None, Some(model)) => Part::Model((!model.is_empty()).then_some(model)),
                (None, None, None) => Part::All,
            },
            counts: UsageCounts {
                chats: row.chats,
                conversations: row.conversations,
                answered: row.answered,
                prompt_tokens: row.prompt_tokens,
                completion_tokens: row.completion_tokens,
                cost_micros: row.cost_micros,
            },
        })
        .collect())
}

/// How the answers of one day of one chatbot were rated.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackRow {
    /// The day of the answers.
    pub day: NaiveDate,
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// How many were rated up.
    pub up: i64,
    /// How many were rated down.
    pub down: i64,
}

/// How the answers of a period were rated, by day and chatbot.
pub async fn feedback(
    tx: &mut TenantTx,
    period: Period,
    chatbot: Option<ChatbotId>,
) -> Result<Vec<FeedbackRow>, Error> {
    let rows = sqlx::query_as!(
        FeedbackRow,
        r#"select (created_at at time zone 'UTC')::date as "day!", chatbot_id as "chatbot!: _",
                count(*) filter (where feedback = 'up') as "up!", count(*) filter (where feedback = 'down') as "down!"
         from usage
         where tenant_id = $1 and created_at >= $2 and created_at < $3 and feedback is not null and chatbot_id is not null
           and ($4::uuid is null or chatbot_id = $4)
         group by 1, 2"#,
        tx.tenant().0,
        period.begins(),
        period.ends(),
        chatbot.map(|id| id.0),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// How long answers took: how many in each bucket of `latency_bucket`, in order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<(i16, i64)>);

impl Latencies {
    /// The time in milliseconds that this share of the answers did not exceed, right to 5 %; `None` without answers.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let all: i64 = self.0.iter().map(|(_, chats)| chats).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let wanted = share * all as f64;
        let mut seen = 0.0;
        let bucket = self.0.iter().find(|(_, chats)| {
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
            let chats = *chats as f64;
            seen += chats;
            seen >= wanted
        });
        bucket.map(|(bucket, _)| ((f64::from(*bucket) + 0.5) / 8.0).exp2())
    }
}

/// How long the answers of a period took.
pub async fn latencies(tx: &mut TenantTx, period: Period, chatbot: Option<ChatbotId>) -> Result<Latencies, Error> {
    let rows = sqlx::query!(
        r#"select bucket as "bucket!", chats as "chats!" from latencies_of($1, $2, $3, $4)"#,
        tx.tenant().0,
        period.from,
        period.to,
        chatbot.map(|id| id.0),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(Latencies(rows.into_iter().map(|row| (row.bucket, row.chats)).collect()))
}

/// A question that the documents held no answer to.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The question.
    pub question: String,
    /// What was said instead.
    pub message: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// Best dense score of the passages.
    pub best_score: Option<f32>,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
}

/// Questions of a period without an answer, the latest first, at most `limit`.
pub async fn gaps(
    tx: &mut TenantTx,
    period: Period,
    chatbot: Option<ChatbotId>,
    limit: u32,
) -> Result<Vec<Gap>, Error> {
    let rows = sqlx::query_as!(
        Gap,
        r#"select q.content as "question!", m.id as "message: _", m.conversation_id as "conversation: _", c.chatbot_id as "chatbot: _",
                m.best_score, m.created_at
         from messages m
         join conversations c on c.tenant_id = m.tenant_id and c.id = m.conversation_id
         cross join lateral (
            select q.content from messages q
            where q.tenant_id = m.tenant_id and q.conversation_id = m.conversation_id and q.id < m.id and q.role = 'visitor'
            order by q.id desc limit 1) q
         where m.tenant_id = $1 and not m.answerable and m.id >= $2 and m.id < $3 and ($4::uuid is null or c.chatbot_id = $4)
         order by m.id desc limit $5"#,
        tx.tenant().0,
        MessageId::since(period.begins()).0,
        MessageId::since(period.ends()).0,
        chatbot.map(|id| id.0),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// What a chatbot used in a day with a model.
#[derive(Clone, Debug)]
pub struct BillingRow {
    /// The day.
    pub day: NaiveDate,
    /// The chatbot.
    pub chatbot: ChatbotId,
    /// Its name, while it exists.
    pub chatbot_name: Option<String>,
    /// The model; empty: none was asked.
    pub model: String,
    /// Questions.
    pub chats: i64,
    /// Conversations that began.
    pub conversations: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of answers.
    pub completion_tokens: i64,
    /// Millionths of a US dollar, where prices are known.
    pub cost_micros: Option<i64>,
}

/// Where a page of [`billing`] ended.
pub type BillingKey = (NaiveDate, ChatbotId, String);

/// What was used by day, chatbot and model, after `after` in that order, at most `limit`.
pub async fn billing(
    tx: &mut TenantTx,
    period: Period,
    chatbot: Option<ChatbotId>,
    after: Option<&BillingKey>,
    limit: u32,
) -> Result<Vec<BillingRow>, Error> {
    let rows = sqlx::query_as!(
        BillingRow,
        r#"select v.day as "day!", v.chatbot_id as "chatbot!: _", b.name as "chatbot_name?", v.model as "model!", v.chats as "chats!",
                v.conversations as "conversations!", v.prompt_tokens as "prompt_tokens!", v.completion_tokens as "completion_tokens!",
                v.cost_micros
         from usage_by_day($1, greatest($2, $5::date), $3, $4) v
         left join chatbots b on b.tenant_id = $1 and b.id = v.chatbot_id
         where ($5::date is null or (v.day, v.chatbot_id, v.model) > ($5, $6, $7))
         order by v.day, v.chatbot_id, v.model limit $8"#,
        tx.tenant().0,
        period.from,
        period.to,
        chatbot.map(|id| id.0),
        after.map(|(day, ..)| *day),
        after.map(|(_, chatbot, _)| chatbot.0),
        after.map(|(.., model)| model.as_str()),
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Counts the days before `today` that are not counted yet. Nothing may be written into them any more.
pub async fn close_days(tx: &mut TenantTx, today: NaiveDate) -> Result<(), Error> {
    sqlx::query!("select close_days($1, $2)", tx.tenant().0, today).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_middle_of_its_bucket() {
        // 90 answers of about 100 ms, 10 of about 10 s.
        let latencies = Latencies(vec![(53, 90), (106, 10)]);
        let near = |share: f64, milliseconds: f64| {
            let found = latencies.percentile(share).unwrap();
            assert!((found / milliseconds - 1.0).abs() < 0.06, "{found}");
        };
        near(0.5, 100.0);
        near(0.9, 100.0);
        near(0.95, 10_000.0);
        assert_eq!(Latencies::default().percentile(0.5), None);
    }

    #[test]
    fn a_period_holds_its_first_and_last_day() {
        let day = |text: &str| text.parse().unwrap();
        let period = Period { from: day("2024-02-28"), to: day("2024-03-01") };
        assert_eq!(period.days().collect::<Vec<_>>(), [day("2024-02-28"), day("2024-02-29"), day("2024-03-01")]);
        assert_eq!(period.ends() - period.begins(), chrono::TimeDelta::days(3));
    }
}
