//! A disk that fails. A library that is preloaded into a child process (`faults.c`) stands between
//! SQLite and the kernel; it is built with the C compiler that SQLite itself was built with.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use statehouse::ids::Seq;
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::{ChangeLog as _, StorageError};
use statehouse::workspace::Commit;

use crate::crash::{child, folder_of_child};
use crate::world::{Outcome, checkpoint, commit, entry, folder, message, name, workspace};

/// The library, built once.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/changelog/faults.c");
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().unwrap().success());
        library
    })
}

/// The last commit that the child appends to each of two stores.
const STEPS: u64 = 12;

fn written(seq: u64) -> Commit {
    if seq.is_multiple_of(2) { message(seq, &format!("id {seq}")) } else { commit(seq) }
}

fn put_checkpoint(log: &SqliteLog, seq: u64) -> Result<(), StorageError> {
    log.checkpoint(&workspace("w"), &name("s"), &checkpoint(seq - 1), Seq(seq - 3))
}

fn say(what: impl Display, seq: u64) {
    println!("\n{what} {seq}");
}

/// The child: appends commit after commit, each until it succeeds; or it dies at the first that
/// fails. It begins with the newest that is there, as a client whose answer was lost would.
#[test]
fn writes_to_a_disk_that_fails() {
    let Some(folder) = folder_of_child() else { return };
    let patient = std::env::var_os("PATIENT").is_some();
    let Ok(log) = SqliteLog::open(&folder) else { std::process::abort() };
    let newest = log.stores(&workspace("w")).unwrap().first().map_or(0, |(_, seq)| seq.0);
    for seq in newest.max(1)..=STEPS {
        let batch = ["s", "t"].map(|store| entry("w", store, seq - 1, vec![written(seq)]));
        for attempt in 1.. {
            match log.append(&batch) {
                Ok(results) => {
                    assert!(results.iter().all(Result::is_ok), "{results:?}");
                    break;
                }
                // What is there can still be read, and nothing of the batch is.
                Err(error) => {
                    say("refused", seq);
                    for (store, newest) in log.stores(&workspace("w")).unwrap_or_default() {
                        assert_eq!(newest.0, seq - 1, "{store}, after {error}");
                    }
                    if !patient {
                        std::process::abort();
                    }
                    assert!(attempt < 9, "{error}");
                }
            }
        }
        say("acknowledged", seq);
        if seq.is_multiple_of(5) && put_checkpoint(&log, seq).is_err() && !patient {
            std::process::abort();
        }
    }
}

/// What the child said it had done, and what it was refused last.
struct Told {
    acknowledged: u64,
    refused: u64,
    succeeded: bool,
    /// Whether a call failed.
    struck: bool,
}

fn run(folder: &Path, variables: &[(&str, &str)]) -> Told {
    let mark = |name| fs::remove_file(folder.with_extension(name)).is_ok();
    let output = child("faults::writes_to_a_disk_that_fails", folder)
        .env("LD_PRELOAD", library())
        .env("FAULT_FOLDER", folder)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(!mark("unsynced"), "{variables:?}: it went on before what it wrote was synced");
    let text = String::from_utf8(output.stdout).unwrap();
    let newest = |what| {
        let told = text.lines().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok());
        told.max().unwrap_or(0)
    };
    Told {
        acknowledged: newest("acknowledged "),
        refused: newest("refused "),
        succeeded: output.status.success(),
        struck: mark("struck"),
    }
}

/// Checks what is left against what was told, with a disk that works again. A commit that was
/// refused may be there only if the disk failed for good, so that it could not be taken back.
fn check(folder: &Path, told: &Told, for_good: bool, what: &str) {
    let log = SqliteLog::open(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let [s, t] = ["s", "t"].map(|store| log.read(&workspace("w"), &name(store)).unwrap());
    let newest = t.commits.len() as u64;
    assert!(newest >= told.acknowledged, "{what}: {newest} of {}", told.acknowledged);
    let most = told.acknowledged + u64::from(for_good);
    assert!(newest <= most, "{what}: {newest}, although {} was refused", told.refused);
    assert!(t.commits.into_iter().eq((1..=newest).map(written)), "{what}");
    assert_eq!(s.commits.last().map_or(0, |commit| commit.seq.0), newest, "{what}");
    for seq in 1..=STEPS {
        let id = statehouse::workspace::MessageId::new(&format!("id {seq}")).unwrap();
        let found = log.recall(&workspace("w"), &name("t"), &id).unwrap();
        let expected = (seq <= newest && seq.is_multiple_of(2)).then_some(Seq(seq));
        assert_eq!(found, expected, "{what}");
    }
    let next = ["s", "t"].map(|store| entry("w", store, newest, vec![commit(newest + 1)]));
    assert!(log.append(&next).unwrap().iter().all(Result::is_ok), "{what}");
}

/// Fails the n-th call, for every n that there is.
fn fail_each(variables: &[(&str, &str)], for_good: bool, patient: bool) {
    let mut refused = 0;
    for n in 1.. {
        let place = folder();
        let folder = place.path().join("log");
        let at = n.to_string();
        let told = run(&folder, &[&[("FAULT_AT", &*at)], variables].concat());
        let what = format!("call {n}");
        if !told.struck {
            assert!(told.succeeded && told.acknowledged == STEPS, "{what}");
            assert!(n > 100 && refused > 20, "{n} calls, {refused} times refused");
            return;
        }
        refused += u64::from(told.refused > 0);
        if patient && told.acknowledged > 0 {
            assert!(told.succeeded && told.acknowledged == STEPS, "{what}");
        }
        check(&folder, &told, for_good, &what);
    }
}

#[test]
fn a_disk_that_fails_once_refuses_one_batch() {
    fail_each(&[("PATIENT", "1")], false, true);
}

#[test]
fn what_was_refused_does_not_come_back_after_a_crash() {
    fail_each(&[], false, false);
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged() {
    for n in 1.. {
        let place = folder();
        let folder = place.path().join("log");
        let (at, what) = (n.to_string(), format!("call {n}"));
        let killed = run(&folder, &[("FAULT_AT", &at), ("FAULT_KILL", "1")]);
        if !killed.struck {
            assert!(n > 100 && killed.succeeded, "{what}");
            return;
        }
        // What the next process finds may be in memory only: it must not say so before that is
        // synced, although it has nothing to write.
        let told = run(&folder, &[("FAULT_DIRTY", "1")]);
        assert!(told.succeeded && told.acknowledged == STEPS, "{what}");
        check(&folder, &told, false, &what);
    }
}

#[test]
fn a_disk_that_fails_for_good_loses_nothing_acknowledged() {
    fail_each(&[("FAULT_ONWARDS", "1")], true, false);
}

/// The child: a disk that is full for a while.
#[test]
fn writes_to_a_full_disk() {
    let (Some(folder), Some(full)) = (folder_of_child(), std::env::var_os("FAULT_FULL")) else {
        return;
    };
    let log = SqliteLog::open(&folder).unwrap();
    for seq in 1..=40_u64 {
        let batch = [entry("w", "s", seq - 1, vec![written(seq)])];
        if seq.is_multiple_of(4) {
            fs::write(&full, "").unwrap();
            let refused = log.append(&batch);
            assert!(matches!(refused, Err(StorageError::Full)), "{refused:?}");
            let refused = log.opening(&workspace("w"));
            assert!(matches!(refused, Err(StorageError::Full)), "{refused:?}");
            if seq > 4 {
                let refused = put_checkpoint(&log, seq);
                assert!(matches!(refused, Err(StorageError::Full)), "{refused:?}");
            }
            let read = log.read(&workspace("w"), &name("s")).unwrap();
            assert!(read.commits.into_iter().eq((1..seq).map(written)), "reads go on");
            fs::remove_file(&full).unwrap();
        }
        log.append(&batch).unwrap().remove(0).unwrap();
    }
    println!("\nrecovered");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let place = folder();
    let folder = place.path().join("log");
    let output = child("faults::writes_to_a_full_disk", &folder)
        .env("LD_PRELOAD", library())
        .env("FAULT_FOLDER", &folder)
        .env("FAULT_FULL", place.path().join("full"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("recovered"), "{text}");
    let log = SqliteLog::open(&folder).unwrap();
    let read = log.read(&workspace("w"), &name("s")).unwrap();
    assert!(read.commits.into_iter().eq((1..=40).map(written)));
    let outcome = log.append(&[entry("w", "s", 40, vec![written(41)])]).unwrap().remove(0);
    assert_eq!(Outcome::from(outcome), Outcome::Done);
}
