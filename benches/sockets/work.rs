//! The workloads. Each starts a server of its own, so that none pays for another's past.

mod crowd;
mod handshake;
mod idle;
mod live;

use automerge::Automerge;
use rand::RngExt as _;

use crate::Outcome;
use crate::bare;
use crate::client::Client;
use crate::flags::{Flags, Kind, Work};
use crate::process::Server;
use crate::replica::Replica;
use crate::table::{Figure, figure};

/// Changes in a document before the clients of a live workload edit it.
pub(crate) const SEED_CHANGES: i64 = 200;

/// Changes that bare Automerge is timed with.
const BARE_CHANGES: u32 = 2_000;

/// What one run of the bench prepares once.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) flags: Flags,
    /// A small document, for the live workloads.
    pub(crate) small: Automerge,
    /// A document with a long history, saved; empty if no workload needs it.
    pub(crate) large: Vec<u8>,
}

/// Names the workload with its sizes.
pub(crate) fn title(work: Work, flags: &Flags) -> String {
    let Flags { clients, rate, seconds, writers, changes, handshakes, sessions, .. } = flags;
    let Flags { crowd_edits, documents, fresh, .. } = flags;
    match work {
        Work::Steady => {
            format!("steady: 1 document, {clients} clients, {rate} edits/s in all, {seconds} s")
        }
        Work::Hot => format!("hot: 1 document, {writers} writers flat out, {seconds} s"),
        Work::Handshake => {
            format!("handshake: {handshakes} fresh clients, one after another, {changes} changes")
        }
        Work::Crowd => {
            let how = if *fresh { "new" } else { "returning" };
            format!("crowd: {sessions} {how} sessions, {changes} changes, {crowd_edits} edits")
        }
        Work::Many => format!("many: {documents} documents x 2 writers, 1 edit/s each"),
        Work::Idle => format!("idle: {sessions} joined sockets without a document"),
    }
}

/// The figures of bare Automerge for a workload, where there is such a thing.
pub(crate) fn bare(work: Work, world: &World) -> Option<Vec<Figure>> {
    match work {
        Work::Steady | Work::Many => {
            let us = bare::apply_us(&world.small, BARE_CHANGES);
            Some(vec![figure("CPU per edit", "us", us)])
        }
        Work::Hot => {
            let us = bare::apply_us(&world.small, BARE_CHANGES);
            let per_edit = live::WINDOWS.map(|(_, names)| figure(names.cpu, "us", us));
            Some(per_edit.to_vec())
        }
        Work::Handshake => Some(bare::handshake(&world.large)),
        Work::Crowd => {
            let large = Automerge::load(&world.large).unwrap();
            let us = bare::apply_us(&large, BARE_CHANGES.div_ceil(10));
            Some(vec![figure("CPU per edit", "us", us)])
        }
        Work::Idle => None,
    }
}

/// Whether a server of this kind can take part: who only copies keeps no documents to fetch.
pub(crate) fn takes_part(work: Work, kind: Kind) -> bool {
    !(work == Work::Handshake && kind == Kind::Relay)
}

/// Runs a workload at a server of this kind.
pub(crate) async fn run(work: Work, kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    match work {
        Work::Steady => live::steady(kind, world).await,
        Work::Hot => live::hot(kind, world).await,
        Work::Many => live::many(kind, world).await,
        Work::Handshake => handshake::run(kind, world).await,
        Work::Crowd => crowd::run(kind, world).await,
        Work::Idle => idle::run(kind, world).await,
    }
}

/// Says what went wrong together with the end of the server's log.
fn explained<T>(server: &Server, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|why| match server.last_words() {
        words if words.is_empty() => why,
        words => format!("{why}; its log ends with: {words}"),
    })
}

/// The id of a new document: bs58check over a random UUID. The stock server of automerge-repo
/// leaves other bytes without an answer.
fn new_document() -> String {
    let id = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    bs58::encode(id.as_bytes()).with_check().into_string()
}

/// Brings a document to the server; returns the client that did, still there.
async fn bring(
    server: &Server,
    name: &str,
    (document, doc): (&str, Automerge),
    flags: &Flags,
) -> Outcome<Client<Replica>> {
    let side = (Replica::new(doc, server.only_copies()), server.only_copies());
    Client::open(&server.url(), name, document, side, flags.patience()).await
}

/// A whole client of a document that is at the server.
async fn join(
    server: &Server,
    name: &str,
    document: &str,
    world: &World,
) -> Outcome<Client<Replica>> {
    // Who only copies has nothing to give: its clients bring the document along.
    let copied = server.only_copies();
    let doc = if copied { world.small.fork() } else { Automerge::new() };
    let side = (Replica::new(doc, copied), copied);
    Client::open(&server.url(), name, document, side, world.flags.patience()).await
}

/// Memory of a server: now, and at most.
fn memory(server: &Server) -> [Figure; 2] {
    let (now, most) = server.memory();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    [figure("memory at the end", "MiB", mib(now)), figure("memory at most", "MiB", mib(most))]
}
