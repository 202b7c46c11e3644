//! Workloads of clients that edit: a steady stream, flat out, and many documents.

use std::time::Duration;

use super::{Found, Work, World, document_of, mib, us_each};
use crate::bench::Outcome;
use crate::bench::client::Pace;
use crate::bench::figures::{figure, percentile};
use crate::bench::run::{Measured, Run};
use crate::bench::target::Target;
use crate::bench::voice::Dialect;

/// How many edits a writer that is flat out leaves unacknowledged.
pub(super) const WINDOW: u64 = 10;

/// Clients of one or many documents, each at its pace.
pub(super) async fn run(
    work: Work,
    dialect: Dialect,
    target: &Target,
    world: &World,
) -> Outcome<Found> {
    let sizes = &world.sizes;
    let (documents, clients) = match work {
        Work::Many => (sizes.documents, 2),
        Work::Hot => (1, sizes.writers),
        _ => (1, sizes.clients),
    };
    let rate = if work == Work::Many { (documents * clients) as f64 } else { sizes.rate };
    let period = Duration::from_secs_f64((documents * clients) as f64 / rate);
    let mut opened = Vec::new();
    for d in 0..documents {
        let document = match documents {
            1 => document_of(dialect),
            _ if dialect == Dialect::Repo => super::new_document(),
            _ => format!("bench-{d}"),
        };
        for n in 0..clients {
            opened.push(world.client(target, dialect, (&document, n)).await?);
        }
    }
    let (mut run, count) = (Run::new(), opened.len() as f64);
    for (n, client) in opened.into_iter().enumerate() {
        // Evenly spread over the period.
        let pace = match work {
            Work::Hot => Pace::Window(WINDOW),
            _ => Pace::Every(period.mul_f64(n as f64 / count), period),
        };
        run.add(client, pace);
    }
    let measured = run.measure(target.meter(), sizes.span(clients.saturating_sub(1))).await?;
    world.check(target, dialect, &measured).await?;
    Ok(found(work, dialect, target, &measured))
}

fn found(work: Work, dialect: Dialect, target: &Target, measured: &Measured) -> Found {
    let counts = measured.counts;
    let mut found = Found::default();
    found.add("CPU per edit", "us", us_each(measured.cpu_ns, counts.made));
    found.add("CPU per delivery", "us", us_each(measured.cpu_ns, counts.seen));
    if work == Work::Hot {
        found.figures.push(figure("edits acknowledged", "1/s", measured.acked_per_second));
    }
    if dialect.acknowledges() {
        for (what, part) in [("acknowledged, p50", 0.5), ("acknowledged, p99", 0.99)] {
            found.figures.push(figure(what, "ms", percentile(&measured.acked_ms, part)));
        }
    }
    let parts = [("delivered, p50", 0.5), ("delivered, p90", 0.9), ("delivered, p99", 0.99)];
    for (what, part) in parts {
        found.figures.push(figure(what, "ms", percentile(&measured.delivered_ms, part)));
    }
    let made = measured.made_in_all;
    let frames = measured.frames_in as f64 / made.max(1) as f64;
    found.figures.push(figure("messages to clients, per edit", "", frames));
    let memory = target.memory().map(|(_, most)| mib(most));
    found.add("memory at most", "MiB", memory);
    found.figures.push(figure("edits made", "", made as f64));
    found.warn_if_busy(measured.busy);
    found
}
