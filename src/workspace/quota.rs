//! How much a workspace may hold ([`WorkspaceLimits::bytes_max`](super::WorkspaceLimits)).
//!
//! What counts is what its stores take in the log, checkpoints and the changes after them, and the
//! memory of those that are not kept. Beyond it, only what makes the state of a store smaller is
//! taken: everything else makes the log larger, and nothing ever makes it much smaller, since a
//! document keeps its history.

use std::collections::BTreeMap;

use super::{Slot, StoreKey, Workspace};
use crate::ids::StoreName;
use crate::limits;

/// What a workspace holds, if anybody wants to know.
#[derive(Debug)]
pub(super) struct Quota {
    /// In bytes.
    max: u64,
    held: BTreeMap<StoreKey, u64>,
    total: u64,
}

impl Quota {
    /// `held` is what the log holds of stores that are not loaded, in bytes.
    pub(super) fn new(max: u64, held: Vec<(StoreName, u64)>) -> Self {
        let mut quota = Self { max, held: BTreeMap::new(), total: 0 };
        for (name, bytes) in held {
            quota.note(StoreKey { name, owner: None }, bytes);
        }
        quota
    }

    /// Whether it counts at all.
    fn is_on(&self) -> bool {
        self.max < limits::WORKSPACE_BYTES_MAX
    }

    /// Whether no more is taken than what makes a state smaller.
    pub(super) fn is_full(&self) -> bool {
        self.is_on() && self.total >= self.max
    }

    fn note(&mut self, key: StoreKey, bytes: u64) {
        let before = self.held.insert(key, bytes).unwrap_or_default();
        self.total = self.total.saturating_sub(before).saturating_add(bytes);
    }

    /// A store of a session that is gone holds nothing any more.
    pub(super) fn forget(&mut self, key: &StoreKey) {
        let before = self.held.remove(key).unwrap_or_default();
        self.total = self.total.saturating_sub(before);
    }
}

impl Workspace {
    /// Notes what a store holds now.
    pub(super) fn weigh(&mut self, key: &StoreKey) {
        if self.quota.is_on()
            && let Some(Slot::Loaded(store)) = self.stores.get(key)
        {
            self.quota.note(key.clone(), store.held());
        }
    }
}
