//! Sockets that never read, beside others that do: do these notice?

use std::time::Duration;

use super::{Found, World, document_of, mib};
use crate::bench::Outcome;
use crate::bench::client::{Client, Pace};
use crate::bench::figures::percentile;
use crate::bench::run::{Measured, Run};
use crate::bench::socket::Way;
use crate::bench::target::Target;
use crate::bench::voice::{Dialect, Place};

/// Time from one edit to the next.
const PERIOD: Duration = Duration::from_millis(50);

/// Bytes that a JSON edit carries along, so that what is not read becomes much.
const PADDING: usize = 4 << 10;

/// All read: what the relay does, and the server without slow ones.
pub(super) async fn floor(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let (measured, _) = beside(dialect, target, world, 0).await?;
    let mut found = Found::default();
    say(&mut found, &measured, ["delivered, p50", "delivered, p99"]);
    Ok(found)
}

/// First all read, then a tenth never does.
pub(super) async fn run(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let mut found = Found::default();
    let (measured, grown) = beside(dialect, target, world, 0).await?;
    let p99 = percentile(&measured.delivered_ms, 0.99);
    say(&mut found, &measured, ["none slow: delivered, p50", "none slow: delivered, p99"]);
    found.add("none slow: memory grew", "MiB", grown);
    let slow = world.sizes.sockets / 10;
    let (measured, grown) = beside(dialect, target, world, slow).await?;
    say(&mut found, &measured, ["delivered, p50", "delivered, p99"]);
    found.add("memory grew", "MiB", grown);
    let with = percentile(&measured.delivered_ms, 0.99);
    let times = (p99 > 0.0).then(|| with / p99);
    found.add("p99 with slow ones, to without", "x", times);
    Ok(found)
}

fn say(found: &mut Found, measured: &Measured, [half, most]: [&'static str; 2]) {
    found.add(half, "ms", Some(percentile(&measured.delivered_ms, 0.5)));
    found.add(most, "ms", Some(percentile(&measured.delivered_ms, 0.99)));
    found.warn_if_busy(measured.busy);
}

/// A writer, listeners, and so many that open the document and then read nothing; also by how
/// many MiB the server's memory grew.
async fn beside(
    dialect: Dialect,
    target: &Target,
    world: &World,
    slow: usize,
) -> Outcome<(Measured, Option<f64>)> {
    let document = if slow == 0 { document_of(dialect) } else { "slow".to_owned() };
    let author = Place { padding: PADDING, ..Place::new(&document, 0) };
    let voice = dialect.voice(author, world.small.fork(), target.copies);
    let author = target.open(dialect, &document, voice, world.sizes.patience).await?;
    let heads = author.voice.heads();
    let mut run = Run::new();
    let readers = world.sizes.sockets.saturating_sub(slow).max(1);
    for n in 0..readers {
        // A copying server has nothing to give, so its clients have the document.
        let held = if target.copies { heads.clone() } else { Vec::new() };
        let number = u32::try_from(n).unwrap_or(0).saturating_add(1);
        let voice = dialect.listener(Place::new(&document, number), held, target.copies);
        let client = target.open(dialect, &document, voice, world.sizes.patience).await?;
        run.add(client, Pace::Silent);
    }
    let mut deaf = Vec::new();
    for _ in 0..slow {
        let way = Way { deaf: true, ..target.way(dialect, &document) };
        let voice = dialect.listener(Place::new(&document, super::LOOKER), Vec::new(), false);
        deaf.push(Client::open(&way, &document, voice, world.sizes.patience).await?);
    }
    let before = target.memory().map(|(now, _)| now);
    run.add(author, Pace::Every(PERIOD, PERIOD));
    let measured = run.measure(target.meter(), world.sizes.span(readers)).await?;
    let after = target.memory().map(|(now, _)| now);
    world.check(target, dialect, &measured).await?;
    drop(deaf);
    let grown = before.zip(after).map(|(before, after)| mib(after.saturating_sub(before)));
    Ok((measured, grown))
}
