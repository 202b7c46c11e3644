//! Any sequence of calls does what the simplest possible log does, which forgets nothing.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use statehouse::ids::Seq;
use statehouse::workspace::{Commit, Stored};

use crate::world::{Outcome, World, checkpoint, commit, entry, message};

const STORES: [&str; 3] = ["a", "b", "c"];
const IDS: u8 = 24;

/// One call.
#[derive(Debug, Clone)]
enum Call {
    Append(Vec<Entry>),
    Checkpoint { store: usize, seq: u64, keep: u64 },
    Opening,
    Reopen,
}

/// Commits to append, relative to where the store stands, so that many of them fit.
#[derive(Debug, Clone)]
struct Entry {
    store: usize,
    back: u64,
    ahead: u64,
    /// Whether what is there already is repeated as it was.
    faithful: bool,
    ids: Vec<Option<u8>>,
}

/// All that was ever accepted of a store.
#[derive(Debug, Default)]
struct Model {
    all: Vec<Commit>,
    checkpoint: u64,
    trimmed: u64,
}

impl Model {
    fn newest(&self) -> u64 {
        self.all.len() as u64
    }

    fn at(&self, seq: u64) -> Option<&Commit> {
        self.all.iter().find(|commit| commit.seq.0 == seq)
    }

    fn recall(&self, id: u8) -> Option<u64> {
        let id = format!("{id}");
        let carries =
            |commit: &&Commit| commit.origin.id.as_ref().is_some_and(|m| m.as_str() == id);
        self.all.iter().find(carries).map(|commit| commit.seq.0)
    }

    /// The commits of an entry, and the seq after which they come.
    fn commits(&self, entry: &Entry) -> (u64, Vec<Commit>) {
        let after = (self.newest() + entry.ahead).saturating_sub(entry.back);
        let make = |(seq, id): (u64, &Option<u8>)| match (self.at(seq), id) {
            (Some(known), _) if entry.faithful => known.clone(),
            (_, Some(id)) => message(seq, &format!("{id}")),
            (_, None) => commit(seq),
        };
        (after, (after + 1..).zip(&entry.ids).map(make).collect())
    }

    fn append(&mut self, after: u64, commits: &[Commit]) -> Outcome {
        let newest = self.newest();
        if after > newest {
            return Outcome::Behind(newest);
        }
        let (known, new): (Vec<_>, Vec<_>) =
            commits.iter().cloned().partition(|commit| commit.seq.0 <= newest);
        for commit in known {
            if commit.seq.0 <= self.checkpoint || self.at(commit.seq.0) != Some(&commit) {
                return Outcome::Behind(newest);
            }
        }
        let mut longer = self.all.clone();
        longer.extend(new);
        let mut ids: Vec<_> = longer.iter().filter_map(|commit| commit.origin.id.clone()).collect();
        let carried = ids.len();
        ids.sort();
        ids.dedup();
        if ids.len() < carried {
            return Outcome::Invalid;
        }
        self.all = longer;
        Outcome::Done
    }

    fn put_checkpoint(&mut self, seq: u64, keep: u64) -> Outcome {
        if seq == 0 || keep > seq {
            return Outcome::Invalid;
        }
        if seq > self.newest() || seq < self.checkpoint {
            return Outcome::Behind(self.newest());
        }
        self.checkpoint = seq;
        self.trimmed = self.trimmed.max(keep);
        Outcome::Done
    }

    fn stored(&self) -> Stored {
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            self.all.iter().cloned().partition(|commit| commit.seq.0 <= self.trimmed);
        for commit in &mut kept {
            if commit.seq.0 <= self.checkpoint {
                commit.changes.clear();
            }
        }
        Stored {
            start: Seq(0),
            checkpoint: (self.checkpoint > 0).then(|| checkpoint(self.checkpoint)),
            commits: kept,
            older_messages: gone.iter().any(|commit| commit.origin.id.is_some()),
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    let entry =
        (0..STORES.len(), 0..4_u64, 0..2_u64, prop::bool::weighted(0.8), vec(of(0..IDS), 0..4))
            .prop_map(|(store, back, ahead, faithful, ids)| Entry {
                store,
                // Most entries fit where the store stands.
                back: back.saturating_sub(1),
                ahead: ahead * u64::from(back == 3),
                faithful,
                ids,
            });
    prop_oneof![
        8 => vec(entry, 1..5).prop_map(Call::Append),
        3 => (0..STORES.len(), 0..12_u64, 0..12_u64)
            .prop_map(|(store, seq, keep)| Call::Checkpoint { store, seq, keep }),
        1 => Just(Call::Opening),
        1 => Just(Call::Reopen),
    ]
}

fn run(world: &mut World, calls: Vec<Call>) {
    let mut models: [Model; 3] = Default::default();
    let mut openings = 0;
    for call in calls {
        match call {
            Call::Append(entries) => {
                let (mut batch, mut expected) = (Vec::new(), Vec::new());
                for made in entries {
                    let (after, commits) = models[made.store].commits(&made);
                    expected.push(models[made.store].append(after, &commits));
                    batch.push(entry("w", STORES[made.store], after, commits));
                }
                assert_eq!(world.batch(&batch), expected);
            }
            Call::Checkpoint { store, seq, keep } => {
                let expected = models[store].put_checkpoint(seq, keep);
                assert_eq!(world.checkpoint(STORES[store], seq, keep), expected);
            }
            Call::Opening => {
                assert_eq!(world.opening("w"), openings);
                openings += 1;
            }
            Call::Reopen => world.reopen(),
        }
        for (store, model) in STORES.iter().zip(&models) {
            assert_eq!(world.read(store), model.stored());
            for id in 0..IDS {
                assert_eq!(world.recall(store, &format!("{id}")), model.recall(id));
            }
        }
        let newest =
            STORES.iter().zip(&models).map(|(name, model)| (name.to_string(), model.newest()));
        let expected: BTreeMap<_, _> = newest.filter(|(_, newest)| *newest > 0).collect();
        assert_eq!(world.stores("w"), Vec::from_iter(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn memory_does_what_the_model_does(calls in vec(call(), 1..30)) {
        run(&mut World::memory(), calls);
    }

    #[test]
    fn sqlite_does_what_the_model_does(calls in vec(call(), 1..30)) {
        run(&mut World::sqlite(), calls);
    }
}
