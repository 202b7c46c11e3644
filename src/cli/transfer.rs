//! `export` and `import`: the data of a server that does not run, as files.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use statehouse::ids::{StoreName, WorkspaceId};
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::sqlite::doctor::Finding;
use statehouse::storage::sqlite::export::{self, ExportError, Formats};
use statehouse::storage::sqlite::import::{Done, ImportError, Parcel};
use statehouse::storage::sqlite::look::{Look, Named};
use statehouse::workspace::Carrier;

use super::{Failure, doctor, output, parse_place, serve};

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The folder that holds everything that is saved
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Only this workspace, or only this store [default: all there are]
    #[arg(value_name = "WORKSPACE[/STORE]", value_parser = parse_part)]
    part: Option<(WorkspaceId, Option<StoreName>)>,
    /// A folder that is empty or not there; `-` prints one store in one format
    #[arg(long, value_name = "FOLDER|-")]
    to: PathBuf,
    /// Write only the state, or only the document with its history [default: both]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Of damaged stores, export as much as is whole, and say what is not
    #[arg(long)]
    salvage: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Automerge,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The folder that holds everything that is saved; it is made if it is not there
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// A folder made by `export`, or a single file ending in .json or .automerge
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Where the state or document of a single file goes
    #[arg(long, value_name = "WORKSPACE/STORE", value_parser = parse_place)]
    into: Option<(WorkspaceId, StoreName)>,
    /// The configuration of the server [default: statehouse.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "STATEHOUSE_CONFIG")]
    config: Option<PathBuf>,
}

/// What `import` prints of a store.
#[derive(Debug, Serialize)]
struct ImportLine<'a> {
    workspace: &'a str,
    store: &'a str,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// What `export` prints of a store.
#[derive(Debug, Serialize)]
struct ExportLine<'a> {
    workspace: &'a str,
    store: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_up_to: Option<u64>,
}

fn parse_part(text: &str) -> Result<(WorkspaceId, Option<StoreName>), String> {
    if text.contains('/') {
        return parse_place(text).map(|(workspace, store)| (workspace, Some(store)));
    }
    let workspace = text.parse().map_err(|error| format!("workspace: {error}"))?;
    Ok((workspace, None))
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let look = Look::open(&self.data).map_err(|error| doctor::unseen(&self.data, &error))?;
        let mut damaged = 0_usize;
        let mut warn = |text: String| {
            damaged = damaged.saturating_add(1);
            output::complain(&format!("damaged: {text}"));
        };
        // Damage of the log as a whole does not keep a whole store from getting out.
        look.check_file(&mut |what| warn(what));
        let mut stores = look.stores(&mut |what| warn(what));
        stores.retain(|named| self.wants(named));
        if stores.is_empty() {
            let part = self.part.as_ref().map_or_else(String::new, |(workspace, store)| {
                store.as_ref().map_or(workspace.to_string(), |store| format!("{workspace}/{store}"))
            });
            return Err(Failure::Nothing(part));
        }
        let tell = &mut |finding: &Finding| warn(finding.to_string());
        let done = if self.to == Path::new("-") {
            self.print(&look, &stores, tell)
        } else {
            self.write(&look, &stores, tell)
        };
        match done {
            Ok(()) | Err(Failure::OutputClosed) if damaged > 0 => {
                Err(Failure::Damaged(format!("{} is damaged", self.data.display())))
            }
            done => done,
        }
    }

    fn wants(&self, named: &Named) -> bool {
        self.part.as_ref().is_none_or(|(workspace, store)| {
            named.workspace == *workspace && store.as_ref().is_none_or(|name| named.store == *name)
        })
    }

    fn print(
        &self,
        look: &Look,
        stores: &[Named],
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<(), Failure> {
        let (Some(format), [named]) = (self.format, stores) else {
            let text = "--to - takes one store, and a --format".to_owned();
            return Err(Failure::Usage(text));
        };
        let taken =
            export::take(look, named, self.salvage, tell).map_err(|error| not_exported(&error))?;
        let taken =
            taken.ok_or_else(|| Failure::Damaged(format!("nothing of {named} is whole")))?;
        match format {
            Format::Json => output::print(&taken.json.to_string()),
            Format::Automerge => output::print_bytes(&taken.automerge),
        }
    }

    fn write(
        &self,
        look: &Look,
        stores: &[Named],
        tell: &mut dyn FnMut(&Finding),
    ) -> Result<(), Failure> {
        let formats = Formats {
            json: self.format != Some(Format::Automerge),
            automerge: self.format != Some(Format::Json),
        };
        let manifest = export::export(look, stores, (formats, self.salvage), &self.to, tell)
            .map_err(|error| not_exported(&error))?;
        for entry in &manifest.stores {
            let (workspace, store) = (&*entry.workspace, &*entry.store);
            let (seq, lost_up_to) = (entry.seq, entry.lost_up_to);
            output::print_json(&ExportLine { workspace, store, seq, lost_up_to })?;
        }
        Ok(())
    }
}

fn not_exported(error: &ExportError) -> Failure {
    match error {
        ExportError::Damaged(_) => {
            Failure::Damaged(format!("{error}; with --salvage, what is whole is exported"))
        }
        ExportError::Document { .. } => Failure::Damaged(error.to_string()),
        ExportError::Taken(_) => Failure::Usage(error.to_string()),
        ExportError::Log(_) | ExportError::Unwritable { .. } => Failure::Failed(error.to_string()),
    }
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = serve::read_config(self.config)?;
        let parcels = parcels(&self.from, self.into)?;
        let log = SqliteLog::open(&self.data);
        let log = log.map_err(|error| doctor::unseen(&self.data, &error))?;
        let mut printed = Ok(());
        let mut refused = 0_usize;
        for parcel in &parcels {
            let carrier = Carrier { actor: rand::random(), now: statehouse::hub::clock::now() };
            let (done, seq) = match parcel.import(&log, &config.workspace, carrier) {
                Ok(Done::Founded(seq)) => ("founded", Some(seq.0)),
                Ok(Done::Merged(seq)) => ("merged", Some(seq.0)),
                Ok(Done::Unchanged) => ("unchanged", None),
                Err(error) => {
                    refused = refused.saturating_add(1);
                    let (workspace, store) = (&parcel.workspace, &parcel.store);
                    output::complain(&format!("refused: {workspace}/{store}: {error}"));
                    continue;
                }
            };
            let (workspace, store) = (parcel.workspace.as_str(), parcel.store.as_str());
            match parcel.breach(&log, &config.workspace) {
                Ok(None) => {}
                Ok(Some(breach)) => {
                    output::complain(&format!("taken all the same: {workspace}/{store}: {breach}"));
                }
                Err(error) => output::complain(&format!("{workspace}/{store}: {error}")),
            }
            // That nobody reads the output any more keeps nothing from being imported.
            if printed.is_ok() {
                printed = output::print_json(&ImportLine { workspace, store, done, seq });
            }
        }
        if refused > 0 {
            let all = parcels.len();
            return Err(Failure::Failed(format!("{refused} of {all} stores were not imported")));
        }
        printed
    }
}

/// What is to be imported, as far as that can be said before the data is opened.
fn parcels(from: &Path, into: Option<(WorkspaceId, StoreName)>) -> Result<Vec<Parcel>, Failure> {
    let found = match into {
        Some(place) => Parcel::of_file(from, place).map(|parcel| vec![parcel]),
        None if from.is_file() => {
            let text = "a single file needs --into WORKSPACE/STORE".to_owned();
            return Err(Failure::Usage(text));
        }
        None => Parcel::of_export(from),
    };
    found.map_err(|error| match error {
        ImportError::Kind(_) => Failure::Usage(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    })
}
