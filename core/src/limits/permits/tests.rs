use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::limits::LimitOf;

const MINUTE: i64 = 29_000_000;

fn tenant() -> TenantId {
    TenantId(uuid::Uuid::nil())
}

fn rate(name: &str, limit: u32) -> Rate {
    Rate::new(LimitOf::Chatbot, &name, limit)
}

/// What `lease_permits` does in Postgres.
#[derive(Default)]
struct Table(HashMap<[u8; 16], u32>);

impl Table {
    fn lease(&mut self, wishes: &[Wish]) -> Vec<Lease> {
        let lease = |wish: &Wish| {
            let leased = self.0.entry(wish.key).or_default();
            let granted = wish.wanted.min(wish.limit.saturating_sub(*leased));
            *leased += granted;
            Lease { key: wish.key, granted, leased: *leased }
        };
        wishes.iter().map(lease).collect()
    }
}

/// Takes a permit as `Limits` does; whether there was one.
fn ask(process: &mut Permits, table: &mut Table, minute: i64, rates: &[Rate]) -> bool {
    loop {
        match process.take(minute, tenant(), rates) {
            Taken::All => return true,
            Taken::Exhausted(_) => return false,
            Taken::Missing { minute, wishes, .. } => {
                let leases = table.lease(&wishes);
                process.put(minute, tenant(), &wishes, &leases);
            }
        }
    }
}

fn unused(process: &Permits, rate: Rate) -> u32 {
    process.held.get(&(tenant(), rate.key)).map_or(0, |held| held.permits)
}

proptest! {
    #[test]
    fn processes_together_never_exceed_a_limit_and_leave_little_unused(
        limit in 1_u32..2_000,
        askers in prop::collection::vec(0_usize..6, 1..3_000),
    ) {
        let rate = rate("one", limit);
        let mut table = Table::default();
        let mut processes: Vec<Permits> = (0..6).map(|_| Permits::default()).collect();
        let mut used = 0;
        let mut refused = false;
        for asker in askers {
            if ask(&mut processes[asker], &mut table, MINUTE, &[rate]) {
                used += 1;
            } else {
                refused = true;
            }
        }
        let idle: Vec<u32> = processes.iter().map(|process| unused(process, rate)).collect();
        prop_assert!(used <= limit);
        prop_assert_eq!(used + idle.iter().sum::<u32>(), table.0.values().sum::<u32>());
        for idle in &idle {
            prop_assert!(*idle <= (limit / PART).max(1));
        }
        if refused {
            prop_assert_eq!(used + idle.iter().sum::<u32>(), limit, "who is refused has seen the end");
        }
    }

    #[test]
    fn a_request_counts_under_all_its_rates_or_under_none(
        wide in 1_u32..200, narrow in 1_u32..50, requests in 1_usize..300,
    ) {
        let rates = [rate("wide", wide), rate("narrow", narrow)];
        let (mut table, mut process) = (Table::default(), Permits::default());
        let used = (0..requests).filter(|_| ask(&mut process, &mut table, MINUTE, &rates)).count();
        prop_assert_eq!(used, requests.min(wide.min(narrow) as usize));
        let narrow_left = unused(&process, rates[1]);
        prop_assert_eq!(table.0[&rates[1].key.0] - narrow_left, u32::try_from(used).unwrap());
    }
}

#[test]
fn who_is_refused_does_not_ask_again_until_the_minute_ends() {
    let rate = rate("one", 2);
    let (mut table, mut process) = (Table::default(), Permits::default());
    assert!(ask(&mut process, &mut table, MINUTE, &[rate]));
    assert!(ask(&mut process, &mut table, MINUTE, &[rate]));
    assert!(!ask(&mut process, &mut table, MINUTE, &[rate]));
    assert_eq!(process.take(MINUTE, tenant(), &[rate]), Taken::Exhausted(rate));
    let fresh = process.take(MINUTE, tenant(), &[rate, self::rate("another", 5)]);
    assert_eq!(fresh, Taken::Exhausted(rate), "nothing is leased for a request that is refused anyway");
    let raised = Rate { limit: 3, ..rate };
    assert!(matches!(process.take(MINUTE, tenant(), &[raised]), Taken::Missing { first: false, .. }));
    assert!(matches!(process.take(MINUTE + 1, tenant(), &[rate]), Taken::Missing { first: true, .. }));
}

#[test]
fn leases_of_another_minute_are_worth_nothing() {
    let rate = rate("one", 100);
    let mut process = Permits::default();
    let Taken::Missing { minute, wishes, .. } = process.take(MINUTE, tenant(), &[rate]) else { panic!("it has none") };
    process.take(MINUTE + 1, tenant(), &[rate]);
    let leases = Table::default().lease(&wishes);
    process.put(minute, tenant(), &wishes, &leases);
    assert_eq!(unused(&process, rate), 0);
}

#[test]
fn batches_shrink_with_what_remains() {
    let sizes = [(100, 0), (100, 40), (100, 99), (100, 120), (6_400, 0), (6_400, 3_200)];
    assert_eq!(sizes.map(|(limit, leased)| batch(limit, leased)), [3, 1, 1, 1, 200, 100]);
}
