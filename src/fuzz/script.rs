//! Bytes as a row of choices.

use crate::document::{Policy, Strings};
use crate::json::{Array, Identity, Json, Key, Object, edits};

/// Keys that must be escaped somewhere, look like something else, or may not be used.
const KEYS: [&str; 16] = [
    "a",
    "b",
    "c",
    "id",
    "",
    "~",
    "/",
    "~1",
    "0",
    "-",
    "key",
    "ключ",
    "\"\\\n",
    "__proto__",
    "new",
    "1",
];

/// Strings of one to many bytes a character.
const TEXTS: [&str; 8] = ["", "a", "b", "xß🙂y", "\u{0}\u{1f}", "a longer text", "🙂", "\"\\"];

/// What is chosen, byte by byte. When the bytes end, every choice is the first.
#[derive(Debug, Clone)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of so many, and 0 if there is none.
    pub(super) fn below(&mut self, choices: usize) -> usize {
        let chosen: usize = if choices <= 256 { self.byte().into() } else { self.word().into() };
        chosen % choices.max(1)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A way to choose one of many, at the same part of them however many they are.
    pub(super) fn place(&mut self) -> impl Fn(usize) -> usize + use<> {
        let word = usize::from(self.word());
        move |choices| (word * choices) >> 16
    }

    pub(super) fn key(&mut self) -> Key {
        let chosen = self.below(KEYS.len() + 1);
        KEYS.get(chosen).map_or_else(|| self.text(), |key| (*key).to_owned()).into()
    }

    fn text(&mut self) -> String {
        let length = self.below(24).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn eight(&mut self) -> [u8; 8] {
        std::array::from_fn(|_| self.byte())
    }

    /// A value of at most five levels; a container takes a byte for each of its elements.
    pub(super) fn json(&mut self) -> Json {
        self.json_above(4)
    }

    fn json_above(&mut self, levels: usize) -> Json {
        let kind = self.byte();
        match kind % 16 {
            0 => Json::Null,
            1 => Json::from(kind >= 128),
            2 | 3 => Json::from(i32::from(kind / 16) - 2),
            4 => Json::from(i64::from_le_bytes(self.eight())),
            5 => Json::from(u64::from_le_bytes(self.eight())),
            6 => Json::from(f64::from_le_bytes(self.eight())),
            7 => Json::from(f64::from(kind / 16)),
            8 | 9 => Json::from(TEXTS[self.below(TEXTS.len())]),
            10 => Json::from(self.text()),
            _ if levels == 0 => Json::Null,
            11 | 12 => {
                let length = self.below(8);
                (0..length).map(|_| self.json_above(levels - 1)).collect::<Array>().into()
            }
            13 | 14 => {
                let length = self.below(6);
                let members = (0..length).map(|_| (self.key(), self.json_above(levels - 1)));
                members.collect::<Object>().into()
            }
            _ => {
                let length = self.below(8);
                (0..length).map(|_| self.record(levels - 1)).collect::<Array>().into()
            }
        }
    }

    /// An object with an identity.
    fn record(&mut self, levels: usize) -> Json {
        let id = Json::from(i32::from(self.byte() % 9));
        let member = (self.key(), self.json_above(levels.saturating_sub(1)));
        [("id".into(), id), member].into_iter().collect::<Object>().into()
    }

    /// Edits a value somewhere.
    pub(super) fn edit(&mut self, json: &mut Json) {
        let (place, kind) = (self.place(), self.byte());
        let value = self.json();
        edits::edit(json, &place, kind, value);
    }

    pub(super) fn identity(&mut self) -> Identity {
        match self.below(3) {
            0 => Identity::default(),
            1 => Identity::new([("", "a"), ("/*", "b")]).unwrap(),
            _ => Identity::new([("/a", "key"), ("/*/*", "id")]).unwrap(),
        }
    }

    pub(super) fn policy(&mut self) -> Policy {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let (text, strings) = match self.below(3) {
            0 => (Vec::new(), Strings::Scalar),
            1 => (Vec::new(), Strings::Text),
            _ => (patterns(&["/a", "/*/b", ""]), Strings::Scalar),
        };
        Policy { text, strings, identity: self.identity() }
    }
}
