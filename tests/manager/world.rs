//! What the tests have in common: a channel, a container, and short ways to say things.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use statehouse::hub::{Channel, Fired, Handler, Outgoing};
use statehouse::ids::{SessionId, StoreName};
use statehouse::json::{Json, JsonPatch, Object};
use statehouse::manager::{AttachedChannel, WorkspaceManager, WorkspaceManagerConfig};
use statehouse::storage::container::{Call, Container, ContainerError};
use statehouse::workspace::{Delivery, Refusal, StoreConfig};
use tokio::sync::watch;
use tokio::time::sleep;

pub(crate) type Mutexed<T> = Arc<Mutex<T>>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn patch(text: &str) -> JsonPatch {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn name(store: &str) -> StoreName {
    store.parse().unwrap()
}

pub(crate) fn chart() -> StoreName {
    name("chartState")
}

/// A channel that remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) told: Mutex<Vec<Delivery>>,
    pub(crate) closed: AtomicBool,
}

impl Channel for Recorder {
    fn deliver(&self, message: &Arc<Outgoing>) {
        lock(&self.told).push(message.delivery().clone());
    }

    fn close(&self, refusal: &Refusal) {
        assert_eq!(*refusal, Refusal::ShuttingDown);
        self.closed.store(true, Ordering::SeqCst);
    }
}

impl Recorder {
    /// What was told since the last time, as `kind store seq json`.
    pub(crate) fn take(&self) -> Vec<String> {
        let line = |delivery: Delivery| match delivery {
            Delivery::Snapshot { store, seq, state, .. } => {
                format!("snapshot {store} {seq} {state}")
            }
            Delivery::Patch { store, seq, patch, .. } => {
                format!("patch {store} {seq} {}", serde_json::to_string(&*patch).unwrap())
            }
            other => format!("{other:?}"),
        };
        lock(&self.told).drain(..).map(line).collect()
    }
}

/// A container in memory that can be away, be slow, fail, and be changed by its owner.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) held: Mutex<BTreeMap<StoreName, Json>>,
    /// What the server has seen of each store: a save over anything else is refused.
    pub(crate) seen: Mutex<BTreeMap<StoreName, Option<Json>>>,
    pub(crate) away: AtomicBool,
    pub(crate) fails: AtomicBool,
    pub(crate) loads: Mutex<Vec<Vec<StoreName>>>,
    pub(crate) saves: Mutex<Vec<BTreeMap<StoreName, Json>>>,
    /// Holds up a save that has begun, while it is set.
    pub(crate) slow: Option<watch::Receiver<bool>>,
}

impl Fake {
    pub(crate) fn holding(store: &str, state: &str) -> Arc<Self> {
        let fake = Self::default();
        fake.edit(store, state);
        Arc::new(fake)
    }

    pub(crate) fn edit(&self, store: &str, state: &str) {
        lock(&self.held).insert(name(store), json(state));
    }

    pub(crate) fn state(&self, store: &str) -> Option<Json> {
        lock(&self.held).get(&name(store)).cloned()
    }

    fn reach(&self) -> Result<(), ContainerError> {
        let broken = self.fails.load(Ordering::SeqCst) || self.away.load(Ordering::SeqCst);
        let error = ContainerError::Unreachable { store: chart(), reason: "test".to_owned() };
        if broken { Err(error) } else { Ok(()) }
    }

    fn put(&self, store: &StoreName, state: &Json) -> Result<(), ContainerError> {
        let (mut held, mut seen) = (lock(&self.held), lock(&self.seen));
        let now = held.get(store).cloned();
        if seen.get(store).cloned().flatten() != now {
            seen.insert(store.clone(), now.clone());
            return Err(ContainerError::Changed { store: store.clone(), state: now });
        }
        held.insert(store.clone(), state.clone());
        seen.insert(store.clone(), Some(state.clone()));
        Ok(())
    }
}

impl Container for Fake {
    fn is_connected(&self) -> bool {
        !self.away.load(Ordering::SeqCst)
    }

    fn load_all_stores<'a>(
        &'a self,
        stores: &'a [StoreName],
    ) -> Call<'a, BTreeMap<StoreName, Json>> {
        Box::pin(async move {
            lock(&self.loads).push(stores.to_vec());
            self.reach()?;
            let held = lock(&self.held).clone();
            let found: BTreeMap<_, _> =
                held.into_iter().filter(|(store, _)| stores.contains(store)).collect();
            let mut seen = lock(&self.seen);
            for store in stores {
                seen.insert(store.clone(), found.get(store).cloned());
            }
            Ok(found)
        })
    }

    fn save_all_stores<'a>(&'a self, stores: &'a BTreeMap<StoreName, Json>) -> Call<'a, ()> {
        Box::pin(async move {
            lock(&self.saves).push(stores.clone());
            if let Some(mut slow) = self.slow.clone() {
                slow.wait_for(|slow| !*slow).await.unwrap();
            }
            self.reach()?;
            let results: Vec<_> =
                stores.iter().map(|(store, state)| self.put(store, state)).collect();
            results.into_iter().collect()
        })
    }

    fn save_store<'a>(&'a self, store: &'a StoreName, state: &'a Json) -> Call<'a, ()> {
        Box::pin(async move {
            lock(&self.saves).push([(store.clone(), state.clone())].into());
            self.reach()?;
            self.put(store, state)
        })
    }
}

pub(crate) fn stores() -> Vec<StoreConfig> {
    let persistent = StoreConfig {
        initial: json(r#"{"symbol":"BTC","a":{"b":1,"c":1},"items":[1,2]}"#),
        ..StoreConfig::open(chart())
    };
    let transient = StoreConfig { persistent: false, ..StoreConfig::open(name("channelState")) };
    vec![persistent, StoreConfig::open(name("prefs")), transient]
}

pub(crate) fn config() -> WorkspaceManagerConfig {
    WorkspaceManagerConfig::new("alice", "session-1", stores())
}

pub(crate) fn over(container: &Arc<Fake>) -> WorkspaceManager {
    let container = Arc::<Fake>::clone(container);
    WorkspaceManager::new(WorkspaceManagerConfig { container: Some(container), ..config() })
}

pub(crate) async fn ready() -> WorkspaceManager {
    let manager = WorkspaceManager::new(config());
    manager.initialize().await.unwrap();
    manager
}

pub(crate) async fn attach(manager: &WorkspaceManager) -> (AttachedChannel, Arc<Recorder>) {
    let recorder = Arc::<Recorder>::default();
    let channel = Arc::<Recorder>::clone(&recorder);
    (manager.attach_channel(channel).await.unwrap(), recorder)
}

/// Attaches a client that is up to date.
pub(crate) async fn greet(manager: &WorkspaceManager) -> (AttachedChannel, Arc<Recorder>) {
    let (channel, recorder) = attach(manager).await;
    manager.handle_hello(channel.session(), BTreeMap::new()).await.unwrap();
    recorder.take();
    (channel, recorder)
}

pub(crate) async fn state(manager: &WorkspaceManager, store: &str) -> Json {
    manager.get_state(&name(store)).await.unwrap().unwrap()
}

pub(crate) async fn send(manager: &WorkspaceManager, session: SessionId, seq: i64, ops: &str) {
    manager.handle_patch(session, &chart(), seq, patch(ops)).await.unwrap();
}

pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if so() {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

/// Gives what should not happen time to happen.
pub(crate) async fn a_moment() {
    sleep(Duration::from_millis(60)).await;
}

/// A handler that notes its name, the values and the path.
pub(crate) fn noting(who: &'static str, notes: &Mutexed<Vec<String>>) -> Handler {
    let notes = Arc::clone(notes);
    Handler::new(move |Fired { firing, .. }| {
        let text = |value: Option<Json>| value.map_or("-".to_owned(), |value| value.to_string());
        let (old, new) = (text(firing.old), text(firing.new));
        lock(&notes).push(format!("{who} {} {old} {new}", firing.context.path));
        async { Ok(()) }
    })
}

pub(crate) fn object(text: &str) -> Object {
    json(text).as_object().unwrap().clone()
}
