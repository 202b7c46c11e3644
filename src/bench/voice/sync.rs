//! A client that speaks Automerge: the same sync messages in JSON, or in the CBOR of
//! automerge-repo.

use automerge::ChangeHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

use super::{Claim, Dialect, Holdings, Place, Voice};
use crate::bench::board::EditKey;
use crate::bench::replica::{Follower, key_of};
use crate::bench::{Outcome, frame, words};

/// A client of an Automerge dialect.
#[derive(Debug)]
pub struct SyncVoice<F> {
    dialect: Dialect,
    document: String,
    me: String,
    server: String,
    side: F,
    copied: bool,
    /// Whether the document has been asked for.
    asked: bool,
    out: Vec<Message>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl<F: Follower> SyncVoice<F> {
    /// A client that keeps its side of the document in this way; `copied`: it speaks to a relay.
    pub fn new(dialect: Dialect, place: Place, side: F, copied: bool) -> Self {
        let name = rand::random::<u64>();
        Self {
            dialect,
            me: format!("bench-{}-{name:016x}", place.number),
            document: place.document,
            server: String::new(),
            side,
            copied,
            asked: copied,
            out: Vec::new(),
        }
    }

    fn wrap(&self, kind: &str, data: &[u8]) -> Message {
        if self.dialect == Dialect::Repo {
            let between = [self.me.as_str(), self.server.as_str()];
            return Message::binary(frame::sync(kind, between, &self.document, data));
        }
        let (store, data) = (&self.document, STANDARD.encode(data));
        // Names of stores and base64 have nothing that JSON would have to escape.
        Message::text(format!(r#"{{"type":"sync","store":"{store}","message":"{data}"}}"#))
    }

    /// The sync message in what was heard, if there is one.
    fn unwrap_repo(&mut self, message: &Message) -> Outcome<Option<Vec<u8>>> {
        let Message::Binary(bytes) = message else { return Ok(None) };
        let frame = frame::read(bytes)?;
        match frame.kind.as_str() {
            "peer" => {
                self.server = frame.sender;
                self.asked = true;
                let first = self.side.say().unwrap_or_default();
                let kind = if self.side.heads().is_empty() { "request" } else { "sync" };
                self.out.push(self.wrap(kind, &first));
                Ok(None)
            }
            "error" => Err(format!("the server says: {}", frame.message)),
            "doc-unavailable" => Err("the server says that it has no such document".to_owned()),
            "sync" | "request" if frame.document == self.document && !frame.data.is_empty() => {
                Ok(Some(frame.data))
            }
            _ => Ok(None),
        }
    }
}

fn unwrap_crdt(message: &Message) -> Outcome<Option<Vec<u8>>> {
    let said: Said = serde_json::from_str(message.to_text().map_err(words)?).map_err(words)?;
    match said.kind.as_str() {
        "sync" => STANDARD.decode(&said.message).map(Some).map_err(words),
        "error" => Err(format!("refused: {} ({})", said.message, said.code)),
        _ => Ok(None),
    }
}

impl<F: Follower> Voice for SyncVoice<F> {
    fn greet(&mut self) -> Outcome<()> {
        if self.copied {
            return Ok(());
        }
        if self.dialect == Dialect::Repo {
            self.out.push(Message::binary(frame::join(&self.me)));
            return Ok(());
        }
        self.asked = true;
        let (store, first) = (&self.document, self.side.say().unwrap_or_default());
        let hello = serde_json::json!({
            "type": "hello", "sync": {store: STANDARD.encode(first)}, "stores": [store],
        });
        self.out.push(Message::text(hello.to_string()));
        Ok(())
    }

    fn hear(&mut self, message: &Message) -> Outcome<Vec<EditKey>> {
        let data = match self.dialect {
            Dialect::Repo => self.unwrap_repo(message)?,
            Dialect::Json | Dialect::Original | Dialect::Crdt => unwrap_crdt(message)?,
        };
        let Some(data) = data else { return Ok(Vec::new()) };
        Ok(self.side.hear(&data)?.iter().map(key_of).collect())
    }

    fn say(&mut self) -> Outcome<Vec<Message>> {
        let mut out = std::mem::take(&mut self.out);
        if self.asked && out.is_empty() {
            out.extend(self.side.say().map(|message| self.wrap("sync", &message)));
        }
        Ok(out)
    }

    fn settled(&self) -> bool {
        self.copied || self.side.settled()
    }

    fn edit(&mut self) -> Outcome<EditKey> {
        self.side.edit().map(|hash| key_of(&hash))
    }

    fn acked(&self) -> u64 {
        self.side.acked()
    }

    fn holdings(&self) -> Holdings {
        self.side.heads().iter().map(|head| (head.to_string(), 0)).collect()
    }

    fn heads(&self) -> Vec<ChangeHash> {
        self.side.heads()
    }

    fn seq(&self) -> Option<u64> {
        None
    }

    fn claim(&self) -> Claim {
        Claim { writer: self.side.writer(), edits: self.side.acked() }
    }

    fn lost(&self, claim: &Claim) -> u64 {
        claim.edits.saturating_sub(self.side.edits_of(&claim.writer))
    }
}
