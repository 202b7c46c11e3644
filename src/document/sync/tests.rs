//! The dialogue with stock Automerge peers, over random histories.

use std::collections::VecDeque;

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ROOT, ReadDoc as _};
use proptest::prelude::*;
use proptest::sample::Index;

use super::stock::StockSession;
use super::*;
use crate::document::{Policy, sorted};
use crate::ids::Millis;
use crate::json::{Json, arbitrary};

fn document(actor: u8) -> Document {
    let mut document = Document::load(std::sync::Arc::new(Policy::default()), None, &[]).unwrap();
    document.sign_as(&[actor; 16]);
    document
}

fn edit(document: &mut Document, place: Index, kind: u8, value: Json) -> Option<Vec<u8>> {
    let (base, mut next) = (document.state(), document.json());
    arbitrary::edit(&mut next, place, kind, value);
    let note = crate::document::Note { time: Millis(0), message: None };
    document.write(&base, &next, None, note).unwrap().change.map(|(_, bytes)| bytes)
}

/// A stock peer, the server's session with it, and what is under way between them.
struct Client {
    document: Document,
    stock: StockSession,
    session: SyncSession,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<SyncMessage>,
    /// What the peer missed when its queue overflowed.
    gap: Option<Vec<ChangeHash>>,
    /// It reads changes only, as the first version of the protocol did.
    old: bool,
}

impl Client {
    fn new(actor: u8, old: bool) -> Self {
        Self {
            document: document(actor),
            stock: StockSession::default(),
            session: SyncSession::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            gap: None,
            old,
        }
    }

    fn connect(&mut self) {
        self.stock = self.stock.again();
        self.session = SyncSession::new();
        self.up.clear();
        self.down.clear();
        self.gap = None;
        self.say();
    }

    fn say(&mut self) {
        if let Some(mut message) = self.stock.generate(&self.document) {
            if self.old {
                // The flags are the last three bytes.
                message.truncate(message.len() - 3);
            }
            self.up.push_back(message);
        }
    }

    fn hear(&mut self, message: &SyncMessage) {
        let bytes = message.encode();
        assert!(!self.old || bytes[0] == 0x42, "an old peer is sent changes only");
        self.stock.receive(&mut self.document, &bytes);
        self.say();
    }

    fn queue(&mut self, message: SyncMessage) {
        if message.opens() {
            self.gap = None;
        }
        if self.gap.is_none() || message.since().is_none() {
            self.down.push_back(message);
        }
    }
}

struct World {
    server: Document,
    peers: Vec<Client>,
}

impl World {
    fn publish(&mut self, before: &[ChangeHash], changes: &[Vec<u8>], author: Option<usize>) {
        let heads = self.server.heads();
        for (n, peer) in self.peers.iter_mut().enumerate() {
            if peer.session.is_told() {
                let changes = changes.iter().map(|change| change.as_slice().into());
                let changes = if author == Some(n) { Vec::new() } else { changes.collect() };
                peer.queue(SyncMessage::news(before.to_vec(), heads.clone(), changes));
            }
        }
    }

    fn serve(&mut self, n: usize) -> bool {
        let Some(message) = self.peers[n].up.pop_front() else { return false };
        let before = self.server.heads();
        let incoming = Incoming::open(&message).unwrap();
        let received = self.peers[n].session.receive(&mut self.server, incoming, |_| true).unwrap();
        assert_eq!(received.refused, None);
        if !received.changes.is_empty() {
            self.publish(&before, &received.changes, Some(n));
        }
        if let Some(answer) = self.peers[n].session.answer(&mut self.server) {
            self.peers[n].queue(answer);
        }
        true
    }

    fn tell(&mut self, n: usize) -> bool {
        let Some(message) = self.peers[n].down.pop_front() else { return false };
        self.peers[n].hear(&message);
        true
    }

    fn settle(&mut self) {
        for n in 0..self.peers.len() {
            if let Some(since) = self.peers[n].gap.take() {
                let caught_up = SyncMessage::catch_up(&mut self.server, &since).unwrap();
                self.peers[n].queue(caught_up);
            }
        }
        for round in 0.. {
            let mut moved = false;
            for n in 0..self.peers.len() {
                moved |= self.serve(n);
                moved |= self.tell(n);
            }
            if !moved {
                break;
            }
            assert!(round < 10_000, "the dialogue does not end");
        }
        for peer in &self.peers {
            assert_eq!(peer.document.heads(), self.server.heads());
            assert_eq!(peer.document.json(), self.server.json());
            assert!(peer.session.is_told());
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Edit(Index, Index, u8, Json),
    EditHere(Index, u8, Json),
    Serve(Index),
    Tell(Index),
    Connect(Index),
    Overflow(Index),
    /// All that waits goes out as one.
    Join(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (any::<Index>(), any::<Index>(), any::<u8>(), arbitrary::scalar());
    let here = (any::<Index>(), any::<u8>(), arbitrary::scalar());
    let peer = any::<Index>;
    let step = prop_oneof![
        6 => edit.prop_map(|(peer, place, kind, value)| Step::Edit(peer, place, kind, value)),
        3 => here.prop_map(|(place, kind, value)| Step::EditHere(place, kind, value)),
        6 => peer().prop_map(Step::Serve),
        6 => peer().prop_map(Step::Tell),
        1 => peer().prop_map(Step::Connect),
        1 => peer().prop_map(Step::Overflow),
        2 => peer().prop_map(Step::Join),
    ];
    prop::collection::vec(step, 1..120)
}

impl World {
    fn step(&mut self, step: Step) {
        let of = |index: Index, world: &Self| index.index(world.peers.len());
        match step {
            Step::Edit(peer, place, kind, value) => {
                let n = of(peer, self);
                edit(&mut self.peers[n].document, place, kind, value);
                self.peers[n].say();
            }
            Step::EditHere(place, kind, value) => {
                let before = self.server.heads();
                let change = edit(&mut self.server, place, kind, value);
                if let Some(change) = change {
                    self.publish(&before, &[change], None);
                }
            }
            Step::Serve(peer) => drop(self.serve(of(peer, self))),
            Step::Tell(peer) => drop(self.tell(of(peer, self))),
            Step::Connect(peer) => {
                let n = of(peer, self);
                self.peers[n].connect();
            }
            Step::Overflow(peer) => {
                let n = of(peer, self);
                let peer = &mut self.peers[n];
                for message in std::mem::take(&mut peer.down) {
                    match message.since() {
                        Some(since) => {
                            peer.gap.get_or_insert_with(|| since.to_vec());
                        }
                        None => peer.down.push_back(message),
                    }
                }
            }
            Step::Join(peer) => {
                let n = of(peer, self);
                let mut joined: VecDeque<SyncMessage> = VecDeque::new();
                for message in std::mem::take(&mut self.peers[n].down) {
                    if !joined.back_mut().is_some_and(|last| last.extend(&message)) {
                        joined.push_back(message);
                    }
                }
                self.peers[n].down = joined;
            }
        }
    }
}

proptest! {
    /// Stock peers of both versions, cuts, overflows and joined messages: all end with the same.
    #[test]
    fn stock_peers_and_the_server_end_with_the_same(steps in steps()) {
        let peers = vec![Client::new(1, false), Client::new(2, false), Client::new(3, true)];
        let mut world = World { server: document(9), peers };
        world.peers.iter_mut().for_each(Client::connect);
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}

fn told_session(server: &mut Document) -> SyncSession {
    let mut stock = StockSession::default();
    let mut session = SyncSession::new();
    let hello = stock.generate(&document(1)).unwrap();
    session.receive(server, Incoming::open(&hello).unwrap(), |_| true).unwrap();
    session.answer(server).unwrap();
    session
}

/// Many may write while a client confirms; it confirms each, and nobody takes that for a loop. One
/// that starts over and over is.
#[test]
fn confirming_is_no_loop_and_starting_over_is() {
    let mut server = document(9);
    let base = server.state();
    let note = crate::document::Note { time: Millis(0), message: None };
    server.write(&base, &serde_json::from_str(r#"{"n":1}"#).unwrap(), None, note).unwrap();
    let mut session = told_session(&mut server);
    let heads = server.heads();
    let confirms = SyncMessage::news(heads.clone(), heads, Vec::new()).encode();
    for _ in 0..limits::SYNC_IDLE_ROUNDS_MAX * 3 {
        let incoming = Incoming::open(&confirms).unwrap();
        session.receive(&mut server, incoming, |_| true).unwrap();
        assert_eq!(session.answer(&mut server), None);
    }
    let again = StockSession::default().generate(&document(1)).unwrap();
    let mut rounds = 0;
    let ended = loop {
        let incoming = Incoming::open(&again).unwrap();
        match session.receive(&mut server, incoming, |_| true) {
            Ok(_) => assert!(session.answer(&mut server).is_some()),
            Err(error) => break error,
        }
        rounds += 1;
    };
    assert_eq!((ended, rounds), (DocumentError::NoProgress, limits::SYNC_IDLE_ROUNDS_MAX));
}

/// A change made on what the server was never given waits with its session, and is let in when
/// what it was made on comes.
#[test]
fn a_change_without_its_ancestors_waits_for_them() {
    let mut made = Automerge::new();
    for n in 0..3 {
        let mut tx = made.transaction();
        tx.put(ROOT, "n", n).unwrap();
        tx.commit();
    }
    let changes: Vec<Vec<u8>> =
        made.get_changes(&[]).into_iter().map(|mut change| change.bytes().into_owned()).collect();
    let heads = made.get_heads();
    let send = |changes: &[&Vec<u8>]| {
        let changes = changes.iter().map(|change| change.as_slice().into()).collect();
        Incoming::open(&SyncMessage::news(Vec::new(), heads.clone(), changes).encode()).unwrap()
    };
    let mut server = document(9);
    let mut session = told_session(&mut server);
    let received = session.receive(&mut server, send(&[&changes[2]]), |_| true).unwrap();
    assert_eq!((received.changes.len(), server.heads().len()), (0, 0));
    assert!(session.answer(&mut server).is_some(), "it is asked for the others");
    let received =
        session.receive(&mut server, send(&[&changes[0], &changes[1]]), |_| true).unwrap();
    assert_eq!(received.changes, changes);
    assert_eq!(server.heads(), heads);
}

/// Orphans have a limit; beyond it they are given up, and the client is told so.
#[test]
fn orphans_do_not_pile_up() {
    let mut made = Automerge::new();
    for n in 0..=i64::try_from(limits::ORPHANS_MAX).unwrap() + 1 {
        let mut tx = made.transaction();
        tx.put(ROOT, "n", n).unwrap();
        tx.commit();
    }
    let mut server = document(9);
    let mut session = told_session(&mut server);
    let mut refused = None;
    let changes = made.get_changes(&[]);
    for some in changes[1..].chunks(1_000) {
        let chunks = some.iter().cloned().map(|mut change| change.bytes().into_owned().into());
        let message = SyncMessage::news(Vec::new(), made.get_heads(), chunks.collect());
        let incoming = Incoming::open(&message.encode()).unwrap();
        let received = session.receive(&mut server, incoming, |_| true).unwrap();
        assert!(session.orphan_bytes() <= limits::ORPHAN_BYTES_MAX);
        refused = refused.or(received.refused);
    }
    assert!(matches!(refused, Some(DocumentError::TooMany(_))), "{refused:?}");
    assert!(server.heads().is_empty());
}

/// One bad change does not take the good ones beside it along.
#[test]
fn a_refused_change_takes_no_other_along() {
    let base = Automerge::new();
    let write = |key: &str, actor: u8| {
        let mut copy = base.fork();
        copy.set_actor(ActorId::from([actor; 16]));
        let mut tx = copy.transaction();
        tx.put(ROOT, key, 1).unwrap();
        tx.commit();
        copy.get_last_local_change().unwrap()
    };
    let (good, bad, other) = (write("good", 1), write("__proto__", 2), write("other", 3));
    let heads = [&good, &bad, &other].map(Change::hash).to_vec();
    let chunks = [good, bad, other].map(|mut change| change.bytes().into_owned().into());
    let message = SyncMessage::news(Vec::new(), sorted(heads), chunks.to_vec()).encode();
    let mut server = document(9);
    let mut session = told_session(&mut server);
    let received =
        session.receive(&mut server, Incoming::open(&message).unwrap(), |_| true).unwrap();
    assert!(matches!(received.refused, Some(DocumentError::Json(_))), "{received:?}");
    assert_eq!(received.changes.len(), 2);
    assert_eq!(server.json().as_object().map(crate::json::Object::len), Some(2));
    assert_eq!(server.doc.keys(ROOT).count(), 2);
}

/// Good changes stand, however many bad ones come with them, and nothing is lost in silence.
#[test]
fn bad_changes_among_many_are_found_one_by_one() {
    let base = Automerge::new();
    let write = |key: &str, actor: u16| {
        let mut copy = base.fork();
        copy.set_actor(ActorId::from(actor.to_be_bytes()));
        let mut tx = copy.transaction();
        tx.put(ROOT, key, 1).unwrap();
        tx.commit();
        copy.get_last_local_change().unwrap()
    };
    for bad in [1, 3, usize::try_from(limits::CHANGES_REFUSED_MAX).unwrap() + 5] {
        let key = |n: usize| if n.is_multiple_of(7) && n / 7 < bad { "__proto__" } else { "good" };
        let changes: Vec<Change> = (0..300_u16).map(|n| write(key(n.into()), n)).collect();
        let heads = sorted(changes.iter().map(Change::hash).collect());
        let chunks = changes.into_iter().map(|mut change| change.bytes().into_owned().into());
        let message = SyncMessage::news(Vec::new(), heads, chunks.collect()).encode();
        let mut server = document(9);
        let mut session = told_session(&mut server);
        let incoming = Incoming::open(&message).unwrap();
        let received = session.receive(&mut server, incoming, |_| true).unwrap();
        assert!(matches!(received.refused, Some(DocumentError::Json(_))), "{received:?}");
        assert!(received.gave_up || received.changes.len() == 300 - bad);
        assert_eq!(received.gave_up, bad > 3);
        assert_eq!(received.authors.len(), received.changes.len());
        assert!(session.answer(&mut server).is_some(), "and it is still answered");
    }
}
