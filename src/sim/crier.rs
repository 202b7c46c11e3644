//! News for many, told to one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A value, and those who wait until it is another.
///
/// A `watch` of tokio wakes those who wait for it in an order drawn by lot, so each has his own: a
/// world must go the same way again.
#[derive(Debug)]
pub(super) struct Crier<T> {
    told: Mutex<Told<T>>,
}

#[derive(Debug)]
struct Told<T> {
    value: T,
    listeners: Vec<watch::Sender<T>>,
}

impl<T: Copy> Crier<T> {
    pub(super) fn new(value: T) -> Self {
        Self { told: Mutex::new(Told { value, listeners: Vec::new() }) }
    }

    pub(super) fn get(&self) -> T {
        self.lock().value
    }

    pub(super) fn listen(&self) -> watch::Receiver<T> {
        let mut told = self.lock();
        let (sender, receiver) = watch::channel(told.value);
        told.listeners.push(sender);
        receiver
    }

    /// Tells those who still listen, in the order in which they came.
    pub(super) fn tell(&self, value: T) {
        let mut told = self.lock();
        told.value = value;
        told.listeners.retain(|listener| listener.send(value).is_ok());
    }

    fn lock(&self) -> MutexGuard<'_, Told<T>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
