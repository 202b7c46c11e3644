//! `doctor`: is all of the data as it was written?

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use statehouse::storage::StorageError;
use statehouse::storage::sqlite::doctor::{self, Finding, Summary};

use super::{Failure, output};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The folder that holds everything that is saved
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Print each finding, and the summary, as one line of JSON
    #[arg(long)]
    json: bool,
}

/// A finding, for scripts.
#[derive(Debug, Serialize)]
struct FindingLine<'a> {
    workspace: Option<&'a str>,
    store: Option<&'a str>,
    seq: Option<u64>,
    finding: &'a str,
    /// The first and the last seq of what is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<[u64; 2]>,
    /// The first and the last seq of what cannot be rebuilt.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<[u64; 2]>,
}

/// What was looked at, for scripts.
#[derive(Debug, Serialize)]
struct SummaryLine {
    healthy: bool,
    format: i32,
    workspaces: usize,
    stores: usize,
    commits: u64,
    findings: usize,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        // An output that is closed does not keep it from looking to the end: the exit code counts.
        let mut printed = Ok(());
        let examined = doctor::examine(&self.data, &mut |finding| {
            if printed.is_ok() {
                printed = self.print(finding);
            }
        });
        let summary = examined.map_err(|error| unseen(&self.data, &error))?;
        let told = printed.and_then(|()| self.sum_up(&summary));
        match told {
            Ok(()) | Err(Failure::OutputClosed) if summary.findings > 0 => {
                Err(Failure::Damaged(format!("{} is damaged", self.data.display())))
            }
            other => other,
        }
    }

    fn print(&self, finding: &Finding) -> Result<(), Failure> {
        if !self.json {
            return output::print(&finding.to_string());
        }
        let rescue = finding.rescue;
        output::print_json(&FindingLine {
            workspace: finding.store.as_ref().map(|(workspace, _)| workspace.as_str()),
            store: finding.store.as_ref().map(|(_, store)| store.as_str()),
            seq: finding.seq.map(|seq| seq.0),
            finding: &finding.what,
            whole: rescue
                .filter(|rescue| rescue.whole > rescue.start)
                .map(|rescue| [rescue.start.next().0, rescue.whole.0]),
            lost: rescue
                .filter(|rescue| rescue.newest > rescue.whole)
                .map(|rescue| [rescue.whole.next().0, rescue.newest.0]),
        })
    }

    fn sum_up(&self, summary: &Summary) -> Result<(), Failure> {
        let Summary { format, workspaces, stores, commits, findings } = *summary;
        if self.json {
            let healthy = findings == 0;
            return output::print_json(&SummaryLine {
                healthy,
                format,
                workspaces,
                stores,
                commits,
                findings,
            });
        }
        let health = match findings {
            0 => "healthy".to_owned(),
            1 => "1 finding".to_owned(),
            many => format!("{many} findings"),
        };
        output::print(&format!(
            "{health}: format {format}, workspaces: {workspaces}, stores: {stores}, \
             commits: {commits}"
        ))
    }
}

/// Why the data could not be looked at.
pub(super) fn unseen(data: &Path, error: &StorageError) -> Failure {
    let text = format!("cannot look at {}: {error}", data.display());
    match error {
        StorageError::Damaged(_) => Failure::Damaged(text),
        StorageError::InUse => Failure::Failed(format!("{text} (stop the server first)")),
        _ => Failure::Failed(text),
    }
}
