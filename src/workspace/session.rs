//! One attached client: how it wants to be spoken to, and where it stands in every store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use automerge::ChangeHash;

use super::StoreKey;
use super::input::{Burden, Caps, Request};
use super::repo::RepoSession;
use super::rights::Rights;
use super::store::{Store, Unknown};
use crate::document::{State, SyncSession};
use crate::ids::{Millis, Seq, StoreName};
use crate::json::Json;

/// An attached client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) user: String,
    pub(super) rights: Arc<Rights>,
    /// Whether it said hello: nothing is sent before.
    pub(super) greeted: bool,
    pub(super) caps: Caps,
    /// Only these stores; `None`: all.
    pub(super) only: Option<BTreeSet<StoreName>>,
    pub(super) stands: BTreeMap<StoreKey, Stand>,
    /// Stores whose snapshot is owed at the end of the turn; patches would be wasted until then.
    pub(super) owed: BTreeSet<StoreKey>,
    pub(super) presence: Option<Json>,
    /// What it has as a peer of the automerge-repo dialect; `None`: it is a client of another.
    pub(super) repo: Option<Box<RepoSession>>,
    /// Since when it is counted how often what it brought broke the rules of a store, and how often
    /// that was.
    pub(super) mended: (Millis, u32),
    /// Requests that wait for a store to be loaded, and all that came after them.
    pub(super) parked: VecDeque<(Request, Burden)>,
}

/// Where a session stands in one store.
#[derive(Debug)]
pub(super) enum Stand {
    /// It speaks JSON.
    Json(JsonStand),
    /// It speaks Automerge.
    Crdt(Box<SyncSession>),
}

/// Where a JSON client stands in one store.
#[derive(Debug, Default)]
pub(super) struct JsonStand {
    /// The newest seq that the client was told of; `None`: it does not know the store yet.
    pub(super) told: Option<Seq>,
    /// A legacy client that may edit on without having seen the snapshot that puts it right.
    miscount: Option<Miscount>,
    /// The seq that a legacy client has counted to with its last edit.
    counted: Seq,
    /// The session's own commits after the seq it spoke from last, in the order in which the client
    /// made them.
    own: Vec<Own>,
    /// The state with the last edit in it as the client sees it: its base plus its own edits.
    line: Option<Line>,
}

/// Seqs that a legacy client may name without having seen a snapshot that is under way to it: an
/// edit on one of them may be meant for another state, so that only another snapshot can put the
/// client right. An edit on an earlier seq shows that it saw one, on a later one that it saw all.
#[derive(Debug)]
struct Miscount {
    from: Seq,
    to: Seq,
    /// Snapshots that were sent since.
    unseen: u32,
}

#[derive(Debug)]
struct Own {
    seq: Seq,
    /// `None` if the edit changed nothing.
    change: Option<ChangeHash>,
}

#[derive(Debug)]
struct Line {
    base: Seq,
    last: Seq,
    state: State,
}

impl Session {
    pub(super) fn new(user: String, rights: Arc<Rights>) -> Self {
        Self {
            user,
            rights,
            greeted: false,
            caps: Caps::default(),
            only: None,
            stands: BTreeMap::new(),
            owed: BTreeSet::new(),
            presence: None,
            repo: None,
            mended: (Millis::default(), 0),
            parked: VecDeque::new(),
        }
    }

    /// Whether it wants to hear of this store, and may.
    pub(super) fn follows(&self, store: &StoreName) -> bool {
        let wants = self.only.as_ref().is_none_or(|only| only.contains(store));
        self.greeted && wants && self.rights.reads(store)
    }

    /// What of its presence another session sees: nothing that is shown in a store of which
    /// that one may not read all.
    pub(super) fn presence_for(&self, other: &Self) -> Option<Json> {
        match &self.repo {
            Some(peer) if !other.rights.is_all() => peer.shown_to(&other.rights),
            _ => self.presence.clone(),
        }
    }

    /// Where it stands as a JSON client, unless it speaks Automerge in this store.
    pub(super) fn json_stand(&mut self, key: &StoreKey) -> Option<&mut JsonStand> {
        let fresh = || Stand::Json(JsonStand::default());
        match self.stands.entry(key.clone()).or_insert_with(fresh) {
            Stand::Json(stand) => Some(stand),
            Stand::Crdt(_) => None,
        }
    }
}

impl Session {
    /// Its sync dialogue in this store, begun here if it did not speak Automerge yet.
    pub(super) fn sync_session(&mut self, key: &StoreKey) -> Option<&mut SyncSession> {
        let speaks = matches!(self.stands.get(key), Some(Stand::Crdt(_)));
        if !speaks {
            self.stands.insert(key.clone(), Stand::Crdt(Box::default()));
        }
        match self.stands.get_mut(key) {
            Some(Stand::Crdt(sync)) => Some(sync),
            _ => None,
        }
    }
}

impl Session {
    /// What its changes that wait for their ancestors take, in all stores, in bytes.
    pub(super) fn orphan_bytes(&self) -> usize {
        let sync = self.stands.values().filter_map(|stand| match stand {
            Stand::Crdt(sync) => Some(sync.orphan_bytes()),
            Stand::Json(_) => None,
        });
        sync.sum()
    }
}

impl JsonStand {
    /// A client that was just told of a seq, and has nothing in flight.
    pub(super) fn told(seq: Seq) -> Self {
        Self { told: Some(seq), ..Self::default() }
    }

    /// Notes that the client has made an edit on `seq`, and counts it.
    pub(super) fn counts(&mut self, seq: Seq) {
        self.counted = self.counted.max(seq.next());
    }

    /// Notes that a snapshot is due, because an edit was refused, which the client may see after it
    /// has edited on.
    pub(super) fn miscounts(&mut self) {
        self.miscounts_from(self.counted);
    }

    /// The same, because commits or messages were lost: of snapshots that were under way before,
    /// nobody knows any more which the client has seen.
    pub(super) fn miscounts_all(&mut self) {
        self.miscounts_from(Seq::default());
    }

    fn miscounts_from(&mut self, from: Seq) {
        let told = self.told.unwrap_or_default();
        let fresh = || Miscount { from, to: self.counted, unseen: 0 };
        let miscount = self.miscount.get_or_insert_with(fresh);
        miscount.from = miscount.from.min(from);
        miscount.to = miscount.to.max(self.counted).max(told);
    }

    /// Notes that a snapshot was sent.
    pub(super) fn shown(&mut self, seq: Seq) {
        self.told = Some(seq);
        if let Some(miscount) = &mut self.miscount {
            miscount.unseen = miscount.unseen.saturating_add(1);
        }
    }

    /// Whether an edit on `seq` may be one that was made before all those snapshots were seen.
    pub(super) fn may_miscount(&mut self, seq: Seq) -> bool {
        let Some(miscount) = &mut self.miscount else {
            return false;
        };
        if seq < miscount.from {
            miscount.unseen = miscount.unseen.saturating_sub(1);
        }
        if seq > miscount.to || (seq < miscount.from && miscount.unseen == 0) {
            self.miscount = None;
            return false;
        }
        miscount.to = miscount.to.max(seq.next());
        true
    }

    /// Whether a client that counts by itself counts on what came after `durable`.
    pub(super) fn counts_beyond(&self, durable: Seq) -> bool {
        self.counted > durable
    }

    /// Forgets what came after `durable`; tells whether edits of this session were among it.
    pub(super) fn roll_back(&mut self, durable: Seq) -> bool {
        let had = self.own.len();
        self.own.retain(|own| own.seq <= durable);
        self.line = None;
        self.told = self.told.map(|told| told.min(durable));
        self.own.len() < had
    }

    /// The client said hello again. What it has in flight still lies on top of each other.
    pub(super) fn greeted(&mut self, newest: Seq) {
        self.told = Some(newest);
        self.miscount = None;
        self.counted = Seq::default();
    }

    /// The state that an edit was made on: that at `seq` plus the session's own commits after it,
    /// because edits in flight lie on top of each other. Of these, only those before `upto` count
    /// where the edit became that commit already. It is unknown if the client made them in another
    /// order than they were committed in: one was refused, those on top of it were not, and it was
    /// accepted when it was sent again.
    pub(super) fn base(
        &mut self,
        seq: Seq,
        upto: Option<Seq>,
        store: &mut Store,
    ) -> Result<State, Unknown> {
        store.heads(seq)?;
        self.own.retain(|own| own.seq > seq);
        let before_it = |own: &&Own| upto.is_none_or(|upto| own.seq < upto);
        let own: Vec<&Own> = self.own.iter().filter(before_it).collect();
        if !own.is_sorted_by_key(|own| own.seq) {
            return Err(Unknown);
        }
        let Some(last) = own.last().map(|own| own.seq) else {
            return store.state(seq);
        };
        let newest = upto.map_or(store.seq(), |upto| Seq(upto.0.saturating_sub(1)));
        if u64::try_from(own.len()) == Ok(newest.0.saturating_sub(seq.0)) {
            return store.state(newest);
        }
        if let Some(line) = self.line.as_ref().filter(|line| line.base == seq && line.last == last)
        {
            return Ok(line.state.clone());
        }
        // The newest own change stands for the older ones: it was made on top of them.
        let mut changes = own.iter().filter_map(|own| own.change);
        let newest = changes.next_back();
        let older: BTreeSet<ChangeHash> = changes.collect();
        let mut heads: Vec<ChangeHash> =
            store.heads(seq)?.iter().filter(|head| !older.contains(head)).copied().collect();
        heads.extend(newest);
        heads.sort_unstable();
        heads.dedup();
        store.document.state_at(&heads).or(Err(Unknown))
    }

    /// Notes a commit of this session: made on the state that it named `base`, it left the client
    /// with `state`.
    pub(super) fn note_own(
        &mut self,
        base: Seq,
        commit: Seq,
        change: Option<ChangeHash>,
        state: State,
    ) {
        self.own.push(Own { seq: commit, change });
        self.line = Some(Line { base, last: commit, state });
    }

    /// Notes that a commit of this client, made in an earlier session, lies on top of its base.
    pub(super) fn note_resent(
        &mut self,
        commit: Seq,
        heads_before: &[ChangeHash],
        heads: &[ChangeHash],
    ) {
        let change = heads.iter().find(|head| !heads_before.contains(head)).copied();
        if self.own.iter().all(|own| own.seq != commit) {
            self.own.push(Own { seq: commit, change });
            self.line = None;
        }
    }
}
