//! Fresh clients that fetch a document with a long history.

use std::time::Duration;

use automerge::Automerge;
use tokio::time::sleep;

use super::{World, bring, explained, memory, new_document};
use crate::Outcome;
use crate::client::Client;
use crate::flags::Kind;
use crate::process::Server;
use crate::replica::{Follower as _, Replica};
use crate::table::{Figure, figure};

/// How long a server that has said everything is left to finish what it does beside.
const SETTLE: Duration = Duration::from_millis(200);

/// What one handshake took.
struct Cost {
    cpu_ms: f64,
    kib: f64,
}

/// The document comes in, is fetched, survives a restart, and is fetched again.
pub(super) async fn run(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let mut server = Server::start(kind)?;
    let outcome = Box::pin(run_at(&mut server, world)).await;
    explained(&server, outcome)
}

async fn run_at(server: &mut Server, world: &World) -> Outcome<Vec<Figure>> {
    let document = new_document();
    let large = Automerge::load(&world.large).map_err(|error| error.to_string())?;
    let heads = large.get_heads();
    let mut meter = server.meter();
    let author = bring(server, "author", (&document, large), &world.flags).await?;
    sleep(SETTLE).await;
    let import_ms = meter.lap_ns() as f64 / 1e6;
    drop(author);
    let fetched = fetch_all(server, &document, &heads, world).await?;
    let mut figures = figures(&fetched, ["server CPU, first", "server CPU, last"]);
    figures.extend(fetched.first().map(|cost| figure("bytes, first", "KiB", cost.kib)));
    figures.extend(fetched.last().map(|cost| figure("bytes, last", "KiB", cost.kib)));
    figures.push(figure("server CPU, importing", "ms", import_ms));
    figures.extend(memory(server));
    tokio::task::block_in_place(|| server.restart())?;
    let again = fetch_all(server, &document, &heads, world).await?;
    figures.extend(self::figures(&again, ["after restart, first", "after restart, last"]));
    Ok(figures)
}

fn figures(costs: &[Cost], [first, last]: [&'static str; 2]) -> Vec<Figure> {
    let first = costs.first().map(|cost| figure(first, "ms", cost.cpu_ms));
    first.into_iter().chain(costs.last().map(|cost| figure(last, "ms", cost.cpu_ms))).collect()
}

/// So many fresh clients, one after the other; each must get the whole document.
async fn fetch_all(
    server: &Server,
    document: &str,
    heads: &[automerge::ChangeHash],
    world: &World,
) -> Outcome<Vec<Cost>> {
    let (mut meter, mut costs) = (server.meter(), Vec::new());
    for n in 0..world.flags.handshakes {
        meter.lap_ns();
        let name = format!("fresh-{n}");
        let side = (Replica::new(Automerge::new(), false), false);
        let patience = world.flags.patience();
        let client = Client::open(&server.url(), &name, document, side, patience).await?;
        sleep(SETTLE).await;
        if client.side.heads() != heads {
            return Err("a fresh client got another document".to_owned());
        }
        let traffic = client.link.traffic;
        costs.push(Cost {
            cpu_ms: meter.lap_ns() as f64 / 1e6,
            kib: (traffic.bytes_in + traffic.bytes_out) as f64 / 1_024.0,
        });
    }
    Ok(costs)
}
