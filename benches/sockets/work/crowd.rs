//! Very many sessions on one document with a long history.

use std::time::Duration;

use automerge::Automerge;

use super::{World, bring, explained, memory, new_document};
use crate::client::{Client, Pace};
use crate::flags::{Flags, Kind};
use crate::process::Server;
use crate::replica::Watcher;
use crate::run::Run;
use crate::table::{Figure, figure, percentile};
use crate::{Outcome, now};

/// All come in, then one edit a second goes out to all.
pub(super) async fn run(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let server = Server::start(kind)?;
    let outcome = Box::pin(run_at(&server, world)).await;
    explained(&server, outcome)
}

async fn run_at(server: &Server, world: &World) -> Outcome<Vec<Figure>> {
    let (document, flags) = (new_document(), &world.flags);
    let large = Automerge::load(&world.large).map_err(|error| error.to_string())?;
    let heads = large.get_heads();
    let author = bring(server, "author", (&document, large), flags).await?;
    let (copied, before) = (server.only_copies(), server.memory().0);
    let (mut meter, started, mut crowd) = (server.meter(), now(), Vec::new());
    while crowd.len() < flags.sessions {
        if started.elapsed().as_secs_f64() > flags.opening {
            break;
        }
        // A copying server has nothing to give, so its clients always have the document.
        let held = if flags.fresh && !copied { Vec::new() } else { heads.clone() };
        let side = (Watcher::new(held, copied), copied);
        let name = format!("session-{}", crowd.len());
        let patience = flags.patience();
        crowd.push(Client::open(&server.url(), &name, &document, side, patience).await?);
    }
    let (cpu_ns, opened) = (meter.lap_ns(), crowd.len() as f64);
    let grown = server.memory().0.saturating_sub(before) as f64;
    let mut run = Run::new();
    run.add(author, pace(flags));
    for client in crowd {
        run.add(client, Pace::Silent);
    }
    // No warm-up, and no edit more than was asked for: the writing stops between two of them.
    let flags = Flags { warm: 0.0, ..flags.clone() };
    let seconds = period(&flags).as_secs_f64() * flags.crowd_edits as f64;
    let measured = run.measure(server, &flags, (seconds, opened as u64)).await?;
    let us = measured.cpu_ns as f64 / 1e3;
    let mut figures = vec![
        figure("sessions opened", "", opened),
        figure("CPU per session", "us", cpu_ns as f64 / 1e3 / opened),
        figure("memory per session", "KiB", grown / 1_024.0 / opened),
        figure("CPU per edit", "us", us / measured.counts.made.max(1) as f64),
        figure("CPU per delivery", "us", us / measured.counts.seen.max(1) as f64),
        figure("delivered, p50", "ms", percentile(&measured.delivered_ms, 0.5)),
        figure("delivered, p99", "ms", percentile(&measured.delivered_ms, 0.99)),
    ];
    figures.extend(memory(server));
    Ok(figures)
}

fn period(flags: &Flags) -> Duration {
    Duration::from_millis(if flags.test { 100 } else { 1_000 })
}

/// One edit a period, in the middle of it.
fn pace(flags: &Flags) -> Pace {
    Pace::Every(period(flags) / 2, period(flags))
}
