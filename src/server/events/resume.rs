//! The id of an event: where its reader stands in every store of the stream.
//!
//! It is `store=cursor`, or `store=seq`, with commas between them; opaque to clients. What cannot
//! be read in one is left out: the reader then gets a snapshot.

use std::collections::BTreeMap;

use crate::ids::{Seq, StoreName};
use crate::limits;
use crate::protocol::cursor;
use crate::workspace::{At, Cursor, Delivery};

/// Where a reader stands in one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// By seq and heads.
    Cursor(Cursor),
    /// By seq alone: there are too many heads.
    Seq(Seq),
}

impl Position {
    fn of(cursor: &Cursor) -> Self {
        if cursor.heads.len() <= limits::TAG_HEADS_MAX {
            Self::Cursor(cursor.clone())
        } else {
            Self::Seq(cursor.seq)
        }
    }

    fn read(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(|seq| Self::Seq(Seq(seq)));
        }
        cursor::decode(text).map(Self::Cursor)
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Cursor(cursor) => cursor::encode(cursor),
            Self::Seq(seq) => Some(seq.to_string()),
        }
    }

    /// The same as a state that can be asked for.
    pub(super) fn at(&self) -> At {
        match self {
            Self::Cursor(cursor) => At::Heads(cursor.heads.clone()),
            Self::Seq(seq) => At::Seq(*seq),
        }
    }
}

/// Where a reader stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Positions(pub(super) BTreeMap<StoreName, Position>);

impl Positions {
    /// What an id says.
    pub(super) fn read(id: &str) -> Self {
        let parts = id.split(',').take(limits::EVENT_STORES_MAX);
        let position = |part: &str| {
            let (name, text) = part.split_once('=')?;
            Some((name.parse().ok()?, Position::read(text)?))
        };
        Self(parts.filter_map(position).collect())
    }

    /// The id that says this; none for very many stores.
    pub(super) fn id(&self) -> Option<String> {
        if self.0.is_empty() || self.0.len() > limits::EVENT_STORES_MAX {
            return None;
        }
        let part = |(name, position): (&StoreName, &Position)| {
            position.text().map(|text| format!("{name}={text}"))
        };
        Some(self.0.iter().filter_map(part).collect::<Vec<_>>().join(","))
    }

    /// Notes what the reader is told.
    pub(super) fn note(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Snapshot { store, cursor: Some(cursor), .. }
            | Delivery::Patch { store, cursor: Some(cursor), .. } => {
                self.0.insert(store.clone(), Position::of(cursor));
            }
            Delivery::Ready { cursors: Some(cursors), .. } => {
                // From here on the stream has just these stores.
                let position =
                    |(name, cursor): &(StoreName, Cursor)| (name.clone(), Position::of(cursor));
                self.0 = cursors.iter().map(position).collect();
            }
            _ => {}
        }
    }

    /// The same as members of a hello.
    pub(super) fn into_hello(self) -> (BTreeMap<StoreName, i64>, BTreeMap<StoreName, Cursor>) {
        let (mut seqs, mut cursors) = (BTreeMap::new(), BTreeMap::new());
        for (name, position) in self.0 {
            match position {
                Position::Seq(Seq(seq)) => {
                    seqs.insert(name, i64::try_from(seq).unwrap_or(i64::MAX));
                }
                Position::Cursor(cursor) => {
                    cursors.insert(name, cursor);
                }
            }
        }
        (seqs, cursors)
    }
}

#[cfg(test)]
mod tests {
    use automerge::ChangeHash;
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Positions> {
        let heads = prop::collection::btree_set(any::<[u8; 32]>(), 0..12);
        let cursor = (any::<u64>(), heads).prop_map(|(seq, heads)| Cursor {
            seq: Seq(seq),
            heads: heads.into_iter().map(ChangeHash).collect(),
        });
        let name = "[A-Za-z0-9._:-]{1,12}".prop_filter_map("a name", |name| name.parse().ok());
        let position = cursor.prop_map(|cursor| Position::of(&cursor));
        prop::collection::btree_map(name, position, 0..6).prop_map(Positions)
    }

    proptest! {
        #[test]
        fn an_id_is_read_as_it_was_written(positions in positions()) {
            let id = positions.id().unwrap_or_default();
            prop_assert!(!id.contains(['\n', '\r', '\0']), "it stands on one line");
            prop_assert_eq!(Positions::read(&id), positions);
        }

        #[test]
        fn whatever_comes_is_read(id in ".{0,200}") {
            let read = Positions::read(&id);
            prop_assert!(read.0.len() <= limits::EVENT_STORES_MAX);
        }
    }

    #[test]
    fn a_stream_of_very_many_stores_has_no_ids() {
        let name = |n: usize| format!("s{n}").parse::<StoreName>().unwrap();
        let many =
            |count| Positions((0..count).map(|n| (name(n), Position::Seq(Seq(1)))).collect());
        assert!(many(limits::EVENT_STORES_MAX).id().is_some());
        assert_eq!(many(limits::EVENT_STORES_MAX + 1).id(), None);
        assert_eq!(many(0).id(), None);
    }
}
