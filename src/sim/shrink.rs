//! From a world that fails to a smaller one that fails too.

use super::plan::{Changes, Kind, Plan};
use super::{Failed, Setup, run};

/// Looks for the smallest world of this seed that still fails: without faults, clients, actions and
/// stores that are not needed for it. `None` if it does not fail with these changes.
pub fn shrink(seed: u64, setup: &Setup, changes: &Changes) -> Option<(Changes, Failed)> {
    let mut failed = run(seed, setup, changes).err()?;
    let mut smallest = changes.clone();
    let wanted = gist(&failed);
    let fails = |smaller: Changes| {
        let fails = run(seed, setup, &smaller).err().filter(|fails| gist(fails) == wanted)?;
        Some((smaller, fails))
    };
    while let Some(found) = candidates(&failed.plan, &smallest).into_iter().find_map(fails) {
        (smallest, failed) = found;
    }
    Some((smallest, failed))
}

/// What is wrong without who, where and when: a smaller world may fail in another way, too.
fn gist(failed: &Failed) -> String {
    let what = failed.what.split_once(": ").map_or(&*failed.what, |(_who, what)| what);
    let end = what.find(['{', '[', '"']).unwrap_or(what.len());
    what.chars().take(end).filter(|char| !char.is_ascii_digit()).collect()
}

/// Worlds that are a little smaller than this one.
fn candidates(plan: &Plan, changes: &Changes) -> Vec<Changes> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Changes)| {
        let mut smaller = changes.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    for at in 0..Kind::ALL.len() {
        let count = plan.clients.get(at).copied().unwrap_or(0);
        for fewer in [0, count / 2, count.saturating_sub(1)] {
            if fewer < count {
                with(&|changes| changes.clients[at] = Some(fewer));
            }
        }
    }
    for fault in &plan.faults {
        with(&|changes| {
            changes.without.insert(*fault);
        });
    }
    for fewer in [plan.actions / 2, plan.actions.saturating_sub(1)] {
        if fewer < plan.actions {
            with(&|changes| changes.actions = Some(fewer));
        }
    }
    if plan.stores > 1 {
        with(&|changes| changes.stores = Some(plan.stores - 1));
    }
    all
}
