//! Workloads of clients that edit: a steady stream, flat out, and many documents.

use std::time::Duration;

use super::{World, bring, explained, join, memory, new_document};
use crate::Outcome;
use crate::client::Pace;
use crate::flags::Kind;
use crate::process::Server;
use crate::run::{Measured, Run};
use crate::table::{Figure, figure, percentile};

/// What the figures of a window are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) cpu: &'static str,
    rate: &'static str,
    half: &'static str,
    most: &'static str,
}

/// How many edits a writer leaves unacknowledged.
pub(super) const WINDOWS: [(u64, Names); 2] = [
    (
        1,
        Names {
            cpu: "CPU per edit",
            rate: "edits acknowledged",
            half: "acknowledged, p50",
            most: "acknowledged, p99",
        },
    ),
    (
        10,
        Names {
            cpu: "window 10: CPU per edit",
            rate: "window 10: edits acknowledged",
            half: "window 10: acknowledged, p50",
            most: "window 10: acknowledged, p99",
        },
    ),
];

/// One document, and clients that edit it in turn.
pub(super) async fn steady(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let server = Server::start(kind)?;
    let outcome = steady_at(&server, world).await;
    explained(&server, outcome)
}

async fn steady_at(server: &Server, world: &World) -> Outcome<Vec<Figure>> {
    let flags = &world.flags;
    let period = Duration::from_secs_f64(flags.clients as f64 / flags.rate);
    let paces = (0..flags.clients).map(|n| {
        // Evenly spread over the period.
        Pace::Every(period.mul_f64(n as f64 / flags.clients as f64), period)
    });
    let run = one_document(server, world, paces.collect()).await?;
    let others = flags.clients as u64 - 1;
    let measured = run.measure(server, flags, (flags.seconds, others)).await?;
    let mut figures = per_edit(&measured);
    figures.push(figure("frames to clients, per edit", "", frames_per_edit(&measured)));
    figures.extend(memory(server));
    Ok(figures)
}

/// One document, and writers that wait for nothing but their own acknowledgements.
pub(super) async fn hot(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (window, names) in WINDOWS {
        let server = Server::start(kind)?;
        let outcome = hot_at(&server, world, (window, names)).await;
        figures.extend(explained(&server, outcome)?);
    }
    Ok(figures)
}

async fn hot_at(
    server: &Server,
    world: &World,
    (window, names): (u64, Names),
) -> Outcome<Vec<Figure>> {
    let flags = &world.flags;
    let run = one_document(server, world, vec![Pace::Window(window); flags.writers]).await?;
    let others = flags.writers as u64 - 1;
    let measured = run.measure(server, flags, (flags.seconds, others)).await?;
    let edits = measured.counts.made.max(1) as f64;
    Ok(vec![
        figure(names.cpu, "us", measured.cpu_ns as f64 / 1e3 / edits),
        figure(names.rate, "1/s", measured.acked_per_second),
        figure(names.half, "ms", percentile(&measured.acked_ms, 0.5)),
        figure(names.most, "ms", percentile(&measured.acked_ms, 0.99)),
    ])
}

/// Clients of one document, each at its pace.
async fn one_document(server: &Server, world: &World, paces: Vec<Pace>) -> Outcome<Run> {
    let document = new_document();
    let author = bring(server, "author", (&document, world.small.fork()), &world.flags).await?;
    let mut clients = vec![author];
    while clients.len() < paces.len() {
        let name = format!("client-{}", clients.len());
        clients.push(join(server, &name, &document, world).await?);
    }
    let mut run = Run::new();
    for (client, pace) in clients.into_iter().zip(paces) {
        run.add(client, pace);
    }
    Ok(run)
}

/// Many documents with two writers each.
pub(super) async fn many(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let server = Server::start(kind)?;
    let outcome = many_at(&server, world).await;
    explained(&server, outcome)
}

async fn many_at(server: &Server, world: &World) -> Outcome<Vec<Figure>> {
    let flags = &world.flags;
    let mut clients = Vec::new();
    for n in 0..flags.documents {
        let document = new_document();
        let doc = world.small.fork();
        clients.push(bring(server, &format!("author-{n}"), (&document, doc), flags).await?);
        clients.push(join(server, &format!("second-{n}"), &document, world).await?);
    }
    let (mut run, second) = (Run::new(), Duration::from_secs(1));
    let count = clients.len() as f64;
    for (n, client) in clients.into_iter().enumerate() {
        run.add(client, Pace::Every(second.mul_f64(n as f64 / count), second));
    }
    let measured = run.measure(server, flags, (flags.seconds, 1)).await?;
    let mut figures = per_edit(&measured);
    figures.extend(memory(server));
    Ok(figures)
}

/// What a run cost for each edit and for each delivery, and how long deliveries took.
fn per_edit(measured: &Measured) -> Vec<Figure> {
    let us = measured.cpu_ns as f64 / 1e3;
    let counts = measured.counts;
    vec![
        figure("CPU per edit", "us", us / counts.made.max(1) as f64),
        figure("CPU per delivery", "us", us / counts.seen.max(1) as f64),
        figure("delivered, p50", "ms", percentile(&measured.delivered_ms, 0.5)),
        figure("delivered, p99", "ms", percentile(&measured.delivered_ms, 0.99)),
    ]
}

fn frames_per_edit(measured: &Measured) -> f64 {
    measured.frames_in as f64 / measured.made_in_all.max(1) as f64
}
