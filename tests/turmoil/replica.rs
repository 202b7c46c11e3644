//! A client that holds the store as an Automerge document.

use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, AutoCommit, AutoSerde, ROOT, ReadDoc as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::client::Speaker;
use crate::witness::{STORE, Standing, Witness};

/// One client, through all its sockets.
pub(crate) struct Replica {
    name: String,
    chance: Chance,
    witness: Witness,
    doc: AutoCommit,
    sync: State,
    made: u64,
}

impl Replica {
    pub(crate) fn new(name: String, mut chance: Chance, witness: Witness) -> Self {
        let doc = AutoCommit::new().with_actor(ActorId::from(&chance.bytes()[..]));
        Self { name, chance, witness, doc, sync: State::new(), made: 0 }
    }

    fn message(&mut self) -> Option<String> {
        let message = self.doc.sync().generate_sync_message(&mut self.sync)?;
        Some(BASE64_STANDARD.encode(message.encode()))
    }

    fn say(&mut self) -> Option<Value> {
        let message = self.message()?;
        Some(json!({"type": "sync", "store": STORE, "message": message}))
    }
}

impl Speaker for Replica {
    fn path(&self) -> &'static str {
        "socket"
    }

    fn hello(&mut self) -> Vec<Value> {
        self.sync = State::new();
        let message = self.message().expect("a new session has something to say");
        let sync = json!({STORE: message});
        vec![json!({"type": "hello", "seqs": {}, "stores": [STORE], "sync": sync, "caps": ["ack"]})]
    }

    fn edit(&mut self) -> Option<Value> {
        let (_, log) = self.doc.get(ROOT, "log").unwrap()?;
        let (_, map) = self.doc.get(ROOT, "map").unwrap()?;
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let len = u64::try_from(self.doc.length(&log)).unwrap();
        let at = usize::try_from(self.chance.below(len + 1)).unwrap();
        self.doc.insert(&log, at, id).unwrap();
        if self.chance.one_in(3) {
            let made = i64::try_from(self.made).unwrap();
            self.doc.put(&map, format!("k{}", self.chance.below(5)), made).unwrap();
        }
        self.doc.commit();
        self.say()
    }

    fn hear(&mut self, message: &Value) -> Option<Value> {
        assert_eq!(message["type"], "sync", "{} heard {message}", self.name);
        let message = BASE64_STANDARD.decode(message["message"].as_str().unwrap()).unwrap();
        let message = Message::decode(&message).unwrap();
        self.witness.told_heads(&self.name, &message.heads);
        self.doc.sync().receive_sync_message(&mut self.sync, message).unwrap();
        self.say()
    }

    fn standing(&mut self) -> Standing {
        let mut heads = self.doc.get_heads();
        heads.sort_unstable();
        let mut told = self.sync.their_heads.clone().unwrap_or_default();
        told.sort_unstable();
        Standing {
            at_rest: !heads.is_empty() && told == heads,
            seq: None,
            heads: Some(heads),
            state: serde_json::to_value(AutoSerde::from(&self.doc)).unwrap(),
        }
    }
}
