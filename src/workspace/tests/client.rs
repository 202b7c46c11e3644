//! Clients of the three kinds, each as a good client of its protocol is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use automerge::ChangeHash;
use proptest::sample::Index;

use super::STORE;
use crate::document::{Document, Note, Policy, StockSession};
use crate::ids::{Millis, Seq, SessionId, StoreName};
use crate::json::{Identity, Json, JsonLimits, JsonPatch, arbitrary, between};
use crate::workspace::{Caps, Delivery, Hello, MessageId, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Understands `ack`, and queues while it is offline.
    Ack,
    /// Counts by itself, as the original did.
    Legacy,
    /// Speaks Automerge.
    Crdt,
}

#[derive(Debug)]
pub(super) struct Client {
    kind: Kind,
    number: usize,
    pub(super) session: Option<SessionId>,
    pub(super) inbox: VecDeque<Delivery>,
    pub(super) acknowledged: Vec<MessageId>,
    edits: u64,
    /// The newest state it was told of.
    seq: Seq,
    base: Json,
    /// What the user sees: the state at `line` with his own edits on top.
    local: Json,
    line: Seq,
    /// Edits without an answer: id, patch, and what the user saw after it.
    waiting: VecDeque<(MessageId, JsonPatch, Json)>,
    /// Answered edits under the waiting ones: a new session has to be told of them again, since
    /// what waits lies on top of them.
    answered: Vec<(MessageId, JsonPatch)>,
    /// Whether it waits for a snapshot, whatever else comes.
    lost: bool,
    /// Whether its channel dropped something, and lets no patch through before a snapshot.
    gap: bool,
    /// The same of Automerge news, with the heads that it has.
    sync_gap: Option<Vec<ChangeHash>>,
    document: Document,
    sync: StockSession,
}

fn store() -> StoreName {
    STORE.parse().unwrap()
}

fn limits() -> JsonLimits {
    JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() }
}

impl Client {
    pub(super) fn new(kind: Kind, number: usize) -> Self {
        let mut document = Document::load(Arc::new(Policy::default()), None, &[]).unwrap();
        document.sign_as(&[u8::try_from(number).unwrap() + 100; 16]);
        Self {
            kind,
            number,
            session: None,
            inbox: VecDeque::new(),
            acknowledged: Vec::new(),
            edits: 0,
            seq: Seq(0),
            base: Json::Null,
            local: Json::Null,
            line: Seq(0),
            waiting: VecDeque::new(),
            answered: Vec::new(),
            lost: true,
            gap: false,
            sync_gap: None,
            document,
            sync: StockSession::default(),
        }
    }

    /// What its channel does with a delivery.
    pub(super) fn receive(&mut self, delivery: Delivery) {
        self.gap &= !matches!(delivery, Delivery::Snapshot { .. });
        let beyond = match &delivery {
            Delivery::Patch { .. } => self.gap,
            Delivery::Sync { message, .. } if message.opens() => {
                self.sync_gap = None;
                false
            }
            Delivery::Sync { message, .. } => self.sync_gap.is_some() && message.since().is_some(),
            _ => false,
        };
        if !beyond {
            self.inbox.push_back(delivery);
        }
    }

    /// Its channel was full: all is dropped that can be said again. Returns what it missed.
    pub(super) fn overflow(&mut self) -> Vec<(StoreName, Vec<ChangeHash>)> {
        for said in std::mem::take(&mut self.inbox) {
            match &said {
                Delivery::Ack { .. } | Delivery::Nack { .. } => self.inbox.push_back(said),
                Delivery::Sync { message, .. } => match message.since() {
                    Some(since) => {
                        self.sync_gap.get_or_insert_with(|| since.to_vec());
                    }
                    None => self.inbox.push_back(said),
                },
                // A channel that has lost nothing waits for nothing.
                _ => self.gap = true,
            }
        }
        self.sync_gap.iter().map(|since| (store(), since.clone())).collect()
    }

    pub(super) fn state(&self) -> Json {
        match self.kind {
            Kind::Ack | Kind::Legacy => self.local.clone(),
            Kind::Crdt => self.document.json(),
        }
    }

    fn hello(&self) -> Request {
        let mut hello = Hello::default();
        let seq = if self.lost { -1 } else { i64::try_from(self.seq.0).unwrap() };
        hello.seqs.insert(store(), seq);
        hello.caps = Caps { ack: self.kind == Kind::Ack, ..Caps::default() };
        Request::Hello(hello)
    }

    pub(super) fn connect(&mut self, session: SessionId) -> Vec<Request> {
        self.session = Some(session);
        self.gap = false;
        self.sync_gap = None;
        if self.kind == Kind::Crdt {
            self.sync = self.sync.again();
            let message = self.sync.generate(&self.document).unwrap();
            let mut hello = Hello::default();
            hello.sync.insert(store(), message);
            return vec![Request::Hello(hello)];
        }
        // A legacy client cannot know whether its last edits arrived: it starts over.
        self.lost |= self.kind == Kind::Legacy;
        let answered = self.answered.iter().map(|(id, patch)| (id, patch));
        let waiting = self.waiting.iter().map(|(id, patch, _)| (id, patch));
        let again = answered.chain(waiting).map(|(id, patch)| self.patch(id.clone(), patch));
        std::iter::once(self.hello()).chain(again).collect()
    }

    fn patch(&self, id: MessageId, patch: &JsonPatch) -> Request {
        let seq = i64::try_from(self.line.0).unwrap();
        Request::Patch { store: store(), seq, id: Some(id), patch: patch.clone() }
    }

    pub(super) fn edit(&mut self, place: Index, kind: u8, value: Json) -> Vec<Request> {
        let mut next = self.state();
        arbitrary::edit(&mut next, place, kind, value);
        match self.kind {
            Kind::Crdt => {
                let base = self.document.state();
                let note = Note { time: Millis(0), message: None };
                self.document.write(&base, &next, None, note).unwrap();
                self.answer()
            }
            Kind::Legacy => {
                if self.lost || self.session.is_none() {
                    return Vec::new();
                }
                let patch = between(&self.local, &next, &Identity::default());
                let seq = i64::try_from(self.seq.0).unwrap();
                self.seq = self.seq.next();
                self.local = next;
                vec![Request::Patch { store: store(), seq, id: None, patch }]
            }
            Kind::Ack => {
                if self.lost {
                    return Vec::new();
                }
                let patch = between(&self.local, &next, &Identity::default());
                self.edits += 1;
                let id = MessageId::new(&format!("{}-{}", self.number, self.edits)).unwrap();
                self.local = next.clone();
                self.waiting.push_back((id.clone(), patch.clone(), next));
                vec![self.patch(id, &patch)]
            }
        }
    }

    fn answer(&mut self) -> Vec<Request> {
        let message = self.session.and_then(|_| self.sync.generate(&self.document));
        message.map(|message| Request::Sync { store: store(), message }).into_iter().collect()
    }

    pub(super) fn hear(
        &mut self,
        delivery: Delivery,
        states: &BTreeMap<Seq, Json>,
    ) -> Vec<Request> {
        match delivery {
            Delivery::Sync { message, .. } => {
                self.sync.receive(&mut self.document, &message.encode());
                self.answer()
            }
            Delivery::Snapshot { seq, state, .. } => {
                assert_eq!(states.get(&seq), Some(&state), "a snapshot of what is not durable");
                self.lost = false;
                self.seq = seq;
                self.base = state;
                self.adopt();
                Vec::new()
            }
            Delivery::Patch { seq, patch, .. } => self.hear_patch(seq, &patch, states),
            Delivery::Ack { id, seq, patch, .. } => {
                self.hear_ack(&id.unwrap(), seq, &patch, states)
            }
            Delivery::Nack { .. } => {
                self.waiting.clear();
                self.answered.clear();
                self.lost = true;
                vec![self.hello()]
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn hear_patch(
        &mut self,
        seq: Seq,
        patch: &JsonPatch,
        states: &BTreeMap<Seq, Json>,
    ) -> Vec<Request> {
        if self.lost {
            return Vec::new();
        }
        if self.kind == Kind::Legacy {
            // Its own count may have run ahead of the server's: then a snapshot is on its way.
            if seq == self.seq.next()
                && let Ok(applied) = patch.apply(&self.local, &limits())
            {
                self.local = applied.json;
                self.seq = seq;
            }
            return Vec::new();
        }
        assert!(seq > self.seq, "seqs rise");
        self.base = patch.apply(&self.base, &limits()).unwrap().json;
        assert_eq!(states.get(&seq), Some(&self.base), "a patch to what is not durable");
        self.seq = seq;
        self.adopt();
        Vec::new()
    }

    fn hear_ack(
        &mut self,
        id: &MessageId,
        seq: Seq,
        patch: &JsonPatch,
        states: &BTreeMap<Seq, Json>,
    ) -> Vec<Request> {
        self.acknowledged.push(id.clone());
        if self.waiting.front().is_none_or(|(waiting, _, _)| waiting != id) {
            return Vec::new();
        }
        let (id, sent, saw) = self.waiting.pop_front().unwrap();
        self.answered.push((id, sent));
        // An older one was committed in an earlier life: the base has it already.
        if seq > self.seq {
            self.base = patch.apply(&saw, &limits()).unwrap().json;
            assert_eq!(states.get(&seq), Some(&self.base), "an ack of what is not durable");
            self.seq = seq;
        }
        self.adopt();
        Vec::new()
    }

    /// With nothing on its way, what the server says is what the user sees.
    fn adopt(&mut self) {
        if self.kind == Kind::Legacy || self.waiting.is_empty() {
            self.local = self.base.clone();
            self.line = self.seq;
            self.answered.clear();
        }
    }
}
