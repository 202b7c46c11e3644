//! Which place this is: 16 random bytes, drawn when the log was made.
//!
//! Beside them stands, in a place that was restored from a backup, the epoch in which all begins
//! that the backup did not know.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Fault;
use super::rows::Crc;

/// The key of the row that is always there.
const ROW: i64 = 1;
/// The key of the row with the epoch.
const EPOCH_ROW: i64 = 2;

/// Draws the identity of a log that has none.
pub(super) fn draw(database: &Connection) -> Result<(), Fault> {
    write(database, ROW, &rand::random::<[u8; 16]>())
}

/// Draws another identity for a log, in which what is new begins in this epoch.
pub(super) fn draw_anew(database: &Connection, first_epoch: u32) -> Result<(), Fault> {
    database.execute("DELETE FROM identity", [])?;
    draw(database)?;
    write(database, EPOCH_ROW, &first_epoch.to_le_bytes())
}

/// The identity of the log.
pub(super) fn read(database: &Connection) -> Result<[u8; 16], Fault> {
    row(database, ROW)?.ok_or_else(damaged)
}

/// The epoch in which stores and workspaces begin that are not in the log; 0 unless it was
/// restored.
pub(super) fn first_epoch(database: &Connection) -> Result<u32, Fault> {
    Ok(row(database, EPOCH_ROW)?.map_or(0, u32::from_le_bytes))
}

fn write(database: &Connection, key: i64, bytes: &[u8]) -> Result<(), Fault> {
    let mut statement =
        database.prepare("INSERT INTO identity (id, bytes, crc) VALUES (?, ?, ?)")?;
    statement.execute(params![key, bytes, crc(key, bytes)])?;
    Ok(())
}

fn row<const N: usize>(database: &Connection, key: i64) -> Result<Option<[u8; N]>, Fault> {
    let mut statement = database.prepare_cached("SELECT bytes, crc FROM identity WHERE id = ?1")?;
    let row = statement.query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((bytes, found)): Option<(Vec<u8>, i64)> = row.optional()? else { return Ok(None) };
    let bytes = <[u8; N]>::try_from(bytes).map_err(|_other_length| damaged())?;
    if crc(key, &bytes) == found { Ok(Some(bytes)) } else { Err(damaged()) }
}

fn damaged() -> Fault {
    Fault::damaged("the identity of the log is not what was written")
}

fn crc(key: i64, bytes: &[u8]) -> i64 {
    Crc::of("identity").int(key).bytes(bytes).done()
}
