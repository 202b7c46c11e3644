//! Entity tags (RFC 9110, section 8.8.3): the strong name of a state of a store.
//!
//! A tag is a cursor: it holds the seq and the heads, so that an edit can be made on the state that
//! it names as long as the document knows it, whatever the history of seqs still has. Two tags name
//! the same state if they have the same heads. A state with very many heads is named by its seq and
//! a hash of them, and can be found as long as the history reaches back to it.

use automerge::ChangeHash;
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::ids::Seq;
use crate::limits;
use crate::protocol::cursor;
use crate::workspace::Cursor;

/// What stands before a tag that has a hash in place of the heads. No cursor begins like that.
const HASHED: &str = "h.";

/// A state, by one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    /// By its seq and its heads.
    Whole(Cursor),
    /// By its seq and a hash of its heads.
    Hashed { seq: Seq, hash: String },
}

impl Tag {
    /// The name of a state.
    pub(super) fn of(cursor: Cursor) -> Self {
        if cursor.heads.len() <= limits::TAG_HEADS_MAX {
            return Self::Whole(cursor);
        }
        Self::Hashed { seq: cursor.seq, hash: hash(&cursor.heads) }
    }

    /// The tag that [`text`](Self::text) wrote, if it is one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix(HASHED) else {
            return cursor::decode(text).map(Self::Whole);
        };
        let (seq, hash) = rest.split_once('.')?;
        Some(Self::Hashed { seq: Seq(seq.parse().ok()?), hash: hash.to_owned() })
    }

    /// Whether this state has these heads, which are sorted.
    pub(super) fn names(&self, heads: &[ChangeHash]) -> bool {
        match self {
            Self::Whole(cursor) => cursor.heads == heads,
            Self::Hashed { hash: known, .. } => *known == hash(heads),
        }
    }

    /// What stands between the quotes.
    fn text(&self) -> Option<String> {
        match self {
            Self::Whole(cursor) => cursor::encode(cursor),
            Self::Hashed { seq, hash } => Some(format!("{HASHED}{seq}.{hash}")),
        }
    }

    /// The value of `ETag`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("\"{}\"", self.text()?)).ok()
    }
}

fn hash(heads: &[ChangeHash]) -> String {
    let hash = heads.iter().fold(Sha256::new(), |hash, head| hash.chain_update(head.0));
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursors() -> impl Strategy<Value = Cursor> {
        let heads = prop::collection::btree_set(any::<[u8; 32]>(), 0..2 * limits::TAG_HEADS_MAX);
        (any::<u64>(), heads).prop_map(|(seq, heads)| Cursor {
            seq: Seq(seq),
            heads: heads.into_iter().map(ChangeHash).collect(),
        })
    }

    proptest! {
        #[test]
        fn a_tag_is_read_as_it_was_written(cursor in cursors(), other in cursors()) {
            let tag = Tag::of(cursor.clone());
            let header = tag.header().unwrap();
            let text = header.to_str().unwrap();
            prop_assert!(text.len() < 600, "{} bytes are too many for a header", text.len());
            let read = Tag::read(text.trim_matches('"')).unwrap();
            prop_assert_eq!(&read, &tag);
            prop_assert!(read.names(&cursor.heads));
            prop_assert_eq!(read.names(&other.heads), cursor.heads == other.heads);
        }

        #[test]
        fn whatever_comes_is_a_tag_or_none(text in ".{0,80}") {
            if let Some(tag) = Tag::read(&text) {
                prop_assert_eq!(tag.text(), Some(text));
            }
        }
    }
}
