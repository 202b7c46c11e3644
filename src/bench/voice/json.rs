//! A JSON client that counts and compares, and keeps no state but the numbers of edits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::RangeInclusive;

use automerge::ChangeHash;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

use super::{Claim, Holdings, Voice};
use crate::bench::board::EditKey;
use crate::bench::{Outcome, words};

/// Keys that each writer writes to in turn.
const KEYS: u64 = 16;

/// Which client of which document a voice is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The store.
    pub document: String,
    /// Its number among the clients of that store.
    pub number: u32,
    /// The last seq it knows of the store.
    pub seq: Option<u64>,
    /// Bytes that each edit carries along.
    pub padding: usize,
}

impl Place {
    /// A client that knows nothing yet, and writes little.
    pub fn new(document: &str, number: u32) -> Self {
        Self { document: document.to_owned(), number, seq: None, padding: 0 }
    }
}

/// A client of the JSON dialect.
///
/// Its edits put their number into one of 16 keys of its own, so what a state holds tells which
/// edits are in it, and what all of them should come to is known without applying a patch. The last
/// 16 of a writer are all to be seen, so a message that leaves one of them out is noticed.
#[derive(Debug)]
pub struct JsonVoice {
    place: Place,
    acks: bool,
    copied: bool,
    seq: i64,
    ready: bool,
    edits: u64,
    acked: u64,
    /// By writer: the newest edit seen.
    newest: BTreeMap<u32, u64>,
    /// By key: the newest edit seen there.
    cells: Holdings,
    out: Vec<Message>,
}

/// What may be said to a client.
#[derive(Debug, Deserialize)]
struct Said<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    seq: i64,
    #[serde(default, borrow)]
    patch: Vec<Op<'a>>,
    #[serde(default)]
    state: BTreeMap<String, Cell>,
    #[serde(default, borrow)]
    code: Cow<'a, str>,
    #[serde(default, borrow)]
    message: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct Op<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    value: Cell,
}

/// A value, of which only the number of an edit is kept.
#[derive(Debug, Default, Clone, Copy)]
struct Cell(Option<u64>);

#[derive(Serialize)]
struct Edit<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    store: &'a str,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    patch: [Put; 1],
}

#[derive(Serialize)]
struct Put {
    op: &'static str,
    path: String,
    value: serde_json::Value,
}

impl JsonVoice {
    /// A client with or without the cap `ack`; `copied`: it speaks to a relay.
    pub fn new(place: Place, acks: bool, copied: bool) -> Self {
        let (newest, cells, out) = Default::default();
        let seq = place.seq.map_or(-1, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        Self { place, acks, copied, seq, ready: copied, edits: 0, acked: 0, newest, cells, out }
    }

    /// Notes what stands where; returns the edits of others that are new. `strangers`: whether all
    /// edits must be there also of a writer of whom nothing was seen before.
    fn take(
        &mut self,
        cells: impl IntoIterator<Item = (u32, u64, u64)>,
        strangers: bool,
    ) -> Outcome<Vec<EditKey>> {
        let mut found: BTreeMap<u32, u64> = BTreeMap::new();
        for (writer, key, edit) in cells {
            let cell = self.cells.entry(cell_name(writer, key)).or_default();
            *cell = edit.max(*cell);
            let most = found.entry(writer).or_default();
            *most = edit.max(*most);
        }
        let mut new = Vec::new();
        for (writer, edit) in found {
            if writer == self.place.number {
                continue;
            }
            let known = self.newest.get(&writer).copied();
            let seen = known.unwrap_or_default();
            if known.is_some() || strangers {
                self.has_all(writer, seen.max(edit.saturating_sub(KEYS)) + 1..=edit)?;
            }
            // A state with an edit in it has all earlier ones of the same writer.
            let earlier = seen + 1..=edit;
            new.extend(earlier.map(|edit| edit_key(&self.place.document, writer, edit)));
            self.newest.insert(writer, edit.max(seen));
        }
        Ok(new)
    }

    /// Holds that these edits are there: no later one of the same writer stands over them.
    fn has_all(&self, writer: u32, mut edits: RangeInclusive<u64>) -> Outcome<()> {
        let stands = |edit| self.cells.get(&cell_name(writer, edit % KEYS)).copied();
        match edits.find(|edit| stands(*edit).is_none_or(|found| found < *edit)) {
            Some(edit) => {
                Err(format!("edit {edit} of client {writer} is missing: a later one came"))
            }
            None => Ok(()),
        }
    }

    fn take_patch(&mut self, patch: &[Op<'_>]) -> Outcome<Vec<EditKey>> {
        let cells = patch.iter().filter_map(|op| {
            let (writer, key) = read_cell_name(op.path.strip_prefix('/')?)?;
            Some((writer, key, op.value.0?))
        });
        // Who comes back after some seq has not seen what was before it.
        self.take(cells.collect::<Vec<_>>(), self.place.seq.is_none())
    }

    /// Every seq comes once, and in order.
    fn follow(&mut self, seq: i64) -> Outcome<()> {
        if self.acks && !self.copied && seq <= self.seq {
            return Err(format!("seq {seq} came after seq {}", self.seq));
        }
        self.seq = seq;
        Ok(())
    }
}

impl Voice for JsonVoice {
    fn greet(&mut self) -> Outcome<()> {
        if self.copied {
            return Ok(());
        }
        let store = &self.place.document;
        let caps: &[&str] = if self.acks { &["ack", "ready"] } else { &[] };
        let hello = serde_json::json!({
            "type": "hello", "seqs": {store: self.seq}, "stores": [store], "caps": caps,
        });
        self.out.push(Message::text(hello.to_string()));
        Ok(())
    }

    fn hear(&mut self, message: &Message) -> Outcome<Vec<EditKey>> {
        let text = message.to_text().map_err(words)?;
        let said: Said<'_> = serde_json::from_str(text).map_err(words)?;
        match &*said.kind {
            "patch" if self.copied => {
                let new = self.take_patch(&said.patch)?;
                let mine = said.patch.first().and_then(|op| {
                    let (writer, _) = read_cell_name(op.path.strip_prefix('/')?)?;
                    (writer == self.place.number).then_some(op.value.0?)
                });
                self.acked = mine.unwrap_or(0).max(self.acked);
                Ok(new)
            }
            "patch" => {
                self.follow(said.seq)?;
                self.take_patch(&said.patch)
            }
            "ack" => {
                self.follow(said.seq)?;
                self.acked += 1;
                self.take_patch(&said.patch)
            }
            "snapshot" => {
                self.seq = said.seq;
                self.ready |= !self.acks;
                let cells = said.state.iter();
                let cells = cells.filter_map(|(name, cell)| {
                    let (writer, key) = read_cell_name(name)?;
                    Some((writer, key, cell.0?))
                });
                // What a newcomer is given is compared with what the others have.
                self.take(cells.collect::<Vec<_>>(), false)
            }
            "ready" => {
                self.ready = true;
                Ok(Vec::new())
            }
            "nack" | "error" => Err(format!("refused: {} ({})", said.message, said.code)),
            _ => Ok(Vec::new()),
        }
    }

    fn say(&mut self) -> Outcome<Vec<Message>> {
        Ok(std::mem::take(&mut self.out))
    }

    fn settled(&self) -> bool {
        self.ready
    }

    fn edit(&mut self) -> Outcome<EditKey> {
        self.edits += 1;
        let (writer, key) = (self.place.number, self.edits % KEYS);
        let name = cell_name(writer, key);
        let value = match self.place.padding {
            0 => self.edits.into(),
            padding => format!("{} {}", self.edits, ".".repeat(padding)).into(),
        };
        let edit = Edit {
            kind: "patch",
            store: &self.place.document,
            seq: self.seq,
            id: self.acks.then(|| format!("{writer}-{}", self.edits)),
            patch: [Put { op: "add", path: format!("/{name}"), value }],
        };
        self.out.push(Message::text(serde_json::to_string(&edit).map_err(words)?));
        self.cells.insert(name, self.edits);
        // Without acknowledgements a client counts by itself.
        self.seq += i64::from(!self.acks);
        Ok(edit_key(&self.place.document, writer, self.edits))
    }

    fn acked(&self) -> u64 {
        self.acked
    }

    fn holdings(&self) -> Holdings {
        self.cells.clone()
    }

    fn heads(&self) -> Vec<ChangeHash> {
        Vec::new()
    }

    fn seq(&self) -> Option<u64> {
        u64::try_from(self.seq).ok()
    }

    fn claim(&self) -> Claim {
        Claim { writer: self.place.number.to_string(), edits: self.acked }
    }

    /// Of each key only the newest edit can be looked for: it is what later ones write over.
    fn lost(&self, claim: &Claim) -> u64 {
        let newest = (claim.edits.saturating_sub(KEYS) + 1..=claim.edits).filter(|edit| *edit > 0);
        let is_lost = |edit: &u64| {
            let name = format!("w{}k{}", claim.writer, edit % KEYS);
            self.cells.get(&name).is_none_or(|found| found < edit)
        };
        newest.filter(is_lost).count() as u64
    }
}

/// Edits of all documents of a run are counted together.
fn edit_key(document: &str, writer: u32, edit: u64) -> EditKey {
    let mut hasher = DefaultHasher::new();
    (document, writer, edit).hash(&mut hasher);
    hasher.finish()
}

fn cell_name(writer: u32, key: u64) -> String {
    format!("w{writer}k{key}")
}

fn read_cell_name(name: &str) -> Option<(u32, u64)> {
    let (writer, key) = name.strip_prefix('w')?.split_once('k')?;
    Some((writer.parse().ok()?, key.parse().ok()?))
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        let number = text.split(' ').next().unwrap_or_default();
        Ok(Cell(number.parse().ok()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Cell, E> {
        Ok(Cell(Some(number)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell(None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Message {
        Message::text(text.to_owned())
    }

    #[test]
    fn others_edits_are_seen_once_however_they_come() {
        let mut voice = JsonVoice::new(Place::new("s", 0), true, false);
        let patch = r#"{"type":"patch","store":"s","seq":3,"patch":[
            {"op":"add","path":"/w1k1","value":"1 .."},{"op":"add","path":"/w1k2","value":"2 .."},
            {"op":"add","path":"/w1k3","value":3},
            {"op":"add","path":"/other","value":{"a":[1,null,true]}}]}"#;
        let new = voice.hear(&text(patch)).unwrap();
        assert_eq!(new, [1, 2, 3].map(|edit| edit_key("s", 1, edit)));
        let state = r#"{"type":"snapshot","seq":4,"state":{"w1k4":4,"w0k1":1,"x":1.5}}"#;
        assert_eq!(voice.hear(&text(state)).unwrap(), [edit_key("s", 1, 4)]);
        let late = r#"{"type":"patch","store":"s","seq":4,"patch":[]}"#;
        assert_eq!(voice.hear(&text(late)).unwrap_err(), "seq 4 came after seq 4");
        let nack = r#"{"type":"nack","code":"stale","message":"no","id":"0-1"}"#;
        assert_eq!(voice.hear(&text(nack)).unwrap_err(), "refused: no (stale)");
    }

    /// A patch of these edits of one writer.
    fn patch_of(edits: &[u64]) -> Message {
        let op = |edit: &u64| {
            let path = format!("/{}", cell_name(1, edit % KEYS));
            serde_json::json!({"op": "add", "path": path, "value": edit})
        };
        let patch: Vec<_> = edits.iter().map(op).collect();
        let seq = edits.last().copied().unwrap_or_default();
        let told = serde_json::json!({"type": "patch", "store": "s", "seq": seq, "patch": patch});
        text(&told.to_string())
    }

    proptest! {
        /// Unless the message that goes over it has 16 later ones of the same writer in it.
        #[test]
        fn an_edit_that_is_left_out_is_missed(
            sizes in prop::collection::vec(1_usize..24, 2..8),
            left_out in any::<prop::sample::Index>(),
        ) {
            let all: Vec<u64> = (1..=sizes.iter().sum::<usize>() as u64).collect();
            let left_out = *left_out.get(&all);
            let [mut voice, mut whole] =
                [(); 2].map(|()| JsonVoice::new(Place::new("s", 0), true, false));
            let (mut rest, mut expected, mut heard) = (&all[..], Ok(()), Ok(()));
            for size in sizes {
                let (now, later) = rest.split_at(size);
                rest = later;
                whole.hear(&patch_of(now)).unwrap();
                let told: Vec<u64> = now.iter().copied().filter(|it| *it != left_out).collect();
                let newest = told.last().copied().unwrap_or_default();
                if newest > left_out && newest - left_out < KEYS && expected.is_ok() {
                    expected = Err(left_out);
                }
                if heard.is_ok() && !told.is_empty() {
                    heard = voice.hear(&patch_of(&told)).map(drop);
                }
            }
            let why = |edit| format!("edit {edit} of client 1 is missing: a later one came");
            prop_assert_eq!(heard, expected.map_err(why));
        }
    }

    #[test]
    fn edits_of_two_documents_are_not_taken_for_each_other() {
        let mut keys: Vec<_> = ["a", "b"]
            .into_iter()
            .flat_map(|document| (0..4).map(move |writer| (document, writer)))
            .flat_map(|(document, writer)| (1..9).map(move |edit| edit_key(document, writer, edit)))
            .collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_was_promised_is_looked_for() {
        let mut voice = JsonVoice::new(Place::new("s", 9), true, false);
        let state = r#"{"type":"snapshot","seq":4,"state":{"w1k1":17,"w1k2":2,"w1k3":3}}"#;
        voice.hear(&text(state)).unwrap();
        let lost = |edits| voice.lost(&Claim { writer: "1".to_owned(), edits });
        assert_eq!([0, 1, 3, 4, 5].map(lost), [0, 0, 0, 1, 2]);
        assert_eq!(voice.lost(&Claim { writer: "2".to_owned(), edits: 40 }), 16);
    }

    #[test]
    fn edits_are_acknowledged_by_the_server_and_by_a_relay() {
        let mut voice = JsonVoice::new(Place::new("s", 7), true, false);
        voice.edit().unwrap();
        let said = voice.say().unwrap();
        let expected = concat!(
            r#"{"type":"patch","store":"s","seq":-1,"id":"7-1","#,
            r#""patch":[{"op":"add","path":"/w7k1","value":1}]}"#
        );
        assert_eq!(said, [text(expected)]);
        let ack = r#"{"type":"ack","store":"s","id":"7-1","seq":1,"patch":[]}"#;
        assert_eq!((voice.hear(&text(ack)).unwrap(), voice.acked()), (Vec::new(), 1));
        let mut voice = JsonVoice::new(Place::new("s", 7), true, true);
        assert!(voice.settled());
        voice.hear(&text(expected)).unwrap();
        assert_eq!(voice.acked(), 1);
    }
}
