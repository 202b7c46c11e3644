//! Who owns an Automerge actor.
//!
//! An actor numbers its changes, and two changes with the same actor and number split replicas for
//! ever. So an actor belongs to the first user whose change used it, and nobody else's change may;
//! a client that is refused takes a new actor and makes its changes again.

use std::collections::BTreeMap;

use automerge::ActorId;
use sha2::{Digest as _, Sha256};

use super::commit::{Commit, Dialect};
use crate::document::author;
use crate::limits;

/// Who a client is as long as nobody asks. This user owns no actor.
pub const ANONYMOUS: &str = "anonymous";

/// What Automerge puts before an actor, and a number after it, to write at old heads beside newer
/// changes of the same actor.
const BESIDE: [u8; 4] = [0x13, 0xb2, 0x23, 0x09];

/// Memory for one actor and its owner, roughly, in bytes.
const ENTRY_BYTES: usize = 40;

/// Why a change is refused for its actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("actor {} belongs to somebody else: take a new one", .actor.to_hex_string())]
pub struct ActorTaken {
    /// The actor.
    pub actor: ActorId,
}

/// An actor of a store: its bytes if they are 16, as with every Automerge, and else the first 16
/// of their SHA-256. An actor that was derived to write at old heads counts as the one it was
/// derived from.
pub type ActorKey = [u8; 16];

/// An owner of actors: the server, or a user by the first 8 bytes of the SHA-256 of his name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// The server: its own writes, those it makes for JSON clients, and the genesis.
    pub const SERVER: Self = Self(0);
    /// Everybody: the actor is nobody's and comes to be nobody's, whoever uses it.
    pub const ALL: Self = Self(u64::MAX);

    /// A user; none if anonymous.
    pub fn user(name: &str) -> Option<Self> {
        let digest = Sha256::digest(name);
        let first = digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        (name != ANONYMOUS).then(|| Self(first.clamp(1, Self::ALL.0.saturating_sub(1))))
    }
}

/// The owners of a store's actors.
///
/// Nobody owns an actor that only anonymous users have used; nor one that was forgotten, because
/// there were more than [`limits::ACTORS_MAX`]: those with the most actors lose theirs first, so
/// that nobody can make the server forget the others. Whoever uses such an actor next owns it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actors {
    owners: BTreeMap<ActorKey, Owner>,
    /// The actor that the server signs with now; never forgotten.
    signer: Option<ActorKey>,
    /// Whether nobody comes to own anything.
    is_common: bool,
}

impl Actors {
    /// Actors that anybody may use, but for the server's own: those of a store without a log. It
    /// starts over with what clients still have, and the first to pass on a change of somebody
    /// else's would own the actor in his place.
    pub fn common() -> Self {
        Self { is_common: true, ..Self::default() }
    }

    /// Actors of a document that was restored from a backup, open to all. What they wrote after
    /// the backup, the server too, comes back by whoever has it.
    pub fn shared(actors: &[ActorId]) -> Self {
        let mut shared = Self::default();
        for actor in actors {
            shared.give(key(actor), Owner::ALL);
        }
        shared
    }

    /// Whether a user may make changes with an actor.
    pub fn may_use(&self, user: &str, actor: &ActorId) -> bool {
        #[cfg(planted)]
        if crate::planted::is("foreign-actor-accepted") {
            return true;
        }
        let owner = self.owner(actor);
        owner.is_none_or(|owner| owner == Owner::ALL || Some(owner) == Owner::user(user))
    }

    /// Notes that a user has used these actors; those that nobody owns are his from now on.
    pub fn note(&mut self, user: &str, actors: &[ActorId]) {
        if let Some(user) = Owner::user(user) {
            for actor in actors {
                self.give(key(actor), user);
            }
        }
    }

    /// Notes the actor that the server signs with from now on.
    pub fn sign_as(&mut self, actor: &[u8]) {
        self.signer = Some(key(&ActorId::from(actor)));
    }

    /// Notes who has used the actors of a commit that the log holds with its changes; an actor
    /// belongs to the server if the server wrote the change. `None` if a change cannot be read.
    pub(super) fn replay(&mut self, commit: &Commit) -> Option<()> {
        let written_here = written_here(commit.origin.dialect);
        let user = Owner::user(&commit.origin.user);
        let owner = if written_here { Some(Owner::SERVER) } else { user };
        for change in &commit.changes {
            let actor = key(&author(change)?);
            if let Some(owner) = owner {
                self.give(actor, owner);
            }
        }
        Some(())
    }

    /// Notes that a genesis is the server's, in whose commit it may ever be: every replica can
    /// make it. `None` if it cannot be read.
    pub(super) fn note_genesis(&mut self, genesis: &[u8]) -> Option<()> {
        self.give(key(&author(genesis)?), Owner::SERVER);
        Some(())
    }

    /// All actors that are owned, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&ActorKey, Owner)> {
        self.owners.iter().map(|(actor, owner)| (actor, *owner))
    }

    /// Memory that they take, roughly, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.owners.len().saturating_mul(ENTRY_BYTES)
    }

    fn owner(&self, actor: &ActorId) -> Option<Owner> {
        let key = key(actor);
        let signs = self.signer == Some(key);
        if signs { Some(Owner::SERVER) } else { self.owners.get(&key).copied() }
    }

    fn give(&mut self, actor: ActorKey, owner: Owner) {
        if self.is_common {
            return;
        }
        self.owners.entry(actor).or_insert(owner);
        if self.owners.len() > limits::ACTORS_MAX {
            self.forget();
        }
    }

    /// Forgets an eighth of all, so that it is rarely done. Every owner keeps what the others have
    /// too, and those who have more than that lose it.
    fn forget(&mut self) {
        let keep = limits::ACTORS_MAX.saturating_sub(limits::ACTORS_MAX / 8);
        let mut counts = BTreeMap::<Owner, usize>::new();
        for owner in self.owners.values() {
            let count = counts.entry(*owner).or_default();
            *count = count.saturating_add(1);
        }
        let share = share(counts.into_values().collect(), keep);
        let (mut kept, mut given) = (0_usize, BTreeMap::<Owner, usize>::new());
        self.owners.retain(|_, owner| {
            let has = given.entry(*owner).or_default();
            let stays = *has < share && kept < keep;
            if stays {
                *has = has.saturating_add(1);
                kept = kept.saturating_add(1);
            }
            stays
        });
    }
}

impl FromIterator<(ActorKey, Owner)> for Actors {
    fn from_iter<I: IntoIterator<Item = (ActorKey, Owner)>>(owners: I) -> Self {
        Self { owners: owners.into_iter().collect(), ..Self::default() }
    }
}

/// How many each may have so that all together have about `keep`: the least share that gives away
/// as much.
fn share(mut counts: Vec<usize>, keep: usize) -> usize {
    counts.sort_unstable();
    let mut left = keep;
    let mut owners = counts.len();
    for count in counts {
        let equal = left.div_ceil(owners.max(1));
        if count >= equal {
            return equal;
        }
        left = left.saturating_sub(count);
        owners = owners.saturating_sub(1);
    }
    keep
}

/// Whether the server itself writes the changes of such commits, under an actor of its own. In the
/// others they come as their authors made them.
const fn written_here(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Json | Dialect::Server | Dialect::Container)
}

fn key(actor: &ActorId) -> ActorKey {
    let mut bytes = actor.to_bytes();
    while let Some(beside) = bytes.strip_prefix(&BESIDE) {
        let number = beside.iter().take_while(|byte| **byte & 0x80 != 0).count();
        match beside.get(number.saturating_add(1)..) {
            Some(base) => bytes = base,
            None => break,
        }
    }
    ActorKey::try_from(bytes).unwrap_or_else(|_other_length| {
        let digest = Sha256::digest(bytes);
        digest.first_chunk().copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests;
