//! A small world around the pure heart: clients of every dialect, a log that may fail, and cuts.
//!
//! Whatever happens, a client is only ever shown states that are durable and that are the same for
//! everyone at that seq; and when all is quiet, everyone has the same.

#![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are its own")]

mod actors;
mod client;
pub(super) mod gates;
mod repo;
mod rights;
mod writes;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::document::{Document, DocumentError};
use crate::json::{Json, arbitrary};
use client::{Client, Kind};

const STORE: &str = "store";

/// The log, and what is true of it.
#[derive(Debug)]
struct Log {
    commits: Vec<Commit>,
    replica: Document,
    /// The state at every durable seq.
    states: BTreeMap<Seq, Json>,
}

impl Log {
    fn new(config: &StoreConfig) -> Self {
        let policy = Arc::new(config.policy.clone());
        let replica = Document::load(policy, None, &[]).unwrap();
        let states = BTreeMap::from([(Seq(0), config.initial.clone())]);
        Self { commits: Vec::new(), replica, states }
    }

    fn newest(&self) -> Seq {
        self.commits.last().map_or(Seq(0), |commit| commit.seq)
    }

    /// Appends as a real log does: what does not follow on its newest commit is refused.
    fn append(&mut self, append: Append) -> bool {
        if append.after != self.newest() {
            return false;
        }
        for commit in append.commits {
            assert_eq!(commit.seq, self.newest().next());
            let decode = |bytes: &Vec<u8>| automerge::Change::from_bytes(bytes.clone()).unwrap();
            self.replica.receive(commit.changes.iter().map(decode).collect()).unwrap();
            assert_eq!(commit.heads, self.replica.heads());
            self.states.insert(commit.seq, self.replica.json());
            self.commits.push(commit);
        }
        true
    }
}

struct World {
    workspace: Workspace,
    config: Arc<StoreConfig>,
    log: Log,
    saves: VecDeque<(SaveId, Vec<Append>)>,
    clients: Vec<Client>,
    sessions: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Edit { client: Index, place: Index, kind: u8, value: Json },
    Hear { client: Index },
    Save,
    FailToSave,
    Cut { client: Index },
    Resync { client: Index },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (any::<Index>(), any::<Index>(), any::<u8>(), arbitrary::scalar());
    let step = prop_oneof![
        8 => edit.prop_map(|(client, place, kind, value)| {
            Step::Edit { client, place, kind, value }
        }),
        8 => any::<Index>().prop_map(|client| Step::Hear { client }),
        6 => Just(Step::Save),
        1 => Just(Step::FailToSave),
        1 => any::<Index>().prop_map(|client| Step::Cut { client }),
        1 => any::<Index>().prop_map(|client| Step::Resync { client }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

impl World {
    fn new(initial: Json, kinds: &[Kind]) -> Self {
        let name: StoreName = STORE.parse().unwrap();
        Self::of(StoreConfig { initial, ..StoreConfig::open(name) }, kinds)
    }

    fn of(config: StoreConfig, kinds: &[Kind]) -> Self {
        let log = Log::new(&config);
        let clients = kinds.iter().enumerate().map(|(n, kind)| Client::new(*kind, n)).collect();
        let mut world = Self {
            workspace: open(&config, 0),
            config: Arc::new(config),
            log,
            saves: VecDeque::new(),
            clients,
            sessions: 0,
        };
        for client in 0..world.clients.len() {
            world.connect(client);
        }
        world
    }

    fn give(&mut self, turn: Vec<Input>) {
        let effects = self.workspace.handle(turn, Millis(1));
        for effect in effects {
            match effect {
                Effect::Load { store } => {
                    let stored = Stored { commits: self.log.commits.clone(), ..Stored::default() };
                    let result = Recovered::build(Arc::clone(&self.config), stored).map(Box::new);
                    self.give(vec![Input::Loaded { store, result }]);
                }
                Effect::Save { save, appends } => self.saves.push_back((save, appends)),
                Effect::Deliver { to, delivery } => {
                    for client in &mut self.clients {
                        if client.session.is_some_and(|session| to.contains(&session)) {
                            client.receive(delivery.clone());
                        }
                    }
                }
                Effect::Close { session, refusal } => {
                    let unfit = matches!(refusal, Refusal::Document(DocumentError::Unfit(_)));
                    let lost = matches!(refusal, Refusal::NoProgress | Refusal::NotSaved(_));
                    assert!(lost || unfit && self.config.gate.is_some(), "{refusal}");
                    for client in &mut self.clients {
                        if client.session == Some(session) {
                            client.session = None;
                            client.inbox.clear();
                        }
                    }
                }
                Effect::Checkpoint { .. }
                | Effect::Recall { .. }
                | Effect::Fire(_)
                | Effect::Mended { .. }
                | Effect::Answer { .. } => {}
            }
        }
    }

    fn connect(&mut self, client: usize) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.give(vec![Input::Attach {
            session,
            user: "u".to_owned(),
            rights: Arc::new(Rights::all()),
        }]);
        let requests = self.clients[client].connect(session);
        self.say(client, requests);
    }

    fn cut(&mut self, client: usize) {
        if let Some(session) = self.clients[client].session.take() {
            self.clients[client].inbox.clear();
            self.give(vec![Input::Detach { session }]);
        }
    }

    fn say(&mut self, client: usize, requests: Vec<Request>) {
        let Some(session) = self.clients[client].session else {
            return;
        };
        let turn = requests.into_iter().map(|request| Input::say(session, request)).collect();
        self.give(turn);
    }

    fn hear(&mut self, client: usize) -> bool {
        let Some(delivery) = self.clients[client].inbox.pop_front() else {
            return false;
        };
        let requests = self.clients[client].hear(delivery, &self.log.states);
        self.say(client, requests);
        true
    }

    fn save(&mut self, works: bool) -> bool {
        let Some((save, appends)) = self.saves.pop_front() else {
            return false;
        };
        let mut failed = Vec::new();
        for append in appends {
            let store = append.store.clone();
            if !(works && self.log.append(append)) {
                failed.push((store, "planned".to_owned()));
            }
        }
        self.give(vec![Input::Saved { save, failed }]);
        true
    }

    fn step(&mut self, step: Step) {
        let of = |client: Index, world: &Self| client.index(world.clients.len());
        match step {
            Step::Edit { client, place, kind, value } => {
                let client = of(client, self);
                let requests = self.clients[client].edit(place, kind, value);
                self.say(client, requests);
            }
            Step::Hear { client } => {
                self.hear(of(client, self));
            }
            Step::Save => {
                self.save(true);
            }
            Step::FailToSave => {
                self.save(false);
            }
            Step::Cut { client } => {
                let client = of(client, self);
                if self.clients[client].session.is_some() {
                    self.cut(client);
                } else {
                    self.connect(client);
                }
            }
            Step::Resync { client } => {
                let client = of(client, self);
                if let Some(session) = self.clients[client].session {
                    let missed = self.clients[client].overflow();
                    self.give(vec![Input::Resync { session, missed }]);
                }
            }
            Step::Restart => {
                for client in 0..self.clients.len() {
                    self.cut(client);
                }
                // A crash: what was on its way to the log may or may not have arrived.
                if self.sessions.is_multiple_of(2)
                    && let Some((_, appends)) = self.saves.pop_front()
                {
                    for append in appends {
                        self.log.append(append);
                    }
                }
                self.saves.clear();
                self.workspace = open(&self.config, self.sessions);
                for client in 0..self.clients.len() {
                    self.connect(client);
                }
            }
        }
    }

    /// Lets everything go well until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            for client in 0..self.clients.len() {
                if self.clients[client].session.is_none() {
                    self.connect(client);
                }
            }
            let saved = self.save(true);
            let heard = (0..self.clients.len()).filter(|client| self.hear(*client)).count();
            if !saved && heard == 0 {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

fn open(config: &StoreConfig, life: u64) -> Workspace {
    let mut actor = [7; 16];
    actor[..8].copy_from_slice(&life.to_be_bytes());
    let config = WorkspaceConfig { stores: vec![config.clone()], ..WorkspaceConfig::default() };
    Workspace::open(Opening {
        id: "w".parse().unwrap(),
        config: Arc::new(config),
        stored: Vec::new(),
        held: Vec::new(),
        epoch: 0,
        actor,
        storage: StorageId("here".into()),
    })
}

proptest! {
    #[test]
    fn everyone_ends_with_the_same_and_nobody_sees_what_can_be_lost(
        initial in arbitrary::json(), steps in steps(),
    ) {
        let kinds = [Kind::Ack, Kind::Ack, Kind::Legacy, Kind::Legacy, Kind::Crdt, Kind::Crdt];
        let mut world = World::new(initial, &kinds);
        for step in steps {
            world.step(step);
        }
        world.settle();
        let newest = world.log.newest();
        let state = world.log.states[&newest].clone();
        for client in &world.clients {
            prop_assert_eq!(client.state(), state.clone(), "{:?}", client);
        }
        let ids: Vec<&MessageId> =
            world.log.commits.iter().filter_map(|commit| commit.origin.id.as_ref()).collect();
        for client in &world.clients {
            for id in &client.acknowledged {
                prop_assert_eq!(ids.iter().filter(|other| **other == id).count(), 1);
            }
        }
    }
}

/// A workspace with one session that understands `ack`, in a store as the log has it.
fn greeted(stored: Stored) -> Workspace {
    let config = StoreConfig::open(STORE.parse().unwrap());
    let mut workspace = open(&config, 0);
    let session = SessionId(1);
    let hello = Hello { caps: Caps { ack: true, ..Caps::default() }, ..Hello::default() };
    let greet = Input::say(session, Request::Hello(hello));
    workspace.handle(
        vec![
            Input::Attach { session, user: "u".to_owned(), rights: Arc::new(Rights::all()) },
            greet,
        ],
        Millis(1),
    );
    let result = Recovered::build(Arc::new(config), stored).map(Box::new);
    let store = STORE.parse().unwrap();
    workspace.handle(vec![Input::Loaded { store, result }], Millis(1));
    workspace
}

fn edit(seq: i64, id: &str, patch: &str) -> Input {
    edit_by(SessionId(1), seq, id, patch)
}

fn edit_by(session: SessionId, seq: i64, id: &str, patch: &str) -> Input {
    let request = Request::Patch {
        store: STORE.parse().unwrap(),
        seq,
        id: MessageId::new(id),
        patch: serde_json::from_str(patch).unwrap(),
    };
    Input::say(session, request)
}

/// What a workspace says when its save has gone well.
fn saved(workspace: &mut Workspace, effects: &[Effect]) -> Vec<Effect> {
    let save = effects.iter().find_map(|effect| match effect {
        Effect::Save { save, .. } => Some(*save),
        _ => None,
    });
    workspace.handle(vec![Input::Saved { save: save.unwrap(), failed: Vec::new() }], Millis(1))
}

fn acks(effects: &[Effect]) -> Vec<Seq> {
    let ack = |effect: &Effect| match effect {
        Effect::Deliver { delivery: Delivery::Ack { seq, .. }, .. } => Some(*seq),
        _ => None,
    };
    effects.iter().filter_map(ack).collect()
}

#[test]
fn the_log_is_asked_once_for_a_message_that_may_be_older_than_memory() {
    for found in [None, Some(Seq(0))] {
        let mut workspace = greeted(Stored { older_messages: true, ..Stored::default() });
        let add = r#"[{"op":"add","path":"/a","value":1}]"#;
        let effects = workspace.handle(vec![edit(0, "old", add)], Millis(1));
        assert!(matches!(&*effects, [Effect::Recall { .. }]), "{effects:?}");
        // What comes after it waits, and asks nothing again.
        assert!(workspace.handle(vec![edit(0, "new", add)], Millis(1)).is_empty());
        let store = STORE.parse().unwrap();
        let id = MessageId::new("old").unwrap();
        let recalled = Input::Recalled { store, id, found: Ok(found) };
        let effects = workspace.handle(vec![recalled], Millis(1));
        match found {
            None => {
                let asked = |effect: &Effect| matches!(effect, Effect::Recall { .. });
                assert_eq!(effects.iter().filter(|effect| asked(effect)).count(), 1);
                assert_eq!(acks(&saved(&mut workspace, &effects)), [Seq(1)]);
            }
            Some(seq) => assert_eq!(acks(&effects), [seq]),
        }
    }
}

#[test]
fn nothing_is_told_before_it_is_durable_and_edits_go_on_meanwhile() {
    let mut workspace = greeted(Stored::default());
    let add = |id: &str, path: &str| {
        edit(0, id, &format!(r#"[{{"op":"add","path":"{path}","value":1}}]"#))
    };
    let first = workspace.handle(vec![add("1", "/a")], Millis(1));
    assert!(matches!(&*first, [Effect::Save { .. }]), "{first:?}");
    let second = workspace.handle(vec![add("2", "/b")], Millis(1));
    assert!(matches!(&*second, [Effect::Save { .. }]), "{second:?}");
    assert_eq!(acks(&saved(&mut workspace, &first)), [Seq(1)]);
    assert_eq!(acks(&saved(&mut workspace, &second)), [Seq(2)]);
}

#[test]
fn stores_that_cannot_be_loaded_hold_up_nobody() {
    let config = StoreConfig::open(STORE.parse().unwrap());
    let mut workspace = open(&config, 0);
    let session = SessionId(1);
    let names: [StoreName; 2] = [STORE.parse().unwrap(), "other".parse().unwrap()];
    let caps = Caps { ready: true, ..Caps::default() };
    let seqs = names.iter().map(|name| (name.clone(), 0)).collect();
    let hello = Request::Hello(Hello { seqs, caps, ..Hello::default() });
    let say = Input::say(session, hello.clone());
    let attach = Input::Attach { session, user: String::new(), rights: Arc::new(Rights::all()) };
    assert_eq!(workspace.handle(vec![attach, say], Millis(1)).len(), 2);
    let fail = |store: &StoreName| Input::Loaded {
        store: store.clone(),
        result: Err(Unavailable("damaged".to_owned())),
    };
    assert!(workspace.handle(vec![fail(&names[0])], Millis(1)).is_empty());
    let told = workspace.handle(vec![fail(&names[1])], Millis(1));
    let deliveries: Vec<&Delivery> = told
        .iter()
        .map(|effect| match effect {
            Effect::Deliver { delivery, .. } => delivery,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        matches!(
            &*deliveries,
            [Delivery::Error { .. }, Delivery::Error { .. }, Delivery::Ready { seqs, .. }]
                if seqs.is_empty()
        ),
        "{deliveries:?}"
    );
    // Who asks next makes the next attempt.
    let say = Input::say(session, hello);
    assert_eq!(workspace.handle(vec![say], Millis(1)).len(), 2);
}

#[test]
fn edits_in_flight_survive_a_hello_between_them() {
    let mut workspace = greeted(Stored::default());
    let first = edit(0, "1", r#"[{"op":"add","path":"/a","value":{}}]"#);
    let second = edit(0, "2", r#"[{"op":"add","path":"/a/b","value":1}]"#);
    let mut hello = Hello { caps: Caps { ack: true, ..Caps::default() }, ..Hello::default() };
    hello.seqs.insert(STORE.parse().unwrap(), 0);
    let again = Input::say(SessionId(1), Request::Hello(hello));
    let effects = workspace.handle(vec![first, again, second], Millis(1));
    assert_eq!(acks(&saved(&mut workspace, &effects)), [Seq(1), Seq(2)]);
}

#[test]
fn an_edit_on_what_has_never_been_is_stale() {
    let mut workspace = greeted(Stored::default());
    let add = |session: SessionId, id: &str| {
        edit_by(session, 0, id, &format!(r#"[{{"op":"add","path":"/{id}","value":1}}]"#))
    };
    // "a" was refused, and the client does not know it.
    let effects = workspace.handle(vec![add(SessionId(1), "b")], Millis(1));
    assert_eq!(acks(&saved(&mut workspace, &effects)), [Seq(1)]);
    let session = SessionId(2);
    let caps = Caps { ack: true, ..Caps::default() };
    let mut hello = Hello { caps, ..Hello::default() };
    hello.seqs.insert(STORE.parse().unwrap(), 0);
    let attach = Input::Attach { session, user: "u".to_owned(), rights: Arc::new(Rights::all()) };
    workspace.handle(vec![attach, Input::say(session, Request::Hello(hello))], Millis(1));
    let chain = ["a", "b", "c"].map(|id| add(session, id));
    let effects = workspace.handle(chain.into(), Millis(1));
    let mut told = saved(&mut workspace, &effects);
    told.extend(effects);
    assert_eq!(acks(&told), [Seq(2), Seq(1)]);
    let stale = |effect: &Effect| match effect {
        Effect::Deliver {
            delivery: Delivery::Nack { id, refusal: Refusal::Stale, .. }, ..
        } => id.as_deref() == Some("c"),
        _ => false,
    };
    assert!(told.iter().any(stale), "{told:?}");
    // On the newest state there is nothing to doubt.
    let newest = edit_by(session, 2, "d", r#"[{"op":"add","path":"/d","value":1}]"#);
    let effects = workspace.handle(vec![newest], Millis(1));
    assert_eq!(acks(&saved(&mut workspace, &effects)), [Seq(3)]);
}
