//! What is known of tokens and money: the totals of all processes, and what this one has not told yet. No IO.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use docbrain_crds::Budget;
use uuid::Uuid;

use super::{Allowance, Period, Unit};
use crate::ids::{ChatbotId, TenantId};
use crate::store::limits::{Total, Used};

/// A total that is older is read again before it is judged by.
const FRESH: TimeDelta = TimeDelta::seconds(1);

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost_micros = self.cost_micros.saturating_add(other.cost_micros);
    }
}

/// What this process knows of what is used up.
#[derive(Debug, Default)]
pub(super) struct Spending {
    /// By tenant and subject.
    known: HashMap<(TenantId, Uuid), Known>,
    /// What the database has not been told.
    untold: HashMap<TenantId, Vec<Used>>,
}

#[derive(Debug)]
struct Known {
    total: Total,
    /// The day that the total is of.
    day: NaiveDate,
    learnt: DateTime<Utc>,
    /// Asked for since it was learnt.
    wanted: bool,
}

/// What came of comparing totals with budgets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Something is left of every budget.
    Left,
    /// This one is used up.
    UsedUp(Allowance, Unit, Period),
    /// These subjects' totals are to be read first.
    Unknown(Vec<Uuid>),
}

/// What is told to the database for a tenant, and read from it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) tenant: TenantId,
    pub(super) used: Vec<Used>,
    /// Subjects whose totals are wanted.
    pub(super) subjects: Vec<Uuid>,
}

impl Spending {
    pub(super) fn judge(&mut self, now: DateTime<Utc>, tenant: TenantId, allowances: &[Allowance]) -> Judged {
        let mut unknown = Vec::new();
        for allowance in allowances {
            match self.known.get_mut(&(tenant, allowance.subject)) {
                Some(known) if known.day == now.date_naive() && now - known.learnt < FRESH => {
                    known.wanted = true;
                    if let Some((unit, period)) = reached(&allowance.budget, &known.total) {
                        return Judged::UsedUp(allowance.clone(), unit, period);
                    }
                }
                _ => unknown.push(allowance.subject),
            }
        }
        if unknown.is_empty() { Judged::Left } else { Judged::Unknown(unknown) }
    }

    /// Notes what a chatbot used up just now.
    pub(super) fn record(&mut self, now: DateTime<Utc>, tenant: TenantId, chatbot: ChatbotId, amount: Amount) {
        let day = now.date_naive();
        for subject in [chatbot.0, tenant.0] {
            if let Some(known) = self.known.get_mut(&(tenant, subject)).filter(|known| known.day == day) {
                known.total.day += amount;
                known.total.month += amount;
            }
        }
        self.keep(tenant, Used { chatbot, day, amount });
    }

    /// What is to be told and asked now. What nobody has asked for lately is forgotten.
    pub(super) fn reports(&mut self, now: DateTime<Utc>) -> Vec<Report> {
        self.known.retain(|_, known| known.wanted || now - known.learnt < FRESH);
        let mut subjects: HashMap<TenantId, Vec<Uuid>> = HashMap::new();
        for ((tenant, subject), _) in self.known.iter().filter(|(_, known)| known.wanted) {
            subjects.entry(*tenant).or_default().push(*subject);
        }
        let mut reports: Vec<Report> = std::mem::take(&mut self.untold)
            .into_iter()
            .map(|(tenant, used)| Report { tenant, used, subjects: subjects.remove(&tenant).unwrap_or_default() })
            .collect();
        reports.extend(subjects.into_iter().map(|(tenant, subjects)| Report { tenant, used: Vec::new(), subjects }));
        reports
    }

    /// Takes back a report that did not reach the database.
    pub(super) fn take_back(&mut self, report: Report) {
        for used in report.used {
            self.keep(report.tenant, used);
        }
    }

    /// Takes in totals of `day`, to which is added what the database has not been told.
    pub(super) fn learn(&mut self, now: DateTime<Utc>, tenant: TenantId, day: NaiveDate, totals: Vec<Total>) {
        let untold = self.untold.get(&tenant).map(Vec::as_slice).unwrap_or_default();
        for mut total in totals {
            let own = |used: &&Used| used.chatbot.0 == total.subject || tenant.0 == total.subject;
            for used in untold.iter().filter(own) {
                if used.day == day {
                    total.day += used.amount;
                }
                if (used.day.year(), used.day.month()) == (day.year(), day.month()) {
                    total.month += used.amount;
                }
            }
            self.known.insert((tenant, total.subject), Known { total, day, learnt: now, wanted: false });
        }
    }

    fn keep(&mut self, tenant: TenantId, used: Used) {
        let untold = self.untold.entry(tenant).or_default();
        match untold.iter_mut().find(|known| (known.chatbot, known.day) == (used.chatbot, used.day)) {
            Some(known) => known.amount += used.amount,
            None => untold.push(used),
        }
    }
}

/// The limit that a total has reached. Of two, the one that is longer to wait for.
fn reached(budget: &Budget, total: &Total) -> Option<(Unit, Period)> {
    const MICROS_PER_CENT: u64 = 10_000;
    let tokens = |limit: Option<i64>| limit.map(|limit| u64::try_from(limit).unwrap_or(0));
    let micros = |limit: Option<i32>| limit.map(|limit| u64::try_from(limit).unwrap_or(0) * MICROS_PER_CENT);
    [
        (Unit::Money, Period::Month, micros(budget.cents_per_month), total.month.cost_micros),
        (Unit::Tokens, Period::Month, tokens(budget.tokens_per_month), total.month.tokens),
        (Unit::Money, Period::Day, micros(budget.cents_per_day), total.day.cost_micros),
        (Unit::Tokens, Period::Day, tokens(budget.tokens_per_day), total.day.tokens),
    ]
    .into_iter()
    .find(|(_, _, limit, used)| limit.is_some_and(|limit| *used >= limit))
    .map(|(unit, period, _, _)| (unit, period))
}

/// How long the period lasts that `now` lies in.
pub(super) fn time_left(period: Period, now: DateTime<Utc>) -> Duration {
    let today = now.date_naive();
    let next = match period {
        Period::Day => today.checked_add_days(Days::new(1)),
        Period::Month => today.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))),
    };
    let end = next.expect("the calendar goes on for long").and_time(NaiveTime::MIN).and_utc();
    (end - now).to_std().expect("the period has not ended")
}

#[cfg(test)]
mod tests;
