//! What a workspace is made of: its stores and their rules.

use std::sync::Arc;

use super::gate::Gate;
use super::webhook::Webhook;
use crate::document::{Policy, Strings};
use crate::ids::{DocumentId, StoreName};
use crate::json::{Json, JsonLimits};
use crate::limits;

/// The rules of a workspace; the same for every workspace of a server.
#[derive(Debug, Clone)]
pub struct WorkspaceConfig {
    /// Whether stores that are not listed may come to be: persistent, starting as `{}`.
    pub create_stores: bool,
    /// The listed stores, in the order in which a hello is answered.
    pub stores: Vec<StoreConfig>,
    /// Whom to tell outside of what changes in persistent stores.
    pub webhooks: Vec<Webhook>,
    /// When a commit may be shown.
    pub durability: Durability,
    /// What a client may bring in.
    pub limits: WorkspaceLimits,
    /// What triggers are told about whose workspace this is (the original's `userId`).
    pub user_id: String,
    /// What triggers are told about the session of the workspace (the original's `sessionId`).
    pub session_id: String,
}

impl Default for WorkspaceConfig {
    /// Every store name is open and persistent, and a commit is shown when it is durable.
    fn default() -> Self {
        Self {
            create_stores: true,
            stores: Vec::new(),
            webhooks: Vec::new(),
            durability: Durability::Strict,
            limits: WorkspaceLimits::default(),
            user_id: String::new(),
            session_id: String::new(),
        }
    }
}

/// What a client may bring into a workspace. What came in under larger limits stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// What an edit may be, and what it may make of a store.
    pub json: JsonLimits,
    /// One session's presence, as compact JSON, in bytes.
    pub presence_bytes_max: usize,
    /// Stores of one workspace that everybody shares. Those of the configuration, and those that
    /// are saved, are there whatever it says.
    pub stores_max: usize,
    /// Sessions that are attached at the same time.
    pub sessions_max: usize,
    /// What its stores may take in the log, and those that are not kept in memory, in bytes. Beyond
    /// it only what makes a state smaller is taken. With [`limits::WORKSPACE_BYTES_MAX`] nothing is
    /// counted.
    pub bytes_max: u64,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        Self {
            json: JsonLimits::default(),
            presence_bytes_max: limits::PRESENCE_BYTES_MAX,
            stores_max: limits::STORES_MAX,
            sessions_max: limits::SESSIONS_MAX,
            bytes_max: limits::WORKSPACE_BYTES_MAX,
        }
    }
}

/// When a commit is acknowledged, shown and fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on stable storage.
    #[default]
    Strict,
    /// At once; a crash may lose what was shown in the last moments.
    Relaxed,
}

/// The rules of one store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its name.
    pub name: StoreName,
    /// Whether it is kept in the log; otherwise it lives while the workspace is loaded.
    pub persistent: bool,
    /// Who shares it.
    pub scope: Scope,
    /// The state before the first commit.
    pub initial: Json,
    /// The rules that its state has to keep, whoever edits it; `None`: it may be anything.
    pub gate: Option<Arc<dyn Gate>>,
    /// How JSON is written into its document.
    pub policy: Policy,
    /// How much of its past is at hand.
    pub past: Past,
}

/// How much of a store's past is at hand. What lies before is looked up in the log, or answered
/// with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Commits whose heads are kept, so that a stale JSON client can be answered with a patch;
    /// younger than `age_ms_min` they are kept beyond this number.
    pub commits_min: usize,
    /// Commits beyond which none are kept, however young.
    pub commits_max: usize,
    /// Age up to which commits are kept, in milliseconds.
    pub age_ms_min: u64,
    /// Commits whose JSON is kept beside their heads.
    pub trees_max: usize,
    /// Message ids that are remembered without asking the log.
    pub message_ids_max: usize,
    /// Commits after a checkpoint that ask for the next one.
    pub checkpoint_commits: usize,
    /// Bytes of changes after a checkpoint that ask for the next one.
    pub checkpoint_bytes: usize,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            commits_min: limits::HISTORY_COMMITS_MIN,
            commits_max: limits::HISTORY_COMMITS_MAX,
            age_ms_min: limits::HISTORY_AGE_MS_MIN,
            trees_max: limits::HISTORY_TREES_MAX,
            message_ids_max: limits::MESSAGE_IDS_MAX,
            checkpoint_commits: limits::CHECKPOINT_COMMITS,
            checkpoint_bytes: limits::CHECKPOINT_BYTES,
        }
    }
}

impl StoreConfig {
    /// A persistent store of the whole workspace that starts as `{}`.
    pub fn open(name: StoreName) -> Self {
        Self {
            name,
            persistent: true,
            scope: Scope::Workspace,
            initial: Json::Object(crate::json::Object::new()),
            gate: None,
            policy: Policy::default(),
            past: Past::default(),
        }
    }
}

/// Who shares a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All sessions of the workspace.
    #[default]
    Workspace,
    /// Each session has its own; transient only.
    Session,
}

impl WorkspaceConfig {
    /// The rules of a store: its own, or those of a store that is not listed.
    pub fn store(&self, name: &StoreName) -> StoreConfig {
        self.listed(name).cloned().unwrap_or_else(|| {
            let mut open = StoreConfig::open(name.clone());
            // A client of automerge-repo made it, and all of its strings are text.
            if name.as_str().parse::<DocumentId>().is_ok() {
                open.policy.strings = Strings::Text;
            }
            open
        })
    }

    /// Who shares a store.
    pub(super) fn scope(&self, name: &StoreName) -> Scope {
        self.listed(name).map_or(Scope::Workspace, |store| store.scope)
    }

    /// Whether a store of this name may exist.
    pub fn allows(&self, name: &StoreName) -> bool {
        self.create_stores || self.listed(name).is_some()
    }

    pub(super) fn listed(&self, name: &StoreName) -> Option<&StoreConfig> {
        self.stores.iter().find(|store| store.name == *name)
    }
}
