//! A log that is only looked at: by whoever examines it, or takes out what is in it.
//!
//! Not a byte of its folder changes, so that it may be damaged, read-only, or of an older format.
//! Nobody can open the log while it is looked at.

mod store;

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, params};

pub use store::{Flaw, Whole};

use super::fault::{Fault, io as failed};
use super::folder::Folder;
use super::{backup, calls, identity, names, schema, wal};
use crate::ids::{StoreName, WorkspaceId};
use crate::storage::StorageError;

/// A log that is looked at.
#[derive(Debug)]
pub struct Look {
    database: Connection,
    format: i32,
    /// What is wrong with the write-ahead log, so that the log cannot be opened.
    wal: Option<String>,
    /// The lock on the folder; the last field, so that it goes after the connection.
    folder: Folder,
}

/// A store that is in a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub store: StoreName,
    /// Its number in the tables.
    id: i64,
}

impl Named {
    /// Its number in the tables.
    pub(super) fn id(&self) -> i64 {
        self.id
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workspace, self.store)
    }
}

impl Look {
    /// Opens the log in `folder`.
    ///
    /// Errors: [`StorageError::InUse`] while a server has it; [`StorageError::Failed`] if there is
    /// none, it cannot be read, or its format is newer than this program;
    /// [`StorageError::Damaged`] if so little is left that nothing can be read.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let open = || -> Result<Self, Fault> {
            let path = folder.canonicalize().map_err(|error| failed("see the folder", &error))?;
            let folder = Folder::watch(&path)?;
            let length = |path: &Path| match path.metadata() {
                Ok(about) => Ok(Some(about.len())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("see a file", &error)),
            };
            let has_wal = length(&folder.wal())?.is_some_and(|length| length > 0);
            if length(&folder.database())?.is_none() {
                return Err(if has_wal {
                    Fault::damaged("the database file is gone, its write-ahead log is not")
                } else {
                    StorageError::Failed("there is no data in this folder".to_owned()).into()
                });
            }
            folder.refuse_empty()?;
            let wal = match wal::check(&folder.wal()) {
                Err(Fault::Log(StorageError::Damaged(what))) => Some(what),
                sound => sound.map(|()| None)?,
            };
            let (database, format) = schema::open_to_look(&folder.database(), has_wal)?;
            Ok(Self { database, format, wal, folder })
        };
        Ok(open()?)
    }

    /// Opens a copy of a log in a folder of its own, which nobody writes to.
    pub(super) fn of_copy(folder: Folder, file: &Path) -> Result<Self, Fault> {
        let file = file.canonicalize().map_err(|error| failed("see the copy", &error))?;
        let (database, format) = schema::open_to_look(&file, false)?;
        Ok(Self { database, format, wal: None, folder })
    }

    /// Looks through a connection that is already there, to a log of the newest format.
    pub(super) fn over(database: Connection, folder: Folder) -> Self {
        Self { database, format: schema::FORMAT, wal: None, folder }
    }

    /// The connection.
    pub(super) fn database(&self) -> &Connection {
        &self.database
    }

    /// Looks no more, and gives the folder back.
    pub(super) fn close(self) -> Result<Folder, Fault> {
        self.database.close().map_err(|(_, error)| error)?;
        Ok(self.folder)
    }

    /// Copies the log, unless a part of it is lost that was there.
    pub(super) fn copy_to(&self, copy: &Path) -> Result<(), Fault> {
        match &self.wal {
            Some(what) => Err(Fault::damaged(what.clone())),
            None => backup::copy_to(&self.database, copy),
        }
    }

    /// The format of the log; one that is older than the newest is brought over when it is opened.
    pub fn format(&self) -> i32 {
        self.format
    }

    /// What is wrong with the log as a whole, one after the other.
    pub fn check_file(&self, flaw: &mut dyn FnMut(String)) {
        if let Some(what) = &self.wal {
            flaw(format!("{what}; what is looked at is the state before it"));
        }
        if let Err(fault) = self.check_pages(flaw) {
            flaw(format!("SQLite cannot check the file: {}", StorageError::from(fault)));
        }
        if let Err(fault) = calls::check(&self.database, flaw) {
            flaw(StorageError::from(fault).to_string());
        }
        if self.format > 1
            && let Err(fault) = identity::read(&self.database)
        {
            flaw(StorageError::from(fault).to_string());
        }
    }

    /// SQLite's own check of its pages and indexes.
    fn check_pages(&self, flaw: &mut dyn FnMut(String)) -> Result<(), Fault> {
        let query = format!("PRAGMA integrity_check({})", crate::limits::SQLITE_FINDINGS_MAX);
        let mut statement = self.database.prepare(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let line: String = row.get(0)?;
            if line != "ok" {
                flaw(format!("SQLite finds: {}", line.replace('\n', "; ")));
            }
        }
        Ok(())
    }

    /// The stores of the log, by workspace and name. What is wrong with the names, of workspaces
    /// too, is told to `flaw`; a store whose name was lost is found by its own row.
    pub fn stores(&self, flaw: &mut dyn FnMut(String)) -> Vec<Named> {
        let mut found = Vec::new();
        for (path, id) in self.names(names::STORES, "the names of stores", flaw) {
            match named(&path, id) {
                Some(named) => found.push(named),
                None => flaw(format!("a store is called {path:?}, which is no name")),
            }
        }
        for (name, times) in self.names(names::OPENINGS, "the openings of workspaces", flaw) {
            if name.parse::<WorkspaceId>().is_err() || u32::try_from(times).is_err() {
                flaw(format!("workspace {name:?} was opened {times} times, which cannot be"));
            }
        }
        let told = |result: Result<(), Fault>, flaw: &mut dyn FnMut(String)| {
            if let Err(fault) = result {
                flaw(StorageError::from(fault).to_string());
            }
        };
        told(self.find_by_row(&mut found, flaw), flaw);
        found.sort_unstable();
        told(self.find_strangers(&found, flaw), flaw);
        found
    }

    /// All names of a chain that are left.
    fn names(&self, chain: i64, what: &str, flaw: &mut dyn FnMut(String)) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        let mut broken = |fault| flaw(format!("{what}: {}", StorageError::from(fault)));
        let walked = names::walk(&self.database, chain, &mut |link| match link {
            Ok((name, value)) => found.push((name.to_owned(), value)),
            Err(fault) => broken(fault),
        });
        if let Err(fault) = walked {
            broken(fault);
        }
        found
    }

    /// Adds the stores that have a row and no name.
    fn find_by_row(
        &self,
        found: &mut Vec<Named>,
        flaw: &mut dyn FnMut(String),
    ) -> Result<(), Fault> {
        let known: std::collections::BTreeSet<i64> = found.iter().map(|named| named.id).collect();
        let mut statement = self.database.prepare("SELECT id, workspace, name FROM stores")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if known.contains(&id) {
                continue;
            }
            let path = format!("{}/{}", row.get::<_, String>(1)?, row.get::<_, String>(2)?);
            flaw(format!("no workspace knows store {path}, which has a row"));
            let taken = found.iter().any(|named| named.to_string() == path);
            found.extend(named(&path, id).filter(|_| !taken));
        }
        Ok(())
    }

    /// Tells of rows of stores that are not known.
    fn find_strangers(&self, found: &[Named], flaw: &mut dyn FnMut(String)) -> Result<(), Fault> {
        let known: std::collections::BTreeSet<i64> = found.iter().map(|named| named.id).collect();
        for (table, column) in [("commits", "store"), ("checkpoints", "store"), ("names", "chain")]
        {
            let next = format!("SELECT min({column}) FROM {table} WHERE {column} > ?1");
            let mut statement = self.database.prepare(&next)?;
            let mut last = i64::MIN;
            while let Some(id) =
                statement.query_row(params![last], |row| row.get::<_, Option<i64>>(0))?
            {
                let ours = table == "names" && [names::STORES, names::OPENINGS].contains(&id);
                if !known.contains(&id) && !ours {
                    flaw(format!("no workspace knows store number {id}, which has {table}"));
                }
                last = id;
            }
        }
        Ok(())
    }

    /// Looks at all there is of a store, and rebuilds it as far as it is whole. What is wrong with
    /// it is told to `flaw`.
    pub fn examine(&self, named: &Named, flaw: &mut dyn FnMut(Flaw)) -> Whole {
        store::examine(&self.database, named, flaw)
    }
}

fn named(path: &str, id: i64) -> Option<Named> {
    let (workspace, store) = path.split_once('/')?;
    Some(Named { workspace: workspace.parse().ok()?, store: store.parse().ok()?, id })
}
