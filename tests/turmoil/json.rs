//! A client of the JSON protocol: with acknowledgements, or the original one that counts by itself.

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::client::Speaker;
use crate::witness::{STORE, Standing, Witness};

/// An edit that has no answer yet.
struct Edit {
    id: String,
    /// The seq that it was made on.
    seq: u64,
    patch: Value,
    /// The state at that seq with the edit in it.
    result: Value,
}

/// One client, through all its sockets.
pub(crate) struct JsonClient {
    name: String,
    chance: Chance,
    witness: Witness,
    acks: bool,
    seq: Option<u64>,
    state: Value,
    pending: Option<Edit>,
    made: u64,
}

impl JsonClient {
    pub(crate) fn new(name: String, chance: Chance, witness: Witness, acks: bool) -> Self {
        let (seq, state, pending, made) = (None, Value::Null, None, 0);
        Self { name, chance, witness, acks, seq, state, pending, made }
    }

    fn message(&self, edit: &Edit) -> Value {
        let mut message =
            json!({"type": "patch", "store": STORE, "seq": edit.seq, "patch": edit.patch});
        if self.acks {
            message["id"] = json!(edit.id);
        }
        message
    }

    /// The seq of a message. What is saved never goes back, so what clients are shown does not.
    fn forward(&mut self, message: &Value) -> u64 {
        let seq = message["seq"].as_u64().unwrap();
        let from = self.seq.unwrap_or_default();
        // The original client counts edits that may have been lost.
        assert!(!self.acks || seq >= from, "{}: from seq {from} back to {message}", self.name);
        seq
    }

    fn stand_at(&mut self, seq: u64, state: Value) {
        self.seq = Some(seq);
        self.state = state;
    }

    fn hear_patch(&mut self, message: &Value) {
        let seq = self.forward(message);
        let mut state = self.state.clone();
        match apply(&mut state, &message["patch"]) {
            Ok(()) => {}
            // The original client's own edits may have been refused: it will be told the state.
            Err(_) if !self.acks => {}
            Err(error) => panic!("{}: {error}", self.name),
        }
        self.stand_at(seq, state);
        if self.acks {
            self.witness.shown(&self.name, seq, &self.state);
        }
    }

    fn hear_ack(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap();
        let edit = self.pending.take().expect("an ack for an edit");
        assert_eq!(message["id"], edit.id.as_str(), "{}", self.name);
        self.witness.acked(&self.name, &edit.id, seq);
        if self.seq.is_some_and(|held| held >= seq) {
            return;
        }
        let mut state = edit.result;
        apply(&mut state, &message["patch"]).unwrap();
        self.stand_at(seq, state);
        self.witness.shown(&self.name, seq, &self.state);
    }

    /// An edit that can be done on every state.
    fn invent(&mut self, id: &str) -> Value {
        let mut patch = vec![json!({"op": "add", "path": "/log/-", "value": id})];
        let key = format!("k{}", self.chance.below(5));
        let path = format!("/map/{key}");
        match self.chance.below(4) {
            0 => patch.push(json!({"op": "add", "path": path, "value": self.made})),
            1 if self.state["map"].get(&key).is_some() => {
                patch.push(json!({"op": "remove", "path": path}));
            }
            2 => patch.push(json!({"op": "add", "path": "/pad", "value": "x".repeat(6_000)})),
            _ => {}
        }
        Value::Array(patch)
    }
}

impl Speaker for JsonClient {
    fn path(&self) -> &'static str {
        "socket"
    }

    fn hello(&mut self) -> Vec<Value> {
        let caps: &[&str] = if self.acks { &["ack", "ready"] } else { &[] };
        // Edits without an answer may be lost: who made some asks for everything.
        let seq = if self.acks { self.seq } else { None };
        let seq = seq.map_or(json!(-1), |seq| json!(seq));
        let mut said =
            vec![json!({"type": "hello", "seqs": {STORE: seq}, "stores": [STORE], "caps": caps})];
        said.extend(self.pending.as_ref().map(|edit| self.message(edit)));
        if !self.acks {
            self.seq = None;
        }
        said
    }

    fn edit(&mut self) -> Option<Value> {
        let seq = self.seq.filter(|_| self.pending.is_none())?;
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let patch = self.invent(&id);
        let mut result = self.state.clone();
        apply(&mut result, &patch).unwrap();
        let edit = Edit { id, seq, patch, result };
        let message = self.message(&edit);
        if self.acks {
            self.pending = Some(edit);
        } else {
            self.stand_at(seq + 1, edit.result);
        }
        Some(message)
    }

    fn hear(&mut self, message: &Value) -> Option<Value> {
        match message["type"].as_str().unwrap() {
            "snapshot" => {
                let seq = self.forward(message);
                self.stand_at(seq, message["state"].clone());
                self.witness.shown(&self.name, seq, &self.state);
            }
            "patch" => self.hear_patch(message),
            "ack" if self.acks => self.hear_ack(message),
            "ready" if self.acks => {}
            _ => panic!("{} heard {message}", self.name),
        }
        None
    }

    fn standing(&mut self) -> Standing {
        Standing {
            at_rest: self.seq.is_some() && self.pending.is_none(),
            seq: self.seq,
            heads: None,
            state: self.state.clone(),
        }
    }
}

/// Applies a JSON patch of `add`, `remove` and `replace`; of the rest nothing is done on an error.
///
/// Written here once more, because a client must not share the server's mistakes.
fn apply(state: &mut Value, patch: &Value) -> Result<(), String> {
    for op in patch.as_array().ok_or("a patch is an array")? {
        let kind = op["op"].as_str().ok_or("an operation has a name")?;
        let path = op["path"].as_str().ok_or("an operation has a path")?;
        let Some((parent, last)) = path.rsplit_once('/') else {
            *state = op["value"].clone();
            continue;
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        let wrong = || format!("not to be done: {op}");
        match (state.pointer_mut(parent).ok_or_else(wrong)?, kind) {
            (Value::Object(members), "remove") => drop(members.remove(&last).ok_or_else(wrong)?),
            (Value::Object(members), _) => {
                let old = members.insert(last, op["value"].clone());
                if old.is_none() && kind != "add" {
                    return Err(wrong());
                }
            }
            (Value::Array(items), _) => {
                let end = items.len();
                let at = if last == "-" {
                    end
                } else {
                    last.parse().map_err(|_not_a_number| wrong())?
                };
                match kind {
                    "add" if at <= end => items.insert(at, op["value"].clone()),
                    "remove" if at < end => drop(items.remove(at)),
                    "replace" if at < end => items[at] = op["value"].clone(),
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(())
}
