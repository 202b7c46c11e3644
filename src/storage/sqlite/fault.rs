//! What goes wrong below a log, and what it means to the caller.

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

use crate::storage::StorageError;

/// What stopped a step. SQLite's own errors are kept apart from ours, because they say something
/// about the whole transaction and ours about one store.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite stopped it.
    Sqlite(rusqlite::Error),
    /// The log refused it, or found a row that is not what was written.
    Log(StorageError),
}

impl Fault {
    /// Something is not what was written: `what` names the row, never its content.
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Log(StorageError::Damaged(what.into()))
    }

    /// The same fault, saying of which store it is.
    pub(super) fn within(self, store: impl fmt::Display) -> Self {
        match StorageError::from(self) {
            StorageError::Damaged(what) => Self::damaged(format!("{store}: {what}")),
            other => Self::Log(other),
        }
    }

    /// Whether the transaction can go on without the step that failed. SQLite asks to give up the
    /// whole transaction after most errors of its own; a value that cannot be read is none.
    pub(super) fn concerns_one_step(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                None | Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation)
            ),
            Self::Log(_) => true,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Log(error)
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => meaning(&error),
            Fault::Log(error) => error,
        }
    }
}

/// What an error of SQLite's means to the caller.
fn meaning(error: &rusqlite::Error) -> StorageError {
    use rusqlite::Error;
    match error {
        // A value of another type or range than the one its column was written with.
        Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => StorageError::Damaged("a value cannot be read".to_owned()),
        // The file ends where a page should go on: what was there is gone.
        _ if extended_code(error) == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ) => {
            StorageError::Damaged("the database file is cut off".to_owned())
        }
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StorageError::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StorageError::Damaged(error.to_string())
            }
            // We write no row without having looked that it is not there.
            Some(ErrorCode::ConstraintViolation) => {
                StorageError::Damaged("a row is there that was never written".to_owned())
            }
            Some(ErrorCode::TooBig) => StorageError::Invalid("a commit too large".to_owned()),
            _ => StorageError::Failed(error.to_string()),
        },
    }
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        _ => None,
    }
}

/// What an error of the file system means: `what` was being done.
pub(super) fn io(what: &str, error: &io::Error) -> Fault {
    Fault::Log(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Failed(format!("cannot {what}: {error}")),
    })
}
