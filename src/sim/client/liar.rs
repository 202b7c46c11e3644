//! A client that means no good: garbage, things out of place, and changes in others' names.
//!
//! Whatever it does, nobody else may be harmed; how it fares itself does not matter.

use automerge::transaction::Transactable as _;
use automerge::{ActorId, ROOT};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::Message;

use super::replica::Replica;
use super::{Mind, Tools};
use crate::ids::{DocumentId, StoreName, WorkspaceId};
use crate::protocol::repo::{PROTOCOL, RepoMessage, RepoMetadata};
use crate::sim::book::Checked;

#[derive(Debug)]
pub(crate) struct Liar {
    tools: Tools,
    workspace: WorkspaceId,
    /// Whether it lies in the dialect of automerge-repo.
    is_repo: bool,
    actor: [u8; 16],
    store: StoreName,
    replica: Replica,
    /// What it has said before.
    said: Vec<Message>,
}

/// Messages remembered, to be said again.
const SAID_MAX: usize = 32;

impl Liar {
    pub(crate) fn new(mut tools: Tools, workspace: &WorkspaceId, is_repo: bool) -> Self {
        let actor = tools.chance.bytes();
        let store = tools.store();
        let workspace = workspace.clone();
        let replica = Replica::new(actor);
        Self { tools, workspace, is_repo, actor, store, replica, said: Vec::new() }
    }

    fn json(&mut self, text: String) -> Message {
        if self.is_repo { Message::binary(text.into_bytes()) } else { Message::text(text) }
    }

    fn join(&self) -> Message {
        let join = RepoMessage::Join {
            sender: (&*self.tools.name).into(),
            metadata: RepoMetadata::default(),
            versions: vec![PROTOCOL.into()],
        };
        Message::binary(join.encode())
    }

    /// An Automerge sync message in its dialect.
    fn sync(&self, bytes: &[u8]) -> Message {
        if !self.is_repo {
            let message = STANDARD.encode(bytes);
            let store = &self.store;
            return Message::text(format!(
                r#"{{"type":"sync","store":"{store}","message":"{message}"}}"#
            ));
        }
        let message = RepoMessage::Sync {
            sender: (&*self.tools.name).into(),
            target: "server".into(),
            document: DocumentId::of(&self.workspace, &self.store),
            data: bytes.into(),
        };
        Message::binary(message.encode())
    }

    /// Takes all there is of a store, and adds a change that is not what it seems to be.
    fn forge(&mut self) {
        // A store without a log has no memory of whose change came first: after a restart a
        // forged one counts if it comes first, and its victims are on their own.
        let store = self.tools.store();
        if !self.tools.book.is_persistent(&store) {
            return;
        }
        let Some(document) = self.tools.book.document(&store) else { return };
        let mut actors: Vec<Vec<u8>> = Vec::new();
        let mut all = document.clone();
        for change in all.get_changes(&[]) {
            let actor = change.actor_id().to_bytes().to_vec();
            if !actors.contains(&actor) {
                actors.push(actor);
            }
        }
        // In its own name, or in somebody else's.
        let own = self.actor.to_vec();
        let is_own = self.tools.chance.one_in(3);
        let actor = self.tools.chance.pick(&actors).filter(|_| !is_own).cloned().unwrap_or(own);
        let mut document = document.with_actor(ActorId::from(actor.as_slice()));
        // Its own twin changes differ in this.
        let mark = self.tools.mark();
        if document.put(ROOT, "lie", mark).is_ok() {
            document.commit();
        }
        self.tools.book.note(
            &self.tools.name,
            format!("forges {}", ActorId::from(&*actor).to_hex_string()).as_bytes(),
        );
        self.replica = Replica::new(self.actor);
        self.replica.document = document;
        self.store = store;
    }

    fn lie(&mut self) -> Message {
        self.tools.book.count(|counts| counts.faults += 1);
        let store = self.store.clone();
        let chance = &mut self.tools.chance;
        match chance.below(12) {
            0 => Message::binary(chance.bytes::<40>().to_vec()),
            1 => self.json("{\"type\":\"patch\",\"store\":".to_owned()),
            2 => self.json(r#"{"type":"hello","seqs":{"..":1,"s0":"x"},"caps":7}"#.to_owned()),
            3 => {
                let seq = chance.below(1 << 40);
                let patch = r#"[{"op":"replace","path":"/a","value":"stale"}]"#;
                self.json(format!(
                    r#"{{"type":"patch","store":"{store}","seq":{seq},"patch":{patch}}}"#
                ))
            }
            4 => {
                let deep = "[".repeat(200) + &"]".repeat(200);
                let patch = format!(r#"[{{"op":"add","path":"/a","value":{deep}}}]"#);
                self.json(format!(
                    r#"{{"type":"patch","store":"{store}","seq":-1,"patch":{patch}}}"#
                ))
            }
            5 => {
                let patch = r#"[{"op":"add","path":"/__proto__","value":1}]"#;
                self.json(format!(
                    r#"{{"type":"patch","store":"{store}","seq":0,"patch":{patch}}}"#
                ))
            }
            6 => {
                let seq = chance.below(40);
                let cursors = format!(r#"{{"{store}":"AAAA"}}"#);
                self.json(format!(
                    r#"{{"type":"hello","seqs":{{"{store}":{seq}}},"cursors":{cursors}}}"#
                ))
            }
            7 => self.json(r#"{"type":"presence","data":{"me":1}}"#.to_owned()),
            8 => {
                let bytes = chance.bytes::<60>();
                self.sync(&bytes)
            }
            9 => {
                let mut bytes = self.replica.generate().unwrap_or_default();
                for _ in 0..3 {
                    let at = self.tools.chance.index(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.tools.chance.below(8);
                    }
                }
                self.sync(&bytes)
            }
            10 => match self.tools.chance.pick(&self.said).cloned() {
                Some(said) => said,
                None => self.join(),
            },
            _ => self.join(),
        }
    }

    fn remember(&mut self, said: &[Message]) {
        self.said.extend_from_slice(said);
        let surplus = self.said.len().saturating_sub(SAID_MAX);
        self.said.drain(..surplus);
    }
}

impl Mind for Liar {
    fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    fn greet(&mut self) -> Vec<Message> {
        if self.tools.chance.one_in(2) {
            self.forge();
        }
        self.replica.again();
        if self.is_repo {
            return vec![self.join()];
        }
        let message = STANDARD.encode(self.replica.generate().unwrap_or_default());
        let store = &self.store;
        vec![Message::text(format!(
            r#"{{"type":"hello","sync":{{"{store}":"{message}"}},"caps":["ack"]}}"#
        ))]
    }

    fn lose(&mut self) {}

    fn hear(&mut self, message: Message) -> Checked<Vec<Message>> {
        let bytes = match &message {
            Message::Binary(bytes) => match RepoMessage::decode(bytes) {
                Ok(RepoMessage::Peer { .. }) => {
                    return Ok(self
                        .replica
                        .generate()
                        .map(|said| self.sync(&said))
                        .into_iter()
                        .collect());
                }
                Ok(RepoMessage::Sync { data, .. }) => data.into_owned(),
                _ => return Ok(Vec::new()),
            },
            Message::Text(text) => {
                let said: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
                let message = said.get("message").and_then(|message| message.as_str());
                STANDARD.decode(message.unwrap_or_default()).unwrap_or_default()
            }
            _ => return Ok(Vec::new()),
        };
        // What it cannot take is its own fault.
        if self.replica.receive(&bytes).is_err() {
            return Ok(Vec::new());
        }
        let said: Vec<Message> =
            self.replica.generate().map(|said| self.sync(&said)).into_iter().collect();
        self.remember(&said);
        Ok(said)
    }

    fn write(&mut self) -> Vec<Message> {
        let said = vec![self.lie()];
        self.remember(&said);
        said
    }

    fn repeat(&mut self) -> Vec<Message> {
        self.tools.chance.pick(&self.said).cloned().into_iter().collect()
    }

    fn check(&mut self) -> Checked {
        Ok(())
    }
}
