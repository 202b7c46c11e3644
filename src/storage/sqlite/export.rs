//! The way out: stores as files that other programs read.
//!
//! An export is a folder. Of every store it holds the state as JSON, and the document with its
//! whole history as Automerge saves it; `manifest.json` says which file is which store, the seq it
//! stood at, and the heads of the document. It does not hold who made which commit, the ids of
//! messages, or the seqs of the past: a server is moved by copying its data folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::doctor::{Finding, examine_store};
use super::folder::sync;
use super::look::{Look, Named, Whole};
use crate::document::DocumentError;
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::json::Json;
use crate::storage::StorageError;

/// The name of the manifest in the folder of an export.
pub const MANIFEST: &str = "manifest.json";
/// The version of the manifest that is written.
const VERSION: u32 = 1;
/// Names that are devices in every folder of some systems, whatever the extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
/// The same, before a digit.
const PORTS: [&str; 2] = ["com", "lpt"];

/// Why nothing was exported, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be looked at.
    #[error("{0}")]
    Log(#[from] StorageError),
    /// A store is damaged, and only whole ones were asked for.
    #[error("{0}")]
    Damaged(Box<Finding>),
    /// The document of a store cannot be written down.
    #[error("{workspace}/{store}: {error}")]
    Document {
        /// The workspace.
        workspace: WorkspaceId,
        /// The store.
        store: StoreName,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// There is something in the folder already.
    #[error("{} is there already, and is not an empty folder", .0.display())]
    Taken(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Which files are written of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Its state as JSON.
    pub json: bool,
    /// Its document with the whole history.
    pub automerge: bool,
}

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this list: 1.
    pub manifest: u32,
    /// The stores, by workspace and name.
    pub stores: Vec<Entry>,
}

/// One store in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its workspace.
    pub workspace: String,
    /// Its name.
    pub store: String,
    /// The seq of the state that was exported.
    pub seq: u64,
    /// The newest seq there was, if what came after `seq` could not be saved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_up_to: Option<u64>,
    /// The heads of its document, in hexadecimal digits, sorted.
    pub heads: Vec<String>,
    /// The file with its state as JSON, from the folder of the manifest on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub json: Option<String>,
    /// The file with its document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub automerge: Option<String>,
}

/// A store as it is taken out.
#[derive(Debug)]
pub struct Taken {
    /// The seq of the state.
    pub seq: Seq,
    /// The newest seq there was; after `seq` if that part could not be saved.
    pub newest: Seq,
    /// The heads of the document, in hexadecimal digits, sorted.
    pub heads: Vec<String>,
    /// The state.
    pub json: Json,
    /// The document as Automerge saves it.
    pub automerge: Vec<u8>,
}

/// Takes out one store. One that is damaged is refused, unless as much of it is to be salvaged as
/// is whole; what is wrong with it is then told, and `None` means that nothing is.
pub fn take(
    look: &Look,
    named: &Named,
    salvage: bool,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Option<Taken>, ExportError> {
    let mut first = None;
    let (whole, _) = examine_store(look, named, &mut |finding| {
        if salvage {
            tell(finding);
        } else if first.is_none() {
            first = Some(finding.clone());
        }
    });
    if let Some(finding) = first {
        return Err(ExportError::Damaged(Box::new(finding)));
    }
    let Whole { start, seq, newest, document, .. } = whole;
    if salvage && seq == start {
        return Ok(None);
    }
    let unwritable = |error| {
        let (workspace, store) = (named.workspace.clone(), named.store.clone());
        ExportError::Document { workspace, store, error }
    };
    let heads = document.heads().iter().map(ToString::to_string).collect();
    let json = document.json().map_err(unwritable)?;
    let automerge = document.save().map_err(unwritable)?;
    Ok(Some(Taken { seq, newest, heads, json, automerge }))
}

/// Exports stores into a folder, which is there afterwards with all of them, or not at all. Gives
/// what the manifest says.
pub fn export(
    look: &Look,
    stores: &[Named],
    (formats, salvage): (Formats, bool),
    folder: &Path,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Manifest, ExportError> {
    let is_free = match fs::read_dir(folder) {
        Ok(mut files) => files.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let name = folder.file_name().filter(|_| is_free);
    let name = name.ok_or_else(|| ExportError::Taken(folder.to_owned()))?;
    let mut unfinished = name.to_owned();
    unfinished.push(".unfinished");
    let unfinished = folder.with_file_name(unfinished);
    let written = Draft::begin(&unfinished).and_then(|draft| {
        let manifest = draft.fill(look, stores, (formats, salvage), tell)?;
        // A folder that is there is empty, and not every system lets another one take its place.
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ExportError::Unwritable { path: folder.to_owned(), error });
            }
            Ok(()) | Err(_) => {}
        }
        let parent = folder.parent().filter(|parent| *parent != Path::new(""));
        sync_all(&unfinished)
            .and_then(|()| fs::rename(&unfinished, folder))
            .and_then(|()| sync(parent.unwrap_or(Path::new("."))))
            .map_err(|error| ExportError::Unwritable { path: folder.to_owned(), error })?;
        Ok(manifest)
    });
    if written.is_err() && !matches!(written, Err(ExportError::Taken(_))) {
        // What is left of it is under a name that says so.
        drop(fs::remove_dir_all(&unfinished));
    }
    written
}

/// Brings the entries of a folder, and of those in it, to stable storage.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    sync(folder)
}

/// An export that is not complete yet.
struct Draft<'a> {
    folder: &'a Path,
    /// Names that are taken, in small letters: many systems do not tell them from large ones.
    taken: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    fn begin(folder: &'a Path) -> Result<Self, ExportError> {
        fs::create_dir(folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ExportError::Taken(folder.to_owned()),
            _ => ExportError::Unwritable { path: folder.to_owned(), error },
        })?;
        Ok(Self { folder, taken: BTreeSet::from([MANIFEST.to_owned()]) })
    }

    fn fill(
        mut self,
        look: &Look,
        stores: &[Named],
        (formats, salvage): (Formats, bool),
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<Manifest, ExportError> {
        let mut manifest = Manifest { manifest: VERSION, stores: Vec::new() };
        let mut folders: Vec<(&WorkspaceId, String)> = Vec::new();
        for named in stores {
            let Some(taken) = take(look, named, salvage, tell)? else { continue };
            let known = folders.last().filter(|(workspace, _)| **workspace == named.workspace);
            let of = if let Some((_, of)) = known {
                of.clone()
            } else {
                let of = self.make_folder(named.workspace.as_str())?;
                folders.push((&named.workspace, of.clone()));
                of
            };
            let stem = self.free_name(&format!("{of}/"), named.store.as_str());
            manifest.stores.push(self.write_store(named, &taken, &stem, formats)?);
        }
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let path = self.folder.join(MANIFEST);
        match text {
            Ok(text) => self.write(MANIFEST, &text)?,
            Err(error) => return Err(ExportError::Unwritable { path, error }),
        }
        Ok(manifest)
    }

    fn make_folder(&mut self, workspace: &str) -> Result<String, ExportError> {
        let name = self.free_name("", workspace);
        let path = self.folder.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => Ok(name),
            Err(error) => Err(ExportError::Unwritable { path, error }),
        }
    }

    fn write_store(
        &self,
        named: &Named,
        taken: &Taken,
        stem: &str,
        formats: Formats,
    ) -> Result<Entry, ExportError> {
        let mut entry = Entry {
            workspace: named.workspace.to_string(),
            store: named.store.to_string(),
            seq: taken.seq.0,
            lost_up_to: (taken.newest > taken.seq).then_some(taken.newest.0),
            heads: taken.heads.clone(),
            json: None,
            automerge: None,
        };
        if formats.json {
            let name = format!("{stem}.json");
            self.write(&name, taken.json.to_string().as_bytes())?;
            entry.json = Some(name);
        }
        if formats.automerge {
            let name = format!("{stem}.automerge");
            self.write(&name, &taken.automerge)?;
            entry.automerge = Some(name);
        }
        Ok(entry)
    }

    /// Writes a file, to stable storage: what is exported may be all that is left.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| ExportError::Unwritable { path, error })
    }

    /// A path for a name that every system takes, and that is not taken yet.
    fn free_name(&mut self, before: &str, name: &str) -> String {
        let plain = format!("{before}{}", portable(name));
        let mut free = plain.clone();
        let mut number = 2_u64;
        while !self.taken.insert(free.to_ascii_lowercase()) {
            free = format!("{plain}~{number}");
            number = number.saturating_add(1);
        }
        free
    }
}

/// A name as every file system takes it. Neither `=` nor `~` is in a name of ours, so no two are
/// written the same.
fn portable(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let (device, _) = lower.split_once('.').unwrap_or((&lower, ""));
    let port = |port: &str| device.strip_prefix(port).is_some_and(|rest| rest.len() == 1);
    let mut file = name.replace(':', "=");
    if DEVICES.contains(&device) || PORTS.into_iter().any(port) {
        file.insert(0, '~');
    }
    if file.ends_with('.') {
        file.push('~');
    }
    file
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever stores are called, on a system that does not tell large letters from small.
        #[test]
        fn names_become_files_of_their_own(
            names in prop::collection::btree_set("[aAbB:.]{1,3}|con|CON[.]a|LPT1", 1..12),
        ) {
            let folder = Path::new("x");
            let mut draft = Draft { folder, taken: BTreeSet::from([MANIFEST.to_owned()]) };
            let mut files = BTreeSet::new();
            for name in &names {
                let file = draft.free_name("w/", name);
                prop_assert!(!file.contains(':') && !file.ends_with('.'), "{file}");
                prop_assert!(files.insert(file.to_ascii_lowercase()), "{file}");
            }
        }
    }

    #[test]
    fn a_usual_name_stays_as_it_is() {
        for (name, file) in [
            ("chartState", "chartState"),
            ("a:b", "a=b"),
            ("con", "~con"),
            ("Com1.x", "~Com1.x"),
            ("com10", "com10"),
            ("a.", "a.~"),
        ] {
            assert_eq!(portable(name), file);
        }
    }
}
