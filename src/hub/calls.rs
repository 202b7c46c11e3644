//! The news that calls of webhooks lie in the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::hub::lock;
use crate::limits;
use crate::storage::{AppendTo, Lane};

/// Which lanes got calls since somebody asked.
#[derive(Debug, Default)]
pub struct NewCalls {
    heard: Mutex<Heard>,
    bell: Notify,
}

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// Lanes that got calls.
    pub lanes: BTreeSet<Lane>,
    /// Whether there were too many to remember: any lane may have got some.
    pub others: bool,
}

impl NewCalls {
    /// Notes the lanes of what was appended.
    pub(super) fn add(&self, batch: &[AppendTo]) {
        let mut calls = batch
            .iter()
            .flat_map(|entry| entry.append.calls.iter().map(move |call| (entry, call)))
            .peekable();
        if calls.peek().is_none() {
            return;
        }
        let mut heard = lock(&self.heard);
        for (AppendTo { workspace, append }, call) in calls {
            let lane = Lane {
                webhook: Arc::clone(&call.webhook),
                workspace: workspace.clone(),
                store: append.store.clone(),
            };
            if heard.lanes.len() < limits::CALL_LANES_MAX || heard.lanes.contains(&lane) {
                heard.lanes.insert(lane);
            } else {
                heard.others = true;
            }
        }
        drop(heard);
        self.bell.notify_one();
    }

    /// Notes that any lane may have got some.
    pub fn add_any(&self) {
        lock(&self.heard).others = true;
        self.bell.notify_one();
    }

    /// Waits until there is something new, and takes it. For one listener.
    pub async fn next(&self) -> Heard {
        loop {
            let heard = std::mem::take(&mut *lock(&self.heard));
            if heard != Heard::default() {
                return heard;
            }
            self.bell.notified().await;
        }
    }
}
