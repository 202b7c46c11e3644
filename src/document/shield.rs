//! What a document is put back to when a foreign change goes wrong in it.
//!
//! Automerge trusts its peers: an error or a panic in the middle of a change can leave a document
//! half changed. A copy is cheap, but not as cheap as a small change, so one copy serves many: it
//! is kept with the changes that went well since, and those are done again where it is needed.

use automerge::{Automerge, Change};

use super::{DocumentError, guard};
use crate::limits;

/// A copy of a document as it was some changes ago, and those changes.
#[derive(Debug)]
pub(super) struct Shield {
    copy: Automerge,
    since: Vec<Change>,
    bytes: usize,
}

impl Shield {
    pub(super) fn new(doc: &Automerge) -> Self {
        Self { copy: doc.clone(), since: Vec::new(), bytes: 0 }
    }

    /// The shield of the document with one more change; none when it is time for a new copy.
    pub(super) fn with(mut self, change: &Change) -> Option<Self> {
        self.bytes = self.bytes.saturating_add(change.raw_bytes().len());
        self.since.push(change.clone());
        let spent =
            self.since.len() >= limits::SHIELD_CHANGES_MAX || self.bytes > limits::SHIELD_BYTES_MAX;
        (!spent).then_some(self)
    }

    /// The document as it was when the last change had gone well.
    pub(super) fn document(&self) -> Result<Automerge, DocumentError> {
        guard::contained(|| {
            let mut doc = self.copy.clone();
            doc.apply_changes(self.since.clone())?;
            Ok(doc)
        })
        .map_err(|_again| DocumentError::Diverged)
    }
}
