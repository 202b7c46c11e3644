//! What only sessions of the automerge-repo dialect do.

use super::*;
use crate::document::{Note, Policy, StockSession, SyncMessage};
use crate::ids::DocumentId;
use crate::workspace::repo::{Ephemeral, PresenceWord, RemoteHeads};

const NOTE: Note<'_> = Note { time: Millis(0), message: None };

/// A workspace whose log answers at once and holds nothing.
struct Place(Workspace);

/// What one session was told, or that it was closed.
#[derive(Debug)]
enum Told {
    Said(Delivery),
    Closed(Refusal),
}

impl Place {
    fn new(create_stores: bool) -> Self {
        let listed = StoreConfig::open(STORE.parse().unwrap());
        let stores = vec![listed];
        let config = WorkspaceConfig { create_stores, stores, ..WorkspaceConfig::default() };
        Self(Workspace::open(Opening {
            id: "w".parse().unwrap(),
            config: Arc::new(config),
            stored: Vec::new(),
            held: Vec::new(),
            epoch: 0,
            actor: [9; 16],
            storage: StorageId("here".into()),
        }))
    }

    fn give(&mut self, mut turn: Vec<Input>) -> Vec<(SessionId, Told)> {
        let mut told = Vec::new();
        while !turn.is_empty() {
            for effect in self.0.handle(std::mem::take(&mut turn), Millis(5)) {
                match effect {
                    Effect::Load { store } => {
                        let config = Arc::new(self.0.config.store(&store));
                        let result = Recovered::build(config, Stored::default()).map(Box::new);
                        turn.push(Input::Loaded { store, result });
                    }
                    Effect::Save { save, .. } => {
                        turn.push(Input::Saved { save, failed: Vec::new() });
                    }
                    Effect::Deliver { to, delivery } => {
                        told.extend(to.iter().map(|id| (*id, Told::Said(delivery.clone()))));
                    }
                    Effect::Close { session, refusal } => {
                        told.push((session, Told::Closed(refusal)));
                    }
                    _ => {}
                }
            }
        }
        told
    }

    fn say(&mut self, session: u64, request: RepoRequest) -> Vec<(SessionId, Told)> {
        self.give(vec![Input::say(SessionId(session), Request::Repo(request))])
    }

    fn join(&mut self, session: u64, name: &str) -> Vec<(SessionId, Told)> {
        let attach = Input::Attach {
            session: SessionId(session),
            user: "u".to_owned(),
            rights: Arc::new(Rights::all()),
        };
        let (name, storage) = (SenderId(name.into()), Some(StorageId(name.into())));
        let join = Request::Repo(RepoRequest::Join { name, storage });
        self.give(vec![attach, Input::say(SessionId(session), join)])
    }

    /// A message about a document, of a client that has this much of it and sends that.
    fn ask(
        &mut self,
        session: u64,
        document: DocumentId,
        mut has: Document,
    ) -> Vec<(SessionId, Told)> {
        let message = if has.heads().is_empty() {
            StockSession::default().generate(&has).unwrap()
        } else {
            SyncMessage::catch_up(&mut has, &[]).unwrap().encode()
        };
        self.say(session, RepoRequest::Document { document, message })
    }
}

fn listed() -> DocumentId {
    DocumentId::of(&"w".parse().unwrap(), &STORE.parse().unwrap())
}

fn blank() -> Document {
    Document::load(Arc::new(Policy::default()), None, &[]).unwrap()
}

fn written(actor: u8, json: &str) -> Document {
    let mut document = blank();
    document.sign_as(&[actor; 16]);
    let state = document.state();
    document.write(&state, &serde_json::from_str(json).unwrap(), None, NOTE).unwrap();
    document
}

fn synced(told: &[(SessionId, Told)], session: u64) -> usize {
    let sync = |(id, told): &&(SessionId, Told)| {
        *id == SessionId(session) && matches!(told, Told::Said(Delivery::Sync { .. }))
    };
    told.iter().filter(sync).count()
}

fn unavailable(told: &[(SessionId, Told)], session: u64) -> bool {
    told.iter().any(|(id, told)| {
        let said = Delivery::Repo(RepoDelivery::Unavailable { document: DOCUMENT.to_string() });
        *id == SessionId(session) && matches!(told, Told::Said(other) if *other == said)
    })
}

const DOCUMENT: DocumentId = DocumentId([3; 16]);

#[test]
fn whoever_wanted_a_document_gets_it_when_it_comes() {
    let mut place = Place::new(true);
    place.join(1, "a");
    place.join(2, "b");
    place.join(3, "c");
    assert!(unavailable(&place.ask(1, DOCUMENT, blank()), 1));
    assert!(unavailable(&place.ask(3, DOCUMENT, blank()), 3));
    place.give(vec![Input::Detach { session: SessionId(3) }]);
    let told = place.ask(2, DOCUMENT, written(1, r#"{"n":1}"#));
    assert_eq!((synced(&told, 1), synced(&told, 3)), (1, 0), "{told:?}");
    let name: StoreName = DOCUMENT.to_string().parse().unwrap();
    let store = place.0.store(&StoreKey { name, owner: None }).unwrap();
    assert_eq!(store.document.json().to_string(), r#"{"n":1}"#);
}

#[test]
fn no_document_comes_to_be_where_stores_may_not() {
    let mut place = Place::new(false);
    place.join(1, "a");
    assert!(unavailable(&place.ask(1, DOCUMENT, written(1, r#"{"n":1}"#)), 1));
    assert_eq!(place.0.stores.len(), 1);
}

/// To these clients a document without changes is none, so asking for a store makes it one; the
/// seq says so to JSON clients, and the JSON is as it was.
#[test]
fn an_empty_store_is_begun_by_whoever_asks_for_it() {
    let mut place = Place::new(true);
    place.join(1, "a");
    let told = place.ask(1, listed(), blank());
    assert_eq!(synced(&told, 1), 1, "{told:?}");
    let again = place.ask(1, listed(), blank());
    assert_eq!(synced(&again, 1), 1);
    let store = place.0.store(&StoreKey { name: STORE.parse().unwrap(), owner: None }).unwrap();
    assert_eq!((store.seq(), store.document.json().to_string()), (Seq(1), "{}".to_owned()));
}

#[test]
fn a_client_that_comes_again_replaces_itself() {
    let mut place = Place::new(true);
    place.join(1, "a");
    let told = place.join(2, "a");
    let closed = |(id, told): &(SessionId, Told)| {
        *id == SessionId(1) && matches!(told, Told::Closed(Refusal::Replaced))
    };
    assert!(told.iter().any(closed), "{told:?}");
    // The old socket goes only now; the new session stays.
    place.give(vec![Input::Detach { session: SessionId(1) }]);
    assert_eq!(synced(&place.ask(2, listed(), blank()), 2), 1);
}

fn word(sender: &str, count: u64) -> RepoRequest {
    RepoRequest::Ephemeral(Arc::new(Ephemeral {
        document: listed(),
        sender: SenderId(sender.into()),
        session: "run".into(),
        count,
        data: vec![1],
        presence: Some(PresenceWord::Heartbeat),
    }))
}

#[test]
fn an_ephemeral_message_is_passed_on_once_and_nobody_speaks_for_who_is_here() {
    let mut place = Place::new(true);
    for (session, name) in [(1, "a"), (2, "b"), (3, "c")] {
        place.join(session, name);
        place.ask(session, listed(), blank());
    }
    let heard =
        |told: Vec<(SessionId, Told)>| -> Vec<u64> { told.iter().map(|(id, _)| id.0).collect() };
    assert_eq!(heard(place.say(1, word("a", 1))), [2, 3]);
    // B passes on what it heard, as stock clients do; A repeats itself.
    assert_eq!(heard(place.say(2, word("a", 1))), [0_u64; 0]);
    assert_eq!(heard(place.say(1, word("a", 1))), [0_u64; 0]);
    // B speaks for A, who is here, and for D, who is somewhere behind B.
    assert_eq!(heard(place.say(2, word("a", 2))), [0_u64; 0]);
    assert_eq!(heard(place.say(2, word("d", 1))), [1, 3]);
    assert_eq!(heard(place.say(1, word("a", 2))), [2, 3]);
}

#[test]
fn what_others_hold_is_told_to_those_who_want_to_know() {
    let mut place = Place::new(true);
    place.join(1, "a");
    place.join(2, "b");
    place.ask(1, listed(), blank());
    place.ask(2, listed(), blank());
    let add = ["a", "here", "far"].map(|name| StorageId(name.into())).to_vec();
    place.say(2, RepoRequest::Subscribe { add, remove: Vec::new() });
    let remote = |told: &[(SessionId, Told)]| -> Vec<(u64, String)> {
        let heads = told.iter().filter_map(|(id, told)| match told {
            Told::Said(Delivery::Repo(RepoDelivery::RemoteHeads { heads, .. })) => {
                Some((id.0, heads[0].0.0.to_string()))
            }
            _ => None,
        });
        heads.collect()
    };
    let told = place.ask(1, listed(), written(1, r#"{"n":1}"#));
    assert_eq!(remote(&told), [(2, "here".to_owned()), (2, "a".to_owned())]);
    let far = |time| RepoRequest::RemoteHeads {
        document: listed(),
        heads: vec![(
            StorageId("far".into()),
            RemoteHeads { heads: Vec::new(), time: Millis(time) },
        )],
    };
    assert_eq!(remote(&place.say(1, far(10))), [(2, "far".to_owned())]);
    assert_eq!(remote(&place.say(1, far(10))), [], "it is no news");
    let remove = vec![StorageId("far".into())];
    place.say(2, RepoRequest::Subscribe { add: Vec::new(), remove });
    assert_eq!(remote(&place.say(1, far(11))), []);
}

/// A store whose document failed comes back from its log, and nobody in it notices.
#[test]
fn a_store_that_is_loaded_anew_as_it_was_disturbs_nobody() {
    let mut place = Place::new(true);
    for (session, name) in [(1, "a"), (2, "b")] {
        place.join(session, name);
        place.ask(session, DOCUMENT, written(1, r#"{"n":1}"#));
    }
    let key = StoreKey { name: DOCUMENT.to_string().parse().unwrap(), owner: None };
    let log = {
        let store = place.0.store(&key).unwrap();
        let checkpoint = store.checkpoint().unwrap();
        Stored { checkpoint: Some(checkpoint), ..Stored::default() }
    };
    place.0.mark_broken(&key, false);
    let effects = place.0.handle(vec![Input::Detach { session: SessionId(9) }], Millis(5));
    assert!(matches!(effects[..], [Effect::Load { .. }]), "{effects:?}");
    let config = Arc::new(place.0.config.store(&key.name));
    let result = Recovered::build(config, log).map(Box::new);
    let told = place.give(vec![Input::Loaded { store: key.name.clone(), result }]);
    assert!(told.is_empty(), "{told:?}");
    let mut more = written(1, r#"{"n":1}"#);
    let state = more.state();
    more.write(&state, &serde_json::from_str(r#"{"n":2}"#).unwrap(), None, NOTE).unwrap();
    let told = place.ask(2, DOCUMENT, more);
    assert_eq!((synced(&told, 1), synced(&told, 2)), (1, 1), "{told:?}");
}
