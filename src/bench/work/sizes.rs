//! What an edit costs in documents of several sizes, with histories of several lengths.

use automerge::Automerge;

use super::{Found, World, column, new_document, us_each};
use crate::bench::Outcome;
use crate::bench::replica::prepared_with;
use crate::bench::report::Column;
use crate::bench::target::Target;
use crate::bench::usage::Meter;
use crate::bench::voice::{Dialect, Place};

/// Keys, or changes, of a small document.
const SMALL: u64 = 1_000;

/// Changes that come in one message, and what the figures of these are called.
const BATCHES: [(u64, &str); 3] = [
    (1, "Automerge changes one by one: CPU"),
    (8, "8 in a message: CPU of each"),
    (64, "64 in a message: CPU of each"),
];

/// A column for each size.
pub(super) async fn columns(world: &World, tell: &(dyn Fn(&str) + Sync)) -> Vec<Column> {
    let large = world.sizes.large;
    tell("sizes: the relay");
    let copied = at_relay(world).await;
    let mut columns = Vec::new();
    for (keys, changes) in [(SMALL, SMALL), (SMALL, large), (large, SMALL), (large, large)] {
        let name = format!("{}k x {}k", keys / SMALL, changes / SMALL);
        tell(&format!("sizes, {name} (keys x changes): the server"));
        let found = at_server(world, keys, changes).await;
        columns.push(column(&name, found.map(|found| (found, Vec::new())), &copied));
    }
    columns
}

async fn at_relay(world: &World) -> Outcome<Found> {
    let target = Target::relay(&world.sources)?;
    target.explain(run(&target, world).await)
}

/// The edits in a small document.
pub(super) async fn run(target: &Target, world: &World) -> Outcome<Found> {
    edits(world, target, &new_document(), world.small.fork()).await
}

async fn at_server(world: &World, keys: u64, changes: u64) -> Outcome<Found> {
    let target = Target::server(&world.sources)?;
    let found = edits(world, &target, &new_document(), prepared_with(changes, keys)?).await;
    target.explain(found)
}

/// Edits by a JSON client, then changes by an Automerge client, each waited for.
async fn edits(world: &World, target: &Target, document: &str, doc: Automerge) -> Outcome<Found> {
    let patience = world.sizes.patience;
    // At the relay each has a room for itself: what nobody else reads costs nothing.
    let other = new_document();
    let [theirs, ours] = if target.copies { [document, &other] } else { [document; 2] };
    let voice = Dialect::Repo.voice(Place::new(theirs, 0), doc.fork(), target.copies);
    let mut remote = target.open(Dialect::Repo, theirs, voice, patience).await?;
    drop(doc);
    let mut found = Found::default();
    let count = world.sizes.large_edits.max(64);
    for (batch, what) in BATCHES {
        target.quiet().await;
        let mut meter = target.meter();
        for _ in 0..count / batch {
            remote.edit_and_wait(batch, patience).await?;
        }
        let ns = meter.as_mut().map(Meter::lap_ns);
        found.add(what, "us", us_each(ns, count / batch * batch));
    }
    drop(remote);
    let voice = Dialect::Json.voice(Place::new(ours, 1), Automerge::new(), target.copies);
    let mut local = target.open(Dialect::Json, ours, voice, patience).await?;
    target.quiet().await;
    let mut meter = target.meter();
    for _ in 0..count {
        local.edit_and_wait(1, patience).await?;
    }
    let ns = meter.as_mut().map(Meter::lap_ns);
    found.add("JSON edits one by one: CPU", "us", us_each(ns, count));
    Ok(found)
}
