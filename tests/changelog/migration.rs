//! A log that an older version made is brought to the newest format, whole or not at all.
//!
//! `format_1.sql` is what the last version that wrote format 1 left behind, and `format_2.sql` the
//! same in format 2: two stores, one with a
//! checkpoint; commits that are gone, without their changes and whole; message ids; openings.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use statehouse::ids::Seq;
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::{ChangeLog as _, StorageError};
use statehouse::workspace::actors::Actors;
use statehouse::workspace::{Checkpoint, Commit, MessageId, Stored};

use crate::crash::{child, folder_of_child};
use crate::faults::library;
use crate::world::{call, checkpoint, commit, entry, folder, message, name, workspace};

/// Writes a log of format 1, as a process leaves it that has ended.
pub(crate) fn format_1(folder: &Path) {
    older(folder, 1);
}

/// Writes a log of an older format, as a process leaves it that has ended.
fn older(folder: &Path, format: i32) {
    fs::create_dir_all(folder).unwrap();
    drop(older_in_use(folder, format));
    assert!(!folder.join("statehouse.db-wal").exists());
}

fn older_in_use(folder: &Path, format: i32) -> Connection {
    let raw = Connection::open(folder.join("statehouse.db")).unwrap();
    raw.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    let log = if format == 1 { include_str!("format_1.sql") } else { include_str!("format_2.sql") };
    raw.execute_batch(&format!("BEGIN; {log} COMMIT;")).unwrap();
    raw
}

fn format(folder: &Path) -> i32 {
    let raw = Connection::open(folder.join("statehouse.db")).unwrap();
    raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn id(seq: u64) -> String {
    format!("id {seq}")
}

/// Checks that all is there that was there before, and gives the identity.
fn check(log: &SqliteLog, what: &str) -> [u8; 16] {
    let read = |store| log.read(&workspace("w"), &name(store)).unwrap();
    let kept = |seq| {
        let commit = message(seq, &id(seq));
        if seq > 4 { commit } else { Commit { changes: Vec::new(), ..commit } }
    };
    let expected = Stored {
        start: Seq(0),
        checkpoint: Some(Checkpoint { actors: Actors::default(), ..checkpoint(4) }),
        commits: (3..=6).map(kept).collect(),
        older_messages: true,
    };
    assert_eq!(read("s"), expected, "{what}");
    assert_eq!(read("t").commits, [message(1, "id 1"), commit(2)], "{what}");
    let stores = [(name("s"), Seq(6)), (name("t"), Seq(2))];
    assert_eq!(log.stores(&workspace("w")).unwrap(), stores, "{what}");
    for seq in 1..=7 {
        let found = log.recall(&workspace("w"), &name("s"), &MessageId::new(&id(seq)).unwrap());
        assert_eq!(found.unwrap(), (seq <= 6).then_some(Seq(seq)), "{what}");
    }
    log.identity().unwrap()
}

#[test]
fn an_older_log_goes_on_in_the_newest_format() {
    for from in [1, 2] {
        goes_on(from);
    }
}

fn goes_on(from: i32) {
    let place = folder();
    older(place.path(), from);
    assert_eq!(format(place.path()), from);
    let log = SqliteLog::open(place.path()).unwrap();
    let identity = check(&log, "at first");
    let again = SqliteLog::open(place.path());
    assert!(matches!(again, Err(StorageError::InUse)), "{again:?}");
    drop(log);
    assert_eq!(format(place.path()), 3);

    let log = SqliteLog::open(place.path()).unwrap();
    assert_eq!(check(&log, "a second time"), identity);
    assert_eq!(["v", "w", "x"].map(|w| log.opening(&workspace(w)).unwrap()), [1, 2, 0]);
    log.append(&[entry("w", "s", 6, vec![commit(7)])]).unwrap().remove(0).unwrap();
    log.checkpoint(&workspace("w"), &name("s"), &checkpoint(7), Seq(5)).unwrap();
    drop(log);
    let log = SqliteLog::open(place.path()).unwrap();
    let stored = log.read(&workspace("w"), &name("s")).unwrap();
    assert_eq!(stored.checkpoint, Some(checkpoint(7)), "with its actors");
    assert_eq!(log.identity().unwrap(), identity);
    let mut entry = entry("w", "s", 7, vec![commit(8)]);
    entry.append.calls = vec![call("a", 8)];
    log.append(&[entry]).unwrap().remove(0).unwrap();
    assert_eq!(log.lanes(None, 9).unwrap().len(), 1, "from {from}");
}

#[test]
fn every_log_that_is_brought_over_gets_its_own_identity() {
    let identities = [0; 2].map(|_| {
        let place = folder();
        format_1(place.path());
        SqliteLog::open(place.path()).unwrap().identity().unwrap()
    });
    assert_ne!(identities[0], identities[1]);
}

/// The process of the older version was killed.
#[test]
fn what_is_in_the_write_ahead_log_is_brought_over_too() {
    let (old, place) = (folder(), folder());
    let raw = older_in_use(old.path(), 1);
    for file in ["statehouse.db", "statehouse.db-wal"] {
        fs::copy(old.path().join(file), place.path().join(file)).unwrap();
    }
    drop(raw);
    check(&SqliteLog::open(place.path()).unwrap(), "after a kill");
    assert_eq!(format(place.path()), 3);
}

#[test]
fn an_older_log_must_be_whole() {
    for (from, sql) in [
        (1, "DROP TABLE checkpoints"),
        (1, "ALTER TABLE checkpoints ADD COLUMN actors BLOB"),
        (1, "CREATE TABLE identity (x)"),
        (1, "CREATE TRIGGER t AFTER INSERT ON commits BEGIN DELETE FROM names; END"),
        (2, "DROP TABLE identity"),
        (2, "CREATE TABLE calls (x)"),
    ] {
        let place = folder();
        older(place.path(), from);
        let raw = Connection::open(place.path().join("statehouse.db")).unwrap();
        raw.execute_batch(sql).unwrap();
        drop(raw);
        let refused = SqliteLog::open(place.path());
        assert!(matches!(refused, Err(StorageError::Damaged(_))), "{sql}: {refused:?}");
        assert_eq!(format(place.path()), from, "{sql}");
    }
}

/// The child: opens the log, and says which place it is once it has brought it over.
#[test]
fn opens_a_log_of_format_1() {
    let Some(folder) = folder_of_child() else { return };
    let Ok(log) = SqliteLog::open(&folder) else { std::process::abort() };
    println!("\nidentity {:032x}", u128::from_be_bytes(log.identity().unwrap()));
    println!("acknowledged");
}

/// Lets the n-th call to the disk fail, or kill the process, for every n that there is.
fn strike_each(variables: &[(&str, &str)]) {
    let mut left = [0, 0];
    for n in 1.. {
        let place = folder();
        let folder = place.path().join("log");
        format_1(&folder);
        let output = child("migration::opens_a_log_of_format_1", &folder)
            .env("LD_PRELOAD", library())
            .env("FAULT_FOLDER", &folder)
            .env("FAULT_AT", n.to_string())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let what = format!("call {n}, {variables:?}");
        let mark = |name| fs::remove_file(folder.with_extension(name)).is_ok();
        assert!(!mark("unsynced"), "{what}: it went on before what it wrote was synced");
        let struck = mark("struck");
        assert!(struck || output.status.success(), "{what}");

        // What a process left that was struck is of the old format or the new, with all that was in
        // it.
        let log = SqliteLog::open(&folder).unwrap_or_else(|error| panic!("{what}: {error}"));
        let identity = format!("{:032x}", u128::from_be_bytes(check(&log, &what)));
        let text = String::from_utf8(output.stdout).unwrap();
        let told = text.lines().find_map(|line| line.strip_prefix("identity "));
        assert!(told.is_none_or(|told| told == identity), "{what}: {told:?}, now {identity}");
        if !struck {
            assert!(left[0] > 5, "{left:?} of {n} calls came before the end of the migration");
            return;
        }
        left[usize::from(told.is_some())] += 1;
    }
}

#[test]
fn a_kill_at_any_call_leaves_one_format_or_the_other() {
    strike_each(&[("FAULT_KILL", "1")]);
}

#[test]
fn a_disk_that_fails_at_any_call_leaves_one_format_or_the_other() {
    strike_each(&[]);
    strike_each(&[("FAULT_ONWARDS", "1")]);
}
