//! The servers that this bench is itself, when it is told to: samod, and the bare relay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures_util::{SinkExt as _, StreamExt as _};
use samod::storage::TokioFilesystemStorage;
use samod::{Repo, ShareConfig};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Bytes;

use crate::flags::Kind;
use crate::frame;

/// Frames that wait for one socket of the relay.
const OUTBOX_FRAMES_MAX: usize = 4_096;

/// Serves until the process is killed.
pub(crate) async fn serve(kind: Kind, data: &Path) {
    let app = match kind {
        Kind::Samod => samod(data).await,
        _ => relay(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    // Small frames must not wait for each other: the stock server sends them at once too.
    let prompt = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    axum::serve(prompt, app).await.unwrap();
}

/// samod as a sync server is set up: documents are not offered, only given to who asks for them.
async fn samod(data: &Path) -> Router {
    let repo = Repo::build_tokio()
        .with_peer_id("samod".into())
        .with_storage(TokioFilesystemStorage::new(data))
        .with_share_policy(ShareConfig::read_write().with_announce(false))
        .load()
        .await;
    let acceptor = repo.make_acceptor("ws://127.0.0.1/".parse().unwrap()).unwrap();
    // The repository stops when its last handle is gone.
    let kept = Arc::new(repo);
    let answer = move |upgrade: WebSocketUpgrade| {
        let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
        async move {
            let upgrade = upgrade.max_message_size(usize::MAX).max_frame_size(usize::MAX);
            upgrade.on_upgrade(move |socket| async move {
                acceptor.accept_axum(socket, None).unwrap();
                drop(kept);
            })
        }
    };
    Router::new().route("/", get(answer))
}

/// The sockets on each document.
type Documents = Arc<Mutex<BTreeMap<String, Vec<mpsc::Sender<Bytes>>>>>;

/// The floor: a `request` puts a socket on a document, and is returned; a `sync` frame goes to
/// all sockets on its document as it is, also to its author, who so knows that it arrived.
fn relay() -> Router {
    let documents = Documents::default();
    let answer = move |upgrade: WebSocketUpgrade| {
        let documents = Arc::clone(&documents);
        async move { upgrade.on_upgrade(move |socket| relay_socket(socket, documents)) }
    };
    Router::new().route("/", get(answer))
}

async fn relay_socket(socket: WebSocket, documents: Documents) {
    let (mut writer, mut reader) = socket.split();
    let (outbox, mut waiting) = mpsc::channel::<Bytes>(OUTBOX_FRAMES_MAX);
    let writing = tokio::spawn(async move {
        while let Some(bytes) = waiting.recv().await {
            if writer.send(Message::Binary(bytes)).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = reader.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Ok(said) = frame::read(&bytes) else { break };
        let to = match said.kind.as_str() {
            "join" => {
                let answer = Bytes::from(frame::peer("relay", &said.sender));
                if outbox.send(answer).await.is_err() {
                    break;
                }
                continue;
            }
            "request" => {
                let mut documents = documents.lock().unwrap();
                documents.entry(said.document).or_default().push(outbox.clone());
                vec![outbox.clone()]
            }
            _ => documents.lock().unwrap().get(&said.document).cloned().unwrap_or_default(),
        };
        for other in to {
            // A socket that closed stays on its list: documents live as long as the bench.
            drop(other.send(bytes.clone()).await);
        }
    }
    writing.abort();
}
