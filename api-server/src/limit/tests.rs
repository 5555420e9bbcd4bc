use std::time::Duration;

use docbrain_core::ids::ChatbotId;
use docbrain_core::limits::Unit;
use docbrain_crds::{Budget, ChatbotSpec, Quota};

use super::*;

fn bot(limits: &serde_json::Value, quota: Quota) -> ChatbotRow {
    let spec: ChatbotSpec =
        serde_json::from_value(serde_json::json!({"displayName": "Helper", "limits": limits})).unwrap();
    let (sources, generations, languages) = (Vec::new(), Vec::new(), Vec::new());
    ChatbotRow {
        id: ChatbotId::new(),
        name: "helper".to_owned(),
        spec,
        suspended: false,
        sources,
        generations,
        languages,
        quota,
    }
}

fn visitor<'a>(id: &'a str, address: &str) -> Asker<'a> {
    Asker::Visitor { id, address: ClientIp(address.parse().unwrap()) }
}

#[test]
fn a_visitor_is_limited_as_a_person_and_by_address() {
    let tenant = TenantId::new();
    let quota = Quota { requests_per_minute: Some(500), ..Quota::default() };
    let bot = bot(&serde_json::json!({"questionsPerMinute": 100}), quota);
    let of = |asker| rates(tenant, &bot, asker);
    let limits = |asker| of(asker).iter().map(|rate| (rate.of, rate.limit)).collect::<Vec<_>>();
    let all = [(LimitOf::Chatbot, 100), (LimitOf::Tenant, 500)];
    assert_eq!(limits(visitor("a", "203.0.113.9"))[..2], [(LimitOf::Visitor, 20), (LimitOf::Address, 60)]);
    assert_eq!(limits(visitor("a", "203.0.113.9"))[2..], all);
    assert_eq!(limits(Asker::Account(Uuid::nil()))[0], (LimitOf::Visitor, 20));
    assert_eq!(limits(Asker::Token), all);
    assert_eq!(limits(Asker::Installation), all);

    let one = of(visitor("a", "2001:db8::1"));
    let neighbour = of(visitor("b", "2001:db8::2"));
    assert!(one[0] != neighbour[0] && one[1] == neighbour[1], "two visitors of one network");
    assert_ne!(of(visitor("a", "2001:db8:0:1::1"))[1], one[1]);
    assert_ne!(
        rates(tenant, &self::bot(&serde_json::json!({}), Quota::default()), visitor("a", "2001:db8::1"))[0],
        one[0]
    );
}

#[test]
fn budgets_of_both_hold() {
    let budget = Budget { tokens_per_day: Some(1), ..Budget::default() };
    let quota = Quota { budget: Some(budget), ..Quota::default() };
    let both = bot(&serde_json::json!({"budget": {"centsPerMonth": 5}}), quota);
    let of: Vec<_> = allowances(TenantId::new(), &both).iter().map(|allowance| allowance.of).collect();
    assert_eq!(of, [LimitOf::Chatbot, LimitOf::Tenant]);
    assert!(allowances(TenantId::new(), &bot(&serde_json::json!({}), Quota::default())).is_empty());
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let retry_after = Duration::from_millis(1_500);
    let response = |error| axum::response::IntoResponse::into_response(refusal(error));
    let minute = response(LimitError::TooMany { of: LimitOf::Visitor, limit: 20, retry_after });
    assert_eq!((minute.status().as_u16(), &minute.headers()["retry-after"]), (429, &"2".parse().unwrap()));
    let (of, unit, period) = (LimitOf::Tenant, Unit::Money, Period::Month);
    let month = refusal(LimitError::UsedUp { of, unit, period, retry_after });
    assert_eq!(month.kind, ProblemKind::BudgetExhausted);
}
