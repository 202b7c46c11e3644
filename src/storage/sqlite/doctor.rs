//! The examination of a log: everything in it is read, rebuilt and held against what was noted.
//!
//! Nothing is repaired, and nothing in the folder changes. For every finding in a store the report
//! says how much of that store is whole: so much can be exported.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use super::look::{Flaw, Look, Named, Whole};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::limits;
use crate::storage::StorageError;

/// Something in a log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The store, if it is about one.
    pub store: Option<(WorkspaceId, StoreName)>,
    /// The commit, if it is about one.
    pub seq: Option<Seq>,
    /// What is wrong.
    pub what: String,
    /// What can be saved of the store.
    pub rescue: Option<Rescue>,
}

/// How much of a damaged store can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescue {
    /// The state before its first commit.
    pub start: Seq,
    /// The newest commit of which the state can be rebuilt; `start` if none can.
    pub whole: Seq,
    /// The newest commit.
    pub newest: Seq,
}

impl fmt::Display for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, whole, newest } = self;
        if whole > start {
            write!(f, "seqs {}..{whole} are whole", start.next())?;
        } else {
            f.write_str("no state can be rebuilt")?;
        }
        if newest > whole {
            write!(f, "; {}..{newest} are lost or lie on what is", whole.next())?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            Some((workspace, store)) => write!(f, "{workspace}/{store}")?,
            None => f.write_str("the log")?,
        }
        if let Some(seq) = self.seq {
            write!(f, " at seq {seq}")?;
        }
        write!(f, ": {}", self.what)?;
        self.rescue.map_or(Ok(()), |rescue| write!(f, " ({rescue})"))
    }
}

/// What was looked at, and how much of it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The format of the log; 0 if so little is left that it cannot be told.
    pub format: i32,
    /// Workspaces that hold stores.
    pub workspaces: usize,
    /// Stores.
    pub stores: usize,
    /// Commits that were read.
    pub commits: u64,
    /// Findings, also those that were only counted.
    pub findings: usize,
}

/// Examines the log in `folder`, and tells each finding as soon as all that belongs to it is
/// known. It holds one store in memory at a time.
///
/// An error means that it could not look: see [`Look::open`]. A log that is damaged beyond reading
/// is a finding.
pub fn examine(folder: &Path, tell: &mut dyn FnMut(&Finding)) -> Result<Summary, StorageError> {
    match Look::open(folder) {
        Ok(look) => Ok(examine_all(&look, tell)),
        Err(StorageError::Damaged(what)) => {
            tell(&Finding { store: None, seq: None, what, rescue: None });
            Ok(Summary { findings: 1, ..Summary::default() })
        }
        Err(error) => Err(error),
    }
}

/// Examines all that is in a log.
pub(super) fn examine_all(look: &Look, tell: &mut dyn FnMut(&Finding)) -> Summary {
    let mut summary = Summary { format: look.format(), ..Summary::default() };
    let mut of_log = |what: String, findings: &mut usize| {
        *findings = findings.saturating_add(1);
        tell(&Finding { store: None, seq: None, what, rescue: None });
    };
    look.check_file(&mut |what| of_log(what, &mut summary.findings));
    let stores = look.stores(&mut |what| of_log(what, &mut summary.findings));
    let workspaces: BTreeSet<&WorkspaceId> = stores.iter().map(|named| &named.workspace).collect();
    summary.workspaces = workspaces.len();
    summary.stores = stores.len();
    for named in &stores {
        let (whole, findings) = examine_store(look, named, tell);
        summary.commits = summary.commits.saturating_add(whole.commits);
        summary.findings = summary.findings.saturating_add(findings);
    }
    summary
}

/// Examines one store. Gives what is whole of it, and the number of findings.
pub(in crate::storage) fn examine_store(
    look: &Look,
    named: &Named,
    tell: &mut dyn FnMut(&Finding),
) -> (Whole, usize) {
    let (mut flaws, mut count) = (Vec::new(), 0_usize);
    let whole = look.examine(named, &mut |flaw| {
        count = count.saturating_add(1);
        if flaws.len() < limits::STORE_FINDINGS_MAX {
            flaws.push(flaw);
        }
    });
    let rescue = Rescue { start: whole.start, whole: whole.seq, newest: whole.newest };
    let untold = count.saturating_sub(flaws.len());
    if untold > 0 {
        flaws.push(Flaw { seq: None, what: format!("{untold} findings more") });
    }
    for Flaw { seq, what } in flaws {
        let store = Some((named.workspace.clone(), named.store.clone()));
        tell(&Finding { store, seq, what, rescue: Some(rescue) });
    }
    (whole, count)
}
