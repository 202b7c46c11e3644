//! The log as one file that can be put away, taken while a server has it.
//!
//! It is what one reading transaction sees, so it holds all that was acknowledged before it began.
//! The writer goes on meanwhile; its write-ahead log grows until the reading is over. The copy is
//! examined as a doctor does, and has its name only when it is sound and on stable storage.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::doctor::{self, Finding, Summary};
use super::fault::{Fault, io as failed};
use super::folder::{Folder, sync};
use super::look::Look;
use super::schema;
use crate::storage::StorageError;

/// Why there is no backup, or nothing was made of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there, and nothing is ever overwritten.
    #[error("{} is there already", .0.display())]
    Taken(PathBuf),
    /// What would be kept is not sound; the findings were told.
    #[error("it is damaged, in {0} findings")]
    Damaged(usize),
    /// It cannot be read or written.
    #[error(transparent)]
    Log(#[from] StorageError),
}

impl From<Fault> for BackupError {
    fn from(fault: Fault) -> Self {
        Self::Log(fault.into())
    }
}

/// A backup that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// What is in it.
    pub summary: Summary,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Makes a backup of the log in `data`, which a server may have open, as the file `to`. What is
/// wrong with it is told, and then there is none.
pub fn backup(
    data: &Path,
    to: &Path,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Backup, BackupError> {
    let (Some(name), false) = (to.file_name(), is_there(to)?) else {
        return Err(BackupError::Taken(to.to_owned()));
    };
    let mut desk = name.to_owned();
    desk.push(".unfinished");
    let desk = to.with_file_name(desk);
    // The lock in it keeps two of the same name apart, and tells what was left from what is made.
    let folder = Folder::take(&desk)?;
    let made = make(data, to, folder, tell);
    if let Err(error) = fs::remove_dir_all(&desk) {
        tracing::warn!(%error, desk = %desk.display(), "what was used for a backup is left over");
    }
    made
}

fn make(
    data: &Path,
    to: &Path,
    folder: Folder,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Backup, BackupError> {
    folder.clear_new()?;
    let copy = folder.new_database();
    take(data, &copy)?;
    let synced = File::open(&copy).and_then(|file| file.sync_all());
    synced.map_err(|error| failed("sync the backup", &error))?;
    let look = Look::of_copy(folder, &copy)?;
    let summary = doctor::examine_all(&look, tell);
    if summary.findings > 0 {
        return Err(BackupError::Damaged(summary.findings));
    }
    let about = fs::metadata(&copy).map_err(|error| failed("see the backup", &error))?;
    // Unlike renaming, this never takes the place of what is there.
    match fs::hard_link(&copy, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Taken(to.to_owned()));
        }
        Err(_) if is_there(to)? => return Err(BackupError::Taken(to.to_owned())),
        // Not every file system can.
        Err(_) => fs::rename(&copy, to).map_err(|error| failed("name the backup", &error))?,
        Ok(()) => {}
    }
    let parent = to.parent().filter(|parent| *parent != Path::new(""));
    let synced = sync(parent.unwrap_or(Path::new(".")));
    synced.map_err(|error| failed("sync the folder of the backup", &error))?;
    Ok(Backup { summary, bytes: about.len() })
}

/// Copies what is in the log now.
fn take(data: &Path, copy: &Path) -> Result<(), Fault> {
    match Look::open(data) {
        Ok(look) => look.copy_to(copy),
        // Whoever has it open has seen to its write-ahead log, and others may read beside him.
        Err(StorageError::InUse) => {
            let database = data.join("statehouse.db");
            copy_to(&schema::open_reader(&database)?, copy)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes all that a connection sees into a new file, in one reading transaction.
pub(super) fn copy_to(database: &Connection, copy: &Path) -> Result<(), Fault> {
    let name = copy.to_str().ok_or_else(|| {
        StorageError::Failed("SQLite wants the name of a file as UTF-8".to_owned())
    })?;
    database.execute("VACUUM INTO ?1", params![name])?;
    Ok(())
}

fn is_there(path: &Path) -> Result<bool, Fault> {
    path.try_exists().map_err(|error| failed("see a file", &error))
}
