//! Rate, latencies and errors of one load.

use std::fmt;
use std::time::Duration;

use super::{Record, Reply};

/// Slices of the load whose rates are compared, to show how steady it was.
const SLICES: usize = 5;

#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) replies: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Share of the replies that took less work than meant, 0 to 1.
    pub(crate) slight: f64,
    /// Replies per second.
    pub(crate) rate: f64,
    /// Lowest and highest rate among equal slices of the time.
    pub(crate) rate_range: (f64, f64),
    /// Until the reply was complete.
    pub(crate) latency: Latencies,
    /// Until the first byte of the body.
    pub(crate) first_byte: Latencies,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
    pub(super) fn of(records: &[Record], elapsed: Duration) -> Self {
        let replies: Vec<Reply> = records.iter().flat_map(|record| record.replies.iter().copied()).collect();
        let count = replies.len() as f64;
        Self {
            replies: replies.len() as u64,
            errors: records.iter().map(|record| record.errors).sum(),
            first_error: records.iter().find_map(|record| record.first_error.clone()),
            slight: replies.iter().filter(|reply| reply.slight).count() as f64 / count.max(1.0),
            rate: count / elapsed.as_secs_f64().max(f64::EPSILON),
            rate_range: rate_range(&replies, elapsed),
            latency: Latencies::of(replies.iter().map(|reply| reply.complete - reply.sent).collect()),
            first_byte: Latencies::of(replies.iter().map(|reply| reply.first - reply.sent).collect()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
fn rate_range(replies: &[Reply], elapsed: Duration) -> (f64, f64) {
    let slice = elapsed.as_secs_f64() / SLICES as f64;
    let rates = (0..SLICES).map(|index| {
        let (from, to) = (slice * index as f64 * 1e6, slice * (index + 1) as f64 * 1e6);
        let inside = |reply: &&Reply| (from..to).contains(&(reply.complete as f64));
        replies.iter().filter(inside).count() as f64 / slice.max(f64::EPSILON)
    });
    rates.fold((f64::INFINITY, 0.0), |(low, high), rate| (rate.min(low), rate.max(high)))
}

impl Latencies {
    /// From microseconds in any order.
    pub(crate) fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let ms = |percent| percentile(&micros, percent);
        Self { p50: ms(50), p95: ms(95), p99: ms(99) }
    }
}

/// The nearest-rank percentile, in milliseconds: the smallest value that at least `percent` of all do not exceed. 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "a reply takes less than 2^53 microseconds")]
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |&micros| micros as f64 / 1e3)
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} / {:.2} / {:.2}", self.p50, self.p95, self.p99)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.rate_range;
        write!(
            f,
            "{:.0} req/s ({low:.0} to {high:.0}), {} ms p50/p95/p99, first byte {:.2} ms p50, {} replies, {} errors",
            self.rate, self.latency, self.first_byte.p50, self.replies, self.errors
        )?;
        self.first_error.as_ref().map_or(Ok(()), |error| write!(f, " (first: {error})"))
    }
}
