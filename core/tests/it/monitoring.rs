//! The guide, the dashboard and the alerts name metrics that exist, with labels that exist.

use std::collections::BTreeSet;
use std::path::Path;

use docbrain_core::telemetry::{Described, metrics};
use serde_json::Value;

/// Labels that Prometheus adds by itself.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];
/// Words of the query language that stand where a name could.
const WORDS: [&str; 16] = [
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "unless",
    "without",
    "le",
    "m",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The series of a metric that carry a name of their own.
fn series(metric: &Described) -> Vec<(String, BTreeSet<String>)> {
    let labels: BTreeSet<String> = metric.labels.iter().cloned().chain(OF_PROMETHEUS.map(str::to_owned)).collect();
    if metric.kind != "histogram" {
        return vec![(metric.name.clone(), labels)];
    }
    let mut bucket = labels.clone();
    bucket.insert("le".to_owned());
    let named = |suffix: &str| format!("{}_{suffix}", metric.name);
    vec![(named("bucket"), bucket), (named("sum"), labels.clone()), (named("count"), labels)]
}

/// A name with the labels that a selector behind it asks for.
fn names(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        // A duration such as 5m, or a variable such as $job.
        let before = rest[..start].chars().next_back();
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |length| start + length);
        let (name, behind) = (&rest[start..end], &rest[end..]);
        rest = behind;
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_ascii_digit()) {
            continue;
        }
        let mut labels = BTreeSet::new();
        if let Some(selector) = behind.strip_prefix('{') {
            let close = selector.find('}').unwrap();
            labels = selector[..close]
                .split(',')
                .map(|matcher| matcher.split(['=', '!']).next().unwrap().trim().to_owned())
                .collect();
            rest = &selector[close..];
        }
        found.push((name.to_owned(), labels));
    }
    found
}

/// Labels that a query groups or matches by.
fn grouped(query: &str) -> BTreeSet<String> {
    let lists = ["by (", "on (", "without ("].into_iter().flat_map(|word| query.split(word).skip(1));
    lists.flat_map(|list| list.split(')').next().unwrap().split(',')).map(|label| label.trim().to_owned()).collect()
}

fn check(query: &str) {
    let known: Vec<(String, BTreeSet<String>)> = metrics().described().iter().flat_map(series).collect();
    let mut in_query = BTreeSet::new();
    let mut metrics_in_query = 0;
    let grouped = grouped(query);
    for (name, labels) in names(query) {
        if WORDS.contains(&name.as_str()) || grouped.contains(&name) {
            continue;
        }
        // The operator's metrics are its own, and so is their test (operator/src/metrics.rs).
        if name.starts_with("docbrain_operator_") {
            in_query.extend(labels);
            metrics_in_query += 1;
            continue;
        }
        let of_prometheus = (name == "up").then(|| OF_PROMETHEUS.map(str::to_owned).into());
        let exists = known.iter().find(|(known, _)| *known == name).map(|(_, labels)| labels.clone()).or(of_prometheus);
        let exists = exists.unwrap_or_else(|| panic!("there is no metric {name:?}: {query}"));
        assert!(labels.is_subset(&exists), "{name} has the labels {exists:?}: {query}");
        in_query.extend(exists);
        metrics_in_query += 1;
    }
    assert!(metrics_in_query > 0, "no metric in {query:?}");
    assert!(grouped.is_subset(&in_query), "{grouped:?} are not all among the labels {in_query:?}: {query}");
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                queries.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| collect(value, queries));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/grafana-dashboard.json")).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    for query in &queries {
        check(query);
    }
    // What there is to see, is shown.
    let shown = queries.join("\n");
    for metric in metrics().described() {
        assert!(shown.contains(&metric.name), "the dashboard does not show {}", metric.name);
    }
}

#[test]
fn alerts_ask_for_what_there_is() {
    let alerts = read("deploy/monitoring/alerts.yml");
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 5);
    for rule in rules {
        let (_, query) = rule.split_once("expr: ").unwrap();
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|key| query.find(key)).min().unwrap();
        check(query[..end].trim_start_matches('|'));
        assert!(rule.contains("severity:") && rule.contains("summary:") && rule.contains("description:"), "{rule}");
    }
}

#[test]
fn the_guide_lists_every_metric_as_it_is() {
    let guide = read("docs/guides/metrics.md");
    let row = |metric: &Described| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind, metric.help)
    };
    let mut expected: Vec<String> = metrics().described().iter().map(row).collect();
    expected.sort();
    let listed: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, expected, "docs/guides/metrics.md is to list:\n{}", expected.join("\n"));
}

#[test]
fn a_query_for_what_there_is_not_is_found() {
    for query in [
        "rate(docbrain_chats_total[5m])",
        "docbrain_chat_seconds",
        "rate(docbrain_chat_seconds_bucket{colour=\"red\"}[5m])",
        "sum by (tenant) (rate(docbrain_uploads_total[5m]))",
        "sum(1)",
    ] {
        assert!(std::panic::catch_unwind(|| check(query)).is_err(), "{query}");
    }
}
