//! Whole worlds of clients, cuts and crashes, each from one seed, on simulated time.
//!
//! A world has JSON clients of the original protocol and of today's, Automerge clients of both
//! dialects, liars, server code and triggers; a network, a disk, a clock and a container of JSON
//! that fail; and a server that dies and comes back. The server is the real one from the session
//! of a socket down to the log: only the WebSocket codec, the kernel and the disk are simulated.
//! Clients have Automerge as the crate has it, and what is true of a world is what Automerge alone
//! makes of the log, so that no code is held against itself.
//!
//! Always: what anybody is told of a seq is what everybody is told of it, and durable, also across
//! restarts; nothing in a store was invented; what was acknowledged is there, once; a session's
//! seqs only rise; triggers are told of every commit that concerns them, with the right values.
//! Ten simulated seconds after the last failure: all have the same, also the container, and a new
//! life of the server finds it.
//!
//! The same seed gives the same world, event by event: [`Passed::trace`] names its whole course.
//!
//! ```
//! use statehouse::sim::{Changes, Setup, run};
//!
//! let passed = run(7, &Setup::default(), &Changes::default()).expect("a world that holds");
//! assert!(passed.counts.commits > 0);
//! ```
//!
//! A program of one's own is tried by giving [`Setup`] its stores and its [`Edits`].

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a world that goes beyond its own bounds must stop"
)]

mod book;
mod chance;
mod client;
mod container;
mod crier;
mod disk;
mod edits;
mod life;
mod link;
mod machine;
mod panics;
mod plain;
mod plan;
mod shrink;
mod world;

use std::fmt;
use std::sync::Arc;

pub use book::Counts;
pub use chance::Chance;
pub use edits::{AnyEdits, Edits};
pub use plan::{Changes, Fault, Kind, Plan};
pub use shrink::shrink;

use crate::workspace::{Past, StoreConfig};

/// What is tried: stores, and what is written into them.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The stores; a world has some of them, from the front. Shared by all sessions.
    pub stores: Vec<StoreConfig>,
    /// What clients write.
    pub edits: Arc<dyn Edits>,
}

impl Default for Setup {
    /// A store of everything, one that lives in memory only, and one whose past is short.
    fn default() -> Self {
        let store = |name: &str| name.parse().ok().map(StoreConfig::open);
        let mut stores: Vec<StoreConfig> =
            ["s0", "s1", "s2"].into_iter().filter_map(store).collect();
        for (n, store) in stores.iter_mut().enumerate() {
            store.persistent = n != 1;
            let usual = Past::default();
            // So short that a world comes to where checkpoints and the end of the past matter.
            store.past = Past {
                commits_min: 20,
                commits_max: 40,
                age_ms_min: 5_000,
                trees_max: 4,
                // What a store without a log has forgotten is forgotten.
                message_ids_max: if store.persistent { 10 } else { usual.message_ids_max },
                checkpoint_commits: 15,
                ..usual
            };
        }
        Self { stores, edits: Arc::new(AnyEdits) }
    }
}

/// A world in which all that must be was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// A hash of everything that happened and of when.
    pub trace: u128,
    /// What happened, in numbers.
    pub counts: Counts,
}

/// A world in which something was as it must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The world.
    pub plan: Plan,
    /// What was wrong, at the first time.
    pub what: String,
    /// The last events before.
    pub lines: Vec<String>,
}

impl Failed {
    fn broken(plan: &Plan, what: String) -> Self {
        Self { plan: plan.clone(), what, lines: Vec::new() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.plan.seed, self.what)
    }
}

impl std::error::Error for Failed {}

/// Runs the world of a seed, with these changes. It must not be called within a tokio runtime.
pub fn run(seed: u64, setup: &Setup, changes: &Changes) -> Result<Passed, Failed> {
    world::run(&Plan::draw(seed, setup.stores.len(), changes), setup)
}

/// As [`run`], but twice: a world that goes another way the second time has failed.
pub fn run_twice(seed: u64, setup: &Setup, changes: &Changes) -> Result<Passed, Failed> {
    let (first, second) = (run(seed, setup, changes)?, run(seed, setup, changes)?);
    if first == second {
        return Ok(second);
    }
    let plan = Plan::draw(seed, setup.stores.len(), changes);
    let what = format!("the second time it went another way: {first:?}, then {second:?}");
    Err(Failed::broken(&plan, what))
}
