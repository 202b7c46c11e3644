//! The examination of a log: what is sound is not accused, whatever is damaged is found, nothing in
//! the folder changes, and what is said to be whole can be had.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;
use statehouse::ids::{Millis, Seq};
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::sqlite::doctor::{Finding, Summary, examine};
use statehouse::storage::sqlite::export::{self, Taken};
use statehouse::storage::sqlite::look::Look;
use statehouse::storage::{ChangeLog as _, StorageError};
use statehouse::workspace::{Commit, Dialect, MessageId, Origin};

use crate::damage::{TABLES, Table, decayed};
use crate::world::{entry, folder, name, workspace};

/// The commits of one store, of real documents, and the state after each.
pub(crate) struct History {
    pub(crate) commits: Vec<Commit>,
    pub(crate) states: Vec<String>,
    documents: Vec<Vec<u8>>,
}

/// A history in which every write sets one of a few keys, or nothing if it is 0. Every third
/// commit carries a message id.
pub(crate) fn history(actor: u8, writes: &[u8]) -> History {
    let actor = automerge::ActorId::from([actor; 16]);
    let mut doc = automerge::AutoCommit::new().with_actor(actor);
    let mut made = History { commits: Vec::new(), states: Vec::new(), documents: Vec::new() };
    let mut state = BTreeMap::new();
    for (seq, write) in (1_u64..).zip(writes) {
        use automerge::transaction::Transactable as _;
        let mut changes = Vec::new();
        if *write > 0 {
            let key = format!("key {}", write % 4);
            let value = seq.cast_signed();
            doc.put(automerge::ROOT, &key, value).unwrap();
            let hash = doc.commit().unwrap();
            changes.push(doc.get_change_by_hash(&hash).unwrap().bytes().into_owned());
            state.insert(key, value);
        }
        let mut heads = doc.get_heads();
        heads.sort_unstable();
        let id = (seq % 3 == 0).then(|| MessageId::new(&format!("id {seq}")).unwrap());
        let origin = Origin { user: "anonymous".into(), session: None, dialect: Dialect::Crdt, id };
        made.commits.push(Commit { seq: Seq(seq), changes, heads, time: Millis(seq), origin });
        let json = serde_json::to_string(&state).unwrap();
        made.states.push(json.parse::<serde_json::Value>().unwrap().to_string());
        made.documents.push(doc.save());
    }
    made
}

/// Writes histories as stores of one workspace, and gives one of them a checkpoint.
fn furnish(folder: &Path, stores: &[(&str, &History)], checkpoint: Option<(u64, u64)>) {
    drop(furnish_open(folder, stores, checkpoint));
}

fn furnish_open(
    folder: &Path,
    stores: &[(&str, &History)],
    checkpoint: Option<(u64, u64)>,
) -> SqliteLog {
    let log = SqliteLog::open(folder).unwrap();
    log.opening(&workspace("w")).unwrap();
    for (store, history) in stores {
        let batch = [entry("w", store, 0, history.commits.clone())];
        log.append(&batch).unwrap().remove(0).unwrap();
    }
    if let (Some((seq, keep)), Some((store, history))) = (checkpoint, stores.first()) {
        let at = usize::try_from(seq).unwrap() - 1;
        let checkpoint = statehouse::workspace::Checkpoint {
            seq: Seq(seq),
            heads: history.commits[at].heads.clone(),
            bytes: history.documents[at].clone(),
            actors: [([7; 16], statehouse::workspace::actors::Owner(3))].into_iter().collect(),
        };
        log.checkpoint(&workspace("w"), &name(store), &checkpoint, Seq(keep)).unwrap();
    }
    log
}

pub(crate) fn doctor(folder: &Path) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary = examine(folder, &mut |finding| findings.push(finding.clone())).unwrap();
    (summary, findings)
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect()
}

/// What can be got out of a store.
fn salvage(folder: &Path, store: &str) -> Option<Taken> {
    let look = Look::open(folder).ok()?;
    let stores = look.stores(&mut |_| ());
    let named = stores.into_iter().find(|named| named.store == name(store))?;
    export::take(&look, &named, true, &mut |_| ()).unwrap()
}

/// What was salvaged is a state that there was, and not later than what there is.
fn check_salvaged(taken: &Taken, history: &History, what: &str) {
    let at = usize::try_from(taken.seq.0).unwrap() - 1;
    let state: serde_json::Value = serde_json::from_str(&taken.json.to_string()).unwrap();
    assert_eq!(state.to_string(), history.states[at], "{what}");
    let heads: Vec<_> = history.commits[at].heads.iter().map(ToString::to_string).collect();
    assert_eq!(taken.heads, heads, "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever was written, with or without a checkpoint, ended or killed.
    #[test]
    fn what_is_sound_is_not_accused_and_not_touched(
        one in prop::collection::vec(0..9_u8, 1..40),
        two in prop::collection::vec(0..9_u8, 1..9),
        at in any::<Option<(prop::sample::Index, prop::sample::Index)>>(),
        killed: bool,
    ) {
        let place = folder();
        let (one, two) = (history(1, &one), history(2, &two));
        let checkpoint = at.map(|(seq, keep)| {
            let seq = seq.index(one.commits.len()) + 1;
            (seq as u64, keep.index(seq + 1) as u64)
        });
        let log = furnish_open(place.path(), &[("s", &one), ("t", &two)], checkpoint);
        let copy = folder();
        if killed {
            for file in ["statehouse.db", "statehouse.db-wal"] {
                fs::copy(place.path().join(file), copy.path().join(file)).unwrap();
            }
        }
        drop(log);
        let looked_at = if killed { copy.path() } else { place.path() };
        let before = files(looked_at);
        let (summary, findings) = doctor(looked_at);
        prop_assert_eq!(&findings, &[]);
        let trimmed = checkpoint.map_or(0, |(_, keep)| keep);
        let commits = (one.commits.len() + two.commits.len()) as u64 - trimmed;
        let expected = Summary { format: 3, workspaces: 1, stores: 2, commits, findings: 0 };
        prop_assert_eq!(summary, expected);
        check_salvaged(&salvage(looked_at, "s").unwrap(), &one, "whole");
        prop_assert!(files(looked_at) == before, "the folder was touched");
        // It was whole, and still is.
        prop_assert!(SqliteLog::open(looked_at).is_ok());
    }
}

/// A small log with everything that there is to damage.
fn small(folder: &Path) -> (History, History) {
    let (one, two) = (history(1, &[1, 2, 0, 3, 4, 5, 6]), history(2, &[1, 2, 3]));
    furnish(folder, &[("s", &one), ("t", &two)], Some((4, 2)));
    (one, two)
}

#[test]
fn every_decayed_value_is_found_and_what_is_whole_is_true() {
    let place = folder();
    let histories = small(place.path());
    let raw = Connection::open(place.path().join("statehouse.db")).unwrap();
    let mut examined = 0;
    let mut number = 0;
    for (table, _) in TABLES {
        let table = Table::read(&raw, table);
        for row in 0..table.rows.len() {
            for column in 0..table.rows[row].len() {
                for value in decayed(&table.rows[row][column]) {
                    number += 1;
                    // Every one of them would take minutes.
                    if number % 23 != 0 {
                        continue;
                    }
                    let mut rows = table.rows.clone();
                    rows[row][column] = value;
                    if table.write(&rows, None) {
                        let what = format!("{:?}, column {column}: {:?}", rows[row], number);
                        assert_found(place.path(), &histories, &what);
                        examined += 1;
                    }
                }
            }
        }
        assert!(table.write(&table.rows, None));
    }
    assert!(examined > 200, "{examined}");
    drop(raw);
    assert_eq!(doctor(place.path()).1, []);
}

fn assert_found(folder: &Path, (one, two): &(History, History), what: &str) {
    let (summary, findings) = doctor(folder);
    assert!(!findings.is_empty(), "{what}: nothing was found");
    assert_eq!(summary.findings, findings.len(), "{what}");
    for (store, history) in [("s", one), ("t", two)] {
        let rescue = findings.iter().find_map(|finding| match &finding.store {
            Some((_, name)) if name.as_str() == store => finding.rescue,
            _ => None,
        });
        let Some(taken) = salvage(folder, store) else { continue };
        check_salvaged(&taken, history, what);
        match rescue {
            Some(rescue) => assert_eq!(taken.seq, rescue.whole, "{what}"),
            None => assert_eq!(taken.seq.0, history.commits.len() as u64, "{what}"),
        }
    }
}

#[test]
fn every_missing_row_is_found() {
    let place = folder();
    let histories = small(place.path());
    let raw = Connection::open(place.path().join("statehouse.db")).unwrap();
    for (table, _) in TABLES {
        let table = Table::read(&raw, table);
        for row in 0..table.rows.len() {
            let mut rows = table.rows.clone();
            let gone = rows.remove(row);
            assert!(table.write(&rows, None));
            assert_found(place.path(), &histories, &format!("without {gone:?}"));
        }
        assert!(table.write(&table.rows, None));
    }
}

#[test]
fn rows_of_stores_that_nobody_knows_are_found() {
    let place = folder();
    let histories = small(place.path());
    for (table, column) in [("names", 0), ("commits", 0), ("checkpoints", 0), ("stores", 0)] {
        let raw = Connection::open(place.path().join("statehouse.db")).unwrap();
        let table = Table::read(&raw, table);
        let mut rows = table.rows.clone();
        let mut stranger = rows.last().unwrap().clone();
        stranger[column] = Value::Integer(99);
        rows.push(stranger);
        assert!(table.write(&rows, None));
        assert_found(place.path(), &histories, "with a stranger");
        assert!(table.write(&table.rows, None));
    }
}

#[test]
fn it_says_how_much_is_whole() {
    let place = folder();
    let long = history(1, &[3; 40]);
    furnish(place.path(), &[("s", &long)], None);
    let raw = Connection::open(place.path().join("statehouse.db")).unwrap();
    raw.execute("UPDATE commits SET changes = zeroblob(9) WHERE seq IN (30, 35)", []).unwrap();
    drop(raw);
    let (_, findings) = doctor(place.path());
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let line = |seq| {
        format!(
            "w/s at seq {seq}: the changes of commit {seq} do not match their checksum \
             (seqs 1..29 are whole; 30..40 are lost or lie on what is)"
        )
    };
    assert_eq!(lines, [line(30), line(35)]);
    check_salvaged(&salvage(place.path(), "s").unwrap(), &long, "salvaged");
}

/// Changes that are as they were written, but do not fit what was noted of them.
#[test]
fn a_commit_that_does_not_lead_to_its_heads_is_found() {
    let place = folder();
    let mut wrong = history(1, &[1, 2, 3, 4, 5]);
    wrong.commits[3].changes.clear();
    furnish(place.path(), &[("s", &wrong)], None);
    let (_, findings) = doctor(place.path());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].seq, Some(Seq(4)), "{findings:?}");
    assert_eq!(findings[0].rescue.unwrap().whole, Seq(3), "{findings:?}");
}

#[test]
fn no_byte_of_the_file_makes_it_lie() {
    let place = folder();
    let histories = small(place.path());
    let path = place.path().join("statehouse.db");
    let bytes = fs::read(&path).unwrap();
    let mut found = 0;
    for at in (0..bytes.len()).filter(|at| bytes[*at] != 0).step_by(11).chain(0..100) {
        let mut changed = bytes.clone();
        changed[at] = !changed[at];
        fs::write(&path, changed).unwrap();
        match examine(place.path(), &mut |_| ()) {
            Ok(summary) if summary.findings > 0 => {
                assert_found(place.path(), &histories, &format!("byte {at}"));
                found += 1;
            }
            // What nobody reads may decay.
            Ok(_) => {
                for (store, history) in [("s", &histories.0), ("t", &histories.1)] {
                    let taken = salvage(place.path(), store).unwrap();
                    assert_eq!(taken.seq.0, history.commits.len() as u64, "byte {at}");
                    check_salvaged(&taken, history, &format!("byte {at}"));
                }
            }
            Err(StorageError::Failed(_)) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn a_file_that_is_no_log_any_more_is_a_finding_and_is_left_alone() {
    let place = folder();
    small(place.path());
    let path = place.path().join("statehouse.db");
    let bytes = fs::read(&path).unwrap();
    for (length, wal) in [(0, None), (0, Some(b"what was written last")), (50, None), (5_000, None)]
    {
        fs::write(&path, &bytes[..length]).unwrap();
        if let Some(wal) = wal {
            fs::write(place.path().join("statehouse.db-wal"), wal).unwrap();
        }
        let before = files(place.path());
        assert!(doctor(place.path()).0.findings > 0, "{length}");
        let refused = SqliteLog::open(place.path());
        assert!(matches!(refused, Err(StorageError::Damaged(_))), "{length}: {refused:?}");
        drop(refused);
        assert!(files(place.path()) == before, "{length}");
        drop(fs::remove_file(place.path().join("statehouse.db-wal")));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Look::open(place.path()), Err(StorageError::Failed(_))), "there is no data");
    assert!(matches!(Look::open(&place.path().join("nowhere")), Err(StorageError::Failed(_))));
}

#[test]
fn nobody_looks_while_somebody_writes_and_the_other_way_round() {
    let place = folder();
    let one = history(1, &[1, 2, 3]);
    let log = furnish_open(place.path(), &[("s", &one)], None);
    assert!(matches!(Look::open(place.path()), Err(StorageError::InUse)));
    drop(log);
    let look = Look::open(place.path()).unwrap();
    assert!(matches!(SqliteLog::open(place.path()), Err(StorageError::InUse)));
    drop(Look::open(place.path()).unwrap());
    drop(look);
    drop(SqliteLog::open(place.path()).unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_of_format_1_is_examined_and_left_as_it_is() {
    let place = folder();
    crate::migration::format_1(place.path());
    let before = files(place.path());
    let (summary, findings) = doctor(place.path());
    // What is in it is no document of Automerge's; everything else is sound.
    assert_eq!((summary.format, summary.stores), (1, 2));
    let about = |finding: &Finding| finding.seq.is_some() && finding.store.is_some();
    assert!(findings.iter().all(about), "{findings:?}");
    assert!(files(place.path()) == before);
}
