//! What decays on the disk is noticed: a read gives what was written, or an error; never anything
//! else, and never nothing.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::{ChangeLog as _, StorageError};
use statehouse::workspace::{Commit, MessageId};
use tempfile::TempDir;

use crate::world::{Outcome, checkpoint, commit, entry, folder, message, name, workspace};

/// Each table with the number of columns in its key.
pub(crate) const TABLES: [(&str, usize); 5] =
    [("names", 2), ("stores", 1), ("commits", 2), ("checkpoints", 1), ("identity", 1)];

/// A log with a little of everything: two stores, one of them with a checkpoint, commits that are
/// gone, that have lost their changes and that are whole, message ids, openings.
fn furnish(folder: &Path) -> SqliteLog {
    let log = SqliteLog::open(folder).unwrap();
    let commits: Vec<_> = (1..).zip(ids()).map(|(seq, id)| message(seq, &id)).collect();
    let other = vec![message(1, "id 1"), commit(2)];
    let batch = [entry("w", "s", 0, commits), entry("w", "t", 0, other)];
    assert!(log.append(&batch).unwrap().iter().all(Result::is_ok));
    log.checkpoint(&workspace("w"), &name("s"), &checkpoint(4), statehouse::ids::Seq(2)).unwrap();
    for workspace in ["v", "w", "w"].map(workspace) {
        log.opening(&workspace).unwrap();
    }
    log
}

fn ids() -> impl Iterator<Item = String> {
    (1..=6).map(|seq| format!("id {seq}"))
}

/// All that can be read of the log, answer by answer.
fn observe(log: &SqliteLog) -> Vec<Result<String, StorageError>> {
    fn text<T: Debug>(answer: Result<T, StorageError>) -> Result<String, StorageError> {
        answer.map(|answer| format!("{answer:?}"))
    }
    let w = workspace("w");
    let mut answers = vec![text(log.stores(&w)), text(log.stores(&workspace("v")))];
    answers.push(text(log.identity()));
    for store in ["s", "t", "absent"].map(name) {
        answers.push(text(log.read(&w, &store)));
        for id in ["first of all", "never"].map(String::from).into_iter().chain(ids()) {
            answers.push(text(log.recall(&w, &store, &MessageId::new(&id).unwrap())));
        }
    }
    answers
}

/// Whether every answer is the expected one or says that the log is damaged. Gives the number of
/// those that say so.
fn compare(
    found: Vec<Result<String, StorageError>>,
    expected: &[Result<String, StorageError>],
    what: &str,
) -> usize {
    let mut damaged = 0;
    for (found, expected) in found.into_iter().zip(expected) {
        match found {
            Ok(found) => assert_eq!(&found, expected.as_ref().unwrap(), "{what}"),
            Err(StorageError::Damaged(_)) => damaged += 1,
            Err(other) => panic!("{what}: {other}"),
        }
    }
    damaged
}

/// The rows of a table as they were written, and a way to put others there.
pub(crate) struct Table<'a> {
    raw: &'a Connection,
    name: &'static str,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl<'a> Table<'a> {
    pub(crate) fn read(raw: &'a Connection, name: &'static str) -> Self {
        let mut statement = raw.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
            .unwrap();
        let rows = rows.collect::<Result<Vec<_>, _>>().unwrap();
        assert!(!rows.is_empty(), "{name} has rows to damage");
        Self { raw, name, rows }
    }

    /// Writes these rows instead. False if the table itself does not let them in.
    pub(crate) fn write(&self, rows: &[Vec<Value>], as_text: Option<usize>) -> bool {
        let tx = self.raw.unchecked_transaction().unwrap();
        tx.execute(&format!("DELETE FROM {}", self.name), []).unwrap();
        for row in rows {
            // A text may have decayed into something that is none: it goes in as bytes.
            let cast = |column| if as_text == Some(column) { "CAST(? AS TEXT)" } else { "?" };
            let marks: Vec<_> = (0..row.len()).map(cast).collect();
            let insert = format!("INSERT INTO {} VALUES ({})", self.name, marks.join(","));
            if tx.execute(&insert, params_from_iter(row)).is_err() {
                return false;
            }
        }
        tx.commit().unwrap();
        true
    }
}

/// What a value may decay to: each byte or bit of it changed, or all of it gone.
pub(crate) fn decayed(value: &Value) -> Vec<Value> {
    let bytes = |bytes: &[u8]| {
        let mut all = vec![Vec::new(), [bytes, &[0]].concat()];
        for (at, byte) in bytes.iter().enumerate() {
            for other in [byte ^ 1, byte ^ 0x80, !byte, 0] {
                let mut changed = bytes.to_vec();
                changed[at] = other;
                all.push(changed);
            }
        }
        all.retain(|changed| changed != bytes);
        all.into_iter().map(Value::Blob).collect::<Vec<_>>()
    };
    let mut all = match value {
        Value::Null => vec![Value::Integer(0), Value::Blob(vec![1]), Value::Text("id 9".into())],
        Value::Integer(n) => (0..64).map(|bit| Value::Integer(n ^ (1 << bit))).collect(),
        Value::Text(text) => bytes(text.as_bytes()),
        Value::Blob(blob) => bytes(blob),
        Value::Real(_) => panic!("no column is a float"),
    };
    all.extend([Value::Null, Value::Integer(0)]);
    all.retain(|other| other != value);
    all
}

#[test]
fn every_byte_of_every_row_is_watched() {
    let folder = folder();
    let log = furnish(folder.path());
    let expected = observe(&log);
    assert!(expected.iter().all(Result::is_ok));
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    raw.pragma_update(None, "synchronous", "OFF").unwrap();

    let (mut tried, mut noticed) = (0, 0);
    for (table, _) in TABLES {
        let table = Table::read(&raw, table);
        for (at, row) in table.rows.iter().enumerate() {
            for (column, value) in row.iter().enumerate() {
                for other in decayed(value) {
                    let what = format!("{} {row:?}, column {column}: {other:?}", table.name);
                    let mut rows = table.rows.clone();
                    rows[at][column] = other;
                    let as_text = matches!(value, Value::Text(_)).then_some(column);
                    if table.write(&rows, as_text) {
                        tried += 1;
                        noticed += compare(observe(&log), &expected, &what).min(1);
                        check_writes(&log, table.name, &what);
                    }
                }
            }
        }
        assert!(table.write(&table.rows, None));
    }
    assert_eq!(compare(observe(&log), &expected, "all is as it was"), 0);
    // What is not noticed is what nobody reads: the name of a workspace that was opened, say.
    assert!(tried > 5_000 && noticed > tried * 8 / 10, "{noticed} of {tried}");
}

#[test]
fn a_row_that_is_gone_or_in_the_wrong_place_is_missed() {
    let folder = folder();
    let log = furnish(folder.path());
    let expected = observe(&log);
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    raw.pragma_update(None, "synchronous", "OFF").unwrap();
    for (table, key) in TABLES {
        let table = Table::read(&raw, table);
        for (at, row) in table.rows.iter().enumerate() {
            let what = format!("{} without {row:?}", table.name);
            let mut rows = table.rows.clone();
            rows.remove(at);
            assert!(table.write(&rows, None));
            compare(observe(&log), &expected, &what);
            check_writes(&log, table.name, &what);
            // Another row's content under this row's key.
            for other in &table.rows {
                let mut rows = table.rows.clone();
                rows[at][key..].clone_from_slice(&other[key..]);
                let what = format!("{} with {:?}", table.name, rows[at]);
                assert!(table.write(&rows, None));
                let damaged = compare(observe(&log), &expected, &what);
                let opening = row[0] == Value::Integer(-1);
                assert!(damaged > 0 || rows == table.rows || opening, "{what}");
            }
        }
        assert!(table.write(&table.rows, None));
        assert!(table.write(&[], None));
        assert!(compare(observe(&log), &expected, "an empty table") > 0);
        assert!(table.write(&table.rows, None));
    }
}

#[test]
fn damage_to_one_store_leaves_the_others_writable() {
    let folder = folder();
    let log = furnish(folder.path());
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    // The newest store is lost, and its number is given out again.
    raw.execute("DELETE FROM stores WHERE name = 't'", []).unwrap();
    let batch = [
        entry("w", "new", 0, vec![commit(1)]),
        entry("w", "t", 2, vec![commit(3)]),
        entry("w", "s", 6, vec![commit(7)]),
    ];
    let outcomes = log.append(&batch).unwrap().into_iter().map(Outcome::from);
    assert!(outcomes.eq([Outcome::Damaged, Outcome::Damaged, Outcome::Done]));
    assert_eq!(log.read(&workspace("w"), &name("s")).unwrap().commits.last(), Some(&commit(7)));
    assert!(log.read(&workspace("w"), &name("t")).is_err());
}

#[test]
fn tables_that_are_not_ours_are_left_alone_and_ours_must_be_whole() {
    let open_after = |sql: &str| {
        let (folder, ..) = closed();
        let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
        raw.execute_batch(sql).unwrap();
        drop(raw);
        SqliteLog::open(folder.path()).map(drop)
    };
    open_after("CREATE TABLE of_a_tool (x)").unwrap();
    for sql in [
        "DROP TABLE checkpoints",
        "ALTER TABLE stores ADD COLUMN more INTEGER",
        "CREATE TRIGGER t AFTER INSERT ON commits BEGIN DELETE FROM names; END",
    ] {
        let refused = open_after(sql);
        assert!(matches!(refused, Err(StorageError::Damaged(_))), "{sql}: {refused:?}");
    }
}

#[test]
fn a_row_as_it_was_before_is_noticed() {
    let folder = folder();
    let log = furnish(folder.path());
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    let tables = ["stores", "commits", "checkpoints"];
    let former = tables.map(|table| Table::read(&raw, table));
    log.append(&[entry("w", "s", 6, vec![commit(7)])]).unwrap().remove(0).unwrap();
    log.checkpoint(&workspace("w"), &name("s"), &checkpoint(6), statehouse::ids::Seq(3)).unwrap();
    let expected = observe(&log);
    // A write that the disk said it had done, and had not.
    for former in former {
        let now = Table::read(&raw, former.name);
        assert!(former.write(&former.rows, None));
        assert!(compare(observe(&log), &expected, former.name) > 0, "{}", former.name);
        if former.name == "stores" {
            let next = log.append(&[entry("w", "s", 6, vec![message(7, "new")])]).unwrap();
            assert!(matches!(next[..], [Err(StorageError::Damaged(_))]), "{next:?}");
        }
        assert!(now.write(&now.rows, None));
    }
    assert_eq!(compare(observe(&log), &expected, "all is as it is"), 0);
}

/// What must not be written on top of damaged names: a message a second time, an opening that was
/// counted before.
fn check_writes(log: &SqliteLog, table: &str, what: &str) {
    let again = log.append(&[entry("w", "s", 6, vec![message(7, "id 1")])]).unwrap().remove(0);
    assert!(matches!(Outcome::from(again), Outcome::Invalid | Outcome::Damaged), "{what}");
    if table == "names" {
        match log.opening(&workspace("w")) {
            Ok(opening) => assert_eq!(opening, 2, "{what}"),
            Err(error) => assert!(matches!(error, StorageError::Damaged(_)), "{what}: {error}"),
        }
    }
}

/// A log that is closed: one file.
fn closed() -> (TempDir, Vec<u8>, Vec<Result<String, StorageError>>) {
    closed_after(|_| ())
}

/// The same after some more was written.
fn closed_after(
    write: impl FnOnce(&SqliteLog),
) -> (TempDir, Vec<u8>, Vec<Result<String, StorageError>>) {
    let folder = folder();
    let log = furnish(folder.path());
    write(&log);
    let expected = observe(&log);
    drop(log);
    assert!(!folder.path().join("statehouse.db-wal").exists());
    let bytes = fs::read(folder.path().join("statehouse.db")).unwrap();
    (folder, bytes, expected)
}

/// Opens the log with other bytes in the place of its file.
fn open_with(folder: &TempDir, bytes: &[u8]) -> Result<SqliteLog, StorageError> {
    for file in ["statehouse.db-wal", "statehouse.db-shm"] {
        if folder.path().join(file).exists() {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
    }
    fs::write(folder.path().join("statehouse.db"), bytes).unwrap();
    SqliteLog::open(folder.path())
}

#[test]
fn a_file_that_is_cut_or_overwritten_is_refused() {
    // So large that it fills the last page, or most of it.
    let (folder, bytes, expected) = closed_after(|log| {
        let large = Commit { changes: vec![vec![7; 7_500]], ..commit(7) };
        log.append(&[entry("w", "s", 6, vec![large])]).unwrap().remove(0).unwrap();
    });
    let refused = |bytes: &[u8], what: &str| match open_with(&folder, bytes) {
        Err(StorageError::Damaged(text)) => assert!(!text.is_empty()),
        other => panic!("{what}: {other:?}"),
    };
    for length in [0, 1, 15, 16, 99, 100, 512, 4095, 4096, bytes.len() / 2, bytes.len() - 4096] {
        refused(&bytes[..length], &format!("cut to {length} bytes"));
    }
    for length in [16, 100, 4096, bytes.len()] {
        let mut zeroed = bytes.clone();
        zeroed[..length].fill(0);
        refused(&zeroed, &format!("{length} bytes zeroed"));
    }
    refused(b"This is not a database, whatever its name may be.", "another file");
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    refused(&fs::read(&other).unwrap(), "another database");

    // Half a page is missing at the end: what was on it is.
    let log = open_with(&folder, &bytes[..bytes.len() - 2048]).unwrap();
    assert!(compare(observe(&log), &expected, "half a page") > 0);
    drop(log);
    let log = open_with(&folder, &bytes).unwrap();
    assert_eq!(compare(observe(&log), &expected, "whole again"), 0);
}

#[test]
fn a_file_that_is_gone_is_not_begun_anew_over_its_wal() {
    let (folder, bytes, _) = closed();
    drop(open_with(&folder, &bytes).unwrap());
    fs::remove_file(folder.path().join("statehouse.db")).unwrap();
    fs::write(folder.path().join("statehouse.db-wal"), b"what was written last").unwrap();
    assert!(matches!(SqliteLog::open(folder.path()), Err(StorageError::Damaged(_))));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (folder, bytes, _) = closed();
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    raw.pragma_update(None, "user_version", 4).unwrap();
    drop(raw);
    let newer = fs::read(folder.path().join("statehouse.db")).unwrap();
    match SqliteLog::open(folder.path()) {
        Err(StorageError::Failed(text)) => assert!(text.contains("newer"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(folder.path().join("statehouse.db")).unwrap(), newer);
    assert!(open_with(&folder, &bytes).is_ok());
}

#[test]
fn no_byte_of_the_file_makes_it_lie() {
    let (folder, bytes, expected) = closed();
    for at in 0..bytes.len() {
        // Every byte that says something, and some of those between.
        if bytes[at] == 0 && at % 97 != 0 {
            continue;
        }
        let mut changed = bytes.clone();
        changed[at] = !changed[at];
        let what = format!("byte {at}");
        match open_with(&folder, &changed) {
            Ok(log) => drop(compare(observe(&log), &expected, &what)),
            Err(StorageError::Damaged(_) | StorageError::Failed(_)) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

/// Length of a frame of the write-ahead log, in bytes; 32 bytes are before the first.
const FRAME: usize = 24 + 4096;

fn ends_commit(wal: &[u8], frame: usize) -> bool {
    wal[32 + frame * FRAME + 4..][..4] != [0; 4]
}

fn logged(seq: u64) -> Commit {
    message(seq, &format!("id {seq}"))
}

/// Commits that SQLite has not moved from its write-ahead log into the database, as a process that
/// was killed leaves them.
fn killed(commits: u64) -> (TempDir, Vec<u8>, Vec<u8>) {
    let folder = folder();
    let log = SqliteLog::open(folder.path()).unwrap();
    for seq in 1..=commits {
        log.append(&[entry("w", "s", seq - 1, vec![logged(seq)])]).unwrap().remove(0).unwrap();
    }
    let database = fs::read(folder.path().join("statehouse.db")).unwrap();
    let wal = fs::read(folder.path().join("statehouse.db-wal")).unwrap();
    (folder, database, wal)
}

/// The commits in a log that was left like this.
fn recover(database: &[u8], wal: &[u8]) -> Result<Vec<Commit>, StorageError> {
    let folder = folder();
    fs::write(folder.path().join("statehouse.db"), database).unwrap();
    fs::write(folder.path().join("statehouse.db-wal"), wal).unwrap();
    let log = SqliteLog::open(folder.path())?;
    Ok(log.read(&workspace("w"), &name("s"))?.commits)
}

#[test]
fn a_wal_that_is_damaged_before_its_end_is_not_cut_there() {
    let all: Vec<_> = (1..=8).map(logged).collect();
    let (_folder, database, wal) = killed(8);
    assert_eq!(recover(&database, &wal).unwrap(), all);

    let mut refused = 0;
    for at in (0..wal.len()).step_by(61).chain(0..56) {
        let mut changed = wal.clone();
        changed[at] = !changed[at];
        match recover(&database, &changed) {
            Ok(found) => {
                assert_eq!(found, all[..found.len()], "byte {at}");
                // Decay in the last two commits cannot always be told from a loss of power.
                assert!(found.len() >= 6, "byte {at}: {} commits are left", found.len());
            }
            Err(StorageError::Damaged(_)) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused > wal.len() / 61 / 2, "{refused}");
}

#[test]
fn a_last_commit_that_is_there_in_parts_is_cut_off() {
    // Before a commit is synced, its pages reach the disk in any order or not at all.
    let (_folder, database, wal) = killed(4);
    let frames = (wal.len() - 32) / FRAME;
    let last = 1 + (0..frames - 1).rfind(|frame| ends_commit(&wal, *frame)).unwrap();
    assert!(frames - last >= 3, "the last commit has {} pages", frames - last);
    for missing in 1..1_u32 << (frames - last) {
        let mut torn = wal.clone();
        for frame in (last..frames).filter(|frame| missing >> (frame - last) & 1 == 1) {
            torn[32 + frame * FRAME..][..FRAME].fill(0);
        }
        let found = recover(&database, &torn).unwrap();
        assert_eq!(found, (1..=3).map(logged).collect::<Vec<_>>(), "{missing:b}");
    }
}

#[test]
fn a_wal_that_ends_in_the_middle_of_a_commit_is_recovered() {
    let all: Vec<_> = (1..=4).map(logged).collect();
    let (_folder, database, wal) = killed(4);
    let mut newest = 0;
    for length in (0..wal.len()).step_by(1024).chain([wal.len()]) {
        let found = recover(&database, &wal[..length]).unwrap();
        assert_eq!(found, all[..found.len()], "cut to {length} bytes");
        assert!(found.len() >= newest, "a longer log holds no less");
        newest = found.len();
    }
    assert_eq!(newest, 4);
}

#[test]
fn what_an_older_wal_left_behind_is_not_damage() {
    let folder = folder();
    let log = SqliteLog::open(folder.path()).unwrap();
    let raw = Connection::open(folder.path().join("statehouse.db")).unwrap();
    for seq in 1..=9 {
        log.append(&[entry("w", "s", seq - 1, vec![logged(seq)])]).unwrap().remove(0).unwrap();
        if seq == 7 {
            // Moves all into the database; the next commit begins the file anew, over the old.
            raw.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        }
    }
    let database = fs::read(folder.path().join("statehouse.db")).unwrap();
    let mut wal = fs::read(folder.path().join("statehouse.db-wal")).unwrap();
    let recovered = |wal: &[u8]| recover(&database, wal).unwrap();
    assert_eq!(recovered(&wal), (1..=9).map(logged).collect::<Vec<_>>());
    // Commit 9 was cut off, and what follows is older than it.
    let ninth = 1 + (0..9).find(|frame| ends_commit(&wal, *frame)).unwrap();
    wal[32 + ninth * FRAME..][..FRAME].fill(0);
    assert_eq!(recovered(&wal), (1..=8).map(logged).collect::<Vec<_>>());
}
