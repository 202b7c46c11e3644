//! What a stream shows of what its session is told, and in which form.
//!
//! A view of one place knows the whole state of each store, since an element that goes in front of
//! it in an array moves it, and no single operation says so. The states share their memory with
//! the store's own until they change.

use std::collections::BTreeMap;

use serde::Serialize;

use super::query::Format;
use super::resume::Positions;
use crate::hub::Outgoing;
use crate::ids::{Seq, StoreName};
use crate::json::{Identity, Json, JsonLimits, JsonOp, JsonPatch, Pointer, between};
use crate::limits;
use crate::protocol::codes::{self, Closing};
use crate::server::caller::Caller;
use crate::server::http;
use crate::server::problem::Problem;
use crate::workspace::Delivery;

/// The version of AG-UI that is spoken.
const AG_UI_VERSION: &str = "1.0";

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; `None`: it is a `message`.
    name: Option<&'static str>,
    /// JSON on one line.
    data: String,
}

impl Event {
    /// The event as text.
    pub(super) fn written(&self, id: Option<&str>) -> String {
        let mut text = String::with_capacity(self.data.len().saturating_add(64));
        let mut line = |field: &str, value: &str| {
            for part in [field, ": ", value, "\n"] {
                text.push_str(part);
            }
        };
        if let Some(name) = self.name {
            line("event", name);
        }
        if let Some(id) = id {
            line("id", id);
        }
        line("data", &self.data);
        text.push('\n');
        text
    }
}

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct View {
    /// `None`: the whole.
    place: Option<Place>,
    format: Format,
    run: Run,
}

/// What a stream is in AG-UI: a run of an agent, which begins, and ends once.
#[derive(Debug, Default)]
struct Run {
    /// Names what is followed, the same in every run.
    thread: String,
    id: String,
    is_over: bool,
}

/// A view of one place.
#[derive(Debug)]
struct Place {
    path: Pointer,
    /// The whole states, as the reader knows them.
    states: BTreeMap<StoreName, Json>,
    /// Whether a patch came that goes on from no state: it was not shown, and a snapshot must come.
    lost: bool,
}

/// What became of what is shown.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Snapshot { store: StoreName, seq: Seq, state: Option<Json> },
    Patch { store: StoreName, seq: Seq, patch: JsonPatch },
    Nothing,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum PlaceMessage<'a> {
    Snapshot {
        store: &'a str,
        seq: u64,
        /// Left out where there is nothing, which is not the same as `null`.
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<&'a Json>,
    },
    Patch {
        store: &'a str,
        seq: u64,
        patch: &'a JsonPatch,
    },
    Close {
        code: u16,
        reason: &'static str,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
enum AgUiEvent<'a> {
    RunStarted { thread_id: &'a str, run_id: &'a str, protocol_version: &'static str },
    RunFinished { thread_id: &'a str, run_id: &'a str },
    StateSnapshot { snapshot: &'a Json },
    StateDelta { delta: &'a JsonPatch },
    RunError { message: String, code: &'static str },
}

impl View {
    pub(super) fn new(path: Option<Pointer>, format: Format) -> Self {
        let place = path.map(|path| Place { path, states: BTreeMap::new(), lost: false });
        Self { place, format, run: Run::default() }
    }

    /// The same, for dialects in which a stream has a name.
    pub(super) fn named(mut self, thread: String, id: String) -> Self {
        self.run = Run { thread, id, is_over: false };
        self
    }

    /// The first event, where the dialect has one.
    pub(super) fn greeting(&self) -> String {
        let Run { thread, id, .. } = &self.run;
        let started = AgUiEvent::RunStarted {
            thread_id: thread,
            run_id: id,
            protocol_version: AG_UI_VERSION,
        };
        let event = (self.format == Format::AgUi).then(|| event(None, &started)).flatten();
        event.map(|event| event.written(None)).unwrap_or_default()
    }

    /// Whether the last event has been shown: the dialect has no word for what comes after it.
    pub(super) fn is_over(&self) -> bool {
        self.run.is_over
    }

    /// Reads the states that a reader who comes again already has; returns where it stands in
    /// those that could be read.
    pub(super) async fn prepare(
        &mut self,
        caller: &Caller,
        held: Positions,
    ) -> Result<Positions, Problem> {
        let Some(place) = &mut self.place else { return Ok(held) };
        let mut known = Positions::default();
        for (store, position) in held.0 {
            match http::state_at(caller, store.clone(), position.at()).await {
                Ok(state) => {
                    place.states.insert(store.clone(), state);
                    known.0.insert(store, position);
                }
                Err(problem) if problem.is_ours() => return Err(problem),
                // A snapshot serves as well.
                Err(_) => {}
            }
        }
        Ok(known)
    }

    /// Whether the reader must be told anew; asked once.
    pub(super) fn is_lost(&mut self) -> bool {
        self.place.as_mut().is_some_and(|place| std::mem::take(&mut place.lost))
    }

    /// The event that shows this, if it shows anything.
    pub(super) fn event(&mut self, outgoing: &Outgoing) -> Option<Event> {
        let delivery = outgoing.delivery();
        self.run.is_over |=
            self.format == Format::AgUi && matches!(delivery, Delivery::Error { .. });
        match (&mut self.place, self.format) {
            (None, Format::Socket) => as_it_is(outgoing),
            (Some(place), Format::Socket) => match delivery {
                Delivery::Snapshot { .. } | Delivery::Patch { .. } => place.show(delivery).event(),
                _ => as_it_is(outgoing),
            },
            (None, Format::AgUi) => ag_ui(delivery),
            (Some(place), Format::AgUi) => match delivery {
                Delivery::Snapshot { .. } | Delivery::Patch { .. } => {
                    place.show(delivery).ag_ui(place)
                }
                _ => ag_ui(delivery),
            },
        }
    }

    /// The last event.
    pub(super) fn goodbye(&self, closing: Closing) -> Option<axum::body::Bytes> {
        let Closing { code, reason } = closing;
        let Run { thread, id, is_over } = &self.run;
        let event = match self.format {
            Format::Socket => event(Some("close"), &PlaceMessage::Close { code, reason }),
            Format::AgUi if *is_over => None,
            // Nothing is wrong: the client comes again by itself.
            Format::AgUi if closing == Closing::RESTART => {
                event(None, &AgUiEvent::RunFinished { thread_id: thread, run_id: id })
            }
            Format::AgUi => {
                event(None, &AgUiEvent::RunError { message: reason.to_owned(), code: reason })
            }
        };
        event.map(|event| event.written(None).into())
    }
}

fn event(name: Option<&'static str>, message: &impl Serialize) -> Option<Event> {
    let data = serde_json::to_string(message).ok()?;
    Some(Event { name, data })
}

/// A message of the socket.
fn as_it_is(outgoing: &Outgoing) -> Option<Event> {
    let name = match outgoing.delivery() {
        Delivery::Snapshot { .. } => "snapshot",
        Delivery::Patch { .. } => "patch",
        Delivery::Ready { .. } => "ready",
        // Browsers say `error` of the connection itself.
        Delivery::Error { .. } => "problem",
        _ => return None,
    };
    let data = outgoing.text()?.as_str().to_owned();
    Some(Event { name: Some(name), data })
}

fn ag_ui(delivery: &Delivery) -> Option<Event> {
    match delivery {
        Delivery::Snapshot { state, .. } => {
            event(None, &AgUiEvent::StateSnapshot { snapshot: state })
        }
        Delivery::Patch { patch, .. } if !patch.ops.is_empty() => {
            event(None, &AgUiEvent::StateDelta { delta: patch })
        }
        Delivery::Error { refusal, .. } => {
            let code = codes::error_code(refusal);
            event(None, &AgUiEvent::RunError { message: codes::told(refusal), code })
        }
        _ => None,
    }
}

impl Place {
    fn show(&mut self, delivery: &Delivery) -> Shown {
        match delivery {
            Delivery::Snapshot { store, seq, state, .. } => {
                self.states.insert(store.clone(), state.clone());
                let state = state.get(&self.path).cloned();
                Shown::Snapshot { store: store.clone(), seq: *seq, state }
            }
            Delivery::Patch { store, seq, patch, .. } => {
                let before = self.states.get(store);
                let after = before.and_then(|before| patched(before, patch));
                let (Some(before), Some(after)) = (before, after) else {
                    self.states.remove(store);
                    self.lost = true;
                    return Shown::Nothing;
                };
                let patch = difference(before.get(&self.path), after.get(&self.path));
                self.states.insert(store.clone(), after);
                if patch.ops.is_empty() {
                    return Shown::Nothing;
                }
                Shown::Patch { store: store.clone(), seq: *seq, patch }
            }
            _ => Shown::Nothing,
        }
    }
}

impl Shown {
    fn event(&self) -> Option<Event> {
        match self {
            Self::Snapshot { store, seq, state } => {
                let (store, state) = (store.as_str(), state.as_ref());
                let message = PlaceMessage::Snapshot { store, seq: seq.0, state };
                event(Some("snapshot"), &message)
            }
            Self::Patch { store, seq, patch } => {
                let message = PlaceMessage::Patch { store: store.as_str(), seq: seq.0, patch };
                event(Some("patch"), &message)
            }
            Self::Nothing => None,
        }
    }

    /// AG-UI has no word for a value that is not there: it is shown as `null`, and one that comes
    /// or goes as a whole.
    fn ag_ui(&self, place: &Place) -> Option<Event> {
        let whole = |store: &StoreName| {
            let state = place.states.get(store).and_then(|state| state.get(&place.path));
            event(None, &AgUiEvent::StateSnapshot { snapshot: state.unwrap_or(&Json::Null) })
        };
        match self {
            Self::Snapshot { store, .. } => whole(store),
            Self::Patch { store, patch, .. } => {
                let at_root = |op: &JsonOp| match op {
                    JsonOp::Add { path, .. } | JsonOp::Remove { path } => path.is_root(),
                    _ => false,
                };
                if patch.ops.iter().any(at_root) {
                    return whole(store);
                }
                event(None, &AgUiEvent::StateDelta { delta: patch })
            }
            Self::Nothing => None,
        }
    }
}

/// What the server has made needs no limits.
fn patched(before: &Json, patch: &JsonPatch) -> Option<Json> {
    let unlimited = JsonLimits {
        depth_max: limits::JSON_DEPTH_MAX.saturating_add(1),
        key_bytes_max: usize::MAX,
        document_bytes_max: usize::MAX,
        patch_ops_max: usize::MAX,
        forbid_prototype_keys: false,
    };
    patch.apply(before, &unlimited).ok().map(|applied| applied.json)
}

/// What turns the one into the other. What comes to be is added at the root of the view, and what
/// is gone is removed there.
fn difference(before: Option<&Json>, after: Option<&Json>) -> JsonPatch {
    let path = Pointer::root();
    let op = match (before, after) {
        (Some(before), Some(after)) => return between(before, after, &Identity::default()),
        (None, None) => return JsonPatch::default(),
        (None, Some(value)) => JsonOp::Add { path, value: value.clone() },
        (Some(_), None) => JsonOp::Remove { path },
    };
    JsonPatch { ops: vec![op] }
}

#[cfg(test)]
mod tests;
