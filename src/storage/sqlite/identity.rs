//! Which place this is: 16 random bytes, drawn when the log was made.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Fault;
use super::rows::Crc;

/// There is one row, and this is its key.
const ROW: i64 = 1;

/// Draws the identity of a log that has none.
pub(super) fn draw(database: &Connection) -> Result<(), Fault> {
    let bytes: [u8; 16] = rand::random();
    let mut statement =
        database.prepare("INSERT INTO identity (id, bytes, crc) VALUES (?, ?, ?)")?;
    statement.execute(params![ROW, bytes, crc(&bytes)])?;
    Ok(())
}

/// The identity of the log.
pub(super) fn read(database: &Connection) -> Result<[u8; 16], Fault> {
    let damaged = || Fault::damaged("the identity of the log is not what was written");
    let mut statement = database.prepare_cached("SELECT bytes, crc FROM identity WHERE id = ?1")?;
    let row = statement.query_row(params![ROW], |row| Ok((row.get(0)?, row.get(1)?)));
    let (bytes, found): (Vec<u8>, i64) = row.optional()?.ok_or_else(damaged)?;
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_other_length| damaged())?;
    if crc(&bytes) == found { Ok(bytes) } else { Err(damaged()) }
}

fn crc(bytes: &[u8]) -> i64 {
    Crc::of("identity").int(ROW).bytes(bytes).done()
}
