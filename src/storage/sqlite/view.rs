//! What is read of a log, in one view of it.

use rusqlite::Connection;

use super::fault::Fault;
use super::rows::{self, StoreRow};
use super::{identity, names};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::storage::accept;
use crate::workspace::{MessageId, Stored};

/// A store by its full name. It is the same text in `names` and in what is said about damage.
pub(super) fn path(workspace: &WorkspaceId, store: &StoreName) -> String {
    format!("{workspace}/{store}")
}

/// One store.
pub(super) fn stored(
    view: &Connection,
    workspace: &WorkspaceId,
    store: &StoreName,
) -> Result<Stored, Fault> {
    let path = path(workspace, store);
    let read = || {
        let Some(id) = names::get(view, names::STORES, &path)? else {
            let start = Seq::start_of(identity::first_epoch(view)?);
            return Ok(Stored { start, ..Stored::default() });
        };
        let row = StoreRow::read(view, id, workspace, store)?;
        let checkpoint = rows::checkpoint(view, id)?;
        if checkpoint.as_ref().map_or(Seq::default(), |found| found.seq) != row.checkpoint {
            return Err(Fault::damaged(format!("checkpoint {} is missing", row.checkpoint)));
        }
        let range = (row.trimmed.next(), row.newest);
        Ok(Stored {
            start: accept::start(row.newest),
            checkpoint,
            commits: rows::commits(view, id, range, row.checkpoint)?,
            older_messages: row.older_messages,
        })
    };
    read().map_err(|fault: Fault| fault.within(&path))
}

/// The stores of a workspace, with their newest seqs.
pub(super) fn stores(
    view: &Connection,
    workspace: &WorkspaceId,
) -> Result<Vec<(StoreName, Seq)>, Fault> {
    let newest = |(path, id): &(String, i64)| {
        let name = path.split_once('/').and_then(|(_, name)| name.parse::<StoreName>().ok());
        let name = name.ok_or_else(|| Fault::damaged("the name of a store cannot be"))?;
        let row =
            StoreRow::read(view, *id, workspace, &name).map_err(|fault| fault.within(path))?;
        Ok((name, row.newest))
    };
    // All that begins with "workspace/": '0' is the character after '/'.
    let (from, to) = (format!("{workspace}/"), format!("{workspace}0"));
    names::between(view, names::STORES, &from, &to)?.iter().map(newest).collect()
}

/// What the stores of a workspace take: only lengths are read, and nothing is examined.
pub(super) fn held(
    view: &Connection,
    workspace: &WorkspaceId,
) -> Result<Vec<(StoreName, u64)>, Fault> {
    let mut statement = view.prepare_cached(
        "SELECT (SELECT ifnull(sum(length(changes)), 0) FROM commits WHERE store = ?1)
              + (SELECT ifnull(sum(length(bytes)), 0) FROM checkpoints WHERE store = ?1)",
    )?;
    let (from, to) = (format!("{workspace}/"), format!("{workspace}0"));
    let mut held = Vec::new();
    for (path, id) in names::between(view, names::STORES, &from, &to)? {
        let name = path.split_once('/').and_then(|(_, name)| name.parse::<StoreName>().ok());
        let name = name.ok_or_else(|| Fault::damaged("the name of a store cannot be"))?;
        let bytes: i64 = statement.query_row([id], |row| row.get(0))?;
        held.push((name, bytes.unsigned_abs()));
    }
    Ok(held)
}

/// The commit of a store that carried a message id.
pub(super) fn recall(
    view: &Connection,
    workspace: &WorkspaceId,
    store: &StoreName,
    id: &MessageId,
) -> Result<Option<Seq>, Fault> {
    let path = path(workspace, store);
    let recall = || {
        let Some(chain) = names::get(view, names::STORES, &path)? else { return Ok(None) };
        names::get(view, chain, id.as_str())?.map(rows::seq).transpose()
    };
    recall().map_err(|fault: Fault| fault.within(&path))
}
