//! What waits for a slow client, and what is dropped; then the news of documents.

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::super::tongue::ServerName;
use super::*;
use crate::document::{Document, Incoming, Note, StockSession, SyncSession};
use crate::ids::{DocumentId, Millis, Seq, SessionId};
use crate::json::{Json, JsonOp, JsonPatch, Object};
use crate::workspace::MessageId;
use crate::workspace::repo::{Ephemeral, PresenceWord, RemoteHeads, SenderId, StorageId};

const BYTES_MAX: usize = 10_000;

fn store(name: &str) -> StoreName {
    name.parse().unwrap()
}

fn snapshot(name: &str, seq: u64) -> Delivery {
    let state = Json::from("x".repeat(BYTES_MAX * 2));
    Delivery::Snapshot { store: store(name), seq: Seq(seq), state, cursor: None }
}

fn patch(name: &str, seq: u64, bytes: usize) -> Delivery {
    let (path, value) = ("/x".parse().unwrap(), Json::from("x".repeat(bytes)));
    let patch = JsonPatch { ops: vec![JsonOp::Add { path, value }] }.into();
    Delivery::Patch { store: store(name), seq: Seq(seq), patch, cursor: None }
}

fn ack(seq: u64, bytes: usize) -> Delivery {
    let (path, value) = ("/x".parse().unwrap(), Json::from("x".repeat(bytes)));
    let patch = JsonPatch { ops: vec![JsonOp::Add { path, value }] };
    let id = MessageId::new("i");
    Delivery::Ack { store: store("a"), id, seq: Seq(seq), patch, cursor: None }
}

fn deliver(outbox: &Outbox, delivery: Delivery) {
    outbox.deliver(&Arc::new(Outgoing::new(delivery)));
}

/// What the writer would take, as `patch a 3`; the batch stays in hand.
fn take(outbox: &Outbox) -> (Vec<String>, bool, Option<Closing>) {
    let batch = outbox.batch().now_or_never().expect("something to do");
    let name = |waiting: &Waiting| match waiting.message.delivery() {
        Delivery::Snapshot { store, seq, .. } => format!("snapshot {store} {seq}"),
        Delivery::Patch { store, seq, .. } => format!("patch {store} {seq}"),
        Delivery::Ack { seq, .. } => format!("ack {seq}"),
        other => format!("{other:?}"),
    };
    let names = batch.messages.iter().map(name).collect();
    batch.messages.iter().for_each(|message| outbox.written(message));
    (names, batch.resync.is_some(), batch.close)
}

fn has_room(outbox: &Outbox) -> bool {
    outbox.has_room().now_or_never().is_some()
}

#[test]
fn what_waits_goes_out_together_and_in_order() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    assert!(outbox.batch().now_or_never().is_none());
    deliver(&outbox, patch("a", 1, 10));
    deliver(&outbox, patch("b", 1, 10));
    deliver(&outbox, ack(2, 10));
    assert_eq!(take(&outbox).0, ["patch a 1", "patch b 1", "ack 2"]);
    assert!(outbox.is_writing());
    outbox.batch_done();
    assert!(!outbox.is_writing());
    assert!(outbox.batch().now_or_never().is_none());
}

#[test]
fn what_is_dropped_is_counted() {
    let meter = SocketMeter::default();
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json).counting(&meter);
    deliver(&outbox, patch("a", 1, BYTES_MAX));
    assert_eq!(meter.dropped.get(), 0);
    deliver(&outbox, patch("a", 2, BYTES_MAX));
    // It fits, and goes on from what was dropped.
    deliver(&outbox, patch("a", 3, 0));
    deliver(&outbox, ack(4, 10));
    assert_eq!(meter.dropped.get(), 2);
}

#[test]
fn a_message_beyond_the_limit_passes_alone() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, patch("a", 1, BYTES_MAX * 3));
    deliver(&outbox, patch("b", 1, 10));
    let (names, resync, _) = take(&outbox);
    assert_eq!((&*names, resync), (&["patch a 1".to_owned()][..], true));
}

/// The danger: a patch over a gap would put the client into a state that never was.
#[test]
fn after_a_loss_no_patch_passes_before_a_snapshot() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, patch("a", 1, 6_000));
    deliver(&outbox, patch("a", 2, 6_000));
    deliver(&outbox, patch("a", 3, 10));
    deliver(&outbox, patch("b", 1, 10));
    assert!(!has_room(&outbox));
    assert_eq!(take(&outbox), (vec!["patch a 1".to_owned(), "patch b 1".to_owned()], true, None));

    // Made before the workspace knew of the resync, and delivered after it was asked for it.
    outbox.batch_done();
    assert!(has_room(&outbox));
    deliver(&outbox, patch("a", 4, 10));
    deliver(&outbox, patch("b", 2, 10));
    deliver(&outbox, snapshot("a", 4));
    deliver(&outbox, patch("a", 5, 10));
    let (names, resync, _) = take(&outbox);
    assert_eq!(names, ["patch b 2", "snapshot a 4", "patch a 5"]);
    assert!(!resync);
}

/// Were snapshots weighed by their text, a workspace larger than the limit could never be
/// given to a client: every resync would overflow again.
#[test]
fn the_answer_to_a_resync_always_fits() {
    let outbox = Outbox::new(limits::OUTBOX_BYTES_MAX, Tongue::Json);
    for n in 0..limits::STORES_MAX {
        deliver(&outbox, snapshot(&format!("s{n}"), 1));
    }
    let (names, resync, _) = take(&outbox);
    assert_eq!((names.len(), resync), (limits::STORES_MAX, false));
}

#[test]
fn a_second_loss_while_the_first_is_reported_is_reported_too() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, patch("a", 1, BYTES_MAX));
    deliver(&outbox, patch("a", 2, 10));
    let batch = outbox.batch().now_or_never().unwrap();
    assert!(batch.resync.is_some());
    deliver(&outbox, patch("b", 1, BYTES_MAX));
    batch.messages.iter().for_each(|message| outbox.written(message));
    outbox.batch_done();
    assert!(!has_room(&outbox), "the reader still waits");
    assert!(take(&outbox).1);
    outbox.batch_done();
    assert!(has_room(&outbox));
}

#[test]
fn answers_are_kept_until_they_alone_are_too_much() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, ack(1, BYTES_MAX));
    assert!(!has_room(&outbox), "no more questions are read");
    let last = limits::OUTBOX_ANSWERS_MAX as u64;
    for seq in 2..=last + 9 {
        deliver(&outbox, ack(seq, BYTES_MAX));
    }
    let (names, _, close) = take(&outbox);
    let expected: Vec<String> = (1..=last).map(|seq| format!("ack {seq}")).collect();
    assert_eq!(names, expected);
    assert_eq!(close, Some(Closing::SLOW));
}

/// A document that is larger than the whole queue, for a client that has something to read yet.
#[test]
fn the_last_answer_may_be_of_any_size() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, ack(1, 10));
    deliver(&outbox, ack(2, 10 * BYTES_MAX));
    let (names, _, close) = take(&outbox);
    assert_eq!((names, close), (vec!["ack 1".to_owned(), "ack 2".to_owned()], None));
}

#[test]
fn the_first_last_word_counts() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    deliver(&outbox, patch("a", 1, 10));
    outbox.close(&Refusal::NoProgress);
    outbox.end(Closing::RESTART);
    deliver(&outbox, patch("a", 2, 10));
    let (names, _, close) = take(&outbox);
    assert_eq!((names.len(), close), (1, Some(Closing::of(&Refusal::NoProgress))));
}

#[tokio::test]
async fn the_reader_is_woken_when_there_is_room() {
    let outbox = Arc::new(Outbox::new(BYTES_MAX, Tongue::Json));
    deliver(&outbox, patch("a", 1, BYTES_MAX - 500));
    let reader = Arc::clone(&outbox);
    let waiting = tokio::spawn(async move { reader.has_room().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    take(&outbox);
    waiting.await.unwrap();
}

/// A server's document, and what it has to say of each edit.
struct Author {
    store: StoreName,
    document: Document,
    edits: u64,
}

fn document(actor: u8) -> Document {
    let mut document = Document::load(Arc::default(), None, &[]).unwrap();
    document.sign_as(&[actor; 16]);
    document
}

/// Writes about so many bytes that no edit before has written.
fn write(document: &mut Document, edit: u64, bytes: usize) -> Vec<Arc<[u8]>> {
    let text = format!("{edit:04} {}", noise(edit, bytes));
    let mut root = Object::default();
    root.insert("x".into(), text.into());
    let (base, note) = (document.state(), Note { time: Millis(0), message: None });
    let (_, bytes) = document.write(&base, &root.into(), None, note).unwrap().change.unwrap();
    vec![bytes.into()]
}

/// Text that deflate makes little of.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        char::from(b' ' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..bytes).map(letter).collect()
}

impl Author {
    fn new(name: &str) -> Self {
        Self { store: store(name), document: document(1), edits: 0 }
    }

    fn edit(&mut self, bytes: usize) -> SyncMessage {
        self.edits += 1;
        let since = self.document.heads();
        let changes = write(&mut self.document, self.edits, bytes);
        SyncMessage::news(since, self.document.heads(), changes)
    }

    /// What a client with heads that nobody here has seen is asked.
    fn question(&mut self) -> SyncMessage {
        let mut stranger = document(2);
        write(&mut stranger, 1, 10);
        let said = StockSession::default().generate(&stranger).unwrap();
        let (mut session, said) = (SyncSession::new(), Incoming::open(&said).unwrap());
        session.receive(&mut self.document, said, |_| true).unwrap();
        let question = session.answer(&mut self.document).unwrap();
        assert_eq!((question.since(), question.opens()), (None, false));
        question
    }

    fn catch_up(&mut self, since: &[ChangeHash]) -> SyncMessage {
        let opening = SyncMessage::catch_up(&mut self.document, since).unwrap();
        assert!(opening.opens());
        opening
    }

    fn says(&self, message: &SyncMessage) -> Delivery {
        Delivery::Sync { store: self.store.clone(), message: Arc::new(message.clone()) }
    }
}

fn repo_outbox() -> Outbox {
    let name = Arc::new(ServerName::new(1));
    Outbox::new(BYTES_MAX, Tongue::repo("w".parse().unwrap(), name))
}

fn document_id() -> DocumentId {
    DocumentId::of(&"w".parse().unwrap(), &store("a"))
}

fn ephemeral(bytes: usize) -> Delivery {
    let (sender, session) = (SenderId("other".into()), "life".into());
    let (document, data) = (document_id(), vec![0; bytes]);
    let said = Ephemeral { document, sender, session, count: 1, data, presence: None };
    Delivery::Repo(RepoDelivery::Ephemeral(Arc::new(said)))
}

/// What a batch asks a resync for.
type Missed = Option<Vec<(StoreName, Vec<ChangeHash>)>>;

/// The sync messages of a batch, and what it asks a resync for. All of it is written.
fn take_sync(outbox: &Outbox) -> (Vec<Delivery>, Missed) {
    let batch = outbox.batch().now_or_never().expect("something to do");
    assert_eq!(batch.close, None);
    batch.messages.iter().for_each(|message| outbox.written(message));
    outbox.batch_done();
    let said = batch.messages.iter().map(|waiting| waiting.message.delivery().clone());
    (said.filter(|said| matches!(said, Delivery::Sync { .. })).collect(), batch.resync)
}

fn chained(first: &SyncMessage, rest: &[&SyncMessage]) -> SyncMessage {
    let mut chain = first.clone();
    for next in rest {
        assert!(chain.extend(next));
    }
    chain
}

/// News over a gap would leave a client with changes whose ancestors never come.
#[test]
fn after_lost_news_none_pass_before_an_opening() {
    let outbox = repo_outbox();
    let (mut a, mut b) = (Author::new("a"), Author::new("b"));
    let first = a.edit(6_000);
    deliver(&outbox, a.says(&first));
    let lost = a.edit(6_000);
    deliver(&outbox, a.says(&lost));
    let beyond = a.edit(10);
    deliver(&outbox, a.says(&beyond));
    let other = b.edit(10);
    deliver(&outbox, b.says(&other));
    assert!(!has_room(&outbox));

    let (said, resync) = take_sync(&outbox);
    assert_eq!(said, [a.says(&first), b.says(&other)]);
    let missed = (store("a"), first.heads().to_vec());
    assert_eq!(resync, Some(vec![missed.clone()]), "from what the client still has");
    assert!(has_room(&outbox));

    // Made before the workspace knew of the resync.
    let beyond = a.edit(10);
    deliver(&outbox, a.says(&beyond));
    let other = b.edit(10);
    deliver(&outbox, b.says(&other));
    let question = a.question();
    deliver(&outbox, a.says(&question));
    let opening = a.catch_up(&missed.1);
    deliver(&outbox, a.says(&opening));
    let after = a.edit(10);
    deliver(&outbox, a.says(&after));
    let (said, resync) = take_sync(&outbox);
    let opened = chained(&opening, &[&after]);
    assert_eq!(said, [b.says(&other), a.says(&question), a.says(&opened)]);
    assert_eq!(resync, None);
}

#[test]
fn an_opening_that_is_lost_leaves_the_gap_where_it_was() {
    let outbox = repo_outbox();
    let mut a = Author::new("a");
    let first = a.edit(6_000);
    deliver(&outbox, a.says(&first));
    let lost = a.edit(6_000);
    deliver(&outbox, a.says(&lost));
    let missed = Some(vec![(store("a"), first.heads().to_vec())]);
    assert_eq!(take_sync(&outbox), (vec![a.says(&first)], missed.clone()));

    deliver(&outbox, ephemeral(6_000));
    let opening = a.catch_up(first.heads());
    deliver(&outbox, a.says(&opening));
    let beyond = a.edit(10);
    deliver(&outbox, a.says(&beyond));
    assert_eq!(take_sync(&outbox), (vec![], missed));
}

/// Nobody would ask again.
#[test]
fn questions_pass_where_nothing_else_does() {
    let outbox = repo_outbox();
    let mut a = Author::new("a");
    deliver(&outbox, ephemeral(BYTES_MAX - 300));
    let lost = a.edit(10);
    deliver(&outbox, a.says(&lost));
    let question = a.question();
    deliver(&outbox, a.says(&question));
    let missed = Some(vec![(store("a"), vec![])]);
    assert_eq!(take_sync(&outbox), (vec![a.says(&question)], missed));
}

/// JSON stores are told anew as a whole; there are no heads to ask from.
#[test]
fn a_resync_names_the_heads_of_documents_only() {
    let outbox = Outbox::new(BYTES_MAX, Tongue::Json);
    let (mut a, mut b) = (Author::new("a"), Author::new("b"));
    for author in [&mut b, &mut a] {
        let news = author.edit(10);
        deliver(&outbox, author.says(&news));
    }
    let heads = [&a, &b].map(|author| author.document.heads());
    deliver(&outbox, patch("json", 1, BYTES_MAX));
    for author in [&mut b, &mut a] {
        let news = author.edit(BYTES_MAX);
        deliver(&outbox, author.says(&news));
    }
    let [a, b] = heads;
    assert_eq!(take_sync(&outbox).1, Some(vec![(store("a"), a), (store("b"), b)]));
}

#[test]
fn what_is_lost_for_now_is_asked_for_and_what_is_lost_for_ever_is_not() {
    let storage = StorageId("elsewhere".into());
    let known = RemoteHeads { heads: document(1).heads(), time: Millis(1) };
    let heads =
        RepoDelivery::RemoteHeads { document: document_id(), heads: vec![(storage, known)] };
    let (document, session) = (document_id(), SessionId(1));
    let word = PresenceWord::Goodbye;
    let presence = RepoDelivery::Presence { document, session, word, count: 1 };
    for (lost, resync) in [
        (Delivery::Repo(heads), Some(vec![])),
        (Delivery::Repo(presence), Some(vec![])),
        (ephemeral(10), None),
    ] {
        let outbox = repo_outbox();
        deliver(&outbox, ephemeral(BYTES_MAX));
        deliver(&outbox, lost.clone());
        let batch = outbox.batch().now_or_never().unwrap();
        assert_eq!((batch.messages.len(), batch.resync), (1, resync), "{lost:?}");
    }
}

#[test]
fn news_that_wait_together_are_joined_in_the_place_of_the_first() {
    let outbox = repo_outbox();
    let (mut a, mut b) = (Author::new("a"), Author::new("b"));
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        of_a.push(a.edit(100));
        of_b.push(b.edit(200));
        deliver(&outbox, a.says(of_a.last().unwrap()));
        deliver(&outbox, b.says(of_b.last().unwrap()));
    }
    let weighs = |says: &Author, news: &[SyncMessage]| {
        let weight = |message| outbox.tongue().weight(&Outgoing::new(says.says(message)));
        news.iter().map(weight).sum::<usize>()
    };
    let (weight_a, weight_b) = (weighs(&a, &of_a), weighs(&b, &of_b));
    assert_eq!(outbox.lock().bytes, weight_a + weight_b);

    let batch = outbox.batch().now_or_never().unwrap();
    let [first, second] = &*batch.messages else { panic!("{:?}", batch.messages) };
    let whole_a = chained(&of_a[0], &[&of_a[1], &of_a[2]]);
    let whole_b = chained(&of_b[0], &[&of_b[1], &of_b[2]]);
    assert_eq!(*first.message.delivery(), a.says(&whole_a));
    assert_eq!(*second.message.delivery(), b.says(&whole_b));
    outbox.written(first);
    assert_eq!(outbox.lock().bytes, weight_b, "what was joined is written with the first");
    outbox.written(second);
    assert_eq!(outbox.lock().bytes, 0);
}

#[test]
fn what_does_not_go_on_from_each_other_is_not_joined() {
    let outbox = repo_outbox();
    let mut a = Author::new("a");
    let [first, second, third, skipped, fourth, fifth] = [(); 6].map(|()| a.edit(10));
    let question = a.question();
    for message in [&first, &second, &question, &third, &fourth, &fifth] {
        deliver(&outbox, a.says(message));
    }
    let chains = [chained(&first, &[&second]), question, third, chained(&fourth, &[&fifth])];
    assert_eq!(take_sync(&outbox).0, chains.map(|message| a.says(&message)));
    assert_eq!(skipped.heads(), fourth.since().unwrap());
}

/// What happens to the socket of a client that follows one document.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody writes about so many bytes.
    Edit(usize),
    /// Something else wants to be told.
    Noise(usize),
    Ask,
    /// The writer takes what waits.
    Take,
    /// The socket has taken it.
    Written,
    /// The workspace gets to a resync that it was asked for.
    Resync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop_oneof![0..100_usize, 0..BYTES_MAX, 0..2 * BYTES_MAX];
    let step = prop_oneof![
        8 => bytes().prop_map(Step::Edit),
        2 => bytes().prop_map(Step::Noise),
        1 => Just(Step::Ask),
        4 => Just(Step::Take),
        3 => Just(Step::Written),
        2 => Just(Step::Resync),
    ];
    prop::collection::vec(step, 1..60)
}

/// A client that follows one document through an outbox.
struct Follower {
    outbox: Outbox,
    server: Author,
    document: Document,
    stock: StockSession,
    in_hand: Option<Batch>,
    asked: VecDeque<Vec<ChangeHash>>,
    questions: usize,
    heard: usize,
}

impl Follower {
    fn new() -> Self {
        Self {
            outbox: repo_outbox(),
            server: Author::new("a"),
            document: document(3),
            stock: StockSession::default(),
            in_hand: None,
            asked: VecDeque::new(),
            questions: 0,
            heard: 0,
        }
    }

    fn deliver(&self, message: &SyncMessage) {
        deliver(&self.outbox, self.server.says(message));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Edit(bytes) => {
                let news = self.server.edit(*bytes);
                self.deliver(&news);
            }
            Step::Noise(bytes) => deliver(&self.outbox, ephemeral(*bytes)),
            // Beyond, no more of the client is read that would have to be answered.
            Step::Ask if self.outbox.lock().bytes > BYTES_MAX => {}
            Step::Ask => {
                self.questions += 1;
                let question = self.server.question();
                self.deliver(&question);
            }
            Step::Take if self.in_hand.is_none() => self.take(),
            Step::Take => {}
            Step::Written => self.written(),
            Step::Resync => self.resync(),
        }
    }

    fn take(&mut self) {
        self.in_hand = self.outbox.batch().now_or_never();
    }

    fn written(&mut self) {
        let Some(batch) = self.in_hand.take() else { return };
        for waiting in &batch.messages {
            if let Delivery::Sync { message, .. } = waiting.message.delivery() {
                self.hear(message);
            }
            self.outbox.written(waiting);
        }
        for (store, heads) in batch.resync.into_iter().flatten() {
            assert_eq!(store, self.server.store);
            assert_eq!(heads, self.document.heads(), "a resync starts from what the client has");
            self.asked.push_back(heads);
        }
        self.outbox.batch_done();
    }

    fn hear(&mut self, message: &SyncMessage) {
        let Some(since) = message.since() else {
            self.heard += 1;
            return;
        };
        assert_eq!(since, self.document.heads(), "a message beyond a gap");
        self.stock.receive(&mut self.document, &message.encode());
        assert_eq!(message.heads(), self.document.heads());
    }

    fn resync(&mut self) {
        if let Some(since) = self.asked.pop_front() {
            let opening = self.server.catch_up(&since);
            self.deliver(&opening);
        }
    }

    /// The socket takes all, and nobody writes any more.
    fn settle(&mut self) {
        for round in 0.. {
            self.written();
            self.resync();
            self.take();
            if self.in_hand.is_none() && self.asked.is_empty() {
                break;
            }
            assert!(round < 100, "the outbox does not run empty");
        }
        assert_eq!(self.document.heads(), self.server.document.heads());
        assert_eq!(self.document.json(), self.server.document.json());
        assert_eq!(self.heard, self.questions, "no question is lost");
        let queue = self.outbox.lock();
        assert_eq!((queue.bytes, queue.gaps.len(), queue.loss), (0, 0, Loss::None));
    }
}

proptest! {
    #[test]
    fn a_slow_follower_meets_no_gap_and_ends_with_all(steps in steps()) {
        let mut follower = Follower::new();
        for step in &steps {
            follower.step(step);
        }
        follower.settle();
    }
}
