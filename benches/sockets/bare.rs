//! The same work by bare Automerge in this process: what no server can do without.

use automerge::sync::{State, SyncDoc as _};
use automerge::{Automerge, Change};
use statehouse::bench::figures::{Figure, figure};
use statehouse::bench::replica::{Follower as _, Replica, prepared};
use statehouse::bench::usage::own_thread_ns;
use statehouse::bench::work::World;

use crate::flags::Load;

/// Changes that bare Automerge is timed with.
const CHANGES: u32 = 2_000;

/// Changes in a document that clients edit.
const SEED_CHANGES: u64 = 200;

/// The figures of bare Automerge for a workload, where there is such a thing.
pub(crate) fn figures(load: Load, world: &World) -> Option<Vec<Figure>> {
    let per_edit = |us| Some(vec![figure("CPU per edit", "us", us)]);
    match load {
        Load::One | Load::Many | Load::Hot => {
            per_edit(apply_us(&prepared(SEED_CHANGES).unwrap(), CHANGES))
        }
        Load::Cold => Some(handshake(&prepared(world.sizes.cold_changes).unwrap().save())),
        Load::Crowd => {
            per_edit(apply_us(&prepared(world.sizes.cold_changes).unwrap(), CHANGES / 10))
        }
        Load::Idle => None,
    }
}

/// Microseconds of processor time to take one change, as bytes, into a document.
fn apply_us(doc: &Automerge, changes: u32) -> f64 {
    let (mut there, mut here) = (Replica::new(doc.fork(), true), doc.fork());
    let mut made: Vec<Vec<u8>> = Vec::new();
    for _ in 0..changes {
        there.edit().unwrap();
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
fn handshake(saved: &[u8]) -> Vec<Figure> {
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
        figure("loaded: server CPU", "ms", ms),
        figure("after restart: server CPU", "ms", load_ms + ms),
    ]
}
