//! Many replicas of one document, each of which hears of the others late, twice, in any order or
//! not at all: in the end all are the same.

use std::sync::Arc;

use automerge::ChangeHash;

use super::projection::write;
use super::script::Script;
use crate::document::probe::{check, document, load, news, raw_edit, since};
use crate::document::{Document, Incoming, Policy, State, SyncMessage, SyncSession};
use crate::json::{Json, JsonLimits};

/// Replicas at most.
const REPLICAS_MAX: usize = 12;
/// Things that happen in one run.
const STEPS_MAX: usize = 200;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Operation {
    /// A JSON client edits, on one of the states seen so far.
    Json,
    /// An Automerge client edits.
    Raw,
    /// Some changes of another replica arrive in one message, in any order.
    Some(usize),
    /// All changes of another replica arrive that are not known.
    All(usize),
    /// The replica is saved and loaded.
    Reload,
    /// The replica's dialogue with the others starts anew: what waited for ancestors is gone.
    Reconnect,
}

/// One replica, and all that it has seen.
struct Replica {
    document: Document,
    states: Vec<State>,
    /// Its changes in the order in which they came.
    log: Vec<Vec<u8>>,
    session: SyncSession,
}

impl Replica {
    fn new(policy: &Arc<Policy>, initial: &Json, number: u8) -> Self {
        let document = document(policy, initial, &[number, 0]);
        let (states, log) = (vec![document.state()], since(&document, &[]));
        Self { document, states, log, session: SyncSession::new() }
    }

    /// Notes what a step has changed.
    fn note(&mut self, before: &Json, heads: &[ChangeHash]) {
        check(&self.document, before);
        self.log.extend(since(&self.document, heads));
        self.states.push(self.document.state());
        if self.states.len() > 16 {
            self.states.remove(0);
        }
    }

    /// Takes a message as a session does.
    fn hear(&mut self, changes: Vec<Arc<[u8]>>) {
        let message = SyncMessage::news(Vec::new(), Vec::new(), changes).encode();
        let incoming = Incoming::open(&message).unwrap();
        let received = self.session.receive(&mut self.document, incoming, |_| true).unwrap();
        assert_eq!(received.refused, None, "what one replica has another takes");
        drop(self.session.answer(&mut self.document));
    }
}

/// The first choices are how many there are and what they start from.
pub fn converge(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let policy = Arc::new(script.policy());
    let count = 2 + script.below(REPLICAS_MAX - 1);
    let initial = script.json();
    if initial.check(&JsonLimits::default()).is_err() {
        return;
    }
    let mut replicas: Vec<Replica> =
        (1..).take(count).map(|number| Replica::new(&policy, &initial, number)).collect();
    for number in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        let at = script.below(count);
        let operation = choose(&mut script, count);
        let number = u8::try_from(number).unwrap();
        step(&policy, &mut replicas, at, operation, number, &mut script);
    }
    settle(&mut replicas);
    compare(&policy, &replicas);
}

fn choose(script: &mut Script<'_>, count: usize) -> Operation {
    match script.below(16) {
        0..5 => Operation::Json,
        5..8 => Operation::Raw,
        8..12 => Operation::Some(script.below(count)),
        12..14 => Operation::All(script.below(count)),
        14 => Operation::Reload,
        _ => Operation::Reconnect,
    }
}

fn step(
    policy: &Arc<Policy>,
    replicas: &mut [Replica],
    at: usize,
    operation: Operation,
    number: u8,
    script: &mut Script<'_>,
) {
    let (before, heads) = (replicas[at].document.json(), replicas[at].document.heads());
    match operation {
        Operation::Json => {
            let Replica { document, states, .. } = &mut replicas[at];
            write(document, states, script);
        }
        Operation::Raw => {
            let (place, kind) = (script.place(), script.byte());
            raw_edit(&mut replicas[at].document, &[200, number], &place, kind);
        }
        Operation::Some(from) => {
            let log = &replicas[from].log;
            let arrived = (0..=script.below(6)).filter_map(|_| log.get(script.below(log.len())));
            let arrived = arrived.map(|change| Arc::from(change.as_slice())).collect();
            replicas[at].hear(arrived);
        }
        Operation::All(from) => {
            let news = news(&replicas[from].document, &replicas[at].document);
            replicas[at].document.receive(news).unwrap();
        }
        Operation::Reload => {
            let saved = replicas[at].document.save();
            let again = load(policy, Some(&saved), &[]).unwrap();
            assert_eq!(again.state(), replicas[at].document.state());
            replicas[at].document = again;
            replicas[at].document.sign_as(&[100, number]);
        }
        Operation::Reconnect => replicas[at].session = SyncSession::new(),
    }
    replicas[at].note(&before, &heads);
}

/// Everything reaches the first, and from there everyone.
fn settle(replicas: &mut [Replica]) {
    let others = 1..replicas.len();
    let ways = others.clone().map(|from| (from, 0)).chain(others.map(|to| (0, to)));
    for (from, to) in ways {
        let news = news(&replicas[from].document, &replicas[to].document);
        let (before, heads) = (replicas[to].document.json(), replicas[to].document.heads());
        let received = replicas[to].document.receive(news).unwrap();
        assert_eq!(received.refused, None);
        replicas[to].note(&before, &heads);
    }
}

/// All replicas are the same, whichever way their changes came, and are so again from their logs
/// and from what is saved.
fn compare(policy: &Arc<Policy>, replicas: &[Replica]) {
    let first = &replicas[0].document;
    let saved = load(policy, Some(&first.save()), &[]).unwrap();
    assert_eq!(saved.state(), first.state());
    for replica in replicas {
        assert_eq!(replica.document.state(), first.state());
        let replayed = load(policy, None, &replica.log).unwrap();
        assert_eq!(replayed.state(), first.state());
    }
}
