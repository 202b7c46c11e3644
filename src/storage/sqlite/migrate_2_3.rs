//! From format 2 to format 3: a log gets a place for the calls of webhooks that wait.

use rusqlite::Connection;

use super::fault::Fault;
use super::schema;

/// The tables of format 2; nothing in them has changed.
pub(super) const TABLES: [&str; 5] =
    [schema::NAMES, schema::STORES, schema::COMMITS, schema::CHECKPOINTS, schema::IDENTITY];

/// Makes a log of format 2 one of format 3, within the transaction that it is called in.
pub(super) fn run(database: &Connection) -> Result<(), Fault> {
    database.execute_batch(schema::CALLS)?;
    database.execute_batch(schema::CALLS_BY_LANE)?;
    database.pragma_update(None, "user_version", 3)?;
    Ok(())
}

/// Lets a connection that only looks at a log of format 2 see what reads like format 3, without a
/// change of the file.
pub(super) fn pretend(database: &Connection) -> Result<(), Fault> {
    database.execute_batch(
        "CREATE TEMP VIEW calls AS SELECT 0 AS id, '' AS webhook, '' AS workspace, '' AS store,
             0 AS seq, '' AS path, '' AS told, 0 AS given_up, 0 AS crc WHERE 0",
    )?;
    Ok(())
}
