//! Making a log small again: a checkpoint of every store, and no page that holds nothing.
//!
//! Each step is one transaction, so a log that is interrupted is a log, with what was done so far.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::SqliteLog;
use super::fault::{Fault, io as failed};
use super::look::{Look, Named};
use crate::ids::Millis;
use crate::storage::{ChangeLog as _, StorageError};
use crate::workspace::{Recovered, Unavailable, WorkspaceConfig};

/// Why a store was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum NotCompacted {
    /// It cannot be rebuilt.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It cannot be read or written.
    #[error(transparent)]
    Log(#[from] StorageError),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Stores in the log.
    pub stores: usize,
    /// Those that were left as they are, because something is wrong with them.
    pub failed: usize,
    /// The files of the log before, in bytes.
    pub bytes_before: u64,
    /// The files of the log after, in bytes.
    pub bytes_after: u64,
}

/// Makes the log in `data` small. `now` decides which commits are so young that stale clients may
/// need their heads. Stores that cannot be dealt with are told, and left as they are.
pub fn compact(
    data: &Path,
    rules: &WorkspaceConfig,
    now: Millis,
    tell: &mut dyn FnMut(String),
) -> Result<Compacted, StorageError> {
    let mut done = Compacted { bytes_before: bytes(data)?, ..Compacted::default() };
    let look = Look::open(data)?;
    let mut wrong = None;
    let stores = look.stores(&mut |what| wrong = Some(what));
    drop(look);
    // Not knowing which stores there are, nothing is thrown away.
    if let Some(what) = wrong {
        return Err(StorageError::Damaged(what));
    }
    let log = SqliteLog::open(data)?;
    done.stores = stores.len();
    for named in &stores {
        if let Err(error) = shorten(&log, named, rules, now) {
            done.failed = done.failed.saturating_add(1);
            tell(format!("{named}: {error}"));
        }
    }
    log.vacuum()?;
    drop(log);
    done.bytes_after = bytes(data)?;
    Ok(done)
}

/// Lets a checkpoint stand for all of a store's commits.
fn shorten(
    log: &SqliteLog,
    named: &Named,
    rules: &WorkspaceConfig,
    now: Millis,
) -> Result<(), NotCompacted> {
    let config = rules.store(&named.store);
    let stored = log.read(&named.workspace, &named.store)?;
    let keep = stored.kept_after(&config.past, now);
    let checkpoint = Recovered::build(Arc::new(config), stored)?.checkpoint()?;
    log.checkpoint(&named.workspace, &named.store, &checkpoint, keep)?;
    Ok(())
}

/// The length of all files in the folder of a log, in bytes.
fn bytes(data: &Path) -> Result<u64, Fault> {
    let count = || -> io::Result<u64> {
        let mut sum = 0_u64;
        for entry in fs::read_dir(data)? {
            sum = sum.saturating_add(entry?.metadata()?.len());
        }
        Ok(sum)
    };
    count().map_err(|error| failed("see the data folder", &error))
}
