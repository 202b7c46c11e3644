//! Coming back after many commits: one client, and many at once.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::{Found, World, document_of, kib};
use crate::bench::client::Client;
use crate::bench::figures::{Figure, figure};
use crate::bench::socket::Socket;
use crate::bench::target::Target;
use crate::bench::usage::Meter;
use crate::bench::voice::{Dialect, Place};
use crate::bench::{Outcome, now};

/// How long a server that has said everything is left to finish what it does beside.
const SETTLE: Duration = Duration::from_millis(200);

/// Edits that the writer has in flight.
const CHUNK: u64 = 16;

/// What the figures are called: time, processor time each, bytes each.
const ONE: [&str; 3] = ["one: time", "one: server CPU", "one: bytes"];
const MANY: [&str; 3] = ["many: time for all", "many: server CPU, each", "many: bytes, each"];

/// A client leaves, others write, and it comes back.
pub(super) async fn run(
    dialect: Dialect,
    target: &Target,
    world: &World,
    floor: &mut Vec<Figure>,
) -> Outcome<Found> {
    let document = document_of(dialect);
    let writer = Dialect::Json.voice(Place::new(&document, 1), world.small.fork(), false);
    let patience = world.sizes.patience;
    let mut writer = target.open(Dialect::Json, &document, writer, patience).await?;
    writer.edit_and_wait(1, patience).await?;
    let left = world.newcomer(target, dialect, &document).await?.voice;
    for done in (0..world.sizes.missed).step_by(CHUNK as usize) {
        writer.edit_and_wait(CHUNK.min(world.sizes.missed - done), patience).await?;
    }
    let newest = world.newcomer(target, dialect, &document).await?.voice.holdings();
    let mut found = Found::default();
    let relay = Target::relay(&world.sources)?;
    for (clients, names) in [(1, ONE), (world.sizes.returning, MANY)] {
        target.quiet().await;
        let (mut meter, started) = (target.meter(), now());
        let coming = (0..clients).map(|n| {
            let number = u32::try_from(n).unwrap_or(0).saturating_add(2);
            let place = Place { seq: left.seq(), ..Place::new(&document, number) };
            let voice = dialect.listener(place, left.heads(), false);
            target.open(dialect, &document, voice, patience)
        });
        let came: Vec<Client> = try_join_all(coming).await?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        sleep(SETTLE).await;
        let cpu_ns = meter.as_mut().map(Meter::lap_ns);
        if came.iter().any(|client| !is_current(client, &newest)) {
            return Err("a client that came back lacks something".to_owned());
        }
        let bytes: u64 = came.iter().map(|client| client.socket.traffic.bytes_in).sum();
        found.figures.extend(figures(names, (ms, cpu_ns, bytes), clients));
        floor.extend(given(&relay, bytes / clients.max(1) as u64, clients, names).await?);
    }
    Ok(found)
}

/// Whether a client that came back has the newest of all that it was told of.
fn is_current(client: &Client, newest: &crate::bench::voice::Holdings) -> bool {
    let held = client.voice.holdings();
    // A patch says only what changed since; all that it says must be the newest.
    !held.is_empty() && held.iter().all(|(name, edit)| newest.get(name) == Some(edit))
}

fn figures(
    [time, cpu, bytes]: [&'static str; 3],
    (ms, cpu_ns, all): (f64, Option<u64>, u64),
    clients: usize,
) -> Vec<Figure> {
    let each = clients.max(1) as f64;
    let cpu = cpu_ns.map(|ns| figure(cpu, "ms", ns as f64 / 1e6 / each));
    let said = [figure(time, "ms", ms), figure(bytes, "KiB", kib(all) / each)];
    said.into_iter().chain(cpu).collect()
}

/// The same bytes from the relay.
async fn given(
    relay: &Target,
    bytes: u64,
    clients: usize,
    names: [&'static str; 3],
) -> Outcome<Vec<Figure>> {
    let (mut meter, started, way) = (relay.meter(), now(), relay.gift(bytes));
    let coming = (0..clients).map(|_| async {
        let mut socket = Socket::connect(&way).await?;
        socket.hear().await?;
        Ok::<_, String>(socket)
    });
    let came = try_join_all(coming).await?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    sleep(SETTLE).await;
    let cpu_ns = meter.as_mut().map(Meter::lap_ns);
    let bytes = came.iter().map(|socket| socket.traffic.bytes_in).sum();
    Ok(figures(names, (ms, cpu_ns, bytes), clients))
}
