//! Ten thousand resources: `make bench-operator`, which writes docs/benchmarks.md.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use docbrain_core::env;
use docbrain_crds::{Chatbot, KnowledgeSource};
use futures::{StreamExt, stream};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use tokio::sync::mpsc;

use crate::harness::{Judged, Lab, Operator, alone, resource, root, tenant};

const TENANTS: usize = 500;
const SOURCES: usize = 10;
const CHATBOTS: usize = 9;
const CHANGES: usize = 300;
const ALL: usize = TENANTS * (1 + SOURCES + CHATBOTS);
/// The page, and what is written into it.
const PAGE: &str = "docs/benchmarks.md";
const MARKS: [&str; 2] = ["<!-- operator:begin -->", "<!-- operator:end -->"];

#[test]
#[ignore = "it takes minutes and wants the machine for itself: make bench-operator"]
fn ten_thousand_resources() {
    alone("scale", |lab| {
        Box::pin(async {
            let made = Instant::now();
            fill(lab).await;
            println!("{ALL} resources applied in {:.0} s", made.elapsed().as_secs_f64());

            let first = cold(lab, "with nothing made yet", async |operator| {
                operator.metrics().await.sum("docbrain_operator_status_writes_total") >= ALL as f64
            })
            .await;
            verify(lab).await;
            first.operator.stop().await;

            let second = cold(lab, "with everything in place", async |operator| {
                operator.metrics().await.sum("docbrain_operator_reconciles_total") >= ALL as f64
            })
            .await;
            let written = second.operator.metrics().await.sum("docbrain_operator_status_writes_total");
            assert!(written < 1.0, "a restart writes nothing: {written}");
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = second.operator.metrics().await.sum("docbrain_operator_reconciles_total");
            let took = change(lab).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let reconciles = second.operator.metrics().await.sum("docbrain_operator_reconciles_total") - before;
            let memory = memory(&second.operator);

            let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0;
            let most = first.memory.most.max(memory.most);
            let rows = [
                (
                    "cold start to all ready, with nothing made yet",
                    "≤ 60 s",
                    first.took,
                    60.0,
                    format!("{:.1} s", first.took),
                ),
                (
                    "cold start to all looked at, with everything in place",
                    "≤ 60 s",
                    second.took,
                    60.0,
                    format!("{:.1} s", second.took),
                ),
                (
                    "memory of the operator, most (VmHWM)",
                    "≤ 64 MiB",
                    most,
                    64.0,
                    format!("{most:.1} MiB; at rest {:.1} MiB (PSS)", memory.now),
                ),
                (
                    "reconciles per resource, first cold start",
                    "1",
                    first.reconciles / ALL as f64,
                    1.01,
                    format!("{:.3}", first.reconciles / ALL as f64),
                ),
                (
                    "reconciles per resource, second cold start",
                    "1",
                    second.reconciles / ALL as f64,
                    1.01,
                    format!("{:.3}", second.reconciles / ALL as f64),
                ),
                (
                    "reconciles per change",
                    "1",
                    reconciles / CHANGES as f64,
                    1.01,
                    format!("{:.3}", reconciles / CHANGES as f64),
                ),
                (
                    "change to status, p95",
                    "≤ 100 ms",
                    at(0.95),
                    100.0,
                    format!("{:.1} ms; p50 {:.1}, p99 {:.1}", at(0.95), at(0.5), at(0.99)),
                ),
            ];
            let mut text = format!(
                "- Machine: {}\n- Command: `make bench-operator`\n- Date: {}, commit {}\n- {ALL} resources: {TENANTS} tenants, each with {SOURCES} knowledge sources and {CHATBOTS} chatbots on two of them, and a namespace that is there\n\n| what | budget | measured | verdict |\n|---|---|---|---|\n",
                machine(),
                chrono::Utc::now().format("%Y-%m-%d %H:%M UTC"),
                crate::harness::output(std::process::Command::new("git").args([
                    "describe",
                    "--always",
                    "--dirty",
                    "--abbrev=7"
                ])),
            );
            for (what, budget, value, limit, told) in rows {
                let verdict = if value <= limit { "met" } else { "**missed**" };
                writeln!(text, "| {what} | {budget} | {told} | {verdict} |").unwrap();
            }
            println!("{text}");
            write(&text);
            second.operator.stop().await;
        })
    });
}

/// What a start from nothing came to.
struct Cold {
    operator: Operator,
    took: f64,
    reconciles: f64,
    memory: Memory,
}

async fn cold(lab: &Lab, what: &str, is_over: impl AsyncFn(&Operator) -> bool) -> Cold {
    let began = Instant::now();
    // The gate of other tests would take its share of the processors.
    let database = lab.owner.connect_options().to_url_lossy().to_string();
    let operator = Operator::start(lab, "docbrain-operator-0", &[(env::DATABASE_URL, database)]).await;
    let end = began + Duration::from_secs(230);
    let mut phases = Vec::new();
    let kinds = [("Tenant", TENANTS), ("KnowledgeSource", TENANTS * SOURCES), ("Chatbot", TENANTS * CHATBOTS)];
    while !operator.leads().await || !is_over(&operator).await {
        assert!(Instant::now() < end, "{what}: not over; {:?}", operator.metrics().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some((kind, all)) = kinds.get(phases.len())
            && operator.leads().await
            && operator.metrics().await.reconciles(kind) >= *all as f64
        {
            phases.push(began.elapsed().as_secs_f64());
        }
    }
    println!("{what}: tenants, knowledge sources and chatbots seen after {phases:.1?} s");
    let took = began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (metrics, memory) = (operator.metrics().await, memory(&operator));
    let errors = metrics.sum("docbrain_operator_errors_total");
    let reconciles = metrics.sum("docbrain_operator_reconciles_total");
    println!(
        "{what}: {took:.1} s, {reconciles} reconciles, {errors} errors, {:.1} MiB at most, {:.1} MiB at rest",
        memory.most, memory.now
    );
    Cold { operator, took, reconciles, memory }
}

/// Applies all of it, while no operator is there.
async fn fill(lab: &Lab) {
    let mut resources: Vec<Value> = Vec::new();
    let name = |number: usize| format!("tenant-{number:03}");
    for number in 0..TENANTS {
        let metadata = json!({ "name": name(number), "labels": { "docbrain.dev/tenant": name(number) } });
        resources.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
    }
    put_all(lab, &resources).await;
    resources.clear();
    for number in 0..TENANTS {
        let namespace = name(number);
        resources.push(tenant(&namespace));
        for source in 0..SOURCES {
            let spec = json!({ "source": { "upload": {} } });
            resources.push(resource("KnowledgeSource", &namespace, &format!("source-{source}"), &spec));
        }
        for chatbot in 0..CHATBOTS {
            resources.push(bot(&namespace, chatbot, 0));
        }
    }
    put_all(lab, &resources).await;
}

fn bot(namespace: &str, number: usize, change: usize) -> Value {
    let sources = json!([{ "name": format!("source-{number}") }, { "name": format!("source-{}", number + 1) }]);
    let spec = json!({
        "displayName": format!("Chatbot {number}"),
        "systemPrompt": format!("You help customers of {namespace}. Be brief and friendly. Version {change}."),
        "knowledgeSources": sources,
        "allowedOrigins": ["https://www.example.com"],
    });
    resource("Chatbot", namespace, &format!("bot-{number}"), &spec)
}

async fn put_all(lab: &Lab, resources: &[Value]) {
    stream::iter(resources).for_each_concurrent(24, |resource| async move { drop(lab.put(resource).await) }).await;
}

/// All of them are ready.
async fn verify(lab: &Lab) {
    async fn open<K: Judged>(api: &Api<K>) -> usize {
        api.list(&ListParams::default()).await.unwrap().iter().filter(|object| object.verdict() != "Ready").count()
    }
    let chatbots: Api<Chatbot> = Api::all(lab.client.clone());
    let sources: Api<KnowledgeSource> = Api::all(lab.client.clone());
    let open = open(&lab.tenants()).await + open(&sources).await + open(&chatbots).await;
    assert_eq!(open, 0, "not ready");
}

/// Changes chatbots, one after the other; how long each took until its status told of it, in order.
async fn change(lab: &Lab) -> Vec<Duration> {
    let (seen, mut news) = mpsc::unbounded_channel();
    let chatbots: Api<Chatbot> = Api::all(lab.client.clone());
    let watch = tokio::spawn(async move {
        let mut events =
            std::pin::pin!(watcher(chatbots, watcher::Config::default().streaming_lists()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitDone) => drop(seen.send((String::new(), None, Instant::now()))),
                Ok(watcher::Event::Apply(bot)) => {
                    let key = format!("{}/{}", bot.namespace().unwrap(), bot.name_any());
                    drop(seen.send((key, bot.seen(), Instant::now())));
                }
                _ => {}
            }
        }
    });
    while news.recv().await.unwrap().1.is_some() {}
    let mut took = Vec::new();
    let mut last: HashMap<String, Option<i64>> = HashMap::new();
    for number in 0..CHANGES {
        let (namespace, chatbot) = (format!("tenant-{:03}", number * 7 % TENANTS), number % CHATBOTS);
        let (api, wanted) = (lab.chatbots(&namespace), bot(&namespace, chatbot, number + 1));
        let name = format!("bot-{chatbot}");
        let began = Instant::now();
        let changed = api.patch(&name, &PatchParams::apply("a-person"), &Patch::Apply(&wanted)).await.unwrap();
        let (key, generation) = (format!("{namespace}/{name}"), changed.meta().generation);
        let at = loop {
            let (of, seen, at) = news.recv().await.unwrap();
            last.insert(of.clone(), seen);
            if of == key && seen == generation {
                break at;
            }
        };
        took.push(at - began);
    }
    watch.abort();
    took.sort();
    took
}

/// Memory in MiB.
struct Memory {
    most: f64,
    now: f64,
}

fn memory(operator: &Operator) -> Memory {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{}/{file}", operator.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    };
    Memory { most: field("status", "VmHWM:"), now: field("smaps_rollup", "Pss:") }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores ({}), load average {load}; API server, etcd, controllers, Postgres, operator and the client share it",
        model.trim_start_matches([' ', '\t', ':'])
    )
}

/// Puts the numbers where the page has its marks.
fn write(text: &str) {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(MARKS[0]).expect("the page has the mark");
    let (_, tail) = rest.split_once(MARKS[1]).expect("the page has the mark");
    fs::write(path, format!("{head}{}\n{text}{}{tail}", MARKS[0], MARKS[1])).unwrap();
}
