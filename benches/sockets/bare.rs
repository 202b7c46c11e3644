//! The same work by bare Automerge in this process: what no server can do without.

use automerge::sync::{State, SyncDoc as _};
use automerge::{Automerge, Change};

use crate::replica::{Follower as _, Replica};
use crate::table::{Figure, figure};
use crate::usage::own_thread_ns;

/// Microseconds of processor time to take one change, as bytes, into a document.
pub(crate) fn apply_us(doc: &Automerge, changes: u32) -> f64 {
    let (mut there, mut here) = (Replica::new(doc.fork(), true), doc.fork());
    let mut made: Vec<Vec<u8>> = Vec::new();
    for _ in 0..changes {
        there.edit();
        made.extend(there.take_unsent());
    }
    let before = own_thread_ns();
    for bytes in made {
        here.apply_changes([Change::from_bytes(bytes).unwrap()]).unwrap();
    }
    let spent = own_thread_ns() - before;
    assert_eq!(here.get_heads(), there.heads(), "all changes arrived");
    spent as f64 / 1e3 / f64::from(changes)
}

/// Milliseconds of processor time that the giving side spends on bringing an empty document up
/// to date, and on loading the document first.
pub(crate) fn handshake(saved: &[u8]) -> Vec<Figure> {
    let start = own_thread_ns();
    let mut here = Automerge::load(saved).unwrap();
    let load_ms = (own_thread_ns() - start) as f64 / 1e6;
    let mut there = Automerge::new();
    let (mut at_here, mut at_there) = (State::new(), State::new());
    let mut spent = 0;
    while let Some(message) = there.generate_sync_message(&mut at_there) {
        let before = own_thread_ns();
        here.receive_sync_message(&mut at_here, message).unwrap();
        let answer = here.generate_sync_message(&mut at_here);
        spent += own_thread_ns() - before;
        let Some(answer) = answer else { break };
        there.receive_sync_message(&mut at_there, answer).unwrap();
    }
    assert_eq!(here.get_heads(), there.get_heads(), "the document arrived");
    let ms = spent as f64 / 1e6;
    vec![
        figure("server CPU, first", "ms", ms),
        figure("server CPU, last", "ms", ms),
        figure("after restart, first", "ms", load_ms + ms),
        figure("after restart, last", "ms", ms),
    ]
}
