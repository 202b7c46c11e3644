//! Bugs that are there on purpose: how many worlds it takes until each is found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;

use statehouse::planted::{BUGS, plant};
use statehouse::sim::{Changes, Setup, run};

use crate::cli::{Failure, output};

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 100;
/// Starts from which each bug is looked for.
const STARTS: u64 = 5;

/// Looks for one bug, or for all.
pub(super) fn find(bug: &str, from: u64, setup: &Setup, changes: &Changes) -> Result<(), Failure> {
    let bugs: Vec<&str> =
        BUGS.iter().copied().filter(|known| bug == "all" || bug == *known).collect();
    if bugs.is_empty() {
        return Err(Failure::Usage(format!("no such bug; there are {}", BUGS.join(", "))));
    }
    let mut missed = Vec::new();
    for bug in bugs {
        plant(bug);
        let mut counts = look(from, setup, changes);
        counts.sort_unstable();
        let found: Vec<String> = counts.iter().map(|count| told(*count)).collect();
        let median = counts.get(counts.len() / 2).copied().map(told).unwrap_or_default();
        output::print(&format!("{bug}: median {median} of {} seeds", found.join(", ")))?;
        // A start that gave no count has failed in another way.
        let all = u64::try_from(counts.len()) == Ok(STARTS);
        if !all || counts.get(counts.len() / 2).is_none_or(|median| *median > SEEDS_MAX) {
            missed.push(bug);
        }
    }
    plant("");
    if missed.is_empty() {
        return Ok(());
    }
    let missed = missed.join(", ");
    Err(Failure::Failed(format!(
        "not found within {SEEDS_MAX} seeds, in the median of the starts: {missed}"
    )))
}

fn told(count: u64) -> String {
    if count > SEEDS_MAX { format!("more than {SEEDS_MAX}") } else { count.to_string() }
}

/// From each start, the number of seeds up to the first world that fails.
fn look(from: u64, setup: &Setup, changes: &Changes) -> Vec<u64> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut counts = Vec::new();
        loop {
            let start = next.fetch_add(1, Ordering::Relaxed);
            if start >= STARTS {
                return counts;
            }
            let first = from.saturating_add(start.saturating_mul(SEEDS_MAX));
            let seeds = (0..SEEDS_MAX).map(|n| first.saturating_add(n));
            let passed = seeds.take_while(|seed| run(*seed, setup, changes).is_ok()).count();
            counts.push(u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1));
        }
    };
    scope(|threads| {
        let workers = [threads.spawn(work), threads.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}
