//! The folder of a log: its files, the lock on it, and what is done there before SQLite comes.
//!
//! | file | what |
//! |---|---|
//! | `statehouse.lock` | locked while a log is open; empty |
//! | `statehouse.db` | the database; it is complete from the moment it has this name |
//! | `statehouse.db-wal`, `statehouse.db-shm` | SQLite's write-ahead log and its index |
//! | `statehouse.db.new` | a database that is being made |

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::fault::{Fault, io as failed};
use super::{schema, wal};
use crate::storage::StorageError;

/// What may be in a folder in which there was never a log.
pub(super) const BEFORE: [&str; 3] = [LOCK, NEW, NEW_JOURNAL];
const LOCK: &str = "statehouse.lock";
const NEW: &str = "statehouse.db.new";
const NEW_JOURNAL: &str = "statehouse.db.new-journal";

/// A folder that belongs to this log alone, until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// None if nothing was ever opened here that could be locked out.
    lock: Option<File>,
}

impl Drop for Folder {
    /// The kernel gives the lock back when the file is closed, also if the process is killed. But
    /// a process that is just being started by this one holds the file open too, until its program
    /// runs: only giving the lock back by ourselves lets the folder be opened again at once.
    fn drop(&mut self) {
        match self.lock.as_ref().map(File::unlock) {
            Some(Ok(()) | Err(_)) | None => {}
        }
    }
}

impl Folder {
    /// Takes the folder, and makes it first if it is not there.
    pub(super) fn take(path: &Path) -> Result<Self, Fault> {
        make(path).map_err(|error| failed("make the data folder", &error))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|error| failed("open the lock file", &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Some(lock) }),
            Err(error) => Err(not_locked(error)),
        }
    }

    /// Keeps writers out of a folder that is only looked at: nothing in it is made or changed, and
    /// others may look too.
    pub(super) fn watch(path: &Path) -> Result<Self, Fault> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            // Whoever opens a log makes it, so nobody has.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), lock: None });
            }
            Err(error) => return Err(failed("open the lock file", &error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Some(lock) }),
            Err(error) => Err(not_locked(error)),
        }
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("statehouse.db")
    }

    /// SQLite's write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.path.join("statehouse.db-wal")
    }

    /// Leaves a database that SQLite may open: a new one if there was none.
    ///
    /// A new database gets its name only when it is complete. So one that is there was complete
    /// once, and an empty file, which to SQLite is an empty database, is a damaged one.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        let there = |path: &Path| path.try_exists().map_err(|error| failed("see a file", &error));
        if there(&self.database())? {
            self.refuse_empty()?;
            wal::check(&self.wal())?;
            return self.settle_writes();
        }
        if there(&self.wal())? {
            return Err(Fault::damaged("the database file is gone, its write-ahead log is not"));
        }
        self.create()
    }

    /// Refuses a database file without a byte: SQLite would take it for a new database, and throw
    /// its write-ahead log away.
    pub(super) fn refuse_empty(&self) -> Result<(), Fault> {
        let about = fs::metadata(self.database());
        let about = about.map_err(|error| failed("see the database file", &error))?;
        if about.len() == 0 {
            return Err(Fault::damaged("the database file is empty"));
        }
        Ok(())
    }

    /// Puts on stable storage what a former process wrote.
    ///
    /// If it was killed between writing a commit and syncing it, SQLite finds the commit there and
    /// counts it as done. It would then be acknowledged to whoever sends it again, while it is
    /// still in memory only and can be lost with the power.
    fn settle_writes(&self) -> Result<(), Fault> {
        for path in [self.database(), self.wal()] {
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("sync the database", &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        sync(&self.path).map_err(|error| failed("sync the data folder", &error))
    }

    /// Makes a database under another name, and gives it its own when it is on stable storage.
    fn create(&self) -> Result<(), Fault> {
        self.clear_new()?;
        schema::create(&self.new_database())?;
        self.name_new()
    }

    /// Where a database is made.
    pub(super) fn new_database(&self) -> PathBuf {
        self.path.join(NEW)
    }

    /// Removes what is left of a database that was being made.
    pub(super) fn clear_new(&self) -> Result<(), Fault> {
        for left in [NEW, NEW_JOURNAL] {
            match fs::remove_file(self.path.join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove a database that was never finished", &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Gives the database that was made its name, once it is on stable storage.
    pub(super) fn name_new(&self) -> Result<(), Fault> {
        let new = self.new_database();
        let named = || {
            File::open(&new)?.sync_all()?;
            fs::rename(&new, self.database())?;
            sync(&self.path)
        };
        named().map_err(|error| failed("make the database", &error))
    }
}

fn not_locked(error: TryLockError) -> Fault {
    match error {
        TryLockError::WouldBlock => StorageError::InUse.into(),
        TryLockError::Error(error) => failed("lock the data folder", &error),
    }
}

/// Makes a folder and those above it, each on stable storage before it is used.
fn make(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    make(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync(if above.as_os_str().is_empty() { Path::new(".") } else { above })
}

/// Puts the names in a folder on stable storage. Only Unix can, and only Unix needs it.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
