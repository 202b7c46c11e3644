//! Bugs that are planted, one at a time, to see that the tests would find them.
//!
//! None of this is there unless the program is built with `--cfg planted`.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The bug that is planted in this process: its place in [`BUGS`], counted from 1.
static PLANTED: AtomicUsize = AtomicUsize::new(0);

/// Every bug that can be planted.
pub const BUGS: &[&str] = &[
    "ack-before-save",
    "not-taken-back",
    "lost-wake-up",
    "gap-let-through",
    "seq-off-by-one",
    "epoch-not-raised",
    "stale-projection",
    "foreign-actor-accepted",
    "actor-reused",
    "checkpoint-too-far",
    "doubtful-firing-dropped",
    "news-not-told",
    "half-open-forever",
];

/// Plants a bug of [`BUGS`], in place of the one before; any other name plants none.
pub fn plant(bug: &str) {
    let at = BUGS.iter().position(|known| *known == bug);
    PLANTED.store(at.map_or(0, |at| at.saturating_add(1)), Ordering::Relaxed);
}

/// Whether this bug is planted.
pub(crate) fn is(bug: &str) -> bool {
    let planted = PLANTED.load(Ordering::Relaxed).checked_sub(1);
    planted.and_then(|at| BUGS.get(at)).is_some_and(|planted| *planted == bug)
}
