//! What the clients of one run have done together.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use automerge::ChangeHash;

/// Counts, shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Board {
    edits: Mutex<BTreeMap<ChangeHash, Instant>>,
    made: AtomicU64,
    seen: AtomicU64,
    acked: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Edits made.
    pub(crate) made: u64,
    /// Deliveries: one edit, applied by one client that did not make it.
    pub(crate) seen: u64,
    /// Edits that their authors know the server to have.
    pub(crate) acked: u64,
}

impl Board {
    /// Somebody made an edit.
    pub(crate) fn made(&self, hash: ChangeHash, at: Instant) {
        self.edits.lock().unwrap().insert(hash, at);
        self.made.fetch_add(1, Relaxed);
    }

    /// A client applied these changes; returns how old those are that are edits of this run.
    pub(crate) fn seen(&self, new: &[ChangeHash], at: Instant) -> Vec<Duration> {
        if new.is_empty() {
            return Vec::new();
        }
        let edits = self.edits.lock().unwrap();
        let made = new.iter().filter_map(|hash| edits.get(hash));
        let ages: Vec<Duration> = made.map(|made| at - *made).collect();
        self.seen.fetch_add(ages.len() as u64, Relaxed);
        ages
    }

    /// A client learnt that the server has so many more of its edits.
    pub(crate) fn acked(&self, edits: u64) {
        self.acked.fetch_add(edits, Relaxed);
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            made: self.made.load(Relaxed),
            seen: self.seen.load(Relaxed),
            acked: self.acked.load(Relaxed),
        }
    }
}
