//! An actor has one owner, who stays the same whatever is forgotten of others.

use std::slice::from_ref;

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, Automerge, PatchLog, ROOT};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{Millis, Seq};
use crate::workspace::Origin;

const USERS: [&str; 4] = ["ann", "bob", "", ANONYMOUS];

fn actor(number: usize) -> ActorId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ActorId::from(&bytes)
}

fn taken(actors: &Actors, user: &str, number: usize) -> bool {
    !actors.may_use(user, &actor(number))
}

proptest! {
    /// The first user who is not anonymous owns an actor, and nobody else may use it then.
    #[test]
    fn the_first_to_use_an_actor_owns_it(uses in vec((0..USERS.len(), 0..6_usize), 0..40)) {
        let mut actors = Actors::default();
        let mut owners = BTreeMap::new();
        for (user, number) in uses {
            let user = USERS[user];
            let owner = owners.get(&number).copied();
            let free = owner.is_none_or(|owner| owner == user);
            prop_assert_eq!(!taken(&actors, user, number), free);
            if free {
                actors.note(user, &[actor(number)]);
                if user != ANONYMOUS {
                    owners.insert(number, user);
                }
            }
        }
        prop_assert_eq!(actors.entries().count(), owners.len());
    }
}

#[test]
fn nobody_may_use_the_actor_that_the_server_signs_with() {
    let mut actors = Actors::default();
    actors.sign_as(actor(1).to_bytes());
    for user in USERS {
        assert!(taken(&actors, user, 1));
    }
    assert_eq!(actors.entries().count(), 0, "it is noted when it has signed something");
}

/// Automerge writes at old heads under an actor that it derives.
#[test]
fn an_actor_that_was_derived_belongs_with_its_own() {
    let mut doc = Automerge::new();
    doc.set_actor(actor(1));
    let mut write = |heads: &[automerge::ChangeHash]| {
        let mut tx = doc.transaction_at(PatchLog::null(), heads).unwrap();
        tx.put(ROOT, "key", 1).unwrap();
        tx.commit();
    };
    (0..200).for_each(|_| write(&[]));
    let mut derived: Vec<_> =
        doc.get_changes(&[]).iter().map(|change| change.actor_id().clone()).collect();
    derived.sort();
    derived.dedup();
    assert_eq!(derived.len(), 200, "each beside the others");
    for actor in derived {
        let mut actors = Actors::default();
        actors.note("ann", from_ref(&actor));
        assert!(taken(&actors, "bob", 1) && !taken(&actors, "ann", 1), "{actor}");
    }
}

#[test]
fn actors_of_any_length_are_told_apart() {
    let mut actors = Actors::default();
    let lengths = [0, 1, 4, 5, 15, 17, 40, 1_000].map(|length| ActorId::from(vec![7; length]));
    for actor in &lengths {
        assert!(actors.may_use("bob", actor));
        actors.note("ann", from_ref(actor));
        assert!(!actors.may_use("bob", actor));
    }
    // Nothing but what Automerge puts before an actor.
    for bytes in [&BESIDE[..], &[0x13, 0xb2, 0x23, 0x09, 0x80], &[0x13, 0xb2, 0x23, 0x09, 1]] {
        actors.note("ann", &[ActorId::from(bytes)]);
    }
}

#[test]
fn who_makes_many_actors_makes_the_server_forget_only_his_own() {
    let mut actors = Actors::default();
    actors.sign_as(actor(usize::MAX).to_bytes());
    let few: Vec<_> = (0..1_000).map(actor).collect();
    actors.note("ann", &few);
    for number in 1_000..3 * limits::ACTORS_MAX {
        actors.note("bob", &[actor(number)]);
        assert!(actors.owners.len() <= limits::ACTORS_MAX);
    }
    assert!(actors.owners.len() >= limits::ACTORS_MAX / 2);
    assert!((0..1_000).all(|number| taken(&actors, "bob", number)));
    assert!(taken(&actors, "bob", usize::MAX));
}

#[test]
fn many_owners_of_one_actor_each_are_bounded_too() {
    let mut actors = Actors::default();
    for number in 0..=limits::ACTORS_MAX {
        actors.note(&format!("user {number}"), &[actor(number)]);
    }
    assert_eq!(actors.owners.len(), limits::ACTORS_MAX - limits::ACTORS_MAX / 8);
}

fn commit(dialect: Dialect, user: &str, number: usize) -> Commit {
    let mut doc = AutoCommit::new();
    doc.set_actor(actor(number));
    doc.put(ROOT, "key", 1).unwrap();
    let changes = doc.get_changes(&[]).into_iter().map(|mut change| change.bytes().into_owned());
    let origin = Origin { user: user.to_owned(), session: None, dialect, id: None };
    let (seq, changes) = (Seq(1), changes.collect());
    Commit { seq, changes, heads: Vec::new(), time: Millis(0), origin }
}

#[test]
fn a_log_says_who_owns_what() {
    let mut actors = Actors::default();
    for (number, dialect) in
        [Dialect::Crdt, Dialect::Json, Dialect::Server, Dialect::Container].into_iter().enumerate()
    {
        actors.replay(&commit(dialect, "ann", number)).unwrap();
    }
    actors.replay(&commit(Dialect::Crdt, ANONYMOUS, 4)).unwrap();
    actors.replay(&commit(Dialect::Crdt, "bob", 0)).unwrap();
    let free =
        |user: &str| (0..5).filter(|number| !taken(&actors, user, *number)).collect::<Vec<_>>();
    assert_eq!(free("ann"), [0, 4]);
    assert_eq!(free("bob"), [4]);
    assert_eq!(free(ANONYMOUS), [4]);
    let mut unreadable = commit(Dialect::Crdt, "ann", 5);
    unreadable.changes.push(vec![1, 2, 3]);
    assert_eq!(actors.replay(&unreadable), None);
}

/// The danger: after a restore, who first brings back what another wrote would own his actor.
#[test]
fn actors_that_were_restored_are_open_to_all() {
    let [old, new] = [1, 2].map(|byte| ActorId::from([byte; 16]));
    let mut actors = Actors::shared(from_ref(&old));
    for user in ["ada", "bob", ANONYMOUS] {
        assert!(actors.may_use(user, &old));
        actors.note(user, &[old.clone(), new.clone()]);
    }
    assert!(actors.may_use("bob", &old) && actors.may_use("ada", &old));
    assert!(actors.may_use("ada", &new) && !actors.may_use("bob", &new));
    actors.sign_as(old.to_bytes());
    assert!(!actors.may_use("ada", &old), "the server's own is nobody else's");
}
