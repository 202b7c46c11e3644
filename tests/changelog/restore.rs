//! A log that was restored from a backup holds what the backup held, under numbers that nobody was
//! told before.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use statehouse::document::{Document, Note, Policy};
use statehouse::ids::{Millis, Seq};
use statehouse::json::Json;
use statehouse::storage::ChangeLog as _;
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::sqlite::backup::{BackupError, backup};
use statehouse::storage::sqlite::doctor::examine;
use statehouse::storage::sqlite::restore::restore;
use statehouse::workspace::{Commit, Dialect, MessageId, Origin, Recovered, StoreConfig, Stored};

use crate::world::{Outcome, commits, entry, folder, name, workspace};

/// 2026-11-23, in milliseconds since 1970, and ten minutes.
const NOW_MS: u64 = 1_795_392_000_000;
const LATER_MS: u64 = NOW_MS + 600_000;

fn read(log: &SqliteLog, store: &str) -> Stored {
    log.read(&workspace("w"), &name(store)).unwrap()
}

fn newest(stored: &Stored) -> Seq {
    let checkpoint = stored.checkpoint.as_ref().map_or(stored.start, |checkpoint| checkpoint.seq);
    stored.commits.last().map_or(checkpoint, |commit| commit.seq)
}

/// Appends commits with ids of their own to a store, each of which sets a number.
fn write(log: &SqliteLog, store: &str, numbers: &[u8]) {
    let stored = read(log, store);
    let newest = newest(&stored).0;
    let checkpoint = stored.checkpoint.as_ref().map(|checkpoint| &*checkpoint.bytes);
    let changes: Vec<&[u8]> =
        stored.commits.iter().flat_map(|commit| &commit.changes).map(Vec::as_slice).collect();
    let mut document = Document::load(Arc::new(Policy::default()), checkpoint, &changes).unwrap();
    document.sign_as(&rand::random::<[u8; 16]>());
    for (after, number) in (newest..).zip(numbers) {
        let state = format!("{{\"n\":{number},\"at\":{after}}}");
        let state: Json = serde_json::from_str(&state).unwrap();
        let note = Note { time: Millis(after), message: None };
        let written = document.write(&document.state(), &state, None, note).unwrap();
        let id = MessageId::new(&id(after + 1));
        let commit = Commit {
            seq: Seq(after + 1),
            changes: written.change.into_iter().map(|(_, bytes)| bytes).collect(),
            heads: document.heads(),
            time: Millis(after),
            origin: Origin {
                user: format!("u{number}"),
                session: None,
                dialect: Dialect::Json,
                id,
            },
        };
        let batch = [entry("w", store, after, vec![commit])];
        let outcomes: Vec<Outcome> =
            log.append(&batch).unwrap().into_iter().map(Outcome::from).collect();
        assert_eq!(outcomes, [Outcome::Done]);
    }
}

fn id(seq: u64) -> String {
    format!("message {}", seq % (1 << 32))
}

fn healthy(data: &Path) {
    let summary = examine(data, &mut |finding| panic!("{finding}")).unwrap();
    assert_eq!(summary.findings, 0);
}

fn restored(file: &Path, data: &Path, now: u64) -> SqliteLog {
    restore(file, data, Millis(now), &mut |finding| panic!("{finding}")).unwrap();
    healthy(data);
    SqliteLog::open(data).unwrap()
}

/// What a restored store holds is what it held, further on.
fn assert_moved(before: &Stored, log: &SqliteLog) -> u64 {
    let after = read(log, "s");
    let start = after.start.0;
    assert!(after.start.epoch() > before.start.epoch() && start < 1 << 53);
    let moved = |seq: Seq| Seq(seq.0 - before.start.0 + start);
    assert_eq!(after.commits.len(), before.commits.len());
    for (old, new) in before.commits.iter().zip(&after.commits) {
        assert_eq!(new.seq, moved(old.seq));
        assert_eq!((&new.heads, new.time, &new.origin), (&old.heads, old.time, &old.origin));
    }
    assert_eq!(after.older_messages, before.older_messages);
    for seq in before.start.0 + 1..=newest(before).0 {
        let id = MessageId::new(&id(seq)).unwrap();
        let found = log.recall(&workspace("w"), &name("s"), &id).unwrap();
        assert_eq!(found, Some(moved(Seq(seq))));
    }
    let config = || Arc::new(StoreConfig::open(name("s")));
    let [old, new] = [before, &after]
        .map(|stored| Recovered::build(config(), stored.clone()).unwrap().checkpoint().unwrap());
    assert_eq!((new.seq, new.heads), (moved(old.seq), old.heads));
    start
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_that_was_kept_is_there_in_a_later_epoch(
        first in prop::collection::vec(any::<u8>(), 1..12),
        then in prop::collection::vec(any::<u8>(), 0..6),
        checkpoint in any::<bool>(),
        trimmed in 0..12_u64,
        lost in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let place = folder();
        let [data, file, one, two] =
            ["data", "file", "one", "two"].map(|name| place.path().join(name));
        let log = SqliteLog::open(&data).unwrap();
        write(&log, "s", &first);
        if checkpoint {
            let config = Arc::new(StoreConfig::open(name("s")));
            let made = Recovered::build(config, read(&log, "s")).unwrap().checkpoint().unwrap();
            let keep = Seq(trimmed.min(made.seq.0));
            log.checkpoint(&workspace("w"), &name("s"), &made, keep).unwrap();
        }
        write(&log, "s", &then);
        prop_assert_eq!(log.opening(&workspace("w")).unwrap(), 0);
        let before = read(&log, "s");
        backup(&data, &file, &mut |finding| panic!("{finding}")).unwrap();
        write(&log, "s", &lost);
        write(&log, "new", &lost);

        let (first, second) = (restored(&file, &one, NOW_MS), restored(&file, &two, LATER_MS));
        let starts = [&first, &second].map(|log| assert_moved(&before, log));
        prop_assert!(starts[0] < starts[1], "two restores of one backup have the same numbers");
        let places = [&log, &first, &second].map(|log| log.identity().unwrap());
        prop_assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2]);

        // What the backup does not know begins in a later epoch too.
        prop_assert!(first.opening(&workspace("w")).unwrap() > 1);
        prop_assert!(first.opening(&workspace("v")).unwrap() > 0);
        let unborn = read(&first, "new");
        prop_assert!(unborn.start.epoch() > 0 && unborn.commits.is_empty());
        write(&first, "new", &lost);
        write(&first, "s", &lost);
        let seqs: Vec<u64> = read(&first, "new").commits.iter().map(|c| c.seq.0).collect();
        let expected: Vec<u64> =
            (unborn.start.0 + 1..).take(lost.len()).collect();
        prop_assert_eq!(seqs, expected);
        let early = entry("w", "other", 0, commits(1..=1));
        prop_assert!(first.append(&[early]).unwrap()[0].is_err());
        drop(first);
        healthy(&one);

        // A backup of what was restored is one as well.
        let (again, three) = (place.path().join("again"), place.path().join("three"));
        backup(&one, &again, &mut |finding| panic!("{finding}")).unwrap();
        let before = read(&SqliteLog::open(&one).unwrap(), "s");
        let third = restored(&again, &three, NOW_MS);
        assert_moved(&before, &third);
    }
}

#[test]
fn nothing_is_overwritten() {
    let place = folder();
    let [data, file, other] = ["data", "file", "other"].map(|name| place.path().join(name));
    let log = SqliteLog::open(&data).unwrap();
    write(&log, "s", &[1]);
    let tell = &mut |finding: &statehouse::storage::sqlite::doctor::Finding| panic!("{finding}");
    backup(&data, &file, tell).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(matches!(backup(&data, &file, tell), Err(BackupError::Taken(_))));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("mine"), "").unwrap();
    for taken in [&data, &other] {
        let refused = restore(&file, taken, Millis(NOW_MS), tell);
        assert!(matches!(refused, Err(BackupError::Taken(_))));
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    // What an attempt has left that was killed is no data.
    let fresh = place.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    std::fs::write(fresh.join("statehouse.lock"), "").unwrap();
    std::fs::write(fresh.join("statehouse.db.new"), "half a").unwrap();
    restored(&file, &fresh, NOW_MS);
}
