//! A log from a backup, in a place of its own.
//!
//! Clients may know what came after the backup, and by the same numbers. So in the new place
//! nothing goes on where it stood:
//!
//! - Every store has all its seqs in a later epoch, and stores and workspaces that are yet to come
//!   begin in one too. Its number is taken from the calendar, so that the same backup, restored
//!   twice, does not come to the same numbers twice.
//! - The place has another identity.
//! - The actors of every document are common to all from now on: what users wrote under them after
//!   the backup comes back by whoever has it, and is taken from him. Actors that the backup does
//!   not know belong to the first who brings them.
//!
//! All else stays: heads, who made which commit, and the ids of messages.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::backup::BackupError;
use super::doctor::{self, Finding, Summary};
use super::fault::{Fault, io as failed};
use super::folder::{self, Folder};
use super::look::{Look, Named, Whole};
use super::rows::{self, StoreRow};
use super::{identity, names, schema};
use crate::ids::{Millis, Seq};
use crate::storage::{StorageError, accept};
use crate::workspace::{Actors, Checkpoint};

/// 2026-01-01T00:00:00Z, in milliseconds since 1970.
const FIRST_EPOCH_MS: u64 = 1_767_225_600_000;
/// Time that has one number of an epoch, in milliseconds. Clients in JavaScript know numbers up to
/// 2^53, so there are 2^21 epochs: 39 years.
const EPOCH_MS: u64 = 10 * 60 * 1_000;

/// Makes a log in `data`, which is empty or not there, of a backup. What is wrong with the backup
/// is told, and then there is no log.
pub fn restore(
    file: &Path,
    data: &Path,
    now: Millis,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Summary, BackupError> {
    if !is_free(data)? {
        return Err(BackupError::Taken(data.to_owned()));
    }
    // Seen before anything is made.
    fs::File::open(file).map_err(|error| failed("open the backup", &error))?;
    let folder = Folder::take(data)?;
    folder.clear_new()?;
    let new = folder.new_database();
    let made = make(file, folder, now, tell);
    if made.is_err() {
        // It was never more than a draft; what stays of it does not keep the next one from being.
        drop(fs::remove_file(new));
    }
    made
}

fn make(
    file: &Path,
    folder: Folder,
    now: Millis,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Summary, BackupError> {
    let new = folder.new_database();
    // Not with the permissions of the backup: it may be one that nobody may write.
    let copied = fs::File::open(file)
        .and_then(|mut from| io::copy(&mut from, &mut fs::File::create_new(&new)?));
    copied.map_err(|error| failed("copy the backup", &error))?;
    let look = Look::over(schema::open_alone(&new)?, folder);
    let mut findings = 0_usize;
    let mut count = |finding: &Finding| {
        findings = findings.saturating_add(1);
        tell(finding);
    };
    begin_anew(&look, now, &mut count)?;
    if findings > 0 {
        return Err(BackupError::Damaged(findings));
    }
    let folder = look.close()?;
    // What was made is held against itself once more, as it will be read.
    let look = Look::of_copy(folder, &new)?;
    let summary = doctor::examine_all(&look, tell);
    if summary.findings > 0 {
        return Err(BackupError::Damaged(summary.findings));
    }
    look.close()?.name_new()?;
    Ok(summary)
}

/// Whether nothing is there but what an earlier try has left.
fn is_free(data: &Path) -> Result<bool, Fault> {
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed("see the data folder", &error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| failed("see the data folder", &error))?.file_name();
        if !folder::BEFORE.iter().any(|left| name == *left) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives the log another identity and all that is in it other numbers, in one transaction.
fn begin_anew(look: &Look, now: Millis, tell: &mut dyn FnMut(&Finding)) -> Result<(), Fault> {
    let of_log = |what: String| Finding { store: None, seq: None, what, rescue: None };
    let database = look.database();
    let tx = database.unchecked_transaction()?;
    look.check_file(&mut |what| tell(&of_log(what)));
    let stores = look.stores(&mut |what| tell(&of_log(what)));
    let first = epoch_at(now).max(identity::first_epoch(&tx)?.saturating_add(1));
    for named in &stores {
        let (whole, findings) = doctor::examine_store(look, named, tell);
        if findings == 0 {
            renumber(&tx, named, &whole, first).map_err(|fault| fault.within(named))?;
        }
    }
    let mut workspaces = Vec::new();
    names::walk(&tx, names::OPENINGS, &mut |link| {
        workspaces.extend(link.ok().map(|(name, times)| (name.to_owned(), times)));
    })?;
    for (name, times) in workspaces {
        give(&tx, names::OPENINGS, &name, times.saturating_add(1).max(first.into()))?;
    }
    identity::draw_anew(&tx, first)?;
    tx.commit()?;
    Ok(())
}

/// The epoch of a moment.
fn epoch_at(now: Millis) -> u32 {
    let passed = now.0.saturating_sub(FIRST_EPOCH_MS) / EPOCH_MS;
    u32::try_from(passed).unwrap_or(u32::MAX)
}

/// Moves all of a store into a later epoch, where each of its commits has the place it had, under a
/// checkpoint of all of them.
fn renumber(tx: &Connection, named: &Named, whole: &Whole, first: u32) -> Result<(), Fault> {
    let (id, workspace, store) = (named.id(), &named.workspace, &named.store);
    let mut row = StoreRow::read(tx, id, workspace, store)?;
    let before = accept::start(row.newest);
    let epoch = u32::try_from(before.epoch().saturating_add(1)).unwrap_or(u32::MAX);
    let start = Seq::start_of(epoch.max(first));
    let moved = |seq: Seq| Seq(seq.0.saturating_sub(before.0).saturating_add(start.0));

    let commits = rows::commits(tx, id, (row.trimmed.next(), row.newest), row.checkpoint)?;
    rows::drop_commits(tx, id, row.newest)?;
    for mut commit in commits {
        commit.seq = moved(commit.seq);
        rows::insert_commit(tx, id, &commit)?;
    }
    let mut messages = Vec::new();
    let mut broken = None;
    names::walk(tx, id, &mut |link| match link {
        Ok((name, seq)) => messages.push((name.to_owned(), seq)),
        Err(fault) => broken = Some(fault),
    })?;
    broken.map_or(Ok(()), Err)?;
    for (name, seq) in messages {
        give(tx, id, &name, rows::number(moved(rows::seq(seq)?))?)?;
    }
    row.newest = moved(row.newest);
    row.trimmed = moved(row.trimmed);
    row.checkpoint = row.newest;
    let document = |error| StorageError::Damaged(format!("it does not survive: {error}"));
    let checkpoint = Checkpoint {
        seq: row.newest,
        heads: whole.document.heads(),
        bytes: whole.document.save().map_err(document)?,
        actors: Actors::shared(&whole.document.actors()),
    };
    rows::write_checkpoint(tx, id, &checkpoint)?;
    rows::drop_changes(tx, id, row.newest)?;
    row.write(tx, workspace, store)
}

/// Gives a name that is there another number.
fn give(tx: &Connection, chain: i64, name: &str, value: i64) -> Result<(), Fault> {
    match names::place(tx, chain, name)? {
        names::Place::Taken(link) => names::set(tx, chain, link, value),
        names::Place::Free(_) => Err(Fault::damaged("a name is not where it was")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_of_ten_minutes() {
        let at = |ms: u64| epoch_at(Millis(ms));
        assert_eq!((at(0), at(FIRST_EPOCH_MS + EPOCH_MS - 1)), (0, 0));
        assert_eq!(at(FIRST_EPOCH_MS + EPOCH_MS), 1);
        // What clients in JavaScript can count to lasts until 2065.
        assert!(at(FIRST_EPOCH_MS + 39 * 365 * 24 * 3_600_000) < 1 << 21);
    }
}
