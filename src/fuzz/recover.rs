//! A log on a disk that damages it: what is opened tells what was written, up to some commit, or
//! says that it is damaged.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use automerge::ChangeHash;

use super::script::Script;
use crate::ids::{Millis, Seq, SessionId, StoreName, WorkspaceId};
use crate::storage::sqlite::SqliteLog;
use crate::storage::{AppendTo, ChangeLog as _, StorageError};
use crate::workspace::actors::{Actors, Owner};
use crate::workspace::{Append, Checkpoint, Commit, Dialect, MessageId, Origin};

/// Commits that each of the two stores gets.
const COMMITS: u64 = 6;
/// Damage to one log.
const EDITS_MAX: usize = 24;
const DATABASE: &str = "statehouse.db";
const WAL: &str = "statehouse.db-wal";

/// A folder that is gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("statehouse-fuzz-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// All that can be read of a log, answer by answer; none where it says that it is damaged.
type Answers = Vec<Option<String>>;

/// A log as it lies on the disk.
struct Template {
    database: Vec<u8>,
    /// Empty after a log was closed in order.
    wal: Vec<u8>,
    /// What it told after each of the commits that are not in the database file yet.
    told: Vec<Answers>,
}

fn workspace() -> WorkspaceId {
    "w".parse().unwrap()
}

fn stores() -> [StoreName; 3] {
    ["s", "t", "absent"].map(|name| name.parse().unwrap())
}

fn heads(seq: u64) -> Vec<ChangeHash> {
    let byte = seq.to_le_bytes()[0];
    vec![ChangeHash([byte; 32]), ChangeHash([byte.wrapping_add(1); 32])]
}

/// A commit that is told apart from every other by its store and seq.
fn commit(store: &StoreName, seq: u64) -> Commit {
    let id = seq.is_multiple_of(2).then(|| format!("id {seq} of {store}"));
    Commit {
        seq: Seq(seq),
        changes: vec![format!("change {seq} of {store}").into_bytes(), Vec::new()],
        heads: heads(seq),
        time: Millis(1_000 + seq),
        origin: Origin {
            user: format!("user {seq}"),
            session: Some(SessionId(seq)),
            dialect: Dialect::Json,
            id: id.and_then(|id| MessageId::new(&id)),
        },
    }
}

fn append(log: &SqliteLog, store: &StoreName, seq: u64) -> Result<(), StorageError> {
    let commits = vec![commit(store, seq)];
    let append = Append { store: store.clone(), after: Seq(seq - 1), commits, calls: Vec::new() };
    let entry = AppendTo { workspace: workspace(), append };
    log.append(&[entry])?.into_iter().collect()
}

fn checkpoint(log: &SqliteLog, store: &StoreName, seq: u64, keep: u64) {
    let actors: Actors = [([7; 16], Owner(seq))].into_iter().collect();
    let bytes = format!("document {seq}").repeat(40).into_bytes();
    let checkpoint = Checkpoint { seq: Seq(seq), heads: heads(seq), bytes, actors };
    log.checkpoint(&workspace(), store, &checkpoint, Seq(keep)).unwrap();
}

fn tell(log: &SqliteLog) -> Answers {
    fn text<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> Option<String> {
        match answer {
            Ok(answer) => Some(format!("{answer:?}")),
            Err(StorageError::Damaged(why) | StorageError::Failed(why)) => {
                assert!(!why.is_empty(), "an error says why");
                None
            }
            Err(other) => panic!("a read ends with {other}"),
        }
    }
    let mut answers = vec![text(log.identity()), text(log.stores(&workspace()))];
    for store in stores() {
        answers.push(text(log.read(&workspace(), &store)));
        for seq in 1..=COMMITS {
            let id = MessageId::new(&format!("id {seq} of {store}")).unwrap();
            answers.push(text(log.recall(&workspace(), &store, &id)));
        }
    }
    answers
}

/// A log that was closed, and one whose process was killed before all was in the database file.
fn templates() -> &'static [Template; 2] {
    static TEMPLATES: OnceLock<[Template; 2]> = OnceLock::new();
    TEMPLATES.get_or_init(|| [template(true), template(false)])
}

fn template(closed: bool) -> Template {
    let folder = Folder::new();
    let [s, t, _] = stores();
    let log = SqliteLog::open(&folder.0).unwrap();
    for seq in 1..=COMMITS / 2 {
        append(&log, &s, seq).unwrap();
        append(&log, &t, seq).unwrap();
    }
    checkpoint(&log, &s, 2, 1);
    log.opening(&workspace()).unwrap();
    drop(log);
    let log = SqliteLog::open(&folder.0).unwrap();
    let mut told = vec![tell(&log)];
    for seq in COMMITS / 2 + 1..=COMMITS {
        append(&log, &s, seq).unwrap();
        told.push(tell(&log));
        append(&log, &t, seq).unwrap();
        told.push(tell(&log));
        if seq == COMMITS - 1 {
            checkpoint(&log, &s, seq, 3);
            told.push(tell(&log));
        }
    }
    if closed {
        drop(log);
        let database = fs::read(folder.0.join(DATABASE)).unwrap();
        return Template { database, wal: Vec::new(), told: told.split_off(told.len() - 1) };
    }
    let database = fs::read(folder.0.join(DATABASE)).unwrap();
    let wal = fs::read(folder.0.join(WAL)).unwrap();
    assert!(!wal.is_empty());
    Template { database, wal, told }
}

/// The first byte chooses the log; then come edits of its files.
pub fn recover(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let template = &templates()[script.below(2)];
    let (mut database, mut wal) = (template.database.clone(), template.wal.clone());
    for _ in 0..EDITS_MAX {
        if script.is_over() {
            break;
        }
        let kind = script.byte();
        let in_wal = kind >= 128 && !template.wal.is_empty();
        damage(if in_wal { &mut wal } else { &mut database }, kind, &mut script);
    }
    let folder = Folder::new();
    fs::write(folder.0.join(DATABASE), &database).unwrap();
    if !wal.is_empty() {
        fs::write(folder.0.join(WAL), &wal).unwrap();
    }
    match SqliteLog::open(&folder.0) {
        Ok(log) => hold(&log, &template.told),
        Err(StorageError::Damaged(why) | StorageError::Failed(why)) => assert!(!why.is_empty()),
        Err(other) => panic!("opening ends with {other}"),
    }
}

/// Damages a file in one place.
fn damage(file: &mut Vec<u8>, kind: u8, script: &mut Script<'_>) {
    let at = usize::from(script.word()) % file.len().max(1);
    let count = (1 << script.below(13)).min(file.len() - at);
    match kind % 8 {
        0 => file.truncate(at),
        1 => file.extend(std::iter::repeat_n(script.byte(), at % 5_000)),
        2 => file[at..at + count].fill(0),
        3 => {
            let from = usize::from(script.word()) % file.len().max(1);
            let count = count.min(file.len() - from);
            file.copy_within(from..from + count, at);
        }
        4 | 5 if count > 0 => file[at] ^= 1 << script.below(8),
        _ if count > 0 => file[at] = script.byte(),
        _ => {}
    }
}

/// All answers are those after one and the same commit; and what is written now is there, too.
fn hold(log: &SqliteLog, told: &[Answers]) {
    let found = tell(log);
    let fits = |told: &&Answers| {
        found.iter().zip(told.iter()).all(|(found, told)| found.is_none() || found == told)
    };
    assert!(told.iter().any(|told| fits(&told)), "{found:#?}");
    let [s, ..] = stores();
    let Ok(stored) = log.read(&workspace(), &s) else { return };
    let newest = stored.commits.last().map_or(0, |commit| commit.seq.0);
    match append(log, &s, newest + 1) {
        Ok(()) => match log.read(&workspace(), &s) {
            Ok(after) => {
                assert_eq!(after.commits.last(), Some(&commit(&s, newest + 1)));
                let kept = after.commits.len() - 1;
                assert_eq!(after.commits[..kept], stored.commits);
                assert_eq!(after.checkpoint, stored.checkpoint);
            }
            Err(StorageError::Damaged(_) | StorageError::Failed(_)) => {}
            Err(other) => panic!("reading what was appended ends with {other}"),
        },
        Err(StorageError::Damaged(_) | StorageError::Failed(_)) => {}
        Err(other) => panic!("an append ends with {other}"),
    }
}
