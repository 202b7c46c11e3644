//! The calls of webhooks that wait in a log.
//!
//! Rows come with the commits they tell of, in one transaction, and go when they are told. That a
//! row was lost is not noticed, only that one was damaged.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::fault::Fault;
use super::rows::{self, Crc};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::limits;
use crate::storage::StorageError;
use crate::storage::calls::{
    Backlog, CallId, GivenUpCall, GivenUpPage, Lane, Retried, Settled, WaitingCall, time_of,
};
use crate::workspace::Call;

/// Adds calls at the end of their lanes.
pub(super) fn insert(
    database: &Connection,
    workspace: &WorkspaceId,
    store: &StoreName,
    calls: &[Call],
) -> Result<(), Fault> {
    if calls.is_empty() {
        return Ok(());
    }
    // SQLite keeps the largest number that was ever given, also when its row is gone.
    let mut statement = database.prepare_cached(
        "SELECT max((SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'calls'),
                    (SELECT ifnull(max(id), 0) FROM calls))",
    )?;
    let mut id: i64 = statement.query_row([], |row| row.get(0))?;
    let mut statement = database.prepare_cached(
        "INSERT INTO calls (id, webhook, workspace, store, seq, path, told, given_up, crc)
         VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
    )?;
    for call in calls {
        id =
            id.checked_add(1).ok_or_else(|| Fault::damaged("the calls are numbered to the end"))?;
        statement.execute(params![
            id,
            call.webhook,
            workspace.as_str(),
            store.as_str(),
            rows::number(call.seq)?,
            call.path,
            call.told,
            crc(id, workspace.as_str(), store.as_str(), call)?,
        ])?;
    }
    Ok(())
}

/// Lanes with calls that wait, at most so many, in their order.
pub(super) fn lanes(
    view: &Connection,
    after: Option<&Lane>,
    count_max: usize,
) -> Result<Vec<Lane>, Fault> {
    let mut statement = view.prepare_cached(
        "SELECT DISTINCT webhook, workspace, store FROM calls
         WHERE given_up = 0 AND (webhook, workspace, store) > (?1, ?2, ?3)
         ORDER BY webhook, workspace, store LIMIT ?4",
    )?;
    // No name is empty.
    let after = after.map_or(("", "", ""), |lane| {
        (&*lane.webhook, lane.workspace.as_str(), lane.store.as_str())
    });
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after.0, after.1, after.2, count_max])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let names: (String, String) = (row.get(1)?, row.get(2)?);
        let (Ok(workspace), Ok(store)) = (names.0.parse(), names.1.parse()) else {
            tracing::error!(?names, "calls of a webhook are of a store that cannot be");
            continue;
        };
        lanes.push(Lane { webhook: row.get::<_, String>(0)?.into(), workspace, store });
    }
    Ok(lanes)
}

/// The oldest calls that wait in a lane, at most so many.
pub(super) fn waiting(
    view: &Connection,
    lane: &Lane,
    count_max: usize,
) -> Result<Vec<WaitingCall>, Fault> {
    let mut statement = view.prepare_cached(
        "SELECT id, seq, path, told, crc FROM calls
         WHERE given_up = 0 AND webhook = ?1 AND workspace = ?2 AND store = ?3
         ORDER BY id LIMIT ?4",
    )?;
    let (workspace, store) = (lane.workspace.as_str(), lane.store.as_str());
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![lane.webhook, workspace, store, count_max])?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row, &lane.webhook, workspace, store) {
            Ok(call) => calls.push(call),
            // Those behind it are sound.
            Err(Fault::Log(error @ StorageError::Damaged(_))) => {
                tracing::error!(%error, "a call of a webhook cannot be made");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(calls)
}

fn read(
    row: &Row<'_>,
    webhook: &Arc<str>,
    workspace: &str,
    store: &str,
) -> Result<WaitingCall, Fault> {
    let id: i64 = row.get(0)?;
    let call = Call {
        webhook: Arc::clone(webhook),
        seq: rows::seq(row.get(1)?)?,
        path: row.get::<_, String>(2)?.into(),
        told: row.get::<_, String>(3)?.into(),
    };
    let damaged = || Fault::damaged(format!("call {id} of {webhook:?} is not what was written"));
    if crc(id, workspace, store, &call)? != row.get::<_, i64>(4)? {
        return Err(damaged());
    }
    Ok(WaitingCall { id: CallId(u64::try_from(id).map_err(|_negative| damaged())?), call })
}

/// Notes what became of calls.
pub(super) fn settle(database: &Connection, settled: &[(CallId, Settled)]) -> Result<(), Fault> {
    let mut told = database.prepare_cached("DELETE FROM calls WHERE id = ?1")?;
    let mut given_up = database.prepare_cached("UPDATE calls SET given_up = 1 WHERE id = ?1")?;
    for (id, outcome) in settled {
        let statement = match outcome {
            Settled::Told => &mut told,
            Settled::GivenUp => &mut given_up,
        };
        // One that is not there was settled before.
        statement.execute(params![rows::number(Seq(id.0))?])?;
    }
    if settled.iter().any(|(_, outcome)| *outcome == Settled::GivenUp) {
        let kept = i64::try_from(limits::CALLS_GIVEN_UP_MAX).unwrap_or(i64::MAX);
        database.execute(
            "DELETE FROM calls WHERE given_up = 1 AND id <= (
                 SELECT id FROM calls WHERE given_up = 1 ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            params![kept],
        )?;
    }
    Ok(())
}

/// What is kept of each webhook.
pub(super) fn backlog(view: &Connection) -> Result<Vec<Backlog>, Fault> {
    let mut statement = view.prepare_cached(
        "SELECT webhook, sum(given_up = 0), sum(given_up <> 0), min(iif(given_up, NULL, id))
         FROM calls INDEXED BY calls_by_lane GROUP BY webhook ORDER BY webhook",
    )?;
    let mut told = view.prepare_cached("SELECT told FROM calls WHERE id = ?1")?;
    let mut rows = statement.query([])?;
    let mut backlogs = Vec::new();
    while let Some(row) = rows.next()? {
        let oldest: Option<i64> = row.get(3)?;
        let oldest: Option<String> =
            oldest.map(|id| told.query_row(params![id], |row| row.get(0))).transpose()?;
        let count = |at| -> Result<usize, Fault> {
            Ok(usize::try_from(row.get::<_, i64>(at)?).unwrap_or(usize::MAX))
        };
        backlogs.push(Backlog {
            webhook: row.get::<_, String>(0)?.into(),
            waiting: count(1)?,
            given_up: count(2)?,
            oldest: oldest.and_then(|told| time_of(&told)),
        });
    }
    Ok(backlogs)
}

/// Calls that were given up, of at most so many rows.
pub(super) fn given_up(
    view: &Connection,
    after: Option<CallId>,
    count_max: usize,
) -> Result<GivenUpPage, Fault> {
    // What was given up is few, and what waits is not looked at to find it.
    let mut statement = view.prepare_cached(
        "SELECT id, seq, path, told, crc, webhook, workspace, store FROM calls
         WHERE id IN (SELECT id FROM calls INDEXED BY calls_by_lane
                      WHERE given_up = 1 AND id > ?1 ORDER BY id LIMIT ?2)
         ORDER BY id",
    )?;
    let after = after.map_or(Ok(0), |id| rows::number(Seq(id.0)))?;
    let mut rows = statement.query(params![after, i64::try_from(count_max).unwrap_or(i64::MAX)])?;
    let (mut calls, mut looked_at, mut last) = (Vec::new(), 0_usize, None);
    while let Some(row) = rows.next()? {
        looked_at = looked_at.saturating_add(1);
        last = u64::try_from(row.get::<_, i64>(0)?).ok().map(CallId);
        let webhook: Arc<str> = row.get::<_, String>(5)?.into();
        let (workspace, store): (String, String) = (row.get(6)?, row.get(7)?);
        let call = match read(row, &webhook, &workspace, &store) {
            Ok(call) => call,
            Err(Fault::Log(error @ StorageError::Damaged(_))) => {
                tracing::error!(%error, "a call of a webhook that was given up is passed over");
                continue;
            }
            Err(fault) => return Err(fault),
        };
        if let (Ok(workspace), Ok(store)) = (workspace.parse(), store.parse()) {
            let lane = Lane { webhook, workspace, store };
            calls.push(GivenUpCall { id: call.id, lane, call: call.call });
        }
    }
    Ok(GivenUpPage { calls, next: last.filter(|_| looked_at >= count_max) })
}

/// Lets one call, or all, that were given up wait again, if they are for one of these webhooks.
pub(super) fn retry(
    database: &Connection,
    id: Option<CallId>,
    webhooks: &[Arc<str>],
) -> Result<Retried, Fault> {
    let id = id.map(|id| rows::number(Seq(id.0))).transpose()?;
    let mut statement = database.prepare_cached(
        "UPDATE calls SET given_up = 0
         WHERE given_up = 1 AND webhook = ?1 AND (?2 IS NULL OR id = ?2)",
    )?;
    let mut waiting = 0_usize;
    for webhook in webhooks {
        waiting = waiting.saturating_add(statement.execute(params![webhook, id])?);
    }
    let mut statement = database.prepare_cached(
        "SELECT count(*) FROM calls WHERE given_up = 1 AND (?1 IS NULL OR id = ?1)",
    )?;
    let left: i64 = statement.query_row(params![id], |row| row.get(0))?;
    Ok(Retried { waiting, left: usize::try_from(left).unwrap_or(usize::MAX) })
}

/// Reads every call that is kept, and tells what is wrong with it.
pub(super) fn check(view: &Connection, flaw: &mut dyn FnMut(String)) -> Result<(), Fault> {
    let mut statement = view.prepare(
        "SELECT id, seq, path, told, crc, webhook, workspace, store FROM calls ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let webhook = row.get::<_, String>(5)?.into();
        let (workspace, store): (String, String) = (row.get(6)?, row.get(7)?);
        if let Err(fault) = read(row, &webhook, &workspace, &store) {
            flaw(StorageError::from(fault).to_string());
        }
    }
    Ok(())
}

/// Whether a call was given up is no part of it: it is the one thing that changes.
fn crc(id: i64, workspace: &str, store: &str, call: &Call) -> Result<i64, Fault> {
    let crc = Crc::of("calls").int(id).text(&call.webhook).text(workspace).text(store);
    Ok(crc.int(rows::number(call.seq)?).text(&call.path).text(&call.told).done())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ChangeLog as _;
    use crate::storage::sqlite::SqliteLog;

    /// A log in which so many calls of each webhook were given up; the ids go on from 1.
    fn given_up(folder: &std::path::Path, webhooks: &[&str], count: u64) -> SqliteLog {
        let log = SqliteLog::open(folder).unwrap();
        let call = |(webhook, seq): (&&str, u64)| Call {
            webhook: (**webhook).into(),
            seq: Seq(seq),
            path: "/s/a".into(),
            told: r#"{"time":5}"#.into(),
        };
        let calls: Vec<_> =
            webhooks.iter().flat_map(|name| (1..=count).map(move |seq| (name, seq))).collect();
        let calls: Vec<_> = calls.into_iter().map(call).collect();
        let (workspace, store) = ("w".parse().unwrap(), "s".parse().unwrap());
        log.write(|tx| insert(tx, &workspace, &store, &calls)).unwrap();
        let ids = (1_u64..).zip(&calls).map(|(id, _)| (CallId(id), Settled::GivenUp));
        log.settle(&ids.collect::<Vec<_>>()).unwrap();
        log
    }

    #[test]
    fn a_page_goes_on_behind_damaged_rows() {
        let folder = tempfile::tempdir().unwrap();
        let log = given_up(folder.path(), &["a"], 7);
        log.write(
            |tx| Ok(tx.execute("UPDATE calls SET path = '/x' WHERE id IN (2, 3, 4, 7)", [])?),
        )
        .unwrap();
        let page = |after: Option<u64>| {
            let page = log.given_up(after.map(CallId), 2).unwrap();
            let ids: Vec<u64> = page.calls.iter().map(|call| call.id.0).collect();
            (ids, page.next.map(|next| next.0))
        };
        assert_eq!(page(None), (vec![1], Some(2)));
        assert_eq!(page(Some(2)), (vec![], Some(4)), "there is more behind a page of nothing");
        assert_eq!(page(Some(4)), (vec![5, 6], Some(6)));
        assert_eq!(page(Some(6)), (vec![], None));
    }

    #[test]
    fn calls_of_a_webhook_that_is_not_asked_for_stay_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let log = given_up(folder.path(), &["a", "b", "c"], 2);
        let (a, c): (Arc<str>, Arc<str>) = ("a".into(), "c".into());
        let retry = |id: Option<u64>, webhooks: &[&Arc<str>]| {
            let webhooks: Vec<_> = webhooks.iter().map(|name| Arc::clone(name)).collect();
            let Retried { waiting, left } = log.retry(id.map(CallId), &webhooks).unwrap();
            (waiting, left)
        };
        assert_eq!(retry(Some(3), &[&a, &c]), (0, 1), "it is one of b");
        assert_eq!(retry(Some(99), &[&a, &c]), (0, 0));
        assert_eq!(retry(Some(1), &[&a, &c]), (1, 0));
        assert_eq!(retry(None, &[&a, &c]), (3, 2));
        let lanes = log.lanes(None, 9).unwrap();
        let lanes: Vec<_> = lanes.iter().map(|lane| &*lane.webhook).collect();
        assert_eq!(lanes, ["a", "c"]);
        assert_eq!(retry(None, &[]), (0, 2));
    }
}
