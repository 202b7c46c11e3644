//! The user's own container of JSON: slow, sometimes away, and changed by others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::chance::Chance;
use super::disk::Life;
use crate::ids::StoreName;
use crate::json::Json;
use crate::storage::container::{Call, Container, ContainerError};

/// What the container holds, whatever life the server is in.
#[derive(Debug)]
pub(super) struct Shelf {
    state: Mutex<Held>,
    healed: AtomicBool,
}

#[derive(Debug)]
struct Held {
    chance: Chance,
    states: BTreeMap<StoreName, Json>,
    is_away: bool,
}

impl Shelf {
    pub(super) fn new(chance: Chance) -> Self {
        let states = Mutex::new(Held { chance, states: BTreeMap::new(), is_away: false });
        Self { state: states, healed: AtomicBool::new(false) }
    }

    /// From now on it is there, and quick.
    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.lock().is_away = false;
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    pub(super) fn get(&self, store: &StoreName) -> Option<Json> {
        self.lock().states.get(store).cloned()
    }

    /// Its owner changes it.
    pub(super) fn put(&self, store: &StoreName, state: Json) {
        self.lock().states.insert(store.clone(), state);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The container as one life of the server sees it.
#[derive(Debug)]
pub(super) struct SimContainer {
    pub(super) shelf: Arc<Shelf>,
    pub(super) life: Arc<Life>,
    connected: AtomicBool,
    /// What this life has seen of each store: only over that it may save.
    seen: Mutex<BTreeMap<StoreName, Option<Json>>>,
}

impl SimContainer {
    pub(super) fn new(shelf: Arc<Shelf>, life: Arc<Life>) -> Self {
        Self { shelf, life, connected: AtomicBool::new(true), seen: Mutex::default() }
    }

    /// A call that takes its time, and may not come through on either way.
    async fn call<T>(
        &self,
        store: &StoreName,
        act: impl FnOnce(&mut Held) -> Result<T, ContainerError>,
    ) -> Result<T, ContainerError> {
        let healed = self.shelf.healed.load(Ordering::Relaxed);
        let (time, lost_before, lost_after) = {
            let mut held = self.shelf.lock();
            let time = held.chance.time(if healed { 20 } else { 800 });
            let (before, after) = (held.chance.one_in(12), held.chance.one_in(12));
            (time, !healed && (before || held.is_away), !healed && after)
        };
        sleep(time).await;
        let lost =
            || ContainerError::Unreachable { store: store.clone(), reason: "simulated".to_owned() };
        if lost_before || self.life.is_dead() {
            self.connected.store(false, Ordering::Relaxed);
            return Err(lost());
        }
        let done = act(&mut self.shelf.lock());
        self.connected.store(!lost_after, Ordering::Relaxed);
        if lost_after { Err(lost()) } else { done }
    }

    async fn load(
        &self,
        stores: &[StoreName],
    ) -> Result<BTreeMap<StoreName, Json>, ContainerError> {
        let Some(first) = stores.first() else { return Ok(BTreeMap::new()) };
        let found = self.call(first, |held| {
            let found = stores.iter().map(|name| (name.clone(), held.states.get(name).cloned()));
            Ok(found.collect::<BTreeMap<_, _>>())
        });
        let found = found.await?;
        self.seen().extend(found.clone());
        Ok(found.into_iter().filter_map(|(name, state)| Some((name, state?))).collect())
    }

    async fn save(&self, store: &StoreName, state: &Json) -> Result<(), ContainerError> {
        let seen = self.seen().get(store).cloned();
        let saved = self.call(store, |held| {
            let now = held.states.get(store).cloned();
            if Some(&now) != seen.as_ref() {
                return Err(ContainerError::Changed { store: store.clone(), state: now });
            }
            held.states.insert(store.clone(), state.clone());
            Ok(())
        });
        match saved.await {
            Ok(()) => drop(self.seen().insert(store.clone(), Some(state.clone()))),
            Err(ContainerError::Changed { store, state }) => {
                self.seen().insert(store.clone(), state.clone());
                return Err(ContainerError::Changed { store, state });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<StoreName, Option<Json>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Container for SimContainer {
    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn load_all_stores<'a>(
        &'a self,
        stores: &'a [StoreName],
    ) -> Call<'a, BTreeMap<StoreName, Json>> {
        self.load(stores).boxed()
    }

    fn save_all_stores<'a>(&'a self, stores: &'a BTreeMap<StoreName, Json>) -> Call<'a, ()> {
        let save_each = async move {
            let mut first = Ok(());
            for (store, state) in stores {
                first = first.and(self.save_store(store, state).await);
            }
            first
        };
        save_each.boxed()
    }

    fn save_store<'a>(&'a self, store: &'a StoreName, state: &'a Json) -> Call<'a, ()> {
        self.save(store, state).boxed()
    }
}
