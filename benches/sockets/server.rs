//! The servers that are compared, and one that this bench is itself when it is told to: samod.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use samod::storage::TokioFilesystemStorage;
use samod::{Repo, ShareConfig};
use statehouse::bench::Outcome;
use statehouse::bench::target::{Durable, Sources, Target};
use statehouse::bench::work::World;
use tokio::net::TcpListener;

use crate::flags::Kind;
use crate::node;

/// This package's own binary, which is also the relay.
pub(crate) fn sources() -> Sources {
    let program = env!("CARGO_BIN_EXE_statehouse").into();
    Sources { program, elsewhere: None, durable: Durable::Strict }
}

/// Starts a server without any data.
pub(crate) fn start(kind: Kind, world: &World) -> Outcome<Target> {
    match kind {
        Kind::Relay => Target::relay(&world.sources),
        Kind::Statehouse => Target::server(&world.sources),
        Kind::Samod => Target::foreign(samod_command),
        Kind::Node => Target::foreign(node_command),
    }
}

fn samod_command(folder: &Path) -> Outcome<(Command, Option<String>)> {
    let myself = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(myself);
    command.arg("--be-samod").arg(folder.join("data"));
    Ok((command, None))
}

fn node_command(folder: &Path) -> Outcome<(Command, Option<String>)> {
    node::install()?;
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(node::script()).env("DATA_DIR", folder.join("data"));
    command.env("PORT", port.to_string());
    Ok((command, Some(format!("127.0.0.1:{port}"))))
}

/// A port that nobody uses now, for a server that cannot choose one itself.
fn free_port() -> Outcome<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| error.to_string())
}

/// Serves until the process is killed.
pub(crate) async fn serve_samod(data: &Path) {
    let app = samod(data).await;
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
