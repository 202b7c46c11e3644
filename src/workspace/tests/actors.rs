//! Whoever uses an actor that belongs to somebody else is told so, and nothing has changed.

use super::*;
use crate::document::{Note, Policy, StockSession, SyncMessage};

const NOTE: Note<'_> = Note { time: Millis(0), message: None };
/// The actor of the opening that `open` makes.
const OPENING: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7];

/// A client that speaks Automerge.
struct Replica {
    session: SessionId,
    document: Document,
    sync: StockSession,
}

impl Replica {
    fn join(workspace: &mut Workspace, session: u64, user: &str, actor: [u8; 16]) -> Self {
        let mut document = Document::load(Arc::new(Policy::default()), None, &[]).unwrap();
        document.sign_as(&actor);
        let sync = StockSession::default();
        let replica = Self { session: SessionId(session), document, sync };
        replica.join_again(workspace, session, user)
    }

    fn join_again(self, workspace: &mut Workspace, session: u64, user: &str) -> Self {
        let sync = StockSession::default();
        let mut replica = Self { session: SessionId(session), sync, ..self };
        let attach = Input::Attach {
            session: replica.session,
            user: user.to_owned(),
            rights: Arc::new(Rights::all()),
        };
        let sync = replica.sync.generate(&replica.document).unwrap();
        let caps = Caps { ready: true, ..Caps::default() };
        let sync = BTreeMap::from([(STORE.parse().unwrap(), sync)]);
        let request = Request::Hello(Hello { sync, caps, ..Hello::default() });
        let turn = vec![attach, Input::say(replica.session, request)];
        assert_eq!(replica.talk(workspace, turn), []);
        replica
    }

    fn write(&mut self, workspace: &mut Workspace, json: &str) -> Vec<Refusal> {
        let base = self.document.state();
        let next = serde_json::from_str(json).unwrap();
        self.document.write(&base, &next, None, NOTE).unwrap();
        self.talk(workspace, Vec::new())
    }

    /// Goes on until there is nothing to say. Gives the errors that it is told of.
    fn talk(&mut self, workspace: &mut Workspace, mut turn: Vec<Input>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        loop {
            for effect in workspace.handle(std::mem::take(&mut turn), Millis(1)) {
                match effect {
                    Effect::Deliver { to, delivery: Delivery::Sync { message, .. } }
                        if to.contains(&self.session) =>
                    {
                        self.sync.receive(&mut self.document, &message.encode());
                    }
                    Effect::Deliver { delivery: Delivery::Error { refusal, .. }, .. } => {
                        refusals.push(refusal);
                    }
                    Effect::Load { store } => {
                        let config = Arc::new(workspace.config.store(&store));
                        let result = Recovered::build(config, Stored::default()).map(Box::new);
                        turn.push(Input::Loaded { store, result });
                    }
                    Effect::Save { save, .. } => {
                        turn.push(Input::Saved { save, failed: Vec::new() });
                    }
                    _ => {}
                }
            }
            if !turn.is_empty() {
                continue;
            }
            let Some(message) = self.sync.generate(&self.document) else {
                return refusals;
            };
            let request = Request::Sync { store: STORE.parse().unwrap(), message };
            turn.push(Input::say(self.session, request));
        }
    }
}

fn state(workspace: &mut Workspace) -> String {
    let key = StoreKey { name: STORE.parse().unwrap(), owner: None };
    workspace.store(&key).unwrap().document.json().to_string()
}

#[test]
fn a_change_under_somebody_elses_actor_is_refused() {
    let name = STORE.parse().unwrap();
    let initial = serde_json::from_str(r#"{"n":0}"#).unwrap();
    let config = StoreConfig { initial, ..StoreConfig::open(name) };
    let mut workspace = open(&config, 0);
    let (anns, other) = ([1; 16], [2; 16]);
    let mut ann = Replica::join(&mut workspace, 1, "ann", anns);
    assert_eq!(ann.write(&mut workspace, r#"{"n":1}"#), []);
    let server = Signers::new(OPENING).next();
    for (session, (user, actor)) in
        (2..).zip([("bob", anns), (ANONYMOUS, anns), ("ann", server), (ANONYMOUS, server)])
    {
        // His own document, so that he does not know of the number that he takes again.
        let mut thief = Replica::join(&mut workspace, session, user, other);
        thief.document.sign_as(&actor);
        let refused = thief.write(&mut workspace, r#"{"n":2}"#);
        let taken = ActorTaken { actor: actor.as_slice().into() };
        assert_eq!(refused, [Refusal::ActorTaken(taken)], "{user}");
        assert_eq!(state(&mut workspace), r#"{"n":1}"#);
    }
    // Ann goes on, on another device too.
    assert_eq!(ann.write(&mut workspace, r#"{"n":3}"#), []);
    let mut phone = Replica::join(&mut workspace, 9, "ann", other);
    phone.document.sign_as(&anns);
    assert_eq!(phone.write(&mut workspace, r#"{"n":4}"#), []);
    assert_eq!(state(&mut workspace), r#"{"n":4}"#);
}

/// Everybody has the changes of others, and may say so.
#[test]
fn what_the_document_has_may_be_passed_on_by_everyone() {
    let config = StoreConfig::open(STORE.parse().unwrap());
    let mut workspace = open(&config, 0);
    let mut ann = Replica::join(&mut workspace, 1, "ann", [1; 16]);
    assert_eq!(ann.write(&mut workspace, r#"{"n":1}"#), []);
    let mut bob = Replica::join(&mut workspace, 2, "bob", [2; 16]);
    assert_eq!(bob.write(&mut workspace, r#"{"n":2}"#), []);
    // All that Bob has, as if he had never talked to this server.
    let message = SyncMessage::catch_up(&mut bob.document, &[]).unwrap().encode();
    let request = Request::Sync { store: STORE.parse().unwrap(), message };
    let turn = vec![Input::say(bob.session, request)];
    assert_eq!(bob.talk(&mut workspace, turn), []);
    assert_eq!(state(&mut workspace), r#"{"n":2}"#);
}

/// After a restart a store without a log is made again from what clients have: who comes first
/// brings the others' changes too.
#[test]
fn in_a_store_without_a_log_nobody_owns_an_actor() {
    let config = StoreConfig { persistent: false, ..StoreConfig::open(STORE.parse().unwrap()) };
    let mut workspace = open(&config, 0);
    let mut ann = Replica::join(&mut workspace, 1, "ann", [1; 16]);
    assert_eq!(ann.write(&mut workspace, r#"{"n":1}"#), []);
    let bob = Replica::join(&mut workspace, 2, "bob", [2; 16]);
    workspace = open(&config, 1);
    let mut bob = bob.join_again(&mut workspace, 3, "bob");
    let mut ann = ann.join_again(&mut workspace, 4, "ann");
    assert_eq!(ann.write(&mut workspace, r#"{"n":2}"#), []);
    assert_eq!(bob.talk(&mut workspace, Vec::new()), []);
    assert_eq!(state(&mut workspace), r#"{"n":2}"#);
}

/// An actor belongs to whoever brings a change into the document, not to whoever only names it.
#[test]
fn a_change_that_waits_claims_no_actor() {
    let config = StoreConfig::open(STORE.parse().unwrap());
    let mut workspace = open(&config, 0);
    let mut ann = Replica::join(&mut workspace, 1, "ann", [1; 16]);
    let mut eve = Replica::join(&mut workspace, 2, "eve", [1; 16]);
    eve.document = Document::load(Arc::new(Policy::default()), None, &[]).unwrap();
    eve.document.sign_as(&[1; 16]);
    let mut newest = Vec::new();
    for json in [r#"{"n":1}"#, r#"{"n":2}"#] {
        let base = eve.document.state();
        let next = serde_json::from_str(json).unwrap();
        newest = eve.document.write(&base, &next, None, NOTE).unwrap().change.unwrap().1;
    }
    let heads = eve.document.heads();
    let orphan = SyncMessage::news(Vec::new(), heads, vec![newest.into()]).encode();
    let request = Request::Sync { store: STORE.parse().unwrap(), message: orphan };
    workspace.handle(vec![Input::say(eve.session, request)], Millis(1));
    assert_eq!(state(&mut workspace), "{}");
    assert_eq!(ann.write(&mut workspace, r#"{"n":3}"#), []);
    assert_eq!(state(&mut workspace), r#"{"n":3}"#);
}
