//! The walk of a patch through the pure heart, step by step, each beside its floor: bare Automerge
//! making only the same change. Read the ratios; the machine's speed is in both.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a bench that cannot run stops, and its functions say what they measure by name"
)]

use std::sync::Arc;

use automerge::sync::SyncDoc as _;
use automerge::transaction::Transactable as _;
use automerge::{Automerge, ObjId, ObjType, PatchLog, ROOT, ReadDoc as _};
use divan::Bencher;
use statehouse::ids::{Millis, Seq, SessionId, StoreName};
use statehouse::json::{Identity, Json, JsonLimits, JsonPatch, Key, Object, between};
use statehouse::workspace::{
    Actors, Caps, Checkpoint, Delivery, Effect, Hello, Input, Opening, Recovered, Request, Rights,
    StorageId, StoreConfig, Stored, Workspace, WorkspaceConfig,
};

fn main() {
    divan::main();
}

const SIZES: [usize; 2] = [1_000, 100_000];

fn key(n: usize) -> String {
    format!("k{n:06}")
}

/// A document with one map of so many keys.
fn bare(keys: usize) -> (Automerge, ObjId) {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    let map = tx.put_object(ROOT, "m", ObjType::Map).unwrap();
    for n in 0..keys {
        tx.put(&map, key(n), i64::try_from(n).unwrap()).unwrap();
    }
    tx.commit();
    (doc, map)
}

fn name() -> StoreName {
    "s".parse().unwrap()
}

fn json(keys: usize) -> Json {
    let members = (0..keys).map(|n| (Key::from(key(n)), Json::from(i64::try_from(n).unwrap())));
    let map = Json::Object(members.collect());
    Json::Object([(Key::from("m"), map)].into_iter().collect::<Object>())
}

/// A workspace with one loaded store of so many keys, and sessions that follow it.
struct Heart {
    workspace: Workspace,
    seq: u64,
    edits: usize,
    keys: usize,
}

fn opening(rules: WorkspaceConfig) -> Opening {
    Opening {
        id: "bench".parse().unwrap(),
        config: Arc::new(rules),
        stored: Vec::new(),
        held: Vec::new(),
        epoch: 0,
        actor: [7; 16],
        storage: StorageId("bench".into()),
    }
}

impl Heart {
    fn new(keys: usize, sessions: u64) -> Self {
        let config = StoreConfig { initial: json(keys), ..StoreConfig::open(name()) };
        let rules = WorkspaceConfig { stores: vec![config.clone()], ..WorkspaceConfig::default() };
        let opening = opening(rules);
        let mut heart = Self { workspace: Workspace::open(opening), seq: 0, edits: 0, keys };
        for session in 0..sessions {
            let session = SessionId(session);
            let hello = Hello { caps: Caps { ack: true, ..Caps::default() }, ..Hello::default() };
            let greet = Input::say(session, Request::Hello(hello));
            let effects = heart.give(vec![
                Input::Attach { session, user: String::new(), rights: Arc::new(Rights::all()) },
                greet,
            ]);
            if effects.iter().any(|effect| matches!(effect, Effect::Load { .. })) {
                let recovered = Recovered::build(Arc::new(config.clone()), Stored::default());
                let result = recovered.map(Box::new);
                heart.give(vec![Input::Loaded { store: name(), result }]);
            }
        }
        heart
    }

    fn give(&mut self, turn: Vec<Input>) -> Vec<Effect> {
        self.workspace.handle(turn, Millis(1))
    }

    /// One edit of the first session, all the way to what is delivered.
    fn edit(&mut self) -> usize {
        self.edits += 1;
        let path = key(self.edits * 37 % self.keys);
        let patch = format!(r#"[{{"op":"replace","path":"/m/{path}","value":"v{}"}}]"#, self.edits);
        let patch: JsonPatch = serde_json::from_str(&patch).unwrap();
        let seq = i64::try_from(self.seq).unwrap();
        self.seq += 1;
        let request = Request::Patch { store: name(), seq, id: None, patch };
        let effects = self.give(vec![Input::say(SessionId(0), request)]);
        self.saved(effects)
    }

    fn saved(&mut self, effects: Vec<Effect>) -> usize {
        let saves = effects.into_iter().filter_map(|effect| match effect {
            Effect::Save { save, .. } => Some(Input::Saved { save, failed: Vec::new() }),
            _ => None,
        });
        let delivered = self.give(saves.collect());
        let told = delivered.iter().map(|effect| match effect {
            Effect::Deliver { to, .. } => to.len(),
            _ => 0,
        });
        told.sum()
    }
}

mod local_edit {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn through_the_heart(bencher: Bencher<'_, '_>, keys: usize) {
        let mut heart = Heart::new(keys, 2);
        bencher.bench_local(|| heart.edit());
    }

    #[divan::bench(args = SIZES)]
    fn floor_bare_automerge(bencher: Bencher<'_, '_>, keys: usize) {
        let (mut doc, map) = bare(keys);
        let mut n = 0;
        bencher.bench_local(|| {
            n += 1;
            let mut tx = doc.transaction();
            tx.put(&map, key(n * 37 % keys), format!("v{n}")).unwrap();
            let (hash, _) = tx.commit();
            doc.get_change_by_hash(&hash.unwrap()).unwrap().raw_bytes().len()
        });
    }
}

/// A client that has the store's document, and makes one change after another.
struct Remote {
    doc: Automerge,
    sync: automerge::sync::State,
    edits: usize,
}

impl Remote {
    fn edit(&mut self) {
        self.edits += 1;
        let mut tx = self.doc.transaction();
        let map = tx.get_map();
        let place = key(self.edits * 7_919 % tx.length(&map));
        tx.put(&map, place, format!("v{}", self.edits)).unwrap();
        tx.commit();
    }
}

trait GetMap {
    fn get_map(&self) -> ObjId;
}

impl<T: automerge::ReadDoc> GetMap for T {
    fn get_map(&self) -> ObjId {
        self.get(ROOT, "m").unwrap().unwrap().1
    }
}

mod remote_change {
    use super::*;

    const CLIENT: SessionId = SessionId(1_000_000);

    /// Says what the remote has to say until neither side has anything more to say.
    fn exchange(heart: &mut Heart, remote: &mut Remote) {
        while let Some(message) = remote.doc.generate_sync_message(&mut remote.sync) {
            let message = message.encode();
            let request = Request::Sync { store: name(), message };
            let effects = heart.give(vec![Input::say(CLIENT, request)]);
            hear(remote, &effects);
            for effect in effects {
                if let Effect::Save { save, .. } = effect {
                    let saved = heart.give(vec![Input::Saved { save, failed: Vec::new() }]);
                    hear(remote, &saved);
                }
            }
        }
    }

    fn hear(remote: &mut Remote, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Deliver { delivery: Delivery::Sync { message, .. }, to } = effect
                && to.contains(&CLIENT)
            {
                let message = automerge::sync::Message::decode(&message.encode()).unwrap();
                remote.doc.receive_sync_message(&mut remote.sync, message).unwrap();
            }
        }
    }

    #[divan::bench(args = SIZES)]
    fn through_the_heart(bencher: Bencher<'_, '_>, keys: usize) {
        let mut heart = Heart::new(keys, 1);
        let mut remote =
            Remote { doc: Automerge::new(), sync: automerge::sync::State::new(), edits: 0 };
        let first = remote.doc.generate_sync_message(&mut remote.sync).unwrap().encode();
        let hello = Hello { sync: [(name(), first)].into(), ..Hello::default() };
        let greet = Input::say(CLIENT, Request::Hello(hello));
        let effects = heart.give(vec![
            Input::Attach { session: CLIENT, user: String::new(), rights: Arc::new(Rights::all()) },
            greet,
        ]);
        hear(&mut remote, &effects);
        exchange(&mut heart, &mut remote);
        bencher.bench_local(|| {
            remote.edit();
            exchange(&mut heart, &mut remote);
        });
    }

    #[divan::bench(args = SIZES)]
    fn floor_bare_automerge(bencher: Bencher<'_, '_>, keys: usize) {
        let (mut doc, _) = bare(keys);
        let mut remote = Remote { doc: doc.fork(), sync: automerge::sync::State::new(), edits: 0 };
        let mut sync = automerge::sync::State::new();
        bencher.bench_local(|| {
            remote.edit();
            loop {
                let there = remote.doc.generate_sync_message(&mut remote.sync);
                if let Some(message) = there.clone() {
                    let mut log = PatchLog::active();
                    doc.receive_sync_message_log_patches(&mut sync, message, &mut log).unwrap();
                    doc.make_patches(&mut log);
                }
                let back = doc.generate_sync_message(&mut sync);
                if let Some(message) = back.clone() {
                    remote.doc.receive_sync_message(&mut remote.sync, message).unwrap();
                }
                if there.is_none() && back.is_none() {
                    break;
                }
            }
        });
    }
}

mod outbound_patch {
    use super::{Bencher, Identity, JsonLimits, JsonPatch, SIZES, between, json};

    #[divan::bench(args = SIZES)]
    fn difference_of_two_trees(bencher: Bencher<'_, '_>, keys: usize) {
        let before = json(keys);
        let patch = r#"[{"op":"replace","path":"/m/k000500","value":0.5}]"#;
        let patch: JsonPatch = serde_json::from_str(patch).unwrap();
        let after = patch.apply(&before, &JsonLimits::default()).unwrap().json;
        let identity = Identity::default();
        bencher.bench_local(|| between(&before, &after, &identity).ops.len());
    }
}

mod fan_out {
    use super::{Bencher, Heart};

    #[divan::bench(args = [1, 20, 1_000])]
    fn one_edit_to_sessions(bencher: Bencher<'_, '_>, sessions: u64) {
        let mut heart = Heart::new(1_000, sessions);
        bencher.bench_local(|| heart.edit());
    }
}

mod cold_load {
    use super::*;

    /// A saved document of so many changes over 500 keys.
    fn saved(changes: i64) -> (Vec<u8>, Vec<automerge::ChangeHash>) {
        let mut doc = Automerge::new();
        for n in 0..changes {
            let mut tx = doc.transaction();
            tx.put(ROOT, format!("k{:03}", n % 500), n).unwrap();
            tx.commit();
        }
        (doc.save(), doc.get_heads())
    }

    #[divan::bench(args = [100_000], sample_count = 10)]
    fn into_a_store(bencher: Bencher<'_, '_>, changes: i64) {
        let (bytes, heads) = saved(changes);
        let seq = Seq(u64::try_from(changes).unwrap());
        let checkpoint = Some(Checkpoint { seq, heads, bytes, actors: Actors::default() });
        let config = Arc::new(StoreConfig::open(name()));
        bencher
            .with_inputs(|| Stored { checkpoint: checkpoint.clone(), ..Stored::default() })
            .bench_local_values(|stored| Recovered::build(Arc::clone(&config), stored).unwrap());
    }

    #[divan::bench(args = [100_000], sample_count = 10)]
    fn floor_bare_automerge(bencher: Bencher<'_, '_>, changes: i64) {
        let (bytes, _) = saved(changes);
        bencher.bench_local(|| Automerge::load(&bytes).unwrap());
    }
}
