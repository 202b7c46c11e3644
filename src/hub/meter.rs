//! What a hub counts, for whoever runs the server.
//!
//! Numbers only, and no label that names a user, a workspace or a store: what is scraped may be
//! seen by people who may not see the data, and must not grow with it. A commit costs two atomic
//! additions, and an observation under a lock that only the writer of the log takes.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::workspace::Dialect;

/// One label with its value.
type Label = [(&'static str, &'static str); 1];

/// Counters of one hub, from its start on.
#[derive(Debug)]
pub struct Meter {
    commits: Family<Label, Counter>,
    by_dialect: ByDialect,
    unsaved: Counter,
    change_bytes: Counter,
    commit_seconds: Histogram,
    save_seconds: Histogram,
    batch_commits: Histogram,
    loads: Outcomes,
    checkpoints: Outcomes,
    refusals: Family<Label, Counter>,
    firings: Counter,
    mended: Counter,
}

/// The counters of one family, at hand: looking one up takes a lock and a hash.
#[derive(Debug)]
struct ByDialect {
    json: Counter,
    crdt: Counter,
    repo: Counter,
    server: Counter,
    container: Counter,
}

/// How often something went well, and how often not.
#[derive(Debug)]
struct Outcomes {
    all: Family<Label, Counter>,
    ok: Counter,
    failed: Counter,
}

impl Outcomes {
    fn new() -> Self {
        let all = Family::default();
        let [ok, failed] = ["ok", "failed"].map(|result| counter(&all, "result", result));
        Self { all, ok, failed }
    }

    fn note(&self, ok: bool) {
        if ok { &self.ok } else { &self.failed }.inc();
    }
}

/// The counter with this label, which is there from now on, if only with 0.
fn counter(family: &Family<Label, Counter>, key: &'static str, value: &'static str) -> Counter {
    family.get_or_create_owned(&[(key, value)])
}

impl Default for Meter {
    fn default() -> Self {
        let commits = Family::default();
        let of = |dialect: Dialect| counter(&commits, "dialect", dialect.as_str());
        let by_dialect = ByDialect {
            json: of(Dialect::Json),
            crdt: of(Dialect::Crdt),
            repo: of(Dialect::Repo),
            server: of(Dialect::Server),
            container: of(Dialect::Container),
        };
        Self {
            by_dialect,
            commits,
            unsaved: Counter::default(),
            change_bytes: Counter::default(),
            // From 0.1 ms, a fast disk, to 13 s, longer than anybody waits.
            commit_seconds: Histogram::new(exponential_buckets(1e-4, 2.0, 18)),
            save_seconds: Histogram::new(exponential_buckets(1e-4, 2.0, 18)),
            batch_commits: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            loads: Outcomes::new(),
            checkpoints: Outcomes::new(),
            refusals: Family::default(),
            firings: Counter::default(),
            mended: Counter::default(),
        }
    }
}

impl Meter {
    /// Lets all of it be scraped. Names and units follow the conventions of Prometheus: base units,
    /// plural, `_total` at the end of what only rises.
    pub fn register(&self, registry: &mut Registry) {
        let all = registry;
        all.register("commits", "Commits that are durable", self.commits.clone());
        all.register("commits_unsaved", "Commits that could not be saved", self.unsaved.clone());
        all.register_with_unit(
            "changes",
            "Automerge changes in durable commits",
            Unit::Bytes,
            self.change_bytes.clone(),
        );
        all.register_with_unit(
            "commit",
            "Time from a commit's way to the log until it is durable",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        all.register_with_unit(
            "save",
            "Time of one transaction of the log",
            Unit::Seconds,
            self.save_seconds.clone(),
        );
        let batch = self.batch_commits.clone();
        all.register("save_batch_commits", "Commits in one transaction of the log", batch);
        all.register("store_loads", "Stores read from the log", self.loads.all.clone());
        all.register("checkpoints", "Checkpoints made in the log", self.checkpoints.all.clone());
        let refusals = self.refusals.clone();
        all.register("refusals", "Requests refused, by the code that clients are told", refusals);
        all.register("firings", "Firings of triggers handed to handlers", self.firings.clone());
        let mended = "Changes of Automerge clients that broke a rule of their store, put back";
        all.register("changes_mended", mended, self.mended.clone());
    }

    /// Commits of one store have become durable, this long after they were handed to the writer.
    pub(super) fn saved(&self, dialect: Dialect, bytes: usize, since: Duration) {
        match dialect {
            Dialect::Json => &self.by_dialect.json,
            Dialect::Crdt => &self.by_dialect.crdt,
            Dialect::Repo => &self.by_dialect.repo,
            Dialect::Server => &self.by_dialect.server,
            Dialect::Container => &self.by_dialect.container,
        }
        .inc();
        self.change_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.commit_seconds.observe(since.as_secs_f64());
    }

    /// So many commits could not be saved.
    pub(super) fn unsaved(&self, commits: usize) {
        self.unsaved.inc_by(u64::try_from(commits).unwrap_or(u64::MAX));
    }

    /// One transaction of the log, whatever came of it.
    pub(super) fn transaction(&self, commits: usize, took: Duration) {
        let commits = u32::try_from(commits).unwrap_or(u32::MAX);
        self.batch_commits.observe(f64::from(commits));
        self.save_seconds.observe(took.as_secs_f64());
    }

    /// A store was read from the log, or could not be.
    pub(super) fn loaded(&self, ok: bool) {
        self.loads.note(ok);
    }

    /// A checkpoint was made, or could not be.
    pub(super) fn checkpointed(&self, ok: bool) {
        self.checkpoints.note(ok);
    }

    /// Somebody was refused, with this code.
    pub(super) fn refused(&self, code: &'static str) {
        // Refusals are rare, so the lock and the hash do not matter; the codes are one short list.
        self.refusals.get_or_create(&[("code", code)]).inc();
    }

    /// A change that broke a rule of its store was put back.
    pub(super) fn mended(&self) {
        self.mended.inc();
    }

    /// A trigger fired.
    pub(super) fn fired(&self) {
        self.firings.inc();
    }
}
