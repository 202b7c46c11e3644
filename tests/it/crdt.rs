//! A store spoken in CRDT: an Automerge document and its sync messages in base64.

use automerge::sync::{Message, State, SyncDoc as _};
use automerge::{AutoCommit, ChangeHash, ReadDoc as _, Value as Scalar};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// One document, and the sync state of one session.
pub(crate) struct Replica {
    pub(crate) doc: AutoCommit,
    sync: State,
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self { doc: AutoCommit::new(), sync: State::new() }
    }

    /// The hello of a new session that speaks this store in CRDT.
    pub(crate) fn hello(&mut self, store: &str) -> Value {
        self.sync = State::new();
        let message = self.message().expect("a new session has something to say");
        json!({
            "type": "hello", "seqs": {}, "stores": [store], "sync": {store: message},
            "caps": ["ready"],
        })
    }

    /// What there is to say now, as a message of the protocol.
    pub(crate) fn say(&mut self, store: &str) -> Option<Value> {
        let message = self.message()?;
        Some(json!({"type": "sync", "store": store, "message": message}))
    }

    fn message(&mut self) -> Option<String> {
        let message = self.doc.sync().generate_sync_message(&mut self.sync)?;
        Some(BASE64_STANDARD.encode(message.encode()))
    }

    /// Takes a sync message in base64.
    pub(crate) fn hear(&mut self, message: &str) {
        let message = Message::decode(&BASE64_STANDARD.decode(message).unwrap()).unwrap();
        self.doc.sync().receive_sync_message(&mut self.sync, message).unwrap();
    }

    /// The heads that the server said it has, if this replica knows them.
    pub(crate) fn held(&mut self) -> Option<Vec<ChangeHash>> {
        let heads = self.sync.their_heads.clone()?;
        heads.iter().all(|hash| self.doc.get_change_by_hash(hash).is_some()).then_some(heads)
    }

    /// The strings of the list under `key`, at some heads or now.
    pub(crate) fn strings(&self, key: &str, heads: Option<&[ChangeHash]>) -> Vec<String> {
        let found = match heads {
            Some(heads) => self.doc.get_at(automerge::ROOT, key, heads),
            None => self.doc.get(automerge::ROOT, key),
        };
        let Some((_, list)) = found.unwrap() else { return Vec::new() };
        let items: Vec<_> = match heads {
            Some(heads) => self.doc.list_range_at(&list, .., heads).collect(),
            None => self.doc.list_range(&list, ..).collect(),
        };
        items
            .into_iter()
            .map(|item| match (Scalar::from(item.value.clone()), heads) {
                (Scalar::Scalar(text), _) => text.as_str().unwrap().to_owned(),
                (Scalar::Object(_), Some(heads)) => self.doc.text_at(item.id(), heads).unwrap(),
                (Scalar::Object(_), None) => self.doc.text(item.id()).unwrap(),
            })
            .collect()
    }
}
