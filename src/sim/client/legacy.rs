//! A client of the original protocol: it counts by itself, and hears of no answers.

use std::collections::BTreeMap;

use tokio_tungstenite::tungstenite::Message;

use super::{Mind, Tools};
use crate::json::{Identity, Json, JsonLimits, between};
use crate::protocol::{ClientMessage, Hello, Patch, ServerMessage, Whole};
use crate::sim::book::Checked;

#[derive(Debug)]
pub(crate) struct Legacy {
    tools: Tools,
    stores: BTreeMap<String, Stand>,
    is_connected: bool,
}

#[derive(Debug, Default)]
struct Stand {
    /// The seq by its own count; `None`: it has nothing, or does not know what it has.
    seq: Option<u64>,
    state: Json,
    /// Whether the state is just what the server said it is at `seq`.
    is_told: bool,
}

impl Legacy {
    pub(crate) fn new(tools: Tools) -> Self {
        let stores = tools.stores.iter().map(|store| (store.to_string(), Stand::default()));
        Self { stores: stores.collect(), tools, is_connected: false }
    }

    fn hello(&self) -> Message {
        let seq = |stand: &Stand| {
            let seq = stand.seq.and_then(|seq| i64::try_from(seq).ok());
            Whole(seq.unwrap_or(-1))
        };
        let seqs = self.stores.iter().map(|(store, stand)| (store.clone(), seq(stand)));
        let hello = Hello { seqs: Some(seqs.collect()), ..Hello::default() };
        text(&ClientMessage::Hello(hello))
    }
}

/// A message as the JSON dialect writes it.
pub(super) fn text(message: &ClientMessage<'_>) -> Message {
    Message::text(serde_json::to_string(message).unwrap_or_default())
}

/// What a client holds a patch of the server against: nothing.
pub(super) fn limits() -> JsonLimits {
    JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() }
}

/// A message of the server in the JSON dialect.
pub(super) fn parse(message: &Message) -> Checked<ServerMessage<'static>> {
    let Message::Text(text) = message else {
        return Err("a binary frame in the JSON dialect".to_owned());
    };
    serde_json::from_str(text).map_err(|error| format!("not a message: {error}: {text}"))
}

impl Mind for Legacy {
    fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    fn greet(&mut self) -> Vec<Message> {
        self.is_connected = true;
        vec![self.hello()]
    }

    fn lose(&mut self) {
        self.is_connected = false;
        for stand in self.stores.values_mut().filter(|stand| !stand.is_told) {
            // Its last edits may have arrived or not: its count names nothing.
            stand.seq = None;
        }
    }

    fn hear(&mut self, message: Message) -> Checked<Vec<Message>> {
        match parse(&message)? {
            ServerMessage::Snapshot { store, seq, state, cursor: None } => {
                self.tools.book.saw(&store, seq, &state)?;
                let stand = self.stores.get_mut(&*store).ok_or("a snapshot of another store")?;
                let state = state.into_owned();
                *stand = Stand { seq: Some(seq), state, is_told: true };
            }
            ServerMessage::Patch { store, seq, patch, cursor: None } => {
                let stand = self.stores.get_mut(&*store).ok_or("a patch of another store")?;
                // A catch-up may span several commits, but only where nothing of its own is on
                // the way. Where its count ran ahead of the server's, a snapshot follows.
                let follows =
                    stand.seq.is_some_and(|at| seq == at + 1 || stand.is_told && seq > at);
                if follows && let Ok(applied) = patch.apply(&stand.state, &limits()) {
                    stand.state = applied.json;
                    stand.seq = Some(seq);
                    if stand.is_told {
                        self.tools.book.saw(&store, seq, &stand.state)?;
                    }
                } else if stand.is_told {
                    return Err(format!("patch {seq} does not follow on {:?}", stand.seq));
                }
            }
            other => {
                return Err(format!("told what the original protocol does not have: {other:?}"));
            }
        }
        Ok(Vec::new())
    }

    fn write(&mut self) -> Vec<Message> {
        let store = self.tools.store();
        let Some(stand) = self.stores.get_mut(store.as_str()) else { return Vec::new() };
        // It queues nothing.
        let Some(seq) = stand.seq.filter(|_| self.is_connected) else { return Vec::new() };
        let (_, next) = self.tools.edit(&stand.state);
        let patch = between(&stand.state, &next, &Identity::default());
        stand.seq = Some(seq + 1);
        stand.state = next;
        stand.is_told = false;
        let seq = Whole(i64::try_from(seq).unwrap_or(-1));
        vec![text(&ClientMessage::Patch(Patch {
            store: store.as_str().into(),
            seq,
            id: None,
            patch,
        }))]
    }

    fn ask_again(&mut self) -> Vec<Message> {
        // Of a store that could not be read it was told nothing.
        if self.stores.values().all(|stand| stand.seq.is_some()) {
            return Vec::new();
        }
        // What is on its way may cross the answer: it asks for whole states.
        self.stores.values_mut().for_each(|stand| *stand = Stand::default());
        vec![self.hello()]
    }

    fn check(&mut self) -> Checked {
        for (store, stand) in &self.stores {
            check_json(&self.tools, store, &stand.state)?;
        }
        Ok(())
    }
}

/// Holds a state against the newest durable one; of a transient store all must have the same.
pub(super) fn check_json(tools: &Tools, store: &str, state: &Json) -> Checked {
    let name = store.parse().map_err(|error| format!("{error}"))?;
    match tools.book.state(&name) {
        Some(newest) if newest == *state => Ok(()),
        newest => {
            let newest = newest.map_or("nothing".to_owned(), |newest| newest.to_string());
            Err(format!("at the end {store} is {newest}, and it has {state}"))
        }
    }
}
