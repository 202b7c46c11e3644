//! The floor: a relay that only copies.
//!
//! All sockets of one path are a room. What one of them says goes to all of them as it is, also
//! back to the author, who so knows that it arrived. Nothing is looked into, kept or merged.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Path;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{copy, sink, stdin};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Outcome, words};
use crate::limits::{BENCH_RELAY_GIFT_BYTES_MAX, BENCH_RELAY_MESSAGES_MAX, BENCH_RELAY_READ_BYTES};

/// The sockets of each room, each with the number it came by.
type Rooms = Arc<Mutex<BTreeMap<String, BTreeMap<u64, mpsc::Sender<Message>>>>>;

/// Serves on a port of this machine that the system chooses, says where on standard output, and
/// goes on until standard input ends: with whoever started it, then, also where he is killed.
pub async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(words)?;
    let address = listener.local_addr().map_err(words)?;
    writeln!(std::io::stdout(), "listening on http://{address}").map_err(words)?;
    // Small frames must not wait for each other.
    let prompt = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let (mut input, mut nowhere) = (stdin(), sink());
    tokio::select! {
        served = async { axum::serve(prompt, router()).await } => served.map_err(words),
        // What is said there means nothing.
        ended = copy(&mut input, &mut nowhere) => ended.map(drop).map_err(words),
    }
}

/// `/room/{name}` as above; `/give/{bytes}` sends one message of that length, and then listens.
fn router() -> Router {
    let rooms = Rooms::default();
    let room = move |Path(name): Path<String>, upgrade: WebSocketUpgrade| {
        let rooms = Arc::clone(&rooms);
        let upgrade = upgrade.max_message_size(usize::MAX).max_frame_size(usize::MAX);
        // As little as it can do with.
        let upgrade = upgrade.read_buffer_size(BENCH_RELAY_READ_BYTES);
        async move { upgrade.on_upgrade(move |socket| stay(socket, rooms, name)) }
    };
    let give = |Path(bytes): Path<usize>, upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |mut socket| async move {
            let gift = vec![0; bytes.min(BENCH_RELAY_GIFT_BYTES_MAX)];
            drop(socket.send(Message::Binary(gift.into())).await);
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    Router::new().route("/room/{name}", get(room)).route("/give/{bytes}", get(give))
}

async fn stay(socket: WebSocket, rooms: Rooms, name: String) {
    let (mut writer, mut reader) = socket.split();
    let (outbox, mut waiting) = mpsc::channel::<Message>(BENCH_RELAY_MESSAGES_MAX);
    let mine = {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(name.clone()).or_default();
        let mine = room.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        room.insert(mine, outbox);
        mine
    };
    let writing = tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            if writer.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = reader.next().await {
        if !matches!(message, Message::Binary(_) | Message::Text(_)) {
            continue;
        }
        let others: Vec<_> = {
            let rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.get(&name).into_iter().flat_map(BTreeMap::values).cloned().collect()
        };
        for other in others {
            // One that closed in between misses nothing.
            drop(other.send(message.clone()).await);
        }
    }
    if let Some(room) = rooms.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&name) {
        room.remove(&mine);
    }
    writing.abort();
}
