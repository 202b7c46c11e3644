//! `backup`, `restore` and `compact`: the data as a whole.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use statehouse::hub::clock;
use statehouse::storage::sqlite::backup::{self, BackupError};
use statehouse::storage::sqlite::compact::{self, Compacted};
use statehouse::storage::sqlite::doctor::{Finding, Summary};
use statehouse::storage::sqlite::restore;

use super::{Failure, doctor, output, serve};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder that holds everything that is saved
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// The file that it is written to; nothing may be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file made by `backup`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder that will hold everything that is saved; it is empty or not there
    #[arg(value_name = "DATA")]
    data: PathBuf,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub(super) struct Compact {
    /// The folder that holds everything that is saved
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// The configuration of the server [default: statehouse.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "STATEHOUSE_CONFIG")]
    config: Option<PathBuf>,
}

/// What `backup` and `restore` print.
#[derive(Debug, Serialize)]
struct KeptLine {
    workspaces: usize,
    stores: usize,
    commits: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// What `compact` prints.
#[derive(Debug, Serialize)]
struct CompactedLine {
    stores: usize,
    bytes_before: u64,
    bytes_after: u64,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let made = backup::backup(&self.data, &self.to, &mut tell);
        let made = made.map_err(|error| failure(&self.data, error))?;
        print(made.summary, Some(made.bytes))
    }
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let made = restore::restore(&self.file, &self.data, clock::now(), &mut tell);
        print(made.map_err(|error| failure(&self.file, error))?, None)
    }
}

fn tell(finding: &Finding) {
    output::complain(&format!("damaged: {finding}"));
}

fn print(summary: Summary, bytes: Option<u64>) -> Result<(), Failure> {
    let Summary { workspaces, stores, commits, .. } = summary;
    output::print_json(&KeptLine { workspaces, stores, commits, bytes })
}

fn failure(from: &Path, error: BackupError) -> Failure {
    match error {
        BackupError::Taken(_) => Failure::Usage(error.to_string()),
        BackupError::Damaged(_) => Failure::Damaged(format!("{}: {error}", from.display())),
        BackupError::Log(error) => doctor::unseen(from, &error),
    }
}

impl Compact {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = serve::read_config(self.config)?;
        let mut tell = |what: String| output::complain(&format!("left as it is: {what}"));
        let done = compact::compact(&self.data, &config.workspace, clock::now(), &mut tell);
        let done = done.map_err(|error| doctor::unseen(&self.data, &error))?;
        let Compacted { stores, failed, bytes_before, bytes_after } = done;
        let printed = output::print_json(&CompactedLine { stores, bytes_before, bytes_after });
        if failed > 0 {
            return Err(Failure::Damaged(format!("{failed} of {stores} stores are damaged")));
        }
        printed
    }
}
