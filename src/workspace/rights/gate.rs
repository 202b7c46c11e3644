//! The one gate: whatever anybody wants of a store is asked here.

use std::sync::Arc;

use super::{Json, Refusal, Rights, SessionId, StoreKey, View, Workspace};
use crate::json::between;
use crate::workspace::Ready;
use crate::workspace::session::{Session, Stand};
use crate::workspace::store::Store;

/// What is wanted of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) enum Wanted {
    /// To see some of it as JSON.
    Read,
    /// To change some of it as JSON. What exactly, only the edit shows.
    Write,
    /// To follow it in Automerge, which tells all of it, and how it came to be.
    Follow,
    /// To bring Automerge changes, which can change anything in it.
    Bring,
}

impl Workspace {
    /// Whether this may be done with a store. One that may not be read is as if it were not there,
    /// and so is one that is not there and may not come to be by these rights.
    ///
    /// Errors: [`Refusal::NoStore`], [`Refusal::Forbidden`].
    pub(in crate::workspace) fn authorize(
        &self,
        rights: &Rights,
        key: &StoreKey,
        wanted: Wanted,
    ) -> Result<(), Refusal> {
        let name = &key.name;
        let is_there = self.stores.contains_key(key) || self.config.listed(name).is_some();
        if !(rights.reads(name) && (is_there || rights.writes(name))) {
            return Err(Refusal::NoStore);
        }
        let may = match wanted {
            Wanted::Read => true,
            Wanted::Write => rights.writes(name),
            Wanted::Follow => rights.reading(name).is_whole(),
            Wanted::Bring => rights.reading(name).is_whole() && rights.writing(name).is_whole(),
        };
        if may { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// As [`require`](Self::require), for somebody with these rights: for what he may not read,
    /// nothing is loaded, and nothing made.
    pub(in crate::workspace) fn require_for(&mut self, rights: &Rights, key: &StoreKey) -> Ready {
        if self.authorize(rights, key, Wanted::Read).is_err() {
            return Ready::Now;
        }
        self.require(key)
    }

    /// A store that was [required](Self::require_for), for this purpose.
    pub(in crate::workspace) fn store_for(
        &mut self,
        rights: &Rights,
        key: &StoreKey,
        wanted: Wanted,
    ) -> Result<&mut Store, Refusal> {
        self.authorize(rights, key, wanted)?;
        self.store(key)
    }

    /// The rights of a session.
    pub(in crate::workspace) fn rights(&self, id: SessionId) -> Arc<Rights> {
        let none = || Arc::new(Rights::of(Vec::new()));
        self.sessions.get(&id).map_or_else(none, |session| Arc::clone(&session.rights))
    }

    /// What an edit that turns what its author sees of `base` into `wanted` makes of the whole.
    pub(in crate::workspace) fn authorize_edit(
        &self,
        rights: &Rights,
        key: &StoreKey,
        base: &Json,
        wanted: Json,
    ) -> Result<Json, Refusal> {
        self.authorize(rights, key, Wanted::Write)?;
        let (reading, writing) = (rights.reading(&key.name), rights.writing(&key.name));
        if reading.is_whole() && writing.is_whole() {
            return Ok(wanted);
        }
        let next = reading.lift(base, &wanted).ok_or(Refusal::Forbidden)?;
        if !writing.covers_change(base, &next) {
            return Err(Refusal::Forbidden);
        }
        // How it is written counts too: where elements are told apart by identity, what looks like
        // a change inside of two may be their exchange.
        if !writing.is_whole() {
            let identity = self.config.store(&key.name).policy.identity;
            let written = between(base, &next, &identity);
            if !written.ops.iter().all(|op| writing.covers_place(op.path())) {
                return Err(Refusal::Forbidden);
            }
        }
        let bytes_max = self.config.limits.json.document_bytes_max;
        if next.encoded_len() > bytes_max.max(base.encoded_len()) {
            return Err(crate::json::JsonError::TooLarge.into());
        }
        Ok(next)
    }

    /// A session's rights are others from now on. What it followed and may not read any more, it
    /// is not told of any more; what it sees otherwise now, it is told anew.
    pub(in crate::workspace) fn entitle(&mut self, id: SessionId, rights: Arc<Rights>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut session.rights, rights);
        if before == session.rights {
            return;
        }
        let rights = Arc::clone(&session.rights);
        let mut lost = Vec::new();
        for (key, stand) in &mut session.stands {
            let view = rights.reading(&key.name);
            match stand {
                Stand::Crdt(_) if !view.is_whole() => lost.push(key.clone()),
                Stand::Json(_) if view == View::Nothing => lost.push(key.clone()),
                Stand::Json(stand) if view != before.reading(&key.name) => {
                    stand.miscounts_all();
                    session.owed.insert(key.clone());
                }
                Stand::Crdt(_) | Stand::Json(_) => {}
            }
        }
        for key in &lost {
            session.owed.remove(key);
            // Where it speaks Automerge, it is not told of a part in JSON.
            session.stands.remove(key);
            if session.repo.is_none() && rights.reads(&key.name) {
                session.stands.insert(key.clone(), Stand::Crdt(Box::default()));
            }
        }
        self.hide_presence(id, &rights);
        for key in lost {
            self.complain(id, Some(key.name.to_string()), Refusal::Forbidden);
        }
    }

    /// Whether two sessions may know of each other: they have some store in common.
    pub(in crate::workspace) fn may_meet(&self, one: &Session, other: &Session) -> bool {
        let (one, other) = (&one.rights, &other.rights);
        let in_common =
            |key: &StoreKey| key.owner.is_none() && one.reads(&key.name) && other.reads(&key.name);
        one.is_all() || other.is_all() || one == other || self.stores.keys().any(in_common)
    }
}
