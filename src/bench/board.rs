//! What the clients of one run have done together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What names an edit in one run.
pub type EditKey = u64;

/// Counts, shared by all clients.
#[derive(Debug, Default)]
pub struct Board {
    edits: Mutex<BTreeMap<EditKey, Instant>>,
    made: AtomicU64,
    seen: AtomicU64,
    acked: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Edits made.
    pub made: u64,
    /// Deliveries: one edit, seen by one client that did not make it.
    pub seen: u64,
    /// Edits that their authors know the server to have.
    pub acked: u64,
}

impl Board {
    /// Somebody made an edit.
    pub fn made(&self, key: EditKey, at: Instant) {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner).insert(key, at);
        self.made.fetch_add(1, Relaxed);
    }

    /// A client saw these edits; returns how old those are that are edits of this run.
    pub fn seen(&self, new: &[EditKey], at: Instant) -> Vec<Duration> {
        if new.is_empty() {
            return Vec::new();
        }
        let edits = self.edits.lock().unwrap_or_else(PoisonError::into_inner);
        let made = new.iter().filter_map(|key| edits.get(key));
        let ages: Vec<Duration> = made.map(|made| at.saturating_duration_since(*made)).collect();
        self.seen.fetch_add(ages.len() as u64, Relaxed);
        ages
    }

    /// A client learnt that the server has so many more of its edits.
    pub fn acked(&self, edits: u64) {
        self.acked.fetch_add(edits, Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        Counts {
            made: self.made.load(Relaxed),
            seen: self.seen.load(Relaxed),
            acked: self.acked.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bench::now;

    proptest! {
        #[test]
        fn what_was_made_here_is_counted_and_nothing_else(
            made in prop::collection::btree_set(0_u64..50, 0..30),
            seen in prop::collection::vec(0_u64..80, 0..60),
        ) {
            let (board, at) = (Board::default(), now());
            for key in &made {
                board.made(*key, at);
            }
            let known = seen.iter().filter(|key| made.contains(key)).count();
            let later = at + Duration::from_millis(3);
            prop_assert_eq!(board.seen(&seen, later), vec![Duration::from_millis(3); known]);
            board.acked(2);
            let counts = Counts { made: made.len() as u64, seen: known as u64, acked: 2 };
            prop_assert_eq!(board.counts(), counts);
        }
    }
}
