use chrono::TimeZone;

use super::*;

fn at(day: u32, hour: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, day, hour, 0, 0).unwrap()
}

fn tokens(tokens: u64) -> Amount {
    Amount { tokens, cost_micros: tokens * 10 }
}

fn total(subject: Uuid, day: u64, month: u64) -> Total {
    Total { subject, day: tokens(day), month: tokens(month) }
}

struct World {
    spending: Spending,
    tenant: TenantId,
    chatbot: ChatbotId,
    allowance: Allowance,
}

/// A chatbot of 100 tokens a day and 1,000 a month.
fn world() -> World {
    let (tenant, chatbot) = (TenantId::new(), ChatbotId::new());
    let budget = Budget { tokens_per_day: Some(100), tokens_per_month: Some(1_000), ..Budget::default() };
    World { spending: Spending::default(), tenant, chatbot, allowance: Allowance::of_chatbot(chatbot, budget) }
}

impl World {
    fn judge(&mut self, now: DateTime<Utc>) -> Judged {
        self.spending.judge(now, self.tenant, std::slice::from_ref(&self.allowance))
    }

    fn learn(&mut self, now: DateTime<Utc>, day: u64, month: u64) {
        self.spending.learn(now, self.tenant, now.date_naive(), vec![total(self.chatbot.0, day, month)]);
    }

    fn used_up(&self, period: Period) -> Judged {
        Judged::UsedUp(self.allowance.clone(), Unit::Tokens, period)
    }
}

#[test]
fn a_total_is_read_before_it_is_judged_by_and_when_it_is_old() {
    let mut world = world();
    let now = at(23, 8);
    assert_eq!(world.judge(now), Judged::Unknown(vec![world.chatbot.0]));
    world.learn(now, 99, 99);
    assert_eq!(world.judge(now), Judged::Left);
    assert_eq!(world.judge(now + FRESH), Judged::Unknown(vec![world.chatbot.0]));
    world.learn(now, 100, 100);
    assert_eq!(world.judge(now), world.used_up(Period::Day));
    world.learn(now, 100, 1_000);
    assert_eq!(world.judge(now), world.used_up(Period::Month));
}

#[test]
fn yesterdays_total_says_nothing_of_today() {
    let mut world = world();
    world.learn(at(23, 23), 100, 100);
    assert!(matches!(world.judge(at(24, 0)), Judged::Unknown(_)));
}

#[test]
fn what_is_used_up_here_counts_at_once_and_is_told_once() {
    let mut world = world();
    let now = at(23, 8);
    world.learn(now, 60, 60);
    assert_eq!(world.judge(now), Judged::Left);
    world.spending.record(now, world.tenant, world.chatbot, tokens(30));
    world.spending.record(now, world.tenant, world.chatbot, tokens(10));
    assert_eq!(world.judge(now), world.used_up(Period::Day));
    let reports = world.spending.reports(now);
    let told = Used { chatbot: world.chatbot, day: now.date_naive(), amount: tokens(40) };
    assert_eq!((reports.len(), &reports[0].used, &reports[0].subjects), (1, &vec![told], &vec![world.chatbot.0]));
    assert!(world.spending.reports(now).iter().all(|report| report.used.is_empty()));
}

#[test]
fn a_report_that_failed_is_told_again_with_what_came_since() {
    let mut world = world();
    let now = at(23, 8);
    world.spending.record(now, world.tenant, world.chatbot, tokens(30));
    let report = world.spending.reports(now).remove(0);
    world.spending.record(now, world.tenant, world.chatbot, tokens(5));
    world.spending.take_back(report);
    world.learn(now, 10, 10);
    world.spending.record(now, world.tenant, world.chatbot, tokens(5));
    assert_eq!(world.judge(now), Judged::Left);
    assert_eq!(world.spending.known[&(world.tenant, world.chatbot.0)].total, total(world.chatbot.0, 50, 50));
    assert_eq!(world.spending.reports(now)[0].used[0].amount, tokens(40));
}

#[test]
fn a_tenant_uses_up_what_its_chatbots_do() {
    let mut world = world();
    let now = at(23, 8);
    let budget = Budget { cents_per_month: Some(1), ..Budget::default() };
    let allowance = Allowance::of_tenant(world.tenant, budget);
    world.spending.learn(now, world.tenant, now.date_naive(), vec![total(world.tenant.0, 0, 900)]);
    assert_eq!(world.spending.judge(now, world.tenant, std::slice::from_ref(&allowance)), Judged::Left);
    world.spending.record(now, world.tenant, world.chatbot, tokens(100));
    let judged = world.spending.judge(now, world.tenant, std::slice::from_ref(&allowance));
    assert_eq!(
        judged,
        Judged::UsedUp(allowance, Unit::Money, Period::Month),
        "a cent is 10,000 millionths of a dollar"
    );
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let mut world = world();
    world.learn(at(23, 8), 1, 1);
    assert!(world.spending.reports(at(23, 9)).is_empty());
    assert!(world.spending.known.is_empty());
}

#[test]
fn periods_end_at_midnight() {
    assert_eq!(time_left(Period::Day, at(30, 23)), Duration::from_hours(1));
    assert_eq!(time_left(Period::Month, at(29, 23)), Duration::from_hours(25));
    let new_years_eve = Utc.with_ymd_and_hms(2026, 12, 31, 5, 0, 0).unwrap();
    assert_eq!(time_left(Period::Month, new_years_eve), Duration::from_hours(19));
}
