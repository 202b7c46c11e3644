//! A JSON client that understands `ack`, and queues what it writes while it is away.

use std::collections::{BTreeMap, VecDeque};

use tokio_tungstenite::tungstenite::Message;

use super::legacy::{check_json, limits, parse, text};
use super::{Mind, Tools};
use crate::json::{Identity, Json, JsonPatch, between};
use crate::protocol::{ClientMessage, Hello, Patch, ServerMessage, Whole};
use crate::sim::book::Checked;

#[derive(Debug)]
pub(crate) struct Acking {
    tools: Tools,
    stores: BTreeMap<String, Stand>,
    caps: Vec<String>,
    /// Whether it says with cursors where it stands.
    by_cursor: bool,
    is_connected: bool,
}

/// How it stands with one store.
#[derive(Debug, Default)]
struct Stand {
    /// The newest state that it was told of, and its seq; `None`: it waits for a snapshot.
    base: Option<(u64, Json)>,
    cursor: Option<String>,
    /// What the user sees: the state at `line`, with his own edits on top.
    local: Json,
    line: u64,
    /// Edits without an answer, oldest first.
    waiting: VecDeque<Edit>,
    /// Answered edits under those that wait: a new session has to be told of them again, since
    /// what waits lies on top of them.
    answered: Vec<Edit>,
}

#[derive(Debug, Clone)]
struct Edit {
    id: String,
    patch: JsonPatch,
    /// What the user saw after it.
    after: Json,
}

impl Acking {
    pub(crate) fn new(mut tools: Tools) -> Self {
        let mut caps = vec!["ack".to_owned()];
        let by_cursor = tools.chance.one_in(2);
        for (cap, has) in [("cursor", by_cursor), ("ready", tools.chance.one_in(2))] {
            caps.extend(has.then(|| cap.to_owned()));
        }
        let stores = tools.stores.iter().map(|store| (store.to_string(), Stand::default()));
        Self { stores: stores.collect(), tools, caps, by_cursor, is_connected: false }
    }

    fn hello(&self) -> Message {
        let mut hello = Hello { caps: Some(self.caps.clone()), ..Hello::default() };
        let (mut seqs, mut cursors) = (BTreeMap::new(), BTreeMap::new());
        for (store, stand) in &self.stores {
            let seq = stand.base.as_ref().and_then(|(seq, _)| i64::try_from(*seq).ok());
            seqs.insert(store.clone(), Whole(seq.unwrap_or(-1)));
            if let Some(cursor) = stand.cursor.as_ref().filter(|_| self.by_cursor) {
                cursors.insert(store.clone(), cursor.clone());
            }
        }
        hello.seqs = Some(seqs);
        hello.cursors = (!cursors.is_empty()).then_some(cursors);
        text(&ClientMessage::Hello(hello))
    }

    /// Asks for whole states: what is on its way may cross the answer, and then a patch from here
    /// would not be one.
    fn hello_again(&mut self) -> Message {
        for stand in self.stores.values_mut() {
            stand.base = None;
            stand.cursor = None;
        }
        self.hello()
    }

    /// Notes the cursor of where it now stands.
    fn note(&mut self, store: &str, seq: u64, cursor: Option<String>) {
        if let Some(stand) = self.stores.get_mut(store)
            && stand.base.as_ref().is_some_and(|(at, _)| *at == seq)
        {
            stand.cursor = cursor;
        }
    }

    fn hear_patch(&mut self, store: &str, seq: u64, patch: &JsonPatch) -> Checked {
        let stand = self.stores.get_mut(store).ok_or("told of another store")?;
        let Some((at, base)) = &mut stand.base else { return Ok(()) };
        if seq <= *at {
            return Err(format!("patch {seq} of {store} after {at}"));
        }
        let applied = patch.apply(base, &limits());
        *base = applied.map_err(|error| format!("patch {seq} of {store}: {error}"))?.json;
        *at = seq;
        self.tools.book.saw(store, seq, base)?;
        stand.adopt();
        Ok(())
    }

    fn hear_ack(&mut self, store: &str, id: &str, seq: u64, patch: &JsonPatch) -> Checked {
        self.tools.book.acknowledged(store, id, seq)?;
        let stand = self.stores.get_mut(store).ok_or("told of another store")?;
        if stand.waiting.front().is_none_or(|edit| edit.id != id) {
            // Said again, and answered again; or given up, and then nobody here knows what the
            // state is until the hello that said so is answered.
            if stand.base.as_ref().is_some_and(|(at, _)| seq > *at) {
                stand.base = None;
            }
            return Ok(());
        }
        let Some(edit) = stand.waiting.pop_front() else { return Ok(()) };
        if let Some((at, base)) = &mut stand.base
            && seq > *at
        {
            // What was committed in an earlier life is in the base already.
            let applied = patch.apply(&edit.after, &limits());
            *base = applied.map_err(|error| format!("the ack of {id} at {seq}: {error}"))?.json;
            *at = seq;
            self.tools.book.saw(store, seq, base)?;
        }
        stand.answered.push(edit);
        stand.adopt();
        Ok(())
    }
}

impl Stand {
    /// With nothing on its way, what the server says is what the user sees.
    fn adopt(&mut self) {
        if self.waiting.is_empty()
            && let Some((seq, base)) = &self.base
        {
            self.local = base.clone();
            self.line = *seq;
            self.answered.clear();
        }
    }

    /// All that lies on `line`, to be said again.
    fn chain<'a>(&'a self, store: &'a str) -> impl Iterator<Item = Message> + 'a {
        self.answered.iter().chain(&self.waiting).map(|edit| self.message(store, edit))
    }

    fn message(&self, store: &str, edit: &Edit) -> Message {
        let seq = Whole(i64::try_from(self.line).unwrap_or(-1));
        let (store, patch) = (store.into(), edit.patch.clone());
        text(&ClientMessage::Patch(Patch { store, seq, id: Some((&*edit.id).into()), patch }))
    }
}

impl Mind for Acking {
    fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }

    fn greet(&mut self) -> Vec<Message> {
        self.is_connected = true;
        let chains = self.stores.iter().flat_map(|(store, stand)| stand.chain(store));
        std::iter::once(self.hello()).chain(chains).collect()
    }

    fn lose(&mut self) {
        self.is_connected = false;
    }

    fn hear(&mut self, message: Message) -> Checked<Vec<Message>> {
        match parse(&message)? {
            ServerMessage::Snapshot { store, seq, state, cursor } => {
                self.tools.book.saw(&store, seq, &state)?;
                let stand = self.stores.get_mut(&*store).ok_or("a snapshot of another store")?;
                if let Some((at, _)) = &stand.base
                    && seq < *at
                {
                    return Err(format!("snapshot {seq} of {store} after {at}"));
                }
                stand.base = Some((seq, state.into_owned()));
                stand.cursor = cursor;
                stand.adopt();
            }
            ServerMessage::Patch { store, seq, patch, cursor } => {
                self.hear_patch(&store, seq, &patch)?;
                self.note(&store, seq, cursor);
            }
            ServerMessage::Ack { store, id: Some(id), seq, patch, cursor } => {
                self.hear_ack(&store, &id, seq, &patch)?;
                self.note(&store, seq, cursor);
            }
            ServerMessage::Nack { store: Some(store), code, id, message } => {
                // Refused: the user is told, and starts from what there is.
                if code == "not-saved" {
                    self.tools.book.not_saved(id.as_deref().unwrap_or_default())?;
                }
                if code == "internal" {
                    return Err(format!("{id:?} was refused: {code}: {message}"));
                }
                let stand = self.stores.get_mut(&*store).ok_or("a nack of another store")?;
                // Of what was given up before, the answers still come; what was sent after that is
                // on a state of its own.
                if !stand.waiting.iter().any(|edit| id.as_deref() == Some(&*edit.id)) {
                    return Ok(Vec::new());
                }
                stand.waiting.clear();
                stand.answered.clear();
                return Ok(vec![self.hello_again()]);
            }
            ServerMessage::Ready { .. } | ServerMessage::Error { .. } => {}
            other => return Err(format!("told {other:?}")),
        }
        Ok(Vec::new())
    }

    fn write(&mut self) -> Vec<Message> {
        let store = self.tools.store();
        let Some(stand) = self.stores.get_mut(store.as_str()) else { return Vec::new() };
        if stand.base.is_none() {
            return Vec::new();
        }
        let (id, after) = self.tools.edit(&stand.local);
        let patch = between(&stand.local, &after, &Identity::default());
        stand.local = after.clone();
        let edit = Edit { id, patch, after };
        let message = stand.message(store.as_str(), &edit);
        stand.waiting.push_back(edit);
        if self.is_connected { vec![message] } else { Vec::new() }
    }

    fn repeat(&mut self) -> Vec<Message> {
        let store = self.tools.store();
        match self.stores.get(store.as_str()) {
            Some(stand) if self.tools.chance.one_in(2) => stand.chain(store.as_str()).collect(),
            _ => vec![self.hello_again()],
        }
    }

    fn ask_again(&mut self) -> Vec<Message> {
        let settled =
            self.stores.values().all(|stand| stand.base.is_some() && stand.waiting.is_empty());
        if settled {
            return Vec::new();
        }
        let again = self.hello_again();
        let chains = self.stores.iter().flat_map(|(store, stand)| stand.chain(store));
        std::iter::once(again).chain(chains).collect()
    }

    fn check(&mut self) -> Checked {
        for (store, stand) in &self.stores {
            if let Some(edit) = stand.waiting.front() {
                return Err(format!("{} of {store} was never answered", edit.id));
            }
            check_json(&self.tools, store, &stand.local)?;
        }
        Ok(())
    }
}
