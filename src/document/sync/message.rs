//! What the server says in a sync dialogue.

use std::sync::Arc;

use automerge::ChangeHash;
use automerge::sync::BloomFilter;

use crate::document::Document;
use crate::document::guard::leb;

/// The first byte of a message that carries changes only, and of one with whole documents.
const CHANGES: u8 = 0x42;
const DOCUMENTS: u8 = 0x43;
/// What follows every message: the sender reads whole documents, and understands a reset.
const FLAGS: [u8; 3] = [2, 0x02, 0x80 | 0x04];

/// A message of Automerge's sync protocol, not encoded yet: one that nobody waits for any more can
/// still be joined with the one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMessage {
    /// It brings a client that has these heads to `heads`; `None` if it answers a question.
    since: Option<Vec<ChangeHash>>,
    /// Whether it follows from what the client certainly has, so that nothing said before matters.
    opens: bool,
    heads: Vec<ChangeHash>,
    need: Vec<ChangeHash>,
    /// What the receiver is not asked for: the past of these heads, and what is in the filter.
    last_sync: Vec<ChangeHash>,
    filter: Vec<u8>,
    document: Option<Arc<[u8]>>,
    changes: Vec<Arc<[u8]>>,
}

impl SyncMessage {
    /// What brings every client that has the heads `since` to `heads`; for the author of the
    /// changes, without them.
    pub fn news(since: Vec<ChangeHash>, heads: Vec<ChangeHash>, changes: Vec<Arc<[u8]>>) -> Self {
        Self::giving(since, heads, None, changes)
    }

    /// All that the document has, for clients that have nothing.
    pub fn all(document: &mut Document, reads_documents: bool) -> Self {
        Self::all_since(document, Vec::new(), reads_documents)
    }

    /// What brings a client to the newest heads that missed all news since it had these; `None` if
    /// they are not known any more.
    pub fn catch_up(document: &mut Document, since: &[ChangeHash]) -> Option<Self> {
        document.knows(since).then(|| Self::all_since(document, since.to_vec(), false))
    }

    /// What brings a client that has the heads `since` to the newest. A client that has nothing
    /// gets the whole document, if it can read one.
    pub(super) fn all_since(
        document: &mut Document,
        since: Vec<ChangeHash>,
        reads_documents: bool,
    ) -> Self {
        let heads = document.heads();
        let whole = since.is_empty() && reads_documents && !heads.is_empty();
        let (whole, changes) = if whole {
            let (whole, later) = document.saved();
            (Some(whole), later)
        } else {
            (None, document.changes_since(&since))
        };
        Self { opens: true, ..Self::giving(since, heads, whole, changes) }
    }

    /// The changes of these names, as far as they are known; `None` if none is.
    pub(super) fn of_changes(document: &Document, need: &[ChangeHash]) -> Option<Self> {
        let changes = document.changes_named(need);
        let heads = document.heads();
        (!changes.is_empty())
            .then(|| Self { since: None, ..Self::giving(Vec::new(), heads, None, changes) })
    }

    /// Asks for these changes, and all others that are neither in the past of `last_sync` nor in
    /// the document.
    pub(super) fn question(
        document: &Document,
        mut need: Vec<ChangeHash>,
        last_sync: Vec<ChangeHash>,
    ) -> Self {
        need.sort_unstable();
        let hashes = document.hashes_since(&last_sync);
        let filter = BloomFilter::from_hashes(hashes.iter()).to_bytes();
        let heads = document.heads();
        let (document, changes) = (None, Vec::new());
        let (since, opens) = (None, false);
        Self { since, opens, heads, need, last_sync, filter, document, changes }
    }

    fn giving(
        since: Vec<ChangeHash>,
        heads: Vec<ChangeHash>,
        document: Option<Arc<[u8]>>,
        changes: Vec<Arc<[u8]>>,
    ) -> Self {
        let last_sync = heads.clone();
        let (need, filter) = (Vec::new(), Vec::new());
        Self { since: Some(since), opens: false, heads, need, last_sync, filter, document, changes }
    }

    /// The heads that the receiver is taken to have, if it must have some.
    pub fn since(&self) -> Option<&[ChangeHash]> {
        self.since.as_deref()
    }

    /// Whether a client can take it whatever it was told before.
    pub fn opens(&self) -> bool {
        self.opens
    }

    /// The heads that the receiver has afterwards.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.heads
    }

    /// Takes in the message after this one, if that goes on where this one ends.
    pub fn extend(&mut self, next: &Self) -> bool {
        let goes_on = self.since.is_some()
            && next.since.as_ref() == Some(&self.heads)
            && next.document.is_none();
        if goes_on {
            self.heads.clone_from(&next.heads);
            self.last_sync.clone_from(&next.last_sync);
            self.changes.extend(next.changes.iter().cloned());
        }
        goes_on
    }

    /// The length of what it carries, in bytes: about that of the encoded message.
    pub fn payload_len(&self) -> usize {
        let changes = self.changes.iter().map(|change| change.len()).sum::<usize>();
        let document = self.document.as_ref().map_or(0, |document| document.len());
        let hashes = [&self.heads, &self.need, &self.last_sync].map(Vec::len).iter().sum::<usize>();
        let named = hashes.saturating_mul(size_of::<ChangeHash>());
        changes.saturating_add(document).saturating_add(self.filter.len()).saturating_add(named)
    }

    /// The message as it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload_len().saturating_add(64));
        out.push(if self.document.is_some() { DOCUMENTS } else { CHANGES });
        put_hashes(&mut out, &self.heads);
        put_hashes(&mut out, &self.need);
        out.extend(leb(1));
        put_hashes(&mut out, &self.last_sync);
        put_bytes(&mut out, &self.filter);
        if let Some(document) = &self.document {
            // One blob, in which the later changes follow the document.
            out.extend(leb(1));
            let changes = self.changes.iter().map(|change| change.len()).sum::<usize>();
            out.extend(leb(document.len().saturating_add(changes)));
            out.extend_from_slice(document);
            for change in &self.changes {
                out.extend_from_slice(change);
            }
        } else {
            out.extend(leb(self.changes.len()));
            for change in &self.changes {
                put_bytes(&mut out, change);
            }
        }
        out.extend_from_slice(&FLAGS);
        out
    }
}

fn put_hashes(out: &mut Vec<u8>, hashes: &[ChangeHash]) {
    out.extend(leb(hashes.len()));
    for hash in hashes {
        out.extend_from_slice(&hash.0);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(leb(bytes.len()));
    out.extend_from_slice(bytes);
}
