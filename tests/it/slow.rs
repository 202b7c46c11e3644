//! An automerge-repo client that does not read for a while.

use automerge::sync::{Message as Sync, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ROOT, ReadDoc as _};
use futures_util::{SinkExt as _, StreamExt as _};
use statehouse::ids::DocumentId;
use statehouse::protocol::repo::{RepoMessage, RepoMetadata};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::PATIENCE;
use crate::server::Server;

const DOCUMENT: DocumentId = DocumentId([7; 16]);
const EDITS: usize = 300;
/// What one edit writes: more, all in all, than the kernel keeps for one socket.
const EDIT_BYTES: usize = 50_000;

struct Client {
    name: &'static str,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    doc: AutoCommit,
    sync: State,
    /// Sync messages heard.
    heard: usize,
}

impl Client {
    async fn join(server: &Server, name: &'static str) -> Self {
        let (socket, _) = connect_async(server.automerge("slow")).await.unwrap();
        let (doc, sync) = (AutoCommit::new(), State::new());
        let mut client = Self { name, socket, doc, sync, heard: 0 };
        let (metadata, versions) = (RepoMetadata::default(), vec!["1".into()]);
        client.send(RepoMessage::Join { sender: name.into(), metadata, versions }).await;
        client
    }

    async fn send(&mut self, message: RepoMessage<'_>) {
        self.socket.send(Message::binary(message.encode())).await.unwrap();
    }

    async fn say(&mut self) {
        let Some(message) = self.doc.sync().generate_sync_message(&mut self.sync) else { return };
        let (sender, target) = (self.name.into(), "server".into());
        let (document, data) = (DOCUMENT, message.encode().into());
        self.send(RepoMessage::Sync { sender, target, document, data }).await;
    }

    /// Takes the next sync message, and answers it.
    async fn hear(&mut self) {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await.expect("a frame");
            let Message::Binary(bytes) = frame.unwrap().unwrap() else { continue };
            if let RepoMessage::Sync { data, .. } = RepoMessage::decode(&bytes).unwrap() {
                let message = Sync::decode(&data).unwrap();
                self.doc.sync().receive_sync_message(&mut self.sync, message).unwrap();
                self.heard += 1;
                return self.say().await;
            }
        }
    }

    /// Reads on until the server has the same as this client.
    async fn settle(&mut self) {
        while self.sync.their_heads.clone() != Some(self.doc.get_heads()) {
            self.hear().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_told_all_it_missed_in_few_words() {
    let server = Server::with_config("[limits]\noutbox_bytes = 100000\n");
    let mut writer = Client::join(&server, "writer").await;
    writer.doc.put(ROOT, "n", 0).unwrap();
    writer.say().await;
    writer.settle().await;
    let mut slow = Client::join(&server, "slow").await;
    slow.say().await;
    slow.hear().await;
    assert_eq!(slow.doc.get_heads(), writer.doc.get_heads());

    for n in 1..=EDITS {
        // Random bytes, which do not deflate.
        let bytes: Vec<u8> = (0..EDIT_BYTES).map(|_| rand::random()).collect();
        writer.doc.put(ROOT, "bytes", bytes).unwrap();
        writer.doc.put(ROOT, "n", i64::try_from(n).unwrap()).unwrap();
        writer.say().await;
        writer.settle().await;
    }
    while slow.doc.get_heads() != writer.doc.get_heads() {
        slow.hear().await;
    }
    let (number, _) = slow.doc.get(ROOT, "n").unwrap().unwrap();
    assert_eq!(number.as_i64(), i64::try_from(EDITS).ok());
    assert!(slow.heard < EDITS / 2, "{} messages for {EDITS} edits", slow.heard);
}
