//! Very many sessions on one document with a long history.

use std::time::Duration;

use statehouse::bench::client::{Client, Pace};
use statehouse::bench::figures::{Figure, figure, percentile};
use statehouse::bench::replica::prepared;
use statehouse::bench::run::{Run, Span};
use statehouse::bench::target::Target;
use statehouse::bench::usage::Meter;
use statehouse::bench::voice::{Dialect, Place};
use statehouse::bench::work::{World, new_document};
use statehouse::bench::{Outcome, now};

/// Edits that go out to the crowd.
const EDITS: u32 = 20;

/// How long the crowd may take to come in; then it stays as large as it is.
const OPENING: Duration = Duration::from_mins(1);

/// From one edit to the next, in a crowd of the usual size.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) fn title(world: &World) -> String {
    let (sessions, changes) = (world.sizes.sockets, world.sizes.cold_changes);
    format!("crowd: {sessions} returning sessions, {changes} changes, {EDITS} edits")
}

/// All come in, then one edit a second goes out to all.
pub(crate) async fn run(target: &Target, world: &World) -> Outcome<Vec<Figure>> {
    let (document, sizes, dialect) = (new_document(), &world.sizes, Dialect::Repo);
    let large = prepared(sizes.cold_changes)?;
    let heads = large.get_heads();
    let author = dialect.voice(Place::new(&document, 0), large, target.copies);
    let author = target.open(dialect, &document, author, sizes.patience).await?;
    let before = target.memory().map(|(now, _)| now).unwrap_or_default();
    let (mut meter, started) = (target.meter(), now());
    let mut crowd: Vec<Client> = Vec::new();
    while crowd.len() < sizes.sockets && started.elapsed() < OPENING {
        let number = u32::try_from(crowd.len()).unwrap() + 1;
        let voice = dialect.listener(Place::new(&document, number), heads.clone(), target.copies);
        crowd.push(target.open(dialect, &document, voice, sizes.patience).await?);
    }
    let cpu_ns = meter.as_mut().map_or(0, Meter::lap_ns);
    let opened = crowd.len();
    let grown = target.memory().map_or(0, |(now, _)| now.saturating_sub(before));
    let period = if sizes.sockets < 100 { PERIOD / 10 } else { PERIOD };
    let mut run = Run::new();
    run.add(author, Pace::Every(period / 2, period));
    for client in crowd {
        run.add(client, Pace::Silent);
    }
    // No warm-up, and no edit more than was asked for: the writing stops between two of them.
    let span = Span {
        warm: Duration::ZERO,
        measured: period * EDITS,
        patience: sizes.patience,
        others: opened as u64,
    };
    let measured = run.measure(target.meter(), span).await?;
    let us = measured.cpu_ns.unwrap_or_default() as f64 / 1e3;
    let most = target.memory().map_or(0, |(_, most)| most);
    let opened = opened as f64;
    Ok(vec![
        figure("sessions opened", "", opened),
        figure("CPU per session", "us", cpu_ns as f64 / 1e3 / opened),
        figure("memory per session", "KiB", grown as f64 / 1_024.0 / opened),
        figure("CPU per edit", "us", us / measured.counts.made.max(1) as f64),
        figure("CPU per delivery", "us", us / measured.counts.seen.max(1) as f64),
        figure("delivered, p50", "ms", percentile(&measured.delivered_ms, 0.5)),
        figure("delivered, p99", "ms", percentile(&measured.delivered_ms, 0.99)),
        figure("memory at most", "MiB", most as f64 / f64::from(1 << 20)),
    ])
}
