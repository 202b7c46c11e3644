//! From format 1 to format 2: a log gets an identity, and checkpoints a place for the owners of
//! actors.
//!
//! No row is written anew, so it takes no longer for a large log. Who owned the actors of a
//! checkpoint that stands was never noted: until the next one, they are nobody's, and whoever uses
//! one first owns it.

use rusqlite::Connection;

use super::fault::Fault;
use super::identity;
use super::schema;

/// The tables of format 1; what format 2 did not touch is taken from there.
pub(super) const TABLES: [&str; 4] = [schema::NAMES, schema::STORES, schema::COMMITS, CHECKPOINTS];

const CHECKPOINTS: &str = "CREATE TABLE checkpoints (
        store INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL,
        heads BLOB NOT NULL,
        bytes BLOB NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT";

/// Makes a log of format 1 one of format 2, within the transaction that it is called in.
pub(super) fn run(database: &Connection) -> Result<(), Fault> {
    database.execute_batch("ALTER TABLE checkpoints ADD COLUMN actors BLOB")?;
    database.execute_batch(schema::IDENTITY)?;
    identity::draw(database)?;
    database.pragma_update(None, "user_version", 2)?;
    Ok(())
}

/// Lets a connection that only looks at a log of format 1 see what reads like format 2, without a
/// change of the file.
pub(super) fn pretend(database: &Connection) -> Result<(), Fault> {
    database.execute_batch(
        "CREATE TEMP VIEW checkpoints AS SELECT *, NULL AS actors FROM main.checkpoints",
    )?;
    Ok(())
}
