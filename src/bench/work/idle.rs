//! Connections that say nothing: what each costs to make, and to keep.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Found, World, kib, us_each};
use crate::bench::figures::figure;
use crate::bench::socket::Socket;
use crate::bench::target::Target;
use crate::bench::usage::Meter;
use crate::bench::voice::Dialect;
use crate::bench::{Outcome, frame, now};
use crate::limits;

/// How long the sockets stand before the memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Files that a process needs besides its sockets.
const OTHER_FILES: u64 = 100;

/// How long one connection may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// Opens connections one after the other, and lets them stand.
pub(super) async fn run(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let mut found = Found::default();
    let wanted = world.sizes.idle;
    let files = crate::bench::process::raise_open_files();
    let allowed = files.map_or(wanted as u64, |files| files.saturating_sub(OTHER_FILES));
    let connections = wanted.min(usize::try_from(allowed).unwrap_or(wanted));
    if connections < wanted {
        found.warnings.push(format!("the system allows a process only {connections} connections"));
    }
    // What the first socket brings into memory for good is not counted.
    let first = ready(dialect, target, 0).await?;
    sleep(SETTLE).await;
    let before = target.memory().map(|(now, _)| now);
    let (mut meter, started, mut sockets) = (target.meter(), now(), JoinSet::new());
    let tenth = (connections / 10).max(1);
    let mut laps = Vec::new();
    if let Some(meter) = &mut meter {
        meter.lap_ns();
    }
    for n in 1..=connections {
        let mut socket = ready(dialect, target, n).await?;
        // Each is listened to, so that the server's pings are answered.
        sockets.spawn(async move { while socket.hear().await.is_ok() {} });
        if n % tenth == 0 {
            laps.extend(meter.as_mut().map(Meter::lap_ns));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    if let Some(meter) = &mut meter {
        meter.lap_ns();
    }
    let after = target.memory().map(|(now, _)| now);
    let rest = rest(dialect, target, world);
    if let Some(rest) = rest {
        sleep(rest).await;
    }
    let rest_ns = meter.as_mut().map(Meter::lap_ns);
    if sockets.try_join_next().is_some() {
        return Err("an idle connection was closed".to_owned());
    }
    let all_ns = (!laps.is_empty()).then(|| laps.iter().sum::<u64>());
    found.figures.push(figure("connections", "", connections as f64));
    found.figures.push(figure("connections made", "1/s", connections as f64 / seconds));
    found.add("CPU per connection", "us", us_each(all_ns, (tenth * laps.len()) as u64));
    found.add("CPU each, of the first tenth", "us", us_each(laps.first().copied(), tenth as u64));
    found.add("CPU each, of the last tenth", "us", us_each(laps.last().copied(), tenth as u64));
    let idle_ms = rest_ns.zip(rest).map(|(ns, rest)| ns as f64 / 1e6 / rest.as_secs_f64());
    found.add("CPU of all, in a second idle", "ms", idle_ms);
    let grown = before.zip(after).map(|(before, after)| kib(after.saturating_sub(before)));
    found.add("memory per connection", "KiB", grown.map(|grown| grown / connections as f64));
    drop(first);
    Ok(found)
}

/// How long a server of this dialect is watched while nothing happens. It pings each socket once in
/// an interval, so less than one would tell of a part of that, or of nothing; the relay never does.
fn rest(dialect: Dialect, target: &Target, world: &World) -> Option<Duration> {
    let interval = match dialect {
        Dialect::Repo => limits::REPO_PING_MS,
        Dialect::Json | Dialect::Original | Dialect::Crdt => limits::PING_MS,
    };
    let watched = world.sizes.pings >= 1.0 && !target.copies;
    watched.then(|| Duration::from_millis(interval).mul_f64(world.sizes.pings))
}

/// A connection whose first words are answered.
async fn ready(dialect: Dialect, target: &Target, n: usize) -> Outcome<Socket> {
    let mut socket = Socket::connect(&target.way(dialect, &format!("idle-{n}"))).await?;
    if target.copies {
        return Ok(socket);
    }
    if dialect == Dialect::Repo {
        socket.say(Message::binary(frame::join(&format!("idle-{n}")))).await?;
    } else {
        let hello = r#"{"type":"hello","seqs":{},"stores":[],"caps":["ready"]}"#;
        socket.say(Message::text(hello)).await?;
    }
    let heard = timeout(READY, socket.hear()).await;
    heard.map_err(|_elapsed| "no answer to the first words".to_owned())??;
    Ok(socket)
}
