//! Opening a document with a long history: warm, and by a server that has just started.

use std::time::Duration;

use automerge::{Automerge, ChangeHash};
use tokio::time::sleep;

use super::{Found, World, kib, mib, new_document};
use crate::bench::figures::{Figure, figure};
use crate::bench::replica::prepared;
use crate::bench::socket::Socket;
use crate::bench::target::Target;
use crate::bench::voice::{Dialect, Place};
use crate::bench::{Outcome, now};

/// How long a server that has said everything is left to finish what it does beside.
const SETTLE: Duration = Duration::from_millis(200);

/// How often the document is opened warm; the one in the middle counts.
const OPENINGS: usize = 3;

/// What one opening took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    ms: f64,
    cpu_ms: Option<f64>,
    bytes: u64,
}

/// The document comes in, is opened, survives a restart, and is opened again.
pub(super) async fn run(
    dialect: Dialect,
    target: &mut Target,
    world: &World,
    floor: &mut Vec<Figure>,
) -> Outcome<Found> {
    let (document, large) = (new_document(), prepared(world.sizes.cold_changes)?);
    let heads = large.get_heads();
    let repo = Dialect::Repo;
    let voice = repo.voice(Place::new(&document, 0), large, false);
    // Who brings it stays, so that the document is not unloaded.
    let author = target.open(repo, &document, voice, world.sizes.patience).await?;
    let mut costs = Vec::new();
    for _ in 0..OPENINGS {
        target.quiet().await;
        costs.push(open(dialect, target, world, (&document, &heads)).await?);
    }
    let warm = middle(&costs).ok_or("it was not opened")?;
    let mut found = Found::default();
    let names = ["loaded: time", "loaded: server CPU"];
    found.figures.extend(figures(warm, names));
    found.figures.push(figure("bytes", "KiB", kib(warm.bytes)));
    found.add("loaded: memory", "MiB", target.memory().map(|(now, _)| mib(now)));
    drop(author);
    let names_cold = ["after restart: time", "after restart: server CPU"];
    if target.is_ours() {
        target.restart()?;
        target.quiet().await;
        let cold = open(dialect, target, world, (&document, &heads)).await?;
        found.figures.extend(figures(cold, names_cold));
        found.add("after restart: memory", "MiB", target.memory().map(|(now, _)| mib(now)));
    } else {
        found.warnings.push("a server that runs elsewhere is not restarted".to_owned());
    }
    if world.newcomer(target, repo, &document).await?.voice.heads() != heads {
        return Err("a newcomer is given another document".to_owned());
    }
    let relay = Target::relay(&world.sources)?;
    let mut costs = Vec::new();
    for _ in 0..OPENINGS {
        costs.push(gift(&relay, warm.bytes).await?);
    }
    let given = middle(&costs).ok_or("the relay gave nothing")?;
    floor.extend(figures(given, names));
    floor.extend(figures(given, names_cold));
    Ok(found)
}

fn figures(cost: Cost, [time, cpu]: [&'static str; 2]) -> Vec<Figure> {
    let cpu = cost.cpu_ms.map(|cpu_ms| figure(cpu, "ms", cpu_ms));
    [figure(time, "ms", cost.ms)].into_iter().chain(cpu).collect()
}

/// Of each figure the one in the middle.
fn middle(costs: &[Cost]) -> Option<Cost> {
    let half = |of: fn(&Cost) -> Option<f64>| {
        let mut values: Vec<f64> = costs.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (ms, cpu_ms) = (half(|cost| Some(cost.ms))?, half(|cost| cost.cpu_ms));
    costs.first().map(|cost| Cost { ms, cpu_ms, ..*cost })
}

/// A client that has nothing opens the document; one of Automerge must be told of its heads.
async fn open(
    dialect: Dialect,
    target: &Target,
    world: &World,
    (document, heads): (&str, &[ChangeHash]),
) -> Outcome<Cost> {
    let place = Place::new(document, super::LOOKER);
    let voice = match dialect {
        Dialect::Json | Dialect::Original => dialect.voice(place, Automerge::new(), false),
        Dialect::Crdt | Dialect::Repo => dialect.listener(place, Vec::new(), false),
    };
    let (mut meter, started) = (target.meter(), now());
    let client = target.open(dialect, document, voice, world.sizes.patience).await?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    sleep(SETTLE).await;
    let cpu_ms = meter.as_mut().map(|meter| meter.lap_ns() as f64 / 1e6);
    if dialect.is_automerge() && client.voice.heads() != heads {
        return Err("a client was told of other heads".to_owned());
    }
    Ok(Cost { ms, cpu_ms, bytes: client.socket.traffic.bytes_in })
}

/// The relay gives so many bytes to one who connects.
async fn gift(relay: &Target, bytes: u64) -> Outcome<Cost> {
    let (mut meter, started) = (relay.meter(), now());
    let mut socket = Socket::connect(&relay.gift(bytes)).await?;
    socket.hear().await?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    sleep(SETTLE).await;
    let cpu_ms = meter.as_mut().map(|meter| meter.lap_ns() as f64 / 1e6);
    Ok(Cost { ms, cpu_ms, bytes: socket.traffic.bytes_in })
}
