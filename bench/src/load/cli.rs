//! `docbrain-bench load`: the generator by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;

use super::{Bodies, Judgement, Target, Until};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to POST, on this machine, such as `http://127.0.0.1:8089/v1/chat/completions`.
    url: String,
    /// Clients, each with one connection.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests to measure, instead of a time.
    #[arg(long, conflicts_with = "seconds")]
    count: Option<u64>,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Files with JSON request bodies, sent in turn.
    #[arg(long, required_unless_present = "data")]
    body: Vec<PathBuf>,
    /// A JSON request body.
    #[arg(long)]
    data: Option<String>,
    /// Ask for a stream of events (Accept: text/event-stream).
    #[arg(long)]
    sse: bool,
    /// Bearer token.
    #[arg(long, env = "DOCBRAIN_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut bodies: Vec<Bytes> = options.data.into_iter().map(Bytes::from).collect();
    for path in &options.body {
        bodies.push(std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?.into());
    }
    let mut target = Target::post(&options.url, &Bodies::new(bodies)?, |_| Judgement::Good)?;
    if options.sse {
        target = target.header("accept", "text/event-stream")?;
    }
    if let Some(token) = &options.token {
        target = target.header("authorization", &format!("Bearer {token}"))?;
    }
    let target = Arc::new(target);
    if options.warm_up > 0 {
        super::run(&target, options.clients, Until::Elapsed(Duration::from_secs(options.warm_up))).await?;
    }
    let until = options.count.map_or(Until::Elapsed(Duration::from_secs(options.seconds)), Until::Count);
    println!("{}", super::run(&target, options.clients, until).await?);
    Ok(())
}
