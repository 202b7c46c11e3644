//! A client that speaks Automerge in the JSON dialect.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::Message;

use super::legacy::{parse, text};
use super::replica::Replica;
use super::{Mind, Tools};
use crate::ids::StoreName;
use crate::protocol::{ClientMessage, Hello, ServerMessage, Sync};
use crate::sim::book::Checked;

#[derive(Debug)]
pub(crate) struct Crdt {
    tools: Tools,
    stores: BTreeMap<StoreName, Replica>,
    /// Stores that the server has said nothing of since the last hello.
    unanswered: BTreeSet<StoreName>,
    is_connected: bool,
}

impl Crdt {
    pub(crate) fn new(mut tools: Tools) -> Self {
        let stores = tools.stores.clone();
        let stores = stores.into_iter().map(|s| (s, Replica::new(tools.chance.bytes()))).collect();
        Self { tools, stores, unanswered: BTreeSet::new(), is_connected: false }
    }
}

fn sync(store: &StoreName, message: &[u8]) -> Message {
    let (store, message) = (store.as_str().into(), STANDARD.encode(message).into());
    text(&ClientMessage::Sync(Sync { store, message }))
}

impl Mind for Crdt {
    fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    fn greet(&mut self) -> Vec<Message> {
        self.is_connected = true;
        self.unanswered = self.stores.keys().cloned().collect();
        let opening = |(store, replica): (&StoreName, &mut Replica)| {
            replica.again();
            let message = replica.generate().unwrap_or_default();
            (store.to_string(), STANDARD.encode(message))
        };
        let sync = self.stores.iter_mut().map(opening).collect();
        let stores = Some(self.stores.keys().map(ToString::to_string).collect());
        vec![text(&ClientMessage::Hello(Hello { sync: Some(sync), stores, ..Hello::default() }))]
    }

    fn lose(&mut self) {
        self.is_connected = false;
    }

    fn hear(&mut self, message: Message) -> Checked<Vec<Message>> {
        match parse(&message)? {
            ServerMessage::Sync { store, message } => {
                let name: StoreName = store.parse().map_err(|error| format!("{error}"))?;
                self.unanswered.remove(&name);
                let replica = self.stores.get_mut(&name).ok_or("told of another store")?;
                let bytes = STANDARD.decode(&message).map_err(|error| error.to_string())?;
                replica.receive(&bytes)?;
                Ok(replica.generate().map(|said| sync(&name, &said)).into_iter().collect())
            }
            other => Err(format!("told {other:?}")),
        }
    }

    fn write(&mut self) -> Vec<Message> {
        let store = self.tools.store();
        let Some(replica) = self.stores.get_mut(&store) else { return Vec::new() };
        let written = replica.write(&mut self.tools);
        self.tools.book.hold(&self.tools.name, written);
        let said = if self.is_connected { replica.generate() } else { None };
        said.map(|said| sync(&store, &said)).into_iter().collect()
    }

    fn repeat(&mut self) -> Vec<Message> {
        self.greet()
    }

    fn ask_again(&mut self) -> Vec<Message> {
        // It is not told of a store that could not be read.
        if self.unanswered.is_empty() { Vec::new() } else { self.greet() }
    }

    fn check(&mut self) -> Checked {
        self.stores.iter_mut().try_for_each(|(store, replica)| replica.check(&self.tools, store))
    }
}
