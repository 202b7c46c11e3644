//! Changes whose ancestors have not come yet.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Change, ChangeHash};

use crate::document::{Document, DocumentError};
use crate::limits;

/// Changes that wait for their ancestors, by name. They belong to the session that brought them:
/// nobody else is held up, and they go when it goes.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    waiting: BTreeMap<ChangeHash, Change>,
    bytes: usize,
}

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in changes, and hands out those that are new and whose ancestors are all there, in
    /// causal order. Of those that wait there may be too many: then all of them are given up.
    pub(super) fn join(
        &mut self,
        document: &Document,
        changes: Vec<Change>,
    ) -> (Vec<Change>, Option<DocumentError>) {
        for change in changes {
            if !document.knows(&[change.hash()]) {
                self.waiting.insert(change.hash(), change);
            }
        }
        let ready = self.take_ready(document);
        self.bytes = self.waiting.values().map(|change| change.raw_bytes().len()).sum();
        let too_many = self.waiting.len() > limits::ORPHANS_MAX;
        if too_many || self.bytes > limits::ORPHAN_BYTES_MAX {
            *self = Self::default();
            return (ready, Some(DocumentError::TooMany("changes whose ancestors are missing")));
        }
        (ready, None)
    }

    /// What is missing for those that wait.
    pub(super) fn missing(&self, document: &Document) -> Vec<ChangeHash> {
        let deps = self.waiting.values().flat_map(|change| change.deps().iter().copied());
        let missing: BTreeSet<ChangeHash> = deps
            .filter(|dep| !self.waiting.contains_key(dep) && !document.knows(&[*dep]))
            .collect();
        missing.into_iter().collect()
    }

    fn take_ready(&mut self, document: &Document) -> Vec<Change> {
        // For each change the ancestors it still waits for; for each ancestor who waits for it.
        let mut lacks: BTreeMap<ChangeHash, usize> = BTreeMap::new();
        let mut heirs: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
        let mut free = Vec::new();
        for (hash, change) in &self.waiting {
            let missing: Vec<ChangeHash> =
                change.deps().iter().filter(|dep| !document.knows(&[**dep])).copied().collect();
            if missing.is_empty() {
                free.push(*hash);
            }
            lacks.insert(*hash, missing.len());
            for dep in missing {
                heirs.entry(dep).or_default().push(*hash);
            }
        }
        let mut ready = Vec::new();
        while let Some(hash) = free.pop() {
            ready.extend(self.waiting.remove(&hash));
            for heir in heirs.remove(&hash).unwrap_or_default() {
                if let Some(lacks) = lacks.get_mut(&heir) {
                    *lacks = lacks.saturating_sub(1);
                    if *lacks == 0 {
                        free.push(heir);
                    }
                }
            }
        }
        ready
    }
}
