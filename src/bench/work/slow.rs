//! Sockets that do not read for long, beside others that do: do these notice?
//!
//! What is written is more than the server keeps for one socket, so that it has to drop what it
//! owes, or to close. At the end the slow ones read at last: that shows which of the two it did.

use std::time::Duration;

use tokio::time::timeout;

use super::{Found, World, document_of, mib};
use crate::bench::Outcome;
use crate::bench::client::{Client, Pace};
use crate::bench::figures::percentile;
use crate::bench::run::{Measured, Run, Span};
use crate::bench::socket::{Traffic, Way};
use crate::bench::target::Target;
use crate::bench::voice::{Dialect, Holdings, Place};
use crate::limits;

/// What a server that is started for this keeps for a socket, in bytes.
pub(super) const OUTBOX_BYTES: usize = 256 << 10;

/// What the kernel may keep for one besides, in bytes, with some to spare: Linux lets a sender's
/// buffer grow to 4 MiB.
const KERNEL_BYTES: usize = 9 << 19;

/// Bytes that an edit carries along, so that what is not read becomes much.
const PADDING: usize = 64 << 10;

/// The least time from one edit to the next.
const PERIOD: Duration = Duration::from_millis(20);

/// What all readers are to take in a second, at most, in bytes: it is not their number that is
/// measured.
const TAKEN_BYTES_PER_S: usize = 100 << 20;

/// How many edits of which size are made, and when.
#[derive(Debug, Clone, Copy)]
struct Plan {
    period: Duration,
    span: Span,
    padding: usize,
}

/// What became of the slow ones when they read at last.
#[derive(Debug, Default)]
struct Late {
    /// They were told in fewer messages than there were edits.
    brought_up: usize,
    closed: usize,
    /// They were told all, one by one: they were never slow.
    told_all: usize,
}

/// All read: what the relay does, and the server without slow ones.
pub(super) async fn floor(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let (measured, ..) = beside(dialect, target, world, 0).await?;
    let mut found = Found::default();
    say(&mut found, &measured, ["delivered, p50", "delivered, p99"]);
    Ok(found)
}

/// First all read, then a tenth does not.
pub(super) async fn run(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let mut found = Found::default();
    let (measured, grown, _) = beside(dialect, target, world, 0).await?;
    let p99 = percentile(&measured.delivered_ms, 0.99);
    say(&mut found, &measured, ["none slow: delivered, p50", "none slow: delivered, p99"]);
    found.add("none slow: memory grew", "MiB", grown);
    let slow = world.sizes.sockets / 10;
    let (measured, grown, late) = beside(dialect, target, world, slow).await?;
    say(&mut found, &measured, ["delivered, p50", "delivered, p99"]);
    found.add("memory grew", "MiB", grown);
    let with = percentile(&measured.delivered_ms, 0.99);
    let times = (p99 > 0.0).then(|| with / p99);
    found.add("p99 with slow ones, to without", "x", times);
    found.add("slow ones brought up to date", "", Some(late.brought_up as f64));
    found.add("slow ones closed", "", Some(late.closed as f64));
    if late.told_all > 0 {
        let why = format!("{} slow ones were told all: the server kept it", late.told_all);
        if target.is_ours() {
            return Err(why);
        }
        found.warnings.push(why);
    }
    Ok(found)
}

fn say(found: &mut Found, measured: &Measured, [half, most]: [&'static str; 2]) {
    found.add(half, "ms", Some(percentile(&measured.delivered_ms, 0.5)));
    found.add(most, "ms", Some(percentile(&measured.delivered_ms, 0.99)));
    found.warn_if_busy(measured.busy);
}

impl Plan {
    /// More than a socket of this server is kept, for so many readers.
    fn of(target: &Target, world: &World, readers: usize) -> Self {
        let outbox = if target.is_ours() { OUTBOX_BYTES } else { limits::OUTBOX_BYTES_MAX };
        let edits = (outbox + KERNEL_BYTES).div_ceil(PADDING);
        let taken = Duration::from_secs_f64((readers * PADDING) as f64 / TAKEN_BYTES_PER_S as f64);
        let period = taken.max(PERIOD);
        let mut span = world.sizes.span(readers);
        span.measured = span.measured.max(period.mul_f64(edits as f64));
        Self { period, span, padding: PADDING }
    }
}

/// A writer, listeners, and so many that open the document and then do not read; also by how
/// many MiB the server's memory grew, and what became of those.
async fn beside(
    dialect: Dialect,
    target: &Target,
    world: &World,
    slow: usize,
) -> Outcome<(Measured, Option<f64>, Late)> {
    let document = if slow == 0 { document_of(dialect) } else { "slow".to_owned() };
    let patience = world.sizes.patience;
    let readers = world.sizes.sockets.saturating_sub(slow).max(1);
    let Plan { period, span, padding } = Plan::of(target, world, readers);
    let author = Place { padding, ..Place::new(&document, 0) };
    let voice = dialect.voice(author, world.small.fork(), target.copies);
    let author = target.open(dialect, &document, voice, patience).await?;
    let heads = author.voice.heads();
    let mut run = Run::new();
    for n in 0..readers {
        // A copying server has nothing to give, so its clients have the document.
        let held = if target.copies { heads.clone() } else { Vec::new() };
        let number = u32::try_from(n).unwrap_or(0).saturating_add(1);
        let voice = dialect.listener(Place::new(&document, number), held, target.copies);
        let client = target.open(dialect, &document, voice, patience).await?;
        run.add(client, Pace::Silent);
    }
    let mut deaf = Vec::new();
    for _ in 0..slow {
        let way = Way { deaf: true, ..target.way(dialect, &document) };
        let voice = dialect.listener(Place::new(&document, super::LOOKER), Vec::new(), false);
        deaf.push(Client::open(&way, &document, voice, patience).await?);
    }
    let before = target.memory().map(|(now, _)| now);
    run.add(author, Pace::Every(period, period));
    let measured = run.measure(target.meter(), span).await?;
    let after = target.memory().map(|(now, _)| now);
    world.check(target, dialect, &measured).await?;
    let late = at_last(deaf, &measured, &document, patience).await?;
    let grown = before.zip(after).map(|(before, after)| mib(after.saturating_sub(before)));
    Ok((measured, grown, late))
}

/// Lets the slow ones read. Those that the server has not closed must come to what all others
/// hold.
async fn at_last(
    deaf: Vec<Client>,
    measured: &Measured,
    document: &str,
    patience: Duration,
) -> Outcome<Late> {
    let mut late = Late::default();
    let Some(end) = measured.ends.get(document) else { return Ok(late) };
    for mut client in deaf {
        client.socket.traffic = Traffic::default();
        let read = timeout(patience, read_up_to(&mut client, &end.holdings)).await;
        let is_open =
            read.map_err(|_elapsed| "a slow client is not told the rest".to_owned())??;
        let place = match is_open {
            false => &mut late.closed,
            true if client.socket.traffic.frames_in < end.edits => &mut late.brought_up,
            true => &mut late.told_all,
        };
        *place += 1;
    }
    Ok(late)
}

/// Reads until the client holds this, or the socket ends; returns whether it is open.
async fn read_up_to(client: &mut Client, holdings: &Holdings) -> Outcome<bool> {
    while client.voice.holdings() != *holdings {
        let Ok(message) = client.socket.hear().await else { return Ok(false) };
        client.voice.hear(&message)?;
    }
    Ok(true)
}
