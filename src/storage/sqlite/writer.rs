//! What is written to a log, each time in one transaction.

use std::fs::File;
use std::path::PathBuf;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fault::{Fault, io as failed};
use super::names::{self, Place};
use super::rows::{self, StoreRow};
use super::{calls, identity, view};
use crate::document::Replay;
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::storage::{AppendTo, StorageError, accept};
use crate::workspace::{Actors, Append, Checkpoint, Commit};

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    database: Connection,
    /// SQLite's write-ahead log.
    wal: PathBuf,
    /// Whether a commit failed and the write-ahead log may still hold it.
    doubtful: bool,
}

impl Writer {
    /// Takes the connection.
    pub(super) fn new(database: Connection, wal: PathBuf) -> Self {
        Self { database, wal, doubtful: false }
    }

    /// Runs a job in one transaction. What it wrote is on stable storage when this returns, or
    /// not there.
    pub(super) fn transact<T>(
        &mut self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.recover()?;
        let mut tx = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = job(&mut tx)?;
        if let Err(error) = tx.commit() {
            self.doubtful = true;
            // What made the commit fail may make this fail too: then it is done before the next.
            return Err(self.recover().err().unwrap_or(error.into()));
        }
        Ok(result)
    }

    /// Writes the file anew, without the pages that hold nothing, and empties the write-ahead log.
    pub(super) fn vacuum(&mut self) -> Result<(), Fault> {
        self.recover()?;
        self.doubtful = true;
        self.database.execute_batch("VACUUM")?;
        self.recover()
    }

    /// Leaves nothing of a transaction that failed.
    ///
    /// When a commit cannot be synced, SQLite takes it back in memory. But its frames are in the
    /// write-ahead log, whole perhaps, and if the process dies now they come back as a commit:
    /// long after its author was told that it failed. So the write-ahead log is emptied before
    /// anyone is told, or before the next write if that fails too.
    fn recover(&mut self) -> Result<(), Fault> {
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK")?;
        }
        if self.doubtful {
            let emptied = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(|busy| busy == 0);
            if !self.database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], emptied)? {
                let text = "a reader keeps the write-ahead log from being emptied".to_owned();
                return Err(StorageError::Failed(text).into());
            }
            File::open(&self.wal)
                .and_then(|wal| wal.sync_all())
                .map_err(|error| failed("empty the write-ahead log", &error))?;
            self.doubtful = false;
        }
        Ok(())
    }
}

/// Appends one entry of a batch. The outer error is about the whole batch.
///
/// An entry has a savepoint of its own, so that what is refused halfway leaves nothing.
pub(super) fn append(
    tx: &mut Transaction<'_>,
    entry: &AppendTo,
) -> Result<Result<(), StorageError>, Fault> {
    let savepoint = tx.savepoint()?;
    match append_entry(&savepoint, &entry.workspace, &entry.append) {
        Ok(()) => {
            savepoint.commit()?;
            Ok(Ok(()))
        }
        Err(fault) if fault.concerns_one_step() => {
            savepoint.finish()?;
            Ok(Err(fault.within(view::path(&entry.workspace, &entry.append.store)).into()))
        }
        Err(fault) => Err(fault),
    }
}

fn append_entry(
    database: &Connection,
    workspace: &WorkspaceId,
    append: &Append,
) -> Result<(), Fault> {
    accept::check(append)?;
    let place = names::place(database, names::STORES, &view::path(workspace, &append.store))?;
    let mut row = match &place {
        Place::Taken(link) => StoreRow::read(database, link.value, workspace, &append.store)?,
        Place::Free(_) => unborn(database)?,
    };
    let (known, new) = accept::split(append, row.newest)?;
    if !is_there(database, &row, known)? {
        return Err(accept::behind(&append.store, row.newest).into());
    }
    let Some(last) = new.last() else { return Ok(()) };
    if let Place::Free(gap) = place {
        row.id = next_store(database)?;
        let path = view::path(workspace, &append.store);
        names::add(database, names::STORES, gap, &path, row.id)?;
        names::found(database, row.id)?;
        if row.checkpoint > Seq::default() {
            rows::write_checkpoint(database, row.id, &nothing_at(row.checkpoint))?;
        }
    }
    for commit in new {
        rows::insert_commit(database, row.id, commit)?;
        remember(database, row.id, commit)?;
    }
    calls::insert(database, workspace, &append.store, accept::calls(append, row.newest))?;
    row.newest = last.seq;
    row.write(database, workspace, &append.store)
}

/// The row of a store before its first commit. In a place that was restored it does not begin at
/// 0, and what stands for all that would be before it is a checkpoint of nothing.
fn unborn(database: &Connection) -> Result<StoreRow, Fault> {
    let start = Seq::start_of(identity::first_epoch(database)?);
    Ok(StoreRow { newest: start, checkpoint: start, trimmed: start, ..StoreRow::default() })
}

/// The checkpoint of a document without a change.
fn nothing_at(seq: Seq) -> Checkpoint {
    let (heads, actors) = (Vec::new(), Actors::default());
    Checkpoint { seq, heads, bytes: Replay::new().bytes(), actors }
}

/// Whether commits that are appended again are there byte for byte. Those that a checkpoint covers
/// have no bytes any more.
fn is_there(database: &Connection, row: &StoreRow, known: &[Commit]) -> Result<bool, Fault> {
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return Ok(true) };
    if first.seq <= row.checkpoint {
        return Ok(false);
    }
    Ok(rows::commits(database, row.id, (first.seq, last.seq), row.checkpoint)? == known)
}

/// Begins a store that is not there, at a commit for which a checkpoint stands.
pub(super) fn found(
    database: &Connection,
    workspace: &WorkspaceId,
    store: &StoreName,
    commit: &Commit,
    checkpoint: &Checkpoint,
) -> Result<(), Fault> {
    let path = view::path(workspace, store);
    let put = || {
        let gap = match names::place(database, names::STORES, &path)? {
            Place::Free(gap) => gap,
            Place::Taken(link) => {
                let row = StoreRow::read(database, link.value, workspace, store)?;
                return Err(accept::behind(store, row.newest).into());
            }
        };
        accept::check_founding(commit, checkpoint)?;
        let id = next_store(database)?;
        names::add(database, names::STORES, gap, &path, id)?;
        names::found(database, id)?;
        rows::insert_commit(database, id, commit)?;
        remember(database, id, commit)?;
        rows::write_checkpoint(database, id, checkpoint)?;
        rows::drop_changes(database, id, commit.seq)?;
        let trimmed = accept::start(commit.seq);
        let (newest, checkpoint) = (commit.seq, commit.seq);
        StoreRow { id, newest, checkpoint, trimmed, older_messages: false }
            .write(database, workspace, store)
    };
    put().map_err(|fault: Fault| fault.within(&path))
}

/// A number that no store has.
fn next_store(database: &Connection) -> Result<i64, Fault> {
    let mut statement = database.prepare_cached("SELECT max(id) FROM stores")?;
    let newest = statement.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0);
    let next = newest.checked_add(1).filter(|next| *next > 0);
    next.ok_or_else(|| Fault::damaged("the number of a store cannot be"))
}

/// Remembers the message id of a commit, for ever.
fn remember(database: &Connection, store: i64, commit: &Commit) -> Result<(), Fault> {
    let Some(id) = &commit.origin.id else { return Ok(()) };
    match names::place(database, store, id.as_str())? {
        Place::Taken(former) => Err(accept::repeated(commit.seq, rows::seq(former.value)?).into()),
        Place::Free(gap) => {
            names::add(database, store, gap, id.as_str(), rows::number(commit.seq)?)
        }
    }
}

/// Puts a checkpoint in the place of the oldest commits.
pub(super) fn checkpoint(
    database: &Connection,
    workspace: &WorkspaceId,
    store: &StoreName,
    checkpoint: &Checkpoint,
    keep: Seq,
) -> Result<(), Fault> {
    let path = view::path(workspace, store);
    let put = || {
        let mut row = match names::get(database, names::STORES, &path)? {
            Some(id) => StoreRow::read(database, id, workspace, store)?,
            None => StoreRow::default(),
        };
        accept::check_checkpoint(store, checkpoint, keep, (row.newest, row.checkpoint))?;
        accept::check_heads(checkpoint, &heads_at(database, &row, checkpoint.seq)?)?;
        rows::write_checkpoint(database, row.id, checkpoint)?;
        rows::drop_changes(database, row.id, checkpoint.seq)?;
        if keep > row.trimmed {
            // Read, not only counted: what goes for ever is checked a last time.
            let gone = (row.trimmed.next(), keep);
            let gone = rows::commits(database, row.id, gone, checkpoint.seq)?;
            row.older_messages |= gone.iter().any(|commit| commit.origin.id.is_some());
            rows::drop_commits(database, row.id, keep)?;
            row.trimmed = keep;
        }
        row.checkpoint = checkpoint.seq;
        row.write(database, workspace, store)
    };
    put().map_err(|fault: Fault| fault.within(&path))
}

/// The heads at a seq that is not older than the checkpoint: those of its commit, or those of the
/// checkpoint if the commit is gone.
fn heads_at(
    database: &Connection,
    row: &StoreRow,
    seq: Seq,
) -> Result<Vec<automerge::ChangeHash>, Fault> {
    if seq > row.trimmed {
        let commits = rows::commits(database, row.id, (seq, seq), row.checkpoint)?;
        return Ok(commits.into_iter().flat_map(|commit| commit.heads).collect());
    }
    let standing = rows::checkpoint(database, row.id)?;
    let standing = standing.filter(|standing| standing.seq == seq);
    Ok(standing.ok_or_else(|| Fault::damaged(format!("checkpoint {seq} is missing")))?.heads)
}

/// Counts an opening of a workspace.
pub(super) fn opening(database: &Connection, workspace: &WorkspaceId) -> Result<u32, Fault> {
    let name = workspace.as_str();
    match names::place(database, names::OPENINGS, name)? {
        Place::Free(gap) => {
            let first = identity::first_epoch(database)?;
            names::add(database, names::OPENINGS, gap, name, first.into())?;
            Ok(first)
        }
        Place::Taken(last) => {
            let opening = u32::try_from(last.value).ok().and_then(|last| last.checked_add(1));
            let too_many = || StorageError::Failed("too many openings".to_owned());
            let opening = opening.ok_or_else(too_many)?;
            names::set(database, names::OPENINGS, last, opening.into())?;
            Ok(opening)
        }
    }
}
