//! Sockets that joined and say nothing: what each costs in memory.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{World, explained};
use crate::Outcome;
use crate::flags::Kind;
use crate::link::{Link, connect};
use crate::process::Server;
use crate::table::{Figure, figure};

/// How long the sockets stand before the memory is read.
const SETTLE: Duration = Duration::from_secs(1);

const READY_PATIENCE: Duration = Duration::from_secs(20);

/// Both dialects where a server speaks two, each at a server of its own.
pub(super) async fn run(kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let server = Server::start(kind)?;
    let outcome = automerge(&server, world).await;
    let mut figures = explained(&server, outcome)?;
    if kind == Kind::Statehouse {
        let server = Server::start(kind)?;
        let outcome = json(&server, world).await;
        figures.extend(explained(&server, outcome)?);
    }
    Ok(figures)
}

async fn automerge(server: &Server, world: &World) -> Outcome<Vec<Figure>> {
    // What the first socket brings into memory for good is not counted.
    let first = Link::open(&server.url(), "first").await?;
    sleep(SETTLE).await;
    let (before, mut links) = (server.memory().0, Vec::new());
    for n in 0..world.flags.sessions {
        links.push(Link::open(&server.url(), &format!("idle-{n}")).await?);
    }
    sleep(SETTLE).await;
    let kib = per_socket(server, before, links.len());
    drop((first, links));
    Ok(vec![figure("memory per socket", "KiB", kib)])
}

async fn json(server: &Server, world: &World) -> Outcome<Vec<Figure>> {
    let url = server.json_url();
    let first = ready(&url).await?;
    sleep(SETTLE).await;
    let (before, mut sockets) = (server.memory().0, Vec::new());
    for _ in 0..world.flags.sessions {
        sockets.push(ready(&url).await?);
    }
    sleep(SETTLE).await;
    let kib = per_socket(server, before, sockets.len());
    drop((first, sockets));
    Ok(vec![figure("memory per JSON socket", "KiB", kib)])
}

/// A JSON socket whose hello, which asks for no store, is answered.
async fn ready(url: &str) -> Outcome<impl Sized> {
    let mut socket = connect(url).await?;
    let hello = r#"{"type":"hello","seqs":{},"stores":[],"caps":["ready"]}"#;
    let sent = socket.send(Message::text(hello)).await;
    sent.map_err(|error| format!("send: {error}"))?;
    loop {
        let heard = timeout(READY_PATIENCE, socket.next()).await;
        match heard.map_err(|_elapsed| "no answer to hello".to_owned())? {
            Some(Ok(Message::Text(text))) if text.contains(r#""ready""#) => return Ok(socket),
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                return Err("the socket closed before it was ready".to_owned());
            }
            Some(Ok(_)) => {}
        }
    }
}

fn per_socket(server: &Server, before: u64, sockets: usize) -> f64 {
    server.memory().0.saturating_sub(before) as f64 / 1_024.0 / sockets as f64
}
