//! `statehouse sim`: worlds of clients and failures, one seed each.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{available_parallelism, scope};

use clap::Args;
use statehouse::hub::clock::now;
use statehouse::ids::Millis;
use statehouse::json::Json;
use statehouse::server::config::Config;
use statehouse::sim::{Changes, Counts, Failed, Fault, Passed, Setup, run, run_twice, shrink};

use statehouse::workspace::{Scope, StoreConfig};

use super::serve::{LogFormat, start_logs};
use super::{Failure, output};

#[cfg(planted)]
mod planted;

/// Runs whole worlds of clients, cuts and crashes on simulated time, and holds them against what
/// must always be true.
#[derive(Debug, Args)]
pub(super) struct Sim {
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    seeds: u64,
    /// Only this seed, with its last events if it fails.
    #[arg(long, conflicts_with_all = ["from", "seeds"], value_name = "SEED")]
    seed: Option<u64>,
    /// With --seed: looks for a smaller world that fails too.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Runs every world twice, and compares everything that happened.
    #[arg(long)]
    twice: bool,
    /// Worlds at the same time; as many as there are processors.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The stores of this configuration instead of the usual ones: those that all sessions share,
    /// with a past that is shorter than a server's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// At most so many clients of the original protocol.
    #[arg(long, value_name = "N")]
    legacy: Option<u32>,
    /// At most so many JSON clients that understand `ack`.
    #[arg(long, value_name = "N")]
    ack: Option<u32>,
    /// At most so many Automerge clients of the JSON dialect.
    #[arg(long, value_name = "N")]
    crdt: Option<u32>,
    /// At most so many clients of the automerge-repo dialect.
    #[arg(long, value_name = "N")]
    repo: Option<u32>,
    /// At most so many liars.
    #[arg(long, value_name = "N")]
    liar: Option<u32>,
    /// At most so many actions of each client.
    #[arg(long, value_name = "N")]
    actions: Option<u32>,
    /// At most so many stores.
    #[arg(long, value_name = "N")]
    stores: Option<usize>,
    /// Which logs of the server are written, for example `statehouse=debug`; for one seed.
    #[arg(long, requires = "seed", value_name = "FILTER")]
    log: Option<String>,
    /// Plants a bug, or all of them one after another, and counts the seeds until it is found.
    #[cfg(planted)]
    #[arg(long, conflicts_with_all = ["seed", "twice"], value_name = "BUG|all")]
    planted: Option<String>,
    /// None of these faults.
    #[arg(long, value_delimiter = ',', value_name = "FAULT,..")]
    without: Vec<Fault>,
}

impl Sim {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(filter) = &self.log {
            start_logs(LogFormat::Text, filter, None)?;
        }
        let setup = self.setup()?;
        let changes = Changes {
            clients: [self.legacy, self.ack, self.crdt, self.repo, self.liar],
            actions: self.actions,
            stores: self.stores,
            without: self.without.iter().copied().collect(),
        };
        #[cfg(planted)]
        if let Some(bug) = &self.planted {
            return planted::find(bug, self.from, &setup, &changes);
        }
        match self.seed {
            Some(seed) if self.shrink => smallest(seed, &setup, &changes),
            Some(seed) => one(seed, &setup, &changes),
            None => self.many(&setup, &changes),
        }
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let Some(path) = &self.config else { return Ok(Setup::default()) };
        let config =
            Config::read(Some(path), []).map_err(|error| Failure::Usage(error.to_string()))?;
        let short = Setup::default().stores.first().map(|store| store.past).unwrap_or_default();
        let shared = |store: &StoreConfig| {
            store.scope == Scope::Workspace && matches!(store.initial, Json::Object(_))
        };
        let stores = config.workspace.stores.into_iter().filter(shared);
        let stores: Vec<_> = stores.map(|store| StoreConfig { past: short, ..store }).collect();
        if stores.is_empty() {
            return Err(Failure::Usage(format!(
                "{} lists no store that all share and that starts as an object",
                path.display()
            )));
        }
        Ok(Setup { stores, ..Setup::default() })
    }

    fn many(&self, setup: &Setup, changes: &Changes) -> Result<(), Failure> {
        let jobs = self.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let (next, end) = (AtomicU64::new(self.from), self.from.saturating_add(self.seeds));
        let tally = Mutex::new(Tally::default());
        let began = now();
        let work = || loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let live = if self.twice { run_twice } else { run };
            let ran = live(seed, setup, changes);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.take(seed, ran, changes);
            if tally.seeds.is_multiple_of(1_000) {
                tally.tell(began);
            }
        };
        scope(|threads| {
            for _ in 0..jobs {
                threads.spawn(work);
            }
        });
        let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.tell(began);
        match tally.failed {
            0 => Ok(()),
            failed => Err(Failure::Failed(format!("{failed} of {} worlds failed", tally.seeds))),
        }
    }
}

/// What came of many worlds.
#[derive(Debug, Default)]
struct Tally {
    seeds: u64,
    failed: u64,
    counts: Counts,
}

impl Tally {
    fn take(&mut self, seed: u64, ran: Result<Passed, Failed>, changes: &Changes) {
        self.seeds += 1;
        match ran {
            Ok(passed) => self.counts.add(passed.counts),
            Err(failed) => {
                self.failed += 1;
                let what = failed.what;
                output::complain(&format!("statehouse sim --seed {seed}{changes}\n    {what}"));
            }
        }
    }

    fn tell(&self, began: Millis) {
        let Counts { edits, commits, messages, faults, lives, acknowledged, firings } = self.counts;
        let (seeds, failed) = (self.seeds, self.failed);
        let seconds = now().0.saturating_sub(began.0) / 1_000;
        output::complain(&format!(
            "{seeds} worlds in {seconds} s, {failed} failed: {edits} edits, {commits} commits, \
             {acknowledged} acknowledged, {messages} messages, {firings} firings, {faults} faults, \
             {lives} lives"
        ));
    }
}

fn one(seed: u64, setup: &Setup, changes: &Changes) -> Result<(), Failure> {
    match run(seed, setup, changes) {
        Ok(Passed { trace, counts }) => {
            output::complain(&format!("{counts:?}\ntrace {trace:032x}"));
            Ok(())
        }
        Err(failed) => Err(Failure::Failed(told(&failed))),
    }
}

fn told(failed: &Failed) -> String {
    let Failed { plan, what, lines } = failed;
    format!("{what}\n{plan:?}\n{}", lines.join("\n"))
}

fn smallest(seed: u64, setup: &Setup, changes: &Changes) -> Result<(), Failure> {
    match shrink(seed, setup, changes) {
        None => Ok(()),
        Some((changes, failed)) => {
            let again = format!("statehouse sim --seed {seed}{changes}");
            Err(Failure::Failed(format!("{again}\n{}", told(&failed))))
        }
    }
}
