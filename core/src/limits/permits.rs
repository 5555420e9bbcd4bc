//! This process's share of a minute's permits. No IO: what is missing is named, and leased by the caller.

use std::collections::{HashMap, HashSet};

use super::{Key, Rate};
use crate::ids::TenantId;
use crate::store::limits::{Lease, Wish};

/// A batch is this part of what remains: so much at most stays unused in each of the other processes.
const PART: u32 = 32;

/// The permits that this process holds of the current minute.
#[derive(Debug, Default)]
pub(super) struct Permits {
    /// Since 1970.
    minute: i64,
    held: HashMap<(TenantId, Key), Held>,
    /// Tenants that have leased in this minute.
    met: HashSet<TenantId>,
}

#[derive(Debug, Default)]
struct Held {
    permits: u32,
    /// Handed out to all processes, as far as this one knows.
    leased: u32,
    /// The limit under which nothing was left: until it is raised, or the minute ends, nobody needs to ask again.
    exhausted: Option<u32>,
}

/// What came of asking for one permit of each rate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One of each was used.
    All,
    /// None was used: this rate has none left in this minute.
    Exhausted(Rate),
    /// None was used: some are to be leased first.
    Missing {
        /// The minute to lease for.
        minute: i64,
        /// What to lease.
        wishes: Vec<Wish>,
        /// Whether the tenant has not leased in this minute yet.
        first: bool,
    },
}

impl Permits {
    /// Uses one permit of every rate, or of none.
    pub(super) fn take(&mut self, minute: i64, tenant: TenantId, rates: &[Rate]) -> Taken {
        if minute > self.minute {
            *self = Self { minute, ..Self::default() };
        }
        let held = |rate: &Rate| self.held.get(&(tenant, rate.key));
        let exhausted = |rate: &&Rate| {
            held(rate).is_some_and(|held| held.permits == 0 && held.exhausted.is_some_and(|limit| limit >= rate.limit))
        };
        if let Some(rate) = rates.iter().find(exhausted) {
            return Taken::Exhausted(*rate);
        }
        let wishes: Vec<Wish> = rates
            .iter()
            .filter(|rate| held(rate).is_none_or(|held| held.permits == 0))
            .map(|rate| Wish {
                key: rate.key.0,
                limit: rate.limit,
                wanted: batch(rate.limit, held(rate).map_or(0, |held| held.leased)),
            })
            .collect();
        if !wishes.is_empty() {
            return Taken::Missing { minute: self.minute, wishes, first: !self.met.contains(&tenant) };
        }
        for rate in rates {
            if let Some(held) = self.held.get_mut(&(tenant, rate.key)) {
                held.permits -= 1;
            }
        }
        Taken::All
    }

    /// Takes in what was leased for `minute`.
    pub(super) fn put(&mut self, minute: i64, tenant: TenantId, wishes: &[Wish], leases: &[Lease]) {
        if minute != self.minute {
            return;
        }
        self.met.insert(tenant);
        for lease in leases {
            let held = self.held.entry((tenant, Key(lease.key))).or_default();
            held.permits += lease.granted;
            held.leased = held.leased.max(lease.leased);
            let limit = wishes.iter().find(|wish| wish.key == lease.key).map(|wish| wish.limit);
            held.exhausted = if lease.granted == 0 { limit } else { None };
        }
    }
}

/// How many permits to ask for when `leased` of `limit` are known to be handed out.
fn batch(limit: u32, leased: u32) -> u32 {
    (limit.saturating_sub(leased) / PART).max(1)
}

#[cfg(test)]
mod tests;
