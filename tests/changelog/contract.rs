//! What holds for every engine.

use std::sync::Arc;

use automerge::transaction::Transactable as _;
use automerge::{ActorId, AutoCommit, ROOT};
use statehouse::ids::Seq;
use statehouse::storage::{CallId, Settled};
use statehouse::workspace::{
    ANONYMOUS, Actors, Checkpoint, Commit, Dialect, Recovered, StoreConfig, Stored,
};

use crate::world::{
    Outcome, World, call, checkpoint, commit, commits, entry, heads, message, name, workspace,
};

pub(crate) fn a_store_that_was_never_saved_is_empty_and_not_an_error(world: &mut World) {
    assert_eq!(world.read("s"), Stored::default());
    assert_eq!(world.stores("w"), []);
    assert_eq!(world.recall("s", "m"), None);
    assert_eq!(world.append("s", 0, Vec::new()), Outcome::Done);
    world.reopen();
    assert_eq!(world.stores("w"), [], "an append of nothing makes no store");
    assert_eq!(world.read("s"), Stored::default());
}

pub(crate) fn commits_come_back_as_they_were(world: &mut World) {
    let mut written = commits(1..=6);
    written[1] = message(2, "m2");
    written[2].origin.session = None;
    written[2].changes.clear();
    written[3].heads.clear();
    written[3].origin.user.clear();
    written[4].changes = vec![vec![7; 100_000]];
    for (commit, dialect) in
        written.iter_mut().zip([Dialect::Json, Dialect::Crdt, Dialect::Server, Dialect::Container])
    {
        commit.origin.dialect = dialect;
    }
    assert_eq!(world.append("s", 0, written.clone()), Outcome::Done);
    let expected = Stored { commits: written, ..Stored::default() };
    assert_eq!(world.read("s"), expected);
    world.reopen();
    assert_eq!(world.read("s"), expected);
}

pub(crate) fn a_commit_must_follow_the_one_before(world: &mut World) {
    let refused: [(u64, Vec<Commit>); 5] = [
        (0, vec![commit(2)]),
        (0, vec![commit(0)]),
        (0, vec![commit(1), commit(3)]),
        (0, vec![commit(1), commit(1)]),
        (1, vec![commit(1)]),
    ];
    for (after, commits) in refused {
        assert_eq!(world.append("s", after, commits), Outcome::Invalid);
    }
    assert_eq!(world.stores("w"), []);
}

pub(crate) fn an_epoch_does_not_run_into_the_next(world: &mut World) {
    let last = Seq::start_of(1).0 - 1;
    let outcomes = world.batch(&[
        entry("w", "s", last, vec![commit(last + 1)]),
        entry("w", "s", u64::MAX, vec![commit(u64::MAX)]),
        entry("w", "s", 1 << 63, vec![commit((1 << 63) + 1)]),
    ]);
    assert_eq!(outcomes, [Outcome::Invalid; 3]);
}

pub(crate) fn a_writer_that_is_not_where_the_log_is_is_told_so(world: &mut World) {
    assert_eq!(world.append("s", 5, vec![commit(6)]), Outcome::Behind(0), "nothing is there");
    assert_eq!(world.append("s", 0, commits(1..=3)), Outcome::Done);
    assert_eq!(world.append("s", 4, vec![commit(5)]), Outcome::Behind(3), "too far");
    let mut other = commit(3);
    other.changes.push(vec![1]);
    assert_eq!(world.append("s", 2, vec![other]), Outcome::Behind(3), "another commit 3");
    let mut other = commits(3..=4);
    other[0].time.0 -= 1;
    assert_eq!(world.append("s", 2, other), Outcome::Behind(3), "one of another time");
    assert_eq!(world.read("s").commits, commits(1..=3));
}

pub(crate) fn an_append_can_be_tried_again(world: &mut World) {
    let first = vec![commit(1), message(2, "a"), commit(3)];
    assert_eq!(world.append("s", 0, first.clone()), Outcome::Done);
    world.reopen();
    assert_eq!(world.append("s", 0, first.clone()), Outcome::Done);
    assert_eq!(world.append("s", 1, first[1..2].to_vec()), Outcome::Done);
    assert_eq!(world.read("s").commits, first);
    assert_eq!(world.recall("s", "a"), Some(2));
}

pub(crate) fn an_append_that_is_partly_there_is_completed(world: &mut World) {
    assert_eq!(world.append("s", 0, commits(1..=2)), Outcome::Done);
    assert_eq!(world.append("s", 1, commits(2..=5)), Outcome::Done);
    assert_eq!(world.read("s").commits, commits(1..=5));
}

pub(crate) fn an_append_whose_changes_are_gone_cannot_be_tried_again(world: &mut World) {
    assert_eq!(world.append("s", 0, commits(1..=4)), Outcome::Done);
    assert_eq!(world.checkpoint("s", 2, 1), Outcome::Done);
    for after in 0..=1 {
        assert_eq!(world.append("s", after, commits(after + 1..=5)), Outcome::Behind(4));
    }
    assert_eq!(world.append("s", 2, commits(3..=5)), Outcome::Done);
}

pub(crate) fn one_batch_may_continue_a_store_twice(world: &mut World) {
    let outcomes = world.batch(&[
        entry("w", "s", 0, commits(1..=2)),
        entry("w", "t", 0, commits(1..=1)),
        entry("w", "s", 2, commits(3..=3)),
    ]);
    assert_eq!(outcomes, [Outcome::Done; 3]);
    assert_eq!(world.stores("w"), [("s".to_owned(), 3), ("t".to_owned(), 1)]);
}

pub(crate) fn a_refused_entry_changes_nothing_and_the_others_go_in(world: &mut World) {
    assert_eq!(world.append("s", 0, vec![message(1, "a")]), Outcome::Done);
    let outcomes = world.batch(&[
        entry("w", "t", 0, vec![message(1, "a")]),
        // The first two commits are fine; the third has an id that the store has seen.
        entry("w", "s", 1, vec![message(2, "b"), commit(3), message(4, "a")]),
        entry("w", "s", 1, vec![message(2, "c")]),
        entry("w", "s", 4, vec![commit(5)]),
        entry("w", "u", 0, vec![message(1, "a"), message(2, "a")]),
        entry("w", "v", 0, vec![commit(1)]),
    ]);
    let expected = [
        Outcome::Done,
        Outcome::Invalid,
        Outcome::Done,
        Outcome::Behind(2),
        Outcome::Invalid,
        Outcome::Done,
    ];
    assert_eq!(outcomes, expected);
    world.reopen();
    assert_eq!(world.read("s").commits, [message(1, "a"), message(2, "c")]);
    assert_eq!((world.recall("s", "b"), world.recall("u", "a")), (None, None));
    let stores = [("s", 2), ("t", 1), ("v", 1)].map(|(name, seq)| (name.to_owned(), seq));
    assert_eq!(world.stores("w"), stores);
}

pub(crate) fn message_ids_are_remembered_for_ever(world: &mut World) {
    for seq in 1..=40 {
        let commit = message(seq, &format!("id {}", seq * 7 % 41));
        assert_eq!(world.append("s", seq - 1, vec![commit]), Outcome::Done);
    }
    let all_are_there = |world: &World| {
        for seq in 1..=40 {
            assert_eq!(world.recall("s", &format!("id {}", seq * 7 % 41)), Some(seq));
        }
        assert_eq!((world.recall("s", "id"), world.recall("s", "zzz")), (None, None));
        assert_eq!(world.recall("t", "id 7"), None, "an id belongs to its store");
    };
    all_are_there(world);
    assert_eq!(world.checkpoint("s", 40, 40), Outcome::Done);
    world.reopen();
    all_are_there(world);
    assert_eq!(world.append("s", 40, vec![message(41, "id 7")]), Outcome::Invalid);
    assert_eq!(world.append("t", 0, vec![message(1, "id 7")]), Outcome::Done);
}

pub(crate) fn a_checkpoint_stands_for_the_commits_before_it(world: &mut World) {
    let all = vec![commit(1), message(2, "m"), commit(3), commit(4), commit(5)];
    assert_eq!(world.append("s", 0, all.clone()), Outcome::Done);
    assert_eq!(world.checkpoint("s", 4, 2), Outcome::Done);
    let without = |commit: &Commit| Commit { changes: Vec::new(), ..commit.clone() };
    let mut expected = Stored {
        start: Seq(0),
        checkpoint: Some(checkpoint(4)),
        commits: vec![without(&all[2]), without(&all[3]), all[4].clone()],
        older_messages: true,
    };
    assert_eq!(world.read("s"), expected);
    world.reopen();
    assert_eq!(world.read("s"), expected);

    // The log goes on behind it, and the next checkpoint replaces it.
    assert_eq!(world.append("s", 5, vec![commit(6)]), Outcome::Done);
    assert_eq!(world.checkpoint("s", 6, 6), Outcome::Done);
    expected.checkpoint = Some(checkpoint(6));
    expected.commits.clear();
    assert_eq!(world.read("s"), expected);
    assert_eq!(world.append("s", 6, vec![commit(7)]), Outcome::Done);
    assert_eq!(world.seqs("s"), [7]);
}

pub(crate) fn older_messages_says_whether_ids_went_with_their_commits(world: &mut World) {
    let all = vec![commit(1), message(2, "m"), commit(3)];
    assert_eq!(world.append("s", 0, all), Outcome::Done);
    let older = |world: &World, keep| {
        assert_eq!(world.checkpoint("s", 3, keep), Outcome::Done);
        world.read("s").older_messages
    };
    assert!(!older(world, 0));
    assert!(!older(world, 1), "commit 1 had none");
    assert!(older(world, 2));
    assert!(older(world, 3));
}

pub(crate) fn a_checkpoint_never_trims_what_it_does_not_contain(world: &mut World) {
    assert_eq!(world.append("s", 0, commits(1..=4)), Outcome::Done);
    assert_eq!(world.checkpoint("s", 2, 3), Outcome::Invalid, "keeps too little");
    assert_eq!(world.checkpoint("s", 0, 0), Outcome::Invalid, "stands for nothing");
    assert_eq!(world.checkpoint("s", 5, 0), Outcome::Behind(4), "beyond the log");
    assert_eq!(world.checkpoint("t", 1, 1), Outcome::Behind(0), "of no store");
    let other = Checkpoint { heads: heads(1), ..checkpoint(2) };
    let outcome = world.log().checkpoint(&workspace("w"), &name("s"), &other, Seq(0));
    assert_eq!(Outcome::from(outcome), Outcome::Invalid, "of another state");
    assert_eq!(world.read("s").commits, commits(1..=4));

    assert_eq!(world.checkpoint("s", 3, 3), Outcome::Done);
    assert_eq!(world.checkpoint("s", 2, 0), Outcome::Behind(4), "an older one");
    assert_eq!(world.checkpoint("s", 3, 1), Outcome::Done, "the same again");
    assert_eq!(world.seqs("s"), [4], "what is gone stays gone");
    let outcome = world.log().checkpoint(
        &workspace("w"),
        &name("s"),
        &Checkpoint { heads: heads(1), ..checkpoint(3) },
        Seq(3),
    );
    assert_eq!(Outcome::from(outcome), Outcome::Invalid, "of another state");
}

pub(crate) fn stores_are_listed_by_name(world: &mut World) {
    for store in ["b", "a.b", "a", "a-b", "B", "a:b", "z", "a_b"] {
        assert_eq!(world.append(store, 0, commits(1..=2)), Outcome::Done);
    }
    let other = [entry("w-", "x", 0, commits(1..=1)), entry("w.v", "y", 0, commits(1..=1))];
    assert_eq!(world.batch(&other), [Outcome::Done; 2]);
    let mut expected = ["b", "a.b", "a", "a-b", "B", "a:b", "z", "a_b"].map(name);
    expected.sort();
    let listed = world.log().stores(&workspace("w")).unwrap();
    assert_eq!(listed, expected.map(|name| (name, Seq(2))));
    assert_eq!(world.stores("w-"), [("x".to_owned(), 1)]);
    assert_eq!(world.stores("w."), []);
}

pub(crate) fn workspaces_share_nothing(world: &mut World) {
    let outcomes = world
        .batch(&[entry("v", "s", 0, vec![message(1, "m")]), entry("w", "s", 0, commits(1..=2))]);
    assert_eq!(outcomes, [Outcome::Done; 2]);
    assert_eq!(world.read("s").commits, commits(1..=2));
    assert_eq!(world.recall("s", "m"), None);
    assert_eq!(world.stores("v"), [("s".to_owned(), 1)]);
    assert_eq!(world.checkpoint("s", 2, 2), Outcome::Done);
    let other = world.log().read(&workspace("v"), &name("s")).unwrap();
    assert_eq!(other.commits, [message(1, "m")]);
}

pub(crate) fn openings_are_counted(world: &mut World) {
    assert_eq!((world.opening("w"), world.opening("w"), world.opening("v")), (0, 1, 0));
    world.reopen();
    assert_eq!((world.opening("v"), world.opening("w"), world.opening("a")), (1, 2, 0));
}

pub(crate) fn many_threads_may_use_a_log(world: &mut World) {
    let log = world.log();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let store = format!("s{thread}");
                for seq in 1..=20 {
                    let batch = [entry("w", &store, seq - 1, vec![commit(seq)])];
                    assert!(log.append(&batch).unwrap().remove(0).is_ok());
                    let stored = log.read(&workspace("w"), &name(&store)).unwrap();
                    assert_eq!(stored.commits, commits(1..=seq));
                }
            });
        }
    });
    assert_eq!(world.stores("w").len(), 8);
}

pub(crate) fn a_log_has_an_identity_of_its_own(world: &mut World) {
    let identity = world.identity();
    assert_eq!(world.append("s", 0, commits(1..=3)), Outcome::Done);
    world.opening("w");
    world.reopen();
    assert_eq!(world.identity(), identity);
    for other in [World::memory(), World::sqlite()] {
        assert_ne!(other.identity(), identity);
    }
}

/// Who owns which actor, as the log says it.
fn owners(world: &World) -> Actors {
    let config = Arc::new(StoreConfig::open(name("s")));
    Recovered::build(config, world.read("s")).unwrap().checkpoint().unwrap().actors
}

pub(crate) fn who_owns_an_actor_outlives_the_change_that_says_so(world: &mut World) {
    let makers = [
        ("ann", Dialect::Crdt),
        (ANONYMOUS, Dialect::Crdt),
        ("ann", Dialect::Json),
        ("bob", Dialect::Crdt),
        ("ann", Dialect::Server),
        ("cyd", Dialect::Container),
    ];
    let actor = |number: u64| ActorId::from(u128::from(number).to_be_bytes());
    let mut doc = AutoCommit::new();
    let mut expected = Vec::new();
    for (seq, (user, dialect)) in (1..).zip(makers) {
        doc.set_actor(actor(seq));
        let before = doc.get_heads();
        doc.put(ROOT, "key", seq).unwrap();
        let mut made = commit(seq);
        let changes = doc.get_changes(&before);
        made.changes = changes.into_iter().map(|mut change| change.bytes().into_owned()).collect();
        made.heads = doc.get_heads();
        (made.origin.user, made.origin.dialect) = (user.to_owned(), dialect);
        assert_eq!(world.append("s", seq - 1, vec![made]), Outcome::Done);

        let nobodys = user == ANONYMOUS;
        let theirs = (dialect == Dialect::Crdt && !nobodys).then_some(user);
        expected.push((actor(seq), theirs, nobodys));
        let check = |world: &World| {
            let owners = owners(world);
            for (actor, owner, free) in &expected {
                for user in ["ann", "bob", "cyd", ANONYMOUS] {
                    let may = owners.may_use(user, actor);
                    assert_eq!(may, *free || *owner == Some(user), "{user}, {actor}");
                }
            }
            owners
        };
        let owners = check(world);
        if seq.is_multiple_of(2) {
            let heads = doc.get_heads();
            let put = Checkpoint { seq: Seq(seq), heads, bytes: doc.save(), actors: owners };
            world.log().checkpoint(&workspace("w"), &name("s"), &put, Seq(seq)).unwrap();
            world.reopen();
            check(world);
        }
    }
}

pub(crate) fn calls_come_with_their_commits_and_only_once(world: &mut World) {
    assert_eq!(world.lanes(), []);
    let calls = [call("a", 1), call("a", 2), call("b", 2), call("a", 3)];
    assert_eq!(world.append_calls("s", commits(1..=3), &calls), Outcome::Done);
    assert_eq!(world.append_calls("t", commits(1..=1), &calls[..1]), Outcome::Done);
    let of = |webhook: &str, store: &str| (webhook.to_owned(), store.to_owned());
    let lanes = [of("a", "s"), of("a", "t"), of("b", "s")];
    for again in [&calls[..], &[]] {
        assert_eq!(world.lanes(), lanes);
        let of_a = [call("a", 1), call("a", 2), call("a", 3)];
        let ids = world.waiting("a", "s", &of_a);
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        world.waiting("b", "s", &[call("b", 2)]);
        world.waiting("a", "t", &[call("a", 1)]);
        world.waiting("b", "t", &[]);
        world.reopen();
        // Tried again, as after a failure of which nobody knew how far it got.
        assert_eq!(world.append_calls("s", commits(1..=3), again), Outcome::Done);
    }
    // A part of it was there.
    let calls = [call("b", 3), call("b", 4)];
    assert_eq!(world.append_calls("s", commits(3..=4), &calls), Outcome::Done);
    world.waiting("b", "s", &[call("b", 2), call("b", 4)]);
}

pub(crate) fn calls_are_made_in_order_and_go_when_they_are_settled(world: &mut World) {
    let calls: Vec<_> = (1..=4).map(|seq| call("a", seq)).collect();
    assert_eq!(world.append_calls("s", commits(1..=4), &calls), Outcome::Done);
    let ids = world.waiting("a", "s", &calls);
    let settle =
        |world: &World, settled: &[(CallId, Settled)]| world.log().settle(settled).unwrap();
    settle(world, &[(ids[0], Settled::Told), (ids[2], Settled::GivenUp)]);
    let left = [call("a", 2), call("a", 4)];
    assert_eq!(world.waiting("a", "s", &left), [ids[1], ids[3]]);
    // What is settled stays so, also when that is said again.
    settle(world, &[(ids[0], Settled::GivenUp), (ids[2], Settled::Told)]);
    settle(world, &[(ids[3], Settled::Told)]);
    world.reopen();
    assert_eq!(world.waiting("a", "s", &left[..1]), [ids[1]]);
    settle(world, &[(ids[1], Settled::Told)]);
    assert_eq!(world.lanes(), []);
    world.reopen();
    assert_eq!(world.append_calls("s", commits(5..=5), &[call("a", 5)]), Outcome::Done);
    let next = world.waiting("a", "s", &[call("a", 5)]);
    assert!(next[0] > ids[3], "no id is given twice: {next:?} after {ids:?}");
}

pub(crate) fn a_refused_entry_leaves_no_calls(world: &mut World) {
    let refused = |world: &World, commits, calls: &[_]| {
        assert_ne!(world.append_calls("s", commits, calls), Outcome::Done);
    };
    refused(world, commits(3..=3), &[call("a", 3)]);
    assert_eq!(world.append_calls("s", vec![message(1, "m")], &[]), Outcome::Done);
    refused(world, vec![commit(2), message(3, "m")], &[call("a", 2), call("a", 3)]);
    assert_eq!(world.lanes(), []);
}
