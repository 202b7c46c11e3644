//! A world in which everybody may do something else.
//!
//! Every value says where it stands, and nobody takes one elsewhere: so what a session is told
//! shows by itself whether it may know it.

use super::*;
use crate::document::{Note, Policy, StockSession};
use crate::json::{JsonOp, JsonPatch, Object, Pointer};
use crate::workspace::repo::{Ephemeral, PresenceWord};

const STORES: [&str; 3] = ["a", "b", "c"];
/// A store that starts with nothing.
const EMPTY: &str = "empty";
/// Where the values stand; the last is below elements of an array.
const PLACES: [&str; 4] = ["/x", "/m/x", "/m/y", "/l/*/x"];
const NOTE: Note<'_> = Note { time: Millis(0), message: None };

fn name(store: &str) -> StoreName {
    store.parse().unwrap()
}

fn canary(store: &str, place: &str, n: u64) -> Json {
    format!("<{store} {place} {n}>").into()
}

fn initial(store: &str) -> Json {
    let object = |members: Vec<(&str, Json)>| -> Json {
        let members = members.into_iter().map(|(key, value)| (key.into(), value));
        Json::Object(members.collect::<Object>())
    };
    let item = || object(vec![("x", canary(store, "/l/*/x", 0))]);
    object(vec![
        ("x", canary(store, "/x", 0)),
        ("m", object(vec![("x", canary(store, "/m/x", 0)), ("y", canary(store, "/m/y", 0))])),
        ("l", Json::Array(vec![item(), item()].into())),
    ])
}

/// How somebody talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tongue {
    Json(Caps),
    Crdt,
    Repo,
}

#[derive(Debug, Clone)]
struct Guest {
    tongue: Tongue,
    rights: Rights,
}

/// Something that a guest tries, with luck or without.
#[derive(Debug, Clone)]
enum Try {
    Replace { store: usize, place: usize, item: usize },
    Remove { store: usize, place: usize },
    Append { store: usize },
    Whole { store: usize },
    Nothing { store: usize, place: usize },
    Hello,
    Presence,
    Change { store: usize },
    Ask { store: usize, write: bool },
    Renew { rights: Rights },
    Resync,
}

fn rights() -> impl Strategy<Value = Rights> {
    let parts = prop::sample::subsequence(PLACES.to_vec(), 1..3).prop_map(|parts| {
        Some(parts.iter().map(|part| part.parse().unwrap()).collect::<Vec<Pointer>>())
    });
    let paths = prop_oneof![3 => Just(None), 2 => parts];
    let stores = prop::sample::select(vec!["a", "b", "c", "*", "[ab]"]);
    let grant =
        (stores, any::<bool>(), any::<bool>(), paths).prop_map(|(stores, read, write, paths)| {
            let stores = if stores == "[ab]" { vec!["a", "b"] } else { vec![stores] };
            let stores = stores.iter().map(|glob| glob.parse().unwrap()).collect();
            Grant { stores, read, write, paths }
        });
    prop::collection::vec(grant, 0..4).prop_map(Rights::of)
}

fn tries() -> impl Strategy<Value = Try> {
    let (store, place) = (0..STORES.len(), 0..PLACES.len());
    prop_oneof![
        6 => (store.clone(), place.clone(), 0..3_usize)
            .prop_map(|(store, place, item)| Try::Replace { store, place, item }),
        1 => (store.clone(), place.clone()).prop_map(|(store, place)| Try::Remove { store, place }),
        2 => store.clone().prop_map(|store| Try::Append { store }),
        1 => store.clone().prop_map(|store| Try::Whole { store }),
        1 => (store.clone(), place).prop_map(|(store, place)| Try::Nothing { store, place }),
        2 => Just(Try::Hello),
        1 => Just(Try::Presence),
        4 => store.clone().prop_map(|store| Try::Change { store }),
        3 => (store, any::<bool>()).prop_map(|(store, write)| Try::Ask { store, write }),
        1 => rights().prop_map(|rights| Try::Renew { rights }),
        1 => Just(Try::Resync),
    ]
}

fn guests() -> impl Strategy<Value = Vec<Guest>> {
    let caps = Caps { ack: true, ready: true, presence: true, cursor: true };
    let tongues = vec![
        Tongue::Json(Caps::default()),
        Tongue::Json(caps),
        Tongue::Json(Caps { cursor: false, ..caps }),
        Tongue::Crdt,
        Tongue::Repo,
    ];
    let guest = (prop::sample::select(tongues), rights())
        .prop_map(|(tongue, rights)| Guest { tongue, rights });
    prop::collection::vec(guest, 2..6)
}

/// A client with a document of its own, of one store.
struct Replica {
    document: Document,
    sync: StockSession,
}

struct Place {
    workspace: Workspace,
    rules: Arc<WorkspaceConfig>,
    guests: Vec<Guest>,
    /// What is committed, by store.
    replicas: BTreeMap<StoreName, Document>,
    seqs: BTreeMap<StoreName, Seq>,
    held: BTreeMap<(usize, StoreName), Replica>,
    tickets: u64,
    values: u64,
}

impl Place {
    fn new(guests: Vec<Guest>) -> Self {
        let listed =
            |store: &str| StoreConfig { initial: initial(store), ..StoreConfig::open(name(store)) };
        let mut stores = STORES.map(listed).to_vec();
        stores.push(StoreConfig::open(name(EMPTY)));
        let rules = Arc::new(WorkspaceConfig { stores, ..WorkspaceConfig::default() });
        let replica = |store: &&str| {
            let store = rules.store(&name(store));
            (store.name.clone(), Document::load(Arc::new(store.policy), None, &[]).unwrap())
        };
        let mut place = Self {
            workspace: Workspace::open(Opening {
                id: "w".parse().unwrap(),
                config: Arc::clone(&rules),
                stored: Vec::new(),
                held: Vec::new(),
                epoch: 0,
                actor: [9; 16],
                storage: StorageId("here".into()),
            }),
            replicas: STORES.iter().chain([&EMPTY]).map(replica).collect(),
            seqs: STORES.iter().chain([&EMPTY]).map(|store| (name(store), Seq(0))).collect(),
            rules,
            guests,
            held: BTreeMap::new(),
            tickets: 0,
            values: 0,
        };
        for guest in 0..place.guests.len() {
            place.arrive(guest);
        }
        place
    }

    fn arrive(&mut self, guest: usize) {
        let Guest { tongue, rights } = self.guests[guest].clone();
        let (session, user) = (session(guest), format!("user {guest}"));
        self.give(vec![Input::Attach { session, user, rights: Arc::new(rights) }]);
        match tongue {
            Tongue::Json(_) | Tongue::Crdt => self.greet(guest),
            Tongue::Repo => {
                let name = SenderId(format!("peer {guest}").into());
                self.say(guest, Request::Repo(RepoRequest::Join { name, storage: None }));
                self.open_all(guest);
            }
        }
    }

    fn greet(&mut self, guest: usize) {
        let mut hello = Hello::default();
        match self.guests[guest].tongue {
            Tongue::Json(caps) => hello.caps = caps,
            Tongue::Crdt => {
                hello.caps.ready = true;
                for store in STORES {
                    let message = self.first_word(guest, store);
                    hello.sync.insert(name(store), message);
                }
            }
            Tongue::Repo => return,
        }
        self.say(guest, Request::Hello(hello));
    }

    fn open_all(&mut self, guest: usize) {
        for store in STORES.into_iter().chain([EMPTY]) {
            let message = self.first_word(guest, store);
            let document = crate::ids::DocumentId::of(&"w".parse().unwrap(), &name(store));
            self.say(guest, Request::Repo(RepoRequest::Document { document, message }));
        }
    }

    fn first_word(&mut self, guest: usize, store: &str) -> Vec<u8> {
        let held = self.held.entry((guest, name(store))).or_insert_with(|| {
            let mut document = Document::load(Arc::new(Policy::default()), None, &[]).unwrap();
            document.sign_as(&[u8::try_from(guest).unwrap() + 1; 16]);
            Replica { document, sync: StockSession::default() }
        });
        held.sync = StockSession::default();
        held.sync.generate(&held.document).unwrap()
    }

    fn say(&mut self, guest: usize, request: Request) {
        self.give(vec![Input::say(session(guest), request)]);
    }

    fn give(&mut self, mut turn: Vec<Input>) {
        while !turn.is_empty() {
            let mut answers = Vec::new();
            for effect in self.workspace.handle(std::mem::take(&mut turn), Millis(5)) {
                match effect {
                    Effect::Load { store } => {
                        let config = Arc::new(self.rules.store(&store));
                        let result = Recovered::build(config, Stored::default()).map(Box::new);
                        turn.push(Input::Loaded { store, result });
                    }
                    Effect::Save { save, appends } => {
                        for append in appends {
                            self.append(append);
                        }
                        turn.push(Input::Saved { save, failed: Vec::new() });
                    }
                    Effect::Deliver { to, delivery } => {
                        for id in to {
                            let guest = usize::try_from(id.0).unwrap();
                            answers.extend(self.told(guest, &delivery));
                        }
                    }
                    Effect::Answer { answer: Ok(answer), ticket } => {
                        let guest = usize::try_from(ticket.0 % 100).unwrap();
                        self.check(guest, &format!("{answer:?}"));
                    }
                    Effect::Close { session, .. } => {
                        panic!("{session} was closed: nobody does anything that cannot be told");
                    }
                    _ => {}
                }
            }
            turn.extend(answers);
        }
    }

    /// A commit is what its author may do, and nothing more.
    fn append(&mut self, append: Append) {
        let replica = self.replicas.get_mut(&append.store).unwrap();
        for commit in append.commits {
            let state = |replica: &Document| {
                if replica.heads().is_empty() && append.store.as_str() != EMPTY {
                    initial(append.store.as_str())
                } else {
                    replica.json()
                }
            };
            let before = state(replica);
            let decode = |bytes: &Vec<u8>| automerge::Change::from_bytes(bytes.clone()).unwrap();
            replica.receive(commit.changes.iter().map(decode).collect()).unwrap();
            self.seqs.insert(append.store.clone(), commit.seq);
            let guest: usize = commit.origin.user.strip_prefix("user ").unwrap().parse().unwrap();
            let writing = self.guests[guest].rights.writing(&append.store);
            assert!(writing != View::Nothing, "{:?} wrote to {}", self.guests[guest], append.store);
            let after = state(replica);
            assert!(
                writing.covers_change(&before, &after),
                "{:?} made {before:?} into {after:?}",
                self.guests[guest]
            );
        }
    }

    /// Nothing in what somebody is told stands where he may not read.
    fn check(&self, guest: usize, text: &str) {
        for part in text.split('<').skip(1) {
            let Some((canary, _)) = part.split_once('>') else { continue };
            let mut words = canary.split(' ');
            let (Some(store), Some(place)) = (words.next(), words.next()) else { continue };
            let reading = self.guests[guest].rights.reading(&name(store));
            let place = place.parse().unwrap();
            assert!(reading.covers_place(&place), "{:?} was told {canary}", self.guests[guest]);
        }
    }

    /// A guest hears something, and a client that syncs answers.
    fn told(&mut self, guest: usize, delivery: &Delivery) -> Vec<Input> {
        let rights = &self.guests[guest].rights;
        match delivery {
            Delivery::Sync { store, message } => {
                assert!(rights.reading(store).is_whole(), "{guest} is sent changes of {store}");
                let Some(held) = self.held.get_mut(&(guest, store.clone())) else {
                    panic!("{guest} never asked for {store}");
                };
                held.sync.receive(&mut held.document, &message.encode());
                let Some(message) = held.sync.generate(&held.document) else { return Vec::new() };
                vec![self.sync(guest, store, message)]
            }
            Delivery::Ready { seqs, .. } => {
                assert!(seqs.iter().all(|(store, _)| rights.reads(store)));
                Vec::new()
            }
            other => {
                self.check(guest, &format!("{other:?}"));
                Vec::new()
            }
        }
    }

    fn sync(&self, guest: usize, store: &StoreName, message: Vec<u8>) -> Input {
        let request = if self.guests[guest].tongue == Tongue::Repo {
            let document = crate::ids::DocumentId::of(&"w".parse().unwrap(), store);
            Request::Repo(RepoRequest::Document { document, message })
        } else {
            Request::Sync { store: store.clone(), message }
        };
        Input::say(session(guest), request)
    }

    fn attempt(&mut self, guest: usize, attempt: Try) {
        self.values += 1;
        let n = self.values;
        let at = |place: usize, item: usize| PLACES[place].replace('*', &item.to_string());
        let op = |store: usize, place: usize, item: usize| JsonOp::Replace {
            path: at(place, item).parse().unwrap(),
            value: canary(STORES[store], PLACES[place], n),
        };
        match attempt {
            Try::Replace { store, place, item } => {
                self.patch(guest, store, vec![op(store, place, item)]);
            }
            Try::Remove { store, place } => {
                let path = at(place, 0).parse().unwrap();
                self.patch(guest, store, vec![JsonOp::Remove { path }]);
            }
            Try::Append { store } => {
                let value = Object::from_iter([("x".into(), canary(STORES[store], PLACES[3], n))]);
                let path = "/l/0".parse().unwrap();
                self.patch(guest, store, vec![JsonOp::Add { path, value: Json::Object(value) }]);
            }
            Try::Whole { store } => {
                let (path, value) = (Pointer::root(), initial(STORES[store]));
                self.patch(guest, store, vec![JsonOp::Replace { path, value }]);
            }
            Try::Nothing { store, place } => {
                let copied = at(place, 0).parse::<Pointer>().unwrap();
                let (from, path) = (copied.clone(), copied);
                self.patch(guest, store, vec![JsonOp::Copy { from, path }]);
            }
            Try::Hello => self.greet(guest),
            Try::Presence => self.present(guest),
            Try::Change { store } => self.change(guest, STORES[store], n),
            Try::Ask { store, write } => self.ask(guest, store, write.then(|| op(store, 0, 0))),
            Try::Renew { rights } => {
                self.guests[guest].rights = rights.clone();
                let (session, rights) = (session(guest), Arc::new(rights));
                self.give(vec![Input::Entitle { session, rights }]);
            }
            Try::Resync => {
                self.give(vec![Input::Resync { session: session(guest), missed: Vec::new() }]);
            }
        }
    }

    fn patch(&mut self, guest: usize, store: usize, ops: Vec<JsonOp>) {
        let store = name(STORES[store]);
        let newest = self.seqs[&store].0;
        // Half of them are made on something older.
        let seq = i64::try_from(newest - (self.values % 2).min(newest)).unwrap();
        let id = MessageId::new(&format!("edit {}", self.values));
        self.say(guest, Request::Patch { store, seq, id, patch: JsonPatch { ops } });
    }

    /// Shows, in each store that the guest may read, something of that store.
    fn present(&mut self, guest: usize) {
        let rights = self.guests[guest].rights.clone();
        for store in STORES {
            let document = crate::ids::DocumentId::of(&"w".parse().unwrap(), &name(store));
            let data = canary(store, "/x", self.values);
            let shows = rights.reading(&name(store)).is_whole();
            if self.guests[guest].tongue == Tongue::Repo && shows {
                self.values += 1;
                let state = Object::from_iter([(store.into(), data)]);
                let word = PresenceWord::Snapshot { state: Json::Object(state) };
                let said = Ephemeral {
                    document,
                    sender: SenderId(format!("peer {guest}").into()),
                    session: "run".into(),
                    count: self.values,
                    data: format!("<{store} /x 0>").into_bytes(),
                    presence: Some(word),
                };
                self.say(guest, Request::Repo(RepoRequest::Ephemeral(Arc::new(said))));
            }
        }
        if let Tongue::Json(_) = self.guests[guest].tongue {
            self.say(guest, Request::Presence { data: Json::Bool(true) });
        }
    }

    /// A client that syncs changes its document, whether or not it may.
    fn change(&mut self, guest: usize, store: &str, n: u64) {
        let Some(held) = self.held.get_mut(&(guest, name(store))) else { return };
        let base = held.document.state();
        let Json::Object(mut next) = base.json() else { return };
        if next.get("m").is_none() {
            // It was never told anything: what it writes would be another document.
            return;
        }
        next.insert("x".into(), canary(store, "/x", n));
        held.document.write(&base, &Json::Object(next), None, NOTE).unwrap();
        if let Some(message) = held.sync.generate(&held.document) {
            let said = self.sync(guest, &name(store), message);
            self.give(vec![said]);
        }
    }

    fn ask(&mut self, guest: usize, store: usize, op: Option<JsonOp>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets * 100 + u64::try_from(guest).unwrap());
        let store = name(STORES[store]);
        let asks = match op {
            Some(op) => {
                let author = Author::User(format!("user {guest}"));
                let edit = Edit::Patch(JsonPatch { ops: vec![op] });
                let terms = Terms::default();
                vec![Ask::Write(Write { store, base: None, edit, author, terms })]
            }
            None => vec![
                Ask::Get { store },
                Ask::States,
                Ask::ChangesSince { since: BTreeMap::new(), otherwise: Seq(0) },
            ],
        };
        for ask in asks {
            let rights = Arc::new(self.guests[guest].rights.clone());
            self.give(vec![Input::Ask { ticket, ask, rights }]);
        }
    }
}

fn session(guest: usize) -> SessionId {
    SessionId(u64::try_from(guest).unwrap())
}

proptest! {
    #[test]
    fn nobody_is_told_what_he_may_not_read_or_does_what_he_may_not(
        guests in guests(),
        tries in prop::collection::vec((any::<Index>(), tries()), 1..60),
    ) {
        let mut place = Place::new(guests);
        for (guest, attempt) in tries {
            let guest = guest.index(place.guests.len());
            place.attempt(guest, attempt);
        }
    }
}

/// A place with one guest who speaks JSON, or the dialect of automerge-repo.
fn alone(tongue: Tongue, grants: Vec<Grant>) -> Place {
    Place::new(vec![Guest { tongue, rights: Rights::of(grants) }])
}

fn grant(read: bool, write: bool, paths: Option<&[&str]>) -> Grant {
    let paths = paths.map(|paths| paths.iter().map(|path| path.parse().unwrap()).collect());
    Grant { stores: vec!["*".parse().unwrap()], read, write, paths }
}

/// What becomes of one edit of somebody who reads all and writes only there.
fn is_taken(paths: &[&str], ops: &str) -> bool {
    let caps = Caps { ack: true, ..Caps::default() };
    let grants = vec![grant(true, false, None), grant(false, true, Some(paths))];
    let mut place = alone(Tongue::Json(caps), grants);
    let before = place.seqs[&name("a")];
    place.patch(0, 0, serde_json::from_str::<JsonPatch>(ops).unwrap().ops);
    place.seqs[&name("a")] != before
}

#[test]
fn an_element_is_granted_by_no_number() {
    let ops = r#"[{"op":"replace","path":"/l/0/x","value":"<a /l/*/x 1>"}]"#;
    assert!(is_taken(&["/l/*/x"], ops));
    assert!(!is_taken(&["/l/0/x"], ops));
    assert!(!is_taken(&["/l/0"], ops));
}

/// Elements are told apart by `id`: who may change only that could exchange all else.
#[test]
fn elements_are_not_exchanged_by_their_identity() {
    let caps = Caps { ack: true, ..Caps::default() };
    let place = |paths: &[&str]| {
        let grants = vec![grant(true, false, None), grant(false, true, Some(paths))];
        let guest = |grants| Guest { tongue: Tongue::Json(caps), rights: Rights::of(grants) };
        let mut place = Place::new(vec![guest(vec![grant(true, true, None)]), guest(grants)]);
        let set = r#"[{"op":"replace","path":"/l","value":[{"id":1,"v":"a"},{"id":2,"v":"b"}]}]"#;
        place.patch(0, 0, serde_json::from_str::<JsonPatch>(set).unwrap().ops);
        let exchange = r#"[
            {"op":"replace","path":"/l/0/id","value":2}, {"op":"replace","path":"/l/1/id","value":1}
        ]"#;
        let before = place.seqs[&name("a")];
        place.values = 2;
        place.patch(1, 0, serde_json::from_str::<JsonPatch>(exchange).unwrap().ops);
        place.seqs[&name("a")] != before
    };
    assert!(!place(&["/l/*/id"]));
    assert!(place(&["/l"]));
}

/// To these clients a document without changes is none, and a reader brings none about.
#[test]
fn a_store_is_not_begun_for_a_reader() {
    let mut place = alone(Tongue::Repo, vec![grant(true, false, None)]);
    assert!(place.seqs.values().all(|seq| *seq == Seq(0)));
    place.guests[0].rights = Rights::of(vec![grant(true, true, None)]);
    let rights = Arc::new(place.guests[0].rights.clone());
    place.give(vec![Input::Entitle { session: session(0), rights }]);
    place.open_all(0);
    assert_eq!(place.seqs[&name(EMPTY)], Seq(1), "for a writer it is");
}
