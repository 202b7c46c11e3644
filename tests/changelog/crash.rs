//! A process that is killed loses nothing that it had acknowledged, and a folder has one owner.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::{ChangeLog as _, StorageError};
use statehouse::workspace::Commit;

use crate::world::{World, checkpoint, commit, entry, folder, message, name, workspace};

/// Tells a test that it is the child, and where its log is.
const FOLDER: &str = "STATEHOUSE_TEST_FOLDER";

/// This test binary again, as a process that runs one test.
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(FOLDER, folder);
    child.stdout(Stdio::piped()).stderr(Stdio::null());
    child
}

/// The folder of the log, if this is the child.
pub(crate) fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn written(seq: u64) -> Commit {
    if seq.is_multiple_of(3) { message(seq, &format!("id {seq}")) } else { commit(seq) }
}

/// The child: appends, and says so only afterwards, until it is killed. Does nothing in the parent.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = folder_of_child() else { return };
    let log = SqliteLog::open(&folder).unwrap();
    let newest = log.stores(&workspace("w")).unwrap().first().map_or(0, |(_, seq)| seq.0);
    for seq in newest + 1.. {
        let batch = [
            entry("w", "s", seq - 1, vec![written(seq)]),
            entry("w", "t", seq - 1, vec![written(seq)]),
        ];
        for result in log.append(&batch).unwrap() {
            result.unwrap();
        }
        println!("acknowledged {seq}");
        if seq.is_multiple_of(20) {
            let keep = statehouse::ids::Seq(seq - 15);
            log.checkpoint(&workspace("w"), &name("s"), &checkpoint(seq - 5), keep).unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut identity) = (0, None);
    for round in 0..5_u64 {
        let mut child = child("crash::writes_until_it_is_killed", folder.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = 25 + round * 7;
        while wanted > 0 {
            let line = lines.next().expect("the child writes on").unwrap();
            wanted -= u64::from(line.contains("acknowledged"));
            acknowledged = newest_in(&line).unwrap_or(acknowledged);
        }
        // Somewhere in the middle of what it does next.
        std::thread::sleep(Duration::from_micros(round * 731));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            acknowledged = newest_in(&line.unwrap()).unwrap_or(acknowledged);
        }

        let log = SqliteLog::open(folder.path()).unwrap();
        let [s, t] = ["s", "t"].map(|store| log.read(&workspace("w"), &name(store)).unwrap());
        let newest = t.commits.len() as u64;
        assert!((acknowledged..=acknowledged + 1).contains(&newest), "{newest}, {acknowledged}");
        assert!(t.commits.into_iter().eq((1..=newest).map(written)), "nothing is invented");
        assert_eq!(s.commits.last().unwrap(), &written(newest), "a batch is whole");
        let covered = s.checkpoint.as_ref().unwrap().seq.0;
        assert_eq!(s.checkpoint, Some(checkpoint(covered)));
        let place = log.identity().unwrap();
        assert_eq!(*identity.get_or_insert(place), place);
        for found in s.commits {
            let mut expected = written(found.seq.0);
            if found.seq.0 <= covered {
                expected.changes.clear();
            }
            assert_eq!(found, expected);
        }
    }
}

fn newest_in(line: &str) -> Option<u64> {
    line.rsplit_once("acknowledged ").and_then(|(_, seq)| seq.parse().ok())
}

#[test]
fn a_folder_has_one_owner() {
    let place = folder();
    let log = SqliteLog::open(place.path()).unwrap();
    assert!(matches!(SqliteLog::open(place.path()), Err(StorageError::InUse)));
    // Another process is refused too: the child ends by a failed test, not by being killed.
    let status = child("crash::writes_until_it_is_killed", place.path()).status().unwrap();
    assert_eq!(status.code(), Some(101));
    drop(log);
    drop(SqliteLog::open(place.path()).unwrap());
}

#[test]
fn a_folder_is_made_with_those_above_it() {
    let place = folder();
    let deep = place.path().join("a/b/c");
    drop(SqliteLog::open(&deep).unwrap());
    assert!(deep.join("statehouse.db").is_file());
    // A file in the way is an error, not a panic.
    std::fs::write(place.path().join("file"), "").unwrap();
    let refused = SqliteLog::open(&place.path().join("file/d"));
    assert!(matches!(refused, Err(StorageError::Failed(_))), "{refused:?}");
}

#[test]
fn a_database_that_was_never_finished_is_begun_again() {
    let place = folder();
    std::fs::write(place.path().join("statehouse.db.new"), "half a database").unwrap();
    drop(SqliteLog::open(place.path()).unwrap());
    assert!(!place.path().join("statehouse.db.new").exists());
}

#[test]
fn a_log_survives_being_reopened_many_times() {
    let mut world = World::sqlite();
    for seq in 1..=30 {
        let result = world.append("s", seq - 1, vec![written(seq)]);
        assert_eq!(result, crate::world::Outcome::Done);
        world.reopen();
    }
    assert!(world.read("s").commits.into_iter().eq((1..=30).map(written)));
}
