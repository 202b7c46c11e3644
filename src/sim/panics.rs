//! Panics in a world. Each is one too many, also where it is contained, unless it is Automerge's
//! own: from those the server protects itself.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// One world runs on one thread.
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

static WATCHED: Once = Once::new();

/// Counts from here on, on this thread.
pub(super) fn watch() {
    WATCHED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |location| location.file());
            if !["automerge-", "hexane-"].iter().any(|foreign| file.contains(foreign)) {
                SEEN.set(SEEN.get().saturating_add(1));
                before(panic);
            }
        }));
    });
    SEEN.set(0);
}

/// Panics on this thread since [`watch`].
pub(super) fn seen() -> u64 {
    SEEN.get()
}
