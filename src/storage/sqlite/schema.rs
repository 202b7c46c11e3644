//! The tables, the format version, and how connections are set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::Fault;
use super::{identity, migrate_1_2, migrate_2_3, names};
use crate::storage::StorageError;

/// Marks the file as ours, for us and for `file(1)`: "Stat".
const APPLICATION_ID: i32 = 0x5374_6174;
/// The format of the tables below. Another one gets a number and a file like `migrate_1_2.rs`.
pub(super) const FORMAT: i32 = 3;

/// Time to wait for a lock. Nobody else writes; a tool that makes a backup may hold one.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB in the write-ahead log that start moving it into the database. It is done by the
/// commit that reaches it and costs a second sync, so it is rarer than SQLite's 1,000.
const WAL_PAGES: i32 = 4_000;
/// Size to which the write-ahead log is cut back after a burst, in bytes.
const WAL_BYTES_KEPT: i32 = 64 << 20;
/// Pages that the writer keeps, in KiB: the ends of many stores' commits, where SQLite's 2 MiB hold
/// those of a few hundred.
const WRITER_CACHE_KIB: i32 = 8 << 10;
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS: usize = 32;

/// Each statement is here as SQLite keeps it in `sqlite_schema`, so that opening can compare.
///
/// `crc` is a CRC-32 over the table's name and all other columns of the row; see `rows`.
const TABLES: [&str; 7] = [NAMES, STORES, COMMITS, CHECKPOINTS, IDENTITY, CALLS, CALLS_BY_LANE];

/// What is called what: see `names`.
pub(super) const NAMES: &str = "CREATE TABLE names (
        chain INTEGER NOT NULL,
        name TEXT NOT NULL,
        value INTEGER NOT NULL,
        next TEXT NOT NULL,
        crc INTEGER NOT NULL,
        PRIMARY KEY (chain, name)
    ) STRICT, WITHOUT ROWID";

/// Which rows there are of a store: commits after `trimmed` up to `newest`, with changes after
/// `checkpoint`, and that checkpoint unless it is 0. `older_messages`: whether commits up to
/// `trimmed` carried message ids.
pub(super) const STORES: &str = "CREATE TABLE stores (
        id INTEGER PRIMARY KEY,
        workspace TEXT NOT NULL,
        name TEXT NOT NULL,
        newest INTEGER NOT NULL,
        checkpoint INTEGER NOT NULL,
        trimmed INTEGER NOT NULL,
        older_messages INTEGER NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT";

/// `crc` leaves out the last two columns, which a checkpoint sets to NULL together.
pub(super) const COMMITS: &str = "CREATE TABLE commits (
        store INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        user TEXT NOT NULL,
        session INTEGER,
        dialect TEXT NOT NULL,
        message TEXT,
        heads BLOB NOT NULL,
        crc INTEGER NOT NULL,
        changes BLOB,
        changes_crc INTEGER,
        PRIMARY KEY (store, seq)
    ) STRICT, WITHOUT ROWID";

/// `actors` was added last, and this is how SQLite writes that down. It is NULL in a row that is
/// older than the column, and left out of its `crc` then.
pub(super) const CHECKPOINTS: &str = "CREATE TABLE checkpoints (
        store INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL,
        heads BLOB NOT NULL,
        bytes BLOB NOT NULL,
        crc INTEGER NOT NULL
    , actors BLOB) STRICT";

/// Which place this log is, in one row: see `identity`.
pub(super) const IDENTITY: &str = "CREATE TABLE identity (
        id INTEGER PRIMARY KEY,
        bytes BLOB NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT";

/// What webhooks are still to be told: see `calls`. `crc` leaves out `given_up`.
pub(super) const CALLS: &str = "CREATE TABLE calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        webhook TEXT NOT NULL,
        workspace TEXT NOT NULL,
        store TEXT NOT NULL,
        seq INTEGER NOT NULL,
        path TEXT NOT NULL,
        told TEXT NOT NULL,
        given_up INTEGER NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT";

pub(super) const CALLS_BY_LANE: &str =
    "CREATE INDEX calls_by_lane ON calls (given_up, webhook, workspace, store, id)";

/// Makes an empty log in a new file.
pub(super) fn create(path: &Path) -> Result<(), Fault> {
    let mut database = Connection::open(path)?;
    set_up(&database)?;
    let tx = database.transaction()?;
    for table in TABLES {
        tx.execute_batch(table)?;
    }
    names::found(&tx, names::STORES)?;
    names::found(&tx, names::OPENINGS)?;
    identity::draw(&tx)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()?;
    database.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Opens the connection that writes, after checking that the file is a log that we can read.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut database = Connection::open_with_flags(path, flags)?;
    set_up(&database)?;
    let format = check(&database)?;
    let mode: String =
        database.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let text = "this file system cannot carry a write-ahead log".to_owned();
        return Err(StorageError::Failed(text).into());
    }
    database.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    database.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    database.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    if format < FORMAT {
        migrate(&mut database, format)?;
    }
    Ok(database)
}

/// Opens a log that nobody else can reach, to write it in place, and brings it to the newest
/// format. It has no write-ahead log: all of it is in the one file when the connection is closed.
pub(super) fn open_alone(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut database = Connection::open_with_flags(path, flags)?;
    set_up(&database)?;
    let format = check(&database)?;
    let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    database.pragma_update_and_check(None, "journal_mode", "DELETE", mode)?;
    if format < FORMAT {
        migrate(&mut database, format)?;
    }
    Ok(database)
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    set_up(&database)?;
    Ok(database)
}

/// Opens a log of any known format so that not a byte of its folder changes, and says which format
/// it is. Nobody may write meanwhile: SQLite's own locks are not taken, since each takes a write.
pub(super) fn open_to_look(path: &Path, has_wal: bool) -> Result<(Connection, i32), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = if has_wal {
        // The index of the write-ahead log is kept in memory by a connection that has the file to
        // itself, and what it closes stays as it was.
        let system = if cfg!(windows) { c"win32-none" } else { c"unix-none" };
        let database = Connection::open_with_flags_and_vfs(path, flags, system)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        database.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", mode)?;
        database
    } else {
        // Otherwise SQLite would begin a write-ahead log only to read.
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    database.pragma_update(None, "temp_store", "MEMORY")?;
    set_up(&database)?;
    let format = check(&database)?;
    if format < 2 {
        migrate_1_2::pretend(&database)?;
    }
    if format < 3 {
        migrate_2_3::pretend(&database)?;
    }
    Ok((database, format))
}

/// The address of a file that nobody changes (<https://www.sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\\', "/");
    let path = path.strip_prefix("//?/").unwrap_or(&path);
    let mut address = String::from(if path.starts_with('/') { "file://" } else { "file:///" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~:".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    address.push_str("?immutable=1");
    address
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0')
}

/// What holds for every connection.
fn set_up(database: &Connection) -> Result<(), Fault> {
    database.busy_timeout(BUSY_WAIT)?;
    database.set_prepared_statement_cache_capacity(STATEMENTS);
    // A commit is over when it is on stable storage; on macOS that takes another call than fsync.
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "fullfsync", true)?;
    database.pragma_update(None, "checkpoint_fullfsync", true)?;
    // An error of the disk comes back as an error, not as a signal.
    database.pragma_update(None, "mmap_size", 0)?;
    // Pages are checked for being well formed as they are read, and a file made by someone else
    // can run nothing.
    database.pragma_update(None, "cell_size_check", true)?;
    database.pragma_update(None, "trusted_schema", false)?;
    // A plan does not depend on what is bound, or each statement with a range would be prepared
    // anew for every value.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes a log of an older format one of this format, or leaves it as it is.
fn migrate(database: &mut Connection, from: i32) -> Result<(), Fault> {
    let tx = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if from < 2 {
        migrate_1_2::run(&tx)?;
    }
    migrate_2_3::run(&tx)?;
    if check(&tx)? != FORMAT {
        return Err(Fault::damaged("the log could not be brought to its new format"));
    }
    tx.commit()?;
    Ok(())
}

/// Checks that the file is a log of ours, of a format that we know, with the tables it should
/// have. Gives the format.
fn check(database: &Connection) -> Result<i32, Fault> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if number("application_id")? != APPLICATION_ID {
        return Err(Fault::damaged("the database file is empty or not one of this server"));
    }
    let format = number("user_version")?;
    let expected = match format {
        1 => migrate_1_2::TABLES.as_slice(),
        2 => migrate_2_3::TABLES.as_slice(),
        FORMAT => TABLES.as_slice(),
        newer if newer > FORMAT => {
            let text = format!("its format {newer} is newer than {FORMAT}, the newest known here");
            return Err(StorageError::Failed(text).into());
        }
        _ => return Err(Fault::damaged("the database file has no format version")),
    };
    // All that is about our tables, so that nobody's trigger writes along; other tables are those
    // of tools, for replication say.
    let mut statement = database.prepare(
        "SELECT sql FROM sqlite_schema
         WHERE tbl_name IN ('names', 'stores', 'commits', 'checkpoints', 'identity', 'calls')
         ORDER BY rowid",
    )?;
    let tables = statement.query_map([], |row| row.get::<_, Option<String>>(0))?;
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    if !tables.iter().map(Option::as_deref).eq(expected.iter().copied().map(Some)) {
        return Err(Fault::damaged("the tables are not those of its format"));
    }
    Ok(format)
}
