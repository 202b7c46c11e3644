//! One store of a log, looked at row by row.

use rusqlite::{Connection, params};

use super::Named;
use crate::document::{Replay, Step, Stopped};
use crate::ids::Seq;
use crate::limits;
use crate::storage::sqlite::fault::Fault;
use crate::storage::sqlite::names;
use crate::storage::sqlite::rows::{self, StoreRow};
use crate::storage::{StorageError, accept};
use crate::workspace::{Checkpoint, Commit};

/// Something in a store that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The commit that it concerns, if it concerns one.
    pub seq: Option<Seq>,
    /// What it is.
    pub what: String,
}

/// A store as far as it is whole.
#[derive(Debug)]
pub struct Whole {
    /// The start of its epoch ([`Seq::start_of`]).
    pub start: Seq,
    /// The newest commit of which the state can be rebuilt; `start` if there is none.
    pub seq: Seq,
    /// The newest commit that there is or was.
    pub newest: Seq,
    /// Commits that were looked at.
    pub commits: u64,
    /// The document at `seq`.
    pub document: Replay,
}

/// What is gathered about a store while it is looked at.
struct Examination<'a> {
    database: &'a Connection,
    row: StoreRow,
    flaw: &'a mut dyn FnMut(Flaw),
    whole: Whole,
    /// Whether something is missing that all later commits lie on.
    broken: bool,
    /// The commits that are kept and carried a message id.
    messages: u64,
}

/// Looks at a store.
pub(super) fn examine(database: &Connection, named: &Named, flaw: &mut dyn FnMut(Flaw)) -> Whole {
    let mut told = |fault| flaw(Flaw { seq: None, what: text(fault) });
    let row = match StoreRow::read_alone(database, named.id, &named.workspace, &named.store) {
        Ok(row) => known(database, row, &mut told),
        Err(fault) => {
            told(fault);
            guess(database, named.id).unwrap_or_else(|fault| {
                told(fault);
                StoreRow { id: named.id, ..StoreRow::default() }
            })
        }
    };
    let start = accept::start(row.trimmed.next());
    let whole =
        Whole { start, seq: start, newest: row.newest, commits: 0, document: Replay::new() };
    let mut examination = Examination { database, row, flaw, whole, broken: false, messages: 0 };
    let checkpoint = examination.checkpoint();
    examination.commits(checkpoint.as_ref());
    examination.messages();
    examination.document();
    examination.whole
}

/// The row of a store, with the commits that follow on what it knows: then it is one from before,
/// which the disk never replaced.
fn known(database: &Connection, mut row: StoreRow, told: &mut dyn FnMut(Fault)) -> StoreRow {
    if let Err(fault) = rows::no_other_commits(database, row.id, row.trimmed, row.newest) {
        told(fault);
        let next = |row: &StoreRow| rows::next_commit(database, row.id, row.newest.next());
        while matches!(next(&row), Ok(Some(seq)) if seq == row.newest.next()) {
            row.newest = row.newest.next();
        }
    }
    row
}

/// Which rows a store has, from the rows themselves: its own row is not to be trusted.
fn guess(database: &Connection, id: i64) -> Result<StoreRow, Fault> {
    let mut statement = database.prepare_cached("SELECT max(seq) FROM commits WHERE store = ?1")?;
    let last: Option<i64> = statement.query_row(params![id], |row| row.get(0))?;
    let checkpoint = rows::checkpoint(database, id).ok().flatten().map(|found| found.seq);
    let checkpoint = checkpoint.unwrap_or_default();
    let newest = last.map(rows::seq).transpose()?.unwrap_or_default().max(checkpoint);
    let first = rows::next_commit(database, id, Seq::default())?.unwrap_or(newest.next());
    // Without a checkpoint, the first is the first of all.
    let trimmed = if checkpoint == Seq::default() {
        accept::start(first)
    } else {
        Seq(first.0.saturating_sub(1)).min(checkpoint)
    };
    Ok(StoreRow { id, newest, checkpoint, trimmed, older_messages: true })
}

fn text(fault: Fault) -> String {
    match StorageError::from(fault) {
        StorageError::Damaged(what) => what,
        other => other.to_string(),
    }
}

impl Examination<'_> {
    fn note(&mut self, seq: Option<Seq>, what: impl Into<String>) {
        (self.flaw)(Flaw { seq, what: what.into() });
    }

    /// Loads the checkpoint, on which all later commits lie.
    fn checkpoint(&mut self) -> Option<Checkpoint> {
        let expected = self.row.checkpoint;
        let found = match rows::checkpoint(self.database, self.row.id) {
            Ok(found) => found,
            Err(fault) => {
                self.note(Some(expected), text(fault));
                self.broken = true;
                return None;
            }
        };
        if found.as_ref().map_or(Seq::default(), |found| found.seq) != expected {
            self.note(Some(expected), "its checkpoint is missing");
            self.broken = true;
            return None;
        }
        let checkpoint = found?;
        match Replay::of_saved(&checkpoint.bytes) {
            Ok(document) if document.heads() == checkpoint.heads => {
                self.whole.document = document;
                self.whole.seq = checkpoint.seq;
            }
            Ok(_) => {
                self.note(Some(expected), "the checkpoint has other heads than were noted");
                self.broken = true;
            }
            Err(error) => {
                self.note(Some(expected), format!("the checkpoint does not load: {error}"));
                self.broken = true;
            }
        }
        Some(checkpoint)
    }

    /// Reads all commits, a few at a time.
    fn commits(&mut self, checkpoint: Option<&Checkpoint>) {
        let mut first = self.row.trimmed.next();
        while first <= self.row.newest {
            first = self.over_a_gap(first);
            let last = Seq(first.0.saturating_add(limits::EXAMINED_COMMITS.saturating_sub(1)));
            let last = last.min(self.row.newest);
            if let Ok(commits) = self.read(first, last) {
                self.look_at(&commits, checkpoint);
            } else {
                // One of them is damaged; the others are looked at all the same.
                self.one_by_one((first, last), checkpoint);
            }
            first = last.next();
        }
    }

    /// The first commit that is there from one on that should be. A gap may be as wide as seqs go.
    fn over_a_gap(&mut self, first: Seq) -> Seq {
        let next = match rows::next_commit(self.database, self.row.id, first) {
            Ok(next) => next.unwrap_or(Seq(u64::MAX)).min(self.row.newest.next()),
            // Reading tells what is wrong.
            Err(_) => first,
        };
        if next > first {
            let last = Seq(next.0.saturating_sub(1));
            self.broken |= last > self.row.checkpoint;
            if last == first {
                self.note(Some(first), format!("commit {first} is missing"));
            } else {
                self.note(Some(first), format!("commits {first} to {last} are missing"));
            }
        }
        next
    }

    fn one_by_one(&mut self, (first, last): (Seq, Seq), checkpoint: Option<&Checkpoint>) {
        let mut seq = first;
        while seq <= last {
            match self.read(seq, seq) {
                Ok(commit) => self.look_at(&commit, checkpoint),
                Err(fault) => {
                    self.note(Some(seq), text(fault));
                    self.broken |= seq > self.row.checkpoint;
                }
            }
            seq = seq.next();
        }
    }

    fn read(&self, first: Seq, last: Seq) -> Result<Vec<Commit>, Fault> {
        rows::commits(self.database, self.row.id, (first, last), self.row.checkpoint)
    }

    /// Looks at commits that follow each other and are as they were written.
    fn look_at(&mut self, commits: &[Commit], checkpoint: Option<&Checkpoint>) {
        self.whole.commits = self.whole.commits.saturating_add(commits.len() as u64);
        for commit in commits {
            self.message(commit);
            if let Some(checkpoint) = checkpoint.filter(|stands| commit.seq <= stands.seq) {
                let newest = commit.seq == checkpoint.seq;
                if newest && commit.heads != checkpoint.heads {
                    self.note(Some(commit.seq), "its heads are not those of the checkpoint");
                } else if !self.broken && !self.whole.document.knows(&commit.heads) {
                    self.note(Some(commit.seq), "its heads are not in the checkpoint");
                }
            }
        }
        if self.broken {
            return;
        }
        let later = commits.iter().filter(|commit| commit.seq > self.row.checkpoint);
        let steps: Vec<Step<'_>> = later
            .clone()
            .map(|commit| Step { changes: &commit.changes, heads: &commit.heads })
            .collect();
        let stopped = self.whole.document.take(&steps).err();
        let taken = stopped.as_ref().map_or(steps.len(), |stopped| stopped.taken);
        if let Some(last) = later.clone().take(taken).last() {
            self.whole.seq = last.seq;
        }
        if let Some(Stopped { why, .. }) = stopped {
            let at = later.clone().nth(taken).map(|commit| commit.seq);
            self.note(at, why.to_string());
            self.broken = true;
        }
    }

    /// The message of a commit must be remembered as that of this commit and no other.
    fn message(&mut self, commit: &Commit) {
        let Some(id) = &commit.origin.id else { return };
        self.messages = self.messages.saturating_add(1);
        match names::get(self.database, self.row.id, id.as_str()).map(|seq| seq.map(rows::seq)) {
            Ok(Some(Ok(seq))) if seq == commit.seq => {}
            Ok(Some(Ok(seq))) => {
                self.note(Some(commit.seq), format!("its message id is that of commit {seq}"));
            }
            Ok(Some(Err(fault))) | Err(fault) => self.note(Some(commit.seq), text(fault)),
            Ok(None) => self.note(Some(commit.seq), "its message id is not remembered"),
        }
    }

    /// Walks the message ids that are remembered.
    fn messages(&mut self) {
        let (trimmed, newest) = (self.row.trimmed, self.row.newest);
        let (mut kept, mut older) = (0_u64, false);
        let mut flaws = Vec::new();
        let mut note = |what| {
            if flaws.len() < limits::STORE_FINDINGS_MAX {
                flaws.push(what);
            }
        };
        let walked = names::walk(self.database, self.row.id, &mut |link| match link
            .and_then(|(_, seq)| rows::seq(seq))
        {
            Ok(seq) if seq > newest || seq == Seq::default() => {
                note(format!("a message id is that of commit {seq}, which never was"));
            }
            Ok(seq) if seq > trimmed => kept = kept.saturating_add(1),
            Ok(_) => older = true,
            Err(fault) => note(format!("the message ids: {}", text(fault))),
        });
        if let Err(fault) = walked {
            note(format!("the message ids: {}", text(fault)));
        }
        let sound = flaws.is_empty() && !self.broken;
        for flaw in flaws {
            self.note(None, flaw);
        }
        if sound && kept != self.messages {
            let messages = self.messages;
            self.note(None, format!("{kept} message ids are remembered, {messages} were carried"));
        }
        if sound && older && !self.row.older_messages {
            self.note(None, "older message ids are remembered than it knows of");
        }
    }

    /// The document must read as JSON, and load again when it is saved.
    fn document(&mut self) {
        if let Err(error) = self.whole.document.save() {
            let seq = self.whole.seq;
            self.note(Some(seq), format!("the document does not survive being saved: {error}"));
        }
    }
}
