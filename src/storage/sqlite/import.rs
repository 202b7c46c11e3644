//! The way in: stores from files, into a log that no server has open.
//!
//! A store that the log does not have begins with what comes in, in an epoch after the one it had
//! where it comes from. One that is there is never overwritten: an Automerge document merges with
//! it, and a JSON state becomes one commit more, as if a client had set it. Each store is done
//! whole or not at all.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::SqliteLog;
use super::export::{Entry, MANIFEST, Manifest};
use crate::document::{Breach, DocumentError, Foreign};
use crate::ids::{NameError, Seq, StoreName, WorkspaceId};
use crate::json::Json;
use crate::limits;
use crate::storage::{AppendTo, ChangeLog as _, StorageError};
use crate::workspace::{Append, Carrier, Content, Recovered, Stored, Unavailable, WorkspaceConfig};

/// Why a store, or a folder of them, was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file is larger than [`limits::IMPORT_FILE_BYTES_MAX`].
    #[error("{} is larger than {} bytes", .0.display(), limits::IMPORT_FILE_BYTES_MAX)]
    TooLarge(PathBuf),
    /// The manifest is not one, or names what cannot be.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A name in the manifest cannot be one.
    #[error("{name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// A file is not JSON.
    #[error("{}: not JSON: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
    /// A file is neither `.json` nor `.automerge`.
    #[error("{}: expected a file that ends in .json or .automerge", .0.display())]
    Kind(PathBuf),
    /// A document, or what it would make of the store, is refused.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// The document has other heads than its manifest says.
    #[error("the document is not the one that the manifest tells of")]
    OtherHeads,
    /// The configuration does not let the store be kept.
    #[error("the configuration does not have it, or does not keep it")]
    NotKept,
    /// The store that is there cannot be loaded, so nothing is saved over it.
    #[error("the store that is there cannot be loaded: {0}")]
    Unavailable(#[from] Unavailable),
    /// The log cannot be read or written.
    #[error("{0}")]
    Log(#[from] StorageError),
}

/// A store that is to come in.
#[derive(Debug)]
pub struct Parcel {
    /// The workspace it goes to.
    pub workspace: WorkspaceId,
    /// The store it becomes, or goes into.
    pub store: StoreName,
    /// The seq that it had where it comes from; 0 if that is not known.
    pub seq: Seq,
    /// The heads that its document must have, in hexadecimal digits, if they are known.
    heads: Option<Vec<String>>,
    /// The file.
    file: PathBuf,
    automerge: bool,
}

/// What became of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was not there: it begins with this seq.
    Founded(Seq),
    /// It was there: what came in is this commit of it.
    Merged(Seq),
    /// It was there, with all that came in.
    Unchanged,
}

impl Parcel {
    /// A single file, whose ending says what it is, and where it goes.
    pub fn of_file(
        file: &Path,
        (workspace, store): (WorkspaceId, StoreName),
    ) -> Result<Self, ImportError> {
        let automerge = match file.extension().and_then(|ending| ending.to_str()) {
            Some("automerge") => true,
            Some("json") => false,
            _ => return Err(ImportError::Kind(file.to_owned())),
        };
        let (file, seq) = (file.to_owned(), Seq::default());
        Ok(Self { workspace, store, seq, heads: None, file, automerge })
    }

    /// The stores of an export, as its manifest lists them. Of a store with both files the
    /// document is taken.
    pub fn of_export(folder: &Path) -> Result<Vec<Self>, ImportError> {
        let path = folder.join(MANIFEST);
        let refused = |message: String| ImportError::Manifest { path: path.clone(), message };
        let manifest: Manifest =
            serde_json::from_slice(&read(&path)?).map_err(|error| refused(error.to_string()))?;
        if manifest.manifest != 1 {
            let version = manifest.manifest;
            return Err(refused(format!("its version {version} is not known here")));
        }
        let parcel = |entry: Entry| {
            let (name, automerge) = match (&entry.automerge, &entry.json) {
                (Some(name), _) => (name, true),
                (None, Some(name)) => (name, false),
                (None, None) => return Err(refused(format!("{} has no file", entry.store))),
            };
            // It may come from anywhere: it names files beneath itself and no others.
            let inside = |part| matches!(part, Component::Normal(_));
            if !Path::new(name).components().all(inside) || name.contains('\\') {
                return Err(refused(format!("{name:?} is not beneath it")));
            }
            Ok(Self {
                file: folder.join(name),
                workspace: name_of(&entry.workspace)?,
                store: name_of(&entry.store)?,
                seq: Seq(entry.seq),
                heads: automerge.then_some(entry.heads),
                automerge,
            })
        };
        manifest.stores.into_iter().map(parcel).collect()
    }

    fn open(&self) -> Result<Content, ImportError> {
        let bytes = read(&self.file)?;
        if self.automerge {
            let foreign = Foreign::open(&bytes)?;
            let heads = self.heads.as_ref();
            if heads.is_some_and(|heads| {
                !foreign.heads().iter().map(ToString::to_string).eq(heads.iter().cloned())
            }) {
                return Err(ImportError::OtherHeads);
            }
            return Ok(Content::Automerge(foreign));
        }
        let json: Result<Json, _> = serde_json::from_slice(&bytes);
        json.map(Content::Json).map_err(|error| ImportError::Json {
            path: self.file.clone(),
            message: error.to_string(),
        })
    }

    /// Brings the store into the log, in one transaction.
    pub fn import(
        &self,
        log: &SqliteLog,
        rules: &WorkspaceConfig,
        carrier: Carrier,
    ) -> Result<Done, ImportError> {
        let config = rules.store(&self.store);
        if !rules.allows(&self.store) || !config.persistent {
            return Err(ImportError::NotKept);
        }
        let content = self.open()?;
        let limits = &rules.limits.json;
        let stored = log.read(&self.workspace, &self.store)?;
        let is_new = stored == Stored { start: stored.start, ..Stored::default() };
        if is_new {
            let epoch = self.seq.epoch().saturating_add(1).max(stored.start.epoch());
            let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
            let mut store = Recovered::founded(config, epoch, &content)?;
            let first = store.take_in(content, carrier, limits)?;
            // A store that is not there takes in even what changes nothing.
            let Some(first) = first else { return Ok(Done::Unchanged) };
            log.found(&self.workspace, &self.store, &first, &store.checkpoint()?)?;
            return Ok(Done::Founded(first.seq));
        }
        let mut store = Recovered::build(Arc::new(config), stored)?;
        let Some(commit) = store.take_in(content, carrier, limits)? else {
            return Ok(Done::Unchanged);
        };
        // A document that would not load again must not get into the log.
        drop(store.checkpoint()?);
        let seq = commit.seq;
        let after = Seq(seq.0.saturating_sub(1));
        let append =
            Append { store: self.store.clone(), after, commits: vec![commit], calls: Vec::new() };
        let batch = [AppendTo { workspace: self.workspace.clone(), append }];
        log.append(&batch)?.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(Done::Merged(seq))
    }

    /// A rule of the store that its state does not keep, as it is in the log now. What comes in is
    /// not refused for that.
    pub fn breach(
        &self,
        log: &SqliteLog,
        rules: &WorkspaceConfig,
    ) -> Result<Option<Breach>, ImportError> {
        let config = rules.store(&self.store);
        if config.gate.is_none() {
            return Ok(None);
        }
        let stored = log.read(&self.workspace, &self.store)?;
        Ok(Recovered::build(Arc::new(config), stored)?.breach())
    }
}

fn name_of<T: std::str::FromStr<Err = NameError>>(name: &str) -> Result<T, ImportError> {
    name.parse().map_err(|error| ImportError::Name { name: name.to_owned(), error })
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let unreadable = |error| ImportError::Unreadable { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let most = limits::IMPORT_FILE_BYTES_MAX.saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 == most {
        return Err(ImportError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}
