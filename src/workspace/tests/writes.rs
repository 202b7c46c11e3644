//! What server code writes under terms, and the states that it can look back at.

#![expect(
    clippy::panic_in_result_fn,
    reason = "a test that meets what it does not expect stops there, and says what it met"
)]

use automerge::ChangeHash;
use proptest::prelude::*;

use super::*;
use crate::json::{Identity, JsonLimits, JsonPatch, between};

fn store() -> StoreName {
    STORE.parse().unwrap()
}

/// A workspace whose only store is loaded, and keeps the trees of so few states.
fn loaded(stored: Stored, trees_max: usize) -> Workspace {
    let past = Past { trees_max, ..Past::default() };
    let config = StoreConfig { past, ..StoreConfig::open(store()) };
    let mut workspace = open(&config, 0);
    workspace.handle(vec![asked(0, Ask::Get { store: store() })], Millis(1));
    let result = Recovered::build(Arc::new(config), stored).map(Box::new);
    workspace.handle(vec![Input::Loaded { store: store(), result }], Millis(1));
    workspace
}

fn asked(ticket: u64, ask: Ask) -> Input {
    Input::Ask { ticket: Ticket(ticket), rights: Arc::new(Rights::all()), ask }
}

fn write(ticket: u64, edit: Edit, base: Option<Cursor>, terms: Terms) -> Input {
    let author = Author::User("ada".to_owned());
    asked(ticket, Ask::Write(Write { store: store(), base, edit, author, terms }))
}

fn named(id: &str) -> Terms {
    Terms { id: MessageId::new(id), ..Terms::default() }
}

fn append() -> Edit {
    let patch = r#"[{"op":"add","path":"/list/-","value":1}]"#;
    Edit::Patch(serde_json::from_str(patch).unwrap())
}

fn list(json: &str) -> Edit {
    Edit::Set(Json::parse(json, &JsonLimits::default()).unwrap())
}

/// Takes a turn, makes durable what it asks to save, and returns all answers.
fn answers(workspace: &mut Workspace, turn: Vec<Input>) -> Vec<(u64, Result<Answer, Refusal>)> {
    let mut effects = workspace.handle(turn, Millis(1));
    let saves: Vec<SaveId> = effects.iter().filter_map(save_of).collect();
    for save in saves {
        let saved = Input::Saved { save, failed: Vec::new() };
        effects.extend(workspace.handle(vec![saved], Millis(1)));
    }
    effects.into_iter().filter_map(answer_of).collect()
}

fn save_of(effect: &Effect) -> Option<SaveId> {
    match effect {
        Effect::Save { save, .. } => Some(*save),
        _ => None,
    }
}

fn answer_of(effect: Effect) -> Option<(u64, Result<Answer, Refusal>)> {
    match effect {
        Effect::Answer { ticket, answer } => Some((ticket.0, answer)),
        _ => None,
    }
}

/// The seq of a change that was made, and whether it changed something.
fn written(answer: &Result<Answer, Refusal>) -> Result<(u64, bool), Refusal> {
    match answer {
        Ok(Answer::Written { seq, changed, .. }) => Ok((seq.0, *changed)),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.clone()),
    }
}

fn one(workspace: &mut Workspace, input: Input) -> Result<(u64, bool), Refusal> {
    match answers(workspace, vec![input]).as_slice() {
        [(_, answer)] => written(answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_named_change_is_made_once() {
    let mut workspace = loaded(Stored::default(), 256);
    let start = list(r#"{"list":[]}"#);
    assert_eq!(one(&mut workspace, write(1, start, None, Terms::default())), Ok((1, true)));
    let twice = vec![
        write(2, append(), None, named("a")),
        write(3, append(), None, named("a")),
        write(4, append(), None, named("b")),
    ];
    let made = answers(&mut workspace, twice);
    let seqs: Vec<_> = made.iter().map(|(ticket, answer)| (*ticket, written(answer))).collect();
    assert_eq!(seqs, [(2, Ok((2, true))), (3, Ok((2, true))), (4, Ok((3, true)))]);
    // One that changes nothing has a name too, and takes a seq for it.
    let same = list(r#"{"list":[1,1]}"#);
    assert_eq!(one(&mut workspace, write(5, same.clone(), None, named("c"))), Ok((4, false)));
    let other = list(r#"{"list":[]}"#);
    assert_eq!(one(&mut workspace, write(6, other, None, Terms::default())), Ok((5, true)));
    assert_eq!(one(&mut workspace, write(7, same, None, named("c"))), Ok((4, false)));
}

#[test]
fn the_log_is_asked_once_for_a_name_that_may_be_older_than_memory() {
    for found in [None, Some(Seq(0))] {
        let stored = Stored { older_messages: true, ..Stored::default() };
        let mut workspace = loaded(stored, 256);
        let set = || list(r#"{"a":1}"#);
        let turn = vec![write(1, set(), None, named("old")), write(2, set(), None, named("old"))];
        let effects = workspace.handle(turn, Millis(1));
        assert!(matches!(&*effects, [Effect::Recall { .. }]), "{effects:?}");
        let id = MessageId::new("old").unwrap();
        let recalled = Input::Recalled { store: store(), id, found: Ok(found) };
        let made = answers(&mut workspace, vec![recalled]);
        let made: Vec<_> = made.iter().map(|(_, answer)| written(answer).unwrap().0).collect();
        let seq = u64::from(found.is_none());
        assert_eq!(made, [seq, seq]);
    }
}

/// The danger: a change is acknowledged, by its second asking, that was lost.
#[test]
fn a_named_change_that_is_not_saved_is_refused_to_all_who_asked() {
    let mut workspace = loaded(Stored::default(), 256);
    let set = || list(r#"{"a":1}"#);
    let effects = workspace.handle(vec![write(1, set(), None, named("a"))], Millis(1));
    let save = effects.iter().find_map(save_of).unwrap();
    assert!(workspace.handle(vec![write(2, set(), None, named("a"))], Millis(1)).is_empty());
    let failed = vec![(store(), "full".to_owned())];
    let effects = workspace.handle(vec![Input::Saved { save, failed }], Millis(1));
    let refused: Vec<_> = effects.into_iter().filter_map(answer_of).collect();
    let why = Refusal::NotSaved("full".to_owned());
    assert_eq!(refused, [(1, Err(why.clone())), (2, Err(why))]);
}

#[test]
fn terms_are_looked_at_where_the_change_is_made() {
    let mut workspace = loaded(Stored::default(), 256);
    let set = |n: u8| list(&format!(r#"{{"n":{n}}}"#));
    let only = |written| Terms { written: Some(written), ..Terms::default() };
    assert_eq!(one(&mut workspace, write(1, set(1), None, only(true))), Err(Refusal::Unmet));
    // Of two that want to be first, one is.
    let race = vec![write(2, set(2), None, only(false)), write(3, set(3), None, only(false))];
    let made = answers(&mut workspace, race);
    assert_eq!(written(&made[0].1), Ok((1, true)), "{made:?}");
    assert_eq!(written(&made[1].1), Err(Refusal::Unmet), "{made:?}");

    let cursor = |workspace: &mut Workspace| match &answers(
        workspace,
        vec![asked(9, Ask::Get { store: store() })],
    )[0]
    .1
    {
        Ok(Answer::State { cursor, .. }) => cursor.clone(),
        other => panic!("{other:?}"),
    };
    let first = cursor(&mut workspace);
    assert_eq!(one(&mut workspace, write(4, set(4), None, only(true))), Ok((2, true)));
    let second = cursor(&mut workspace);
    let newest = || Terms { newest: true, ..Terms::default() };
    let late = write(5, set(5), Some(first.clone()), newest());
    assert_eq!(one(&mut workspace, late), Err(Refusal::Unmet));
    let unlike = |cursor: &Cursor| Terms { unlike: vec![cursor.heads.clone()], ..newest() };
    let same = write(6, set(6), Some(second.clone()), unlike(&second));
    assert_eq!(one(&mut workspace, same), Err(Refusal::Unmet));
    let current = write(7, set(7), Some(second), unlike(&first));
    assert_eq!(one(&mut workspace, current), Ok((3, true)));
    let unknown = Cursor { seq: Seq(1), heads: vec![ChangeHash([9; 32])] };
    let nowhere = write(8, set(8), Some(unknown), Terms::default());
    assert_eq!(one(&mut workspace, nowhere), Err(Refusal::Stale));
}

fn moments(workspace: &mut Workspace, from: At, more: usize) -> Result<Moments, Refusal> {
    let ask = Ask::Moments { store: store(), from, more };
    match answers(workspace, vec![asked(1, ask)]).pop().unwrap().1? {
        Answer::Moments(moments) => Ok(moments),
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// Whether a state is at hand or is read from the document, it is the same.
    #[test]
    fn every_state_that_was_can_be_looked_at(
        states in prop::collection::vec(arbitrary::json(), 1..12),
        trees_max in 0_usize..6,
    ) {
        let mut workspace = loaded(Stored::default(), trees_max);
        let (mut was, mut heads) = (vec![Json::Object(crate::json::Object::new())], vec![vec![]]);
        for state in &states {
            let input = write(1, Edit::Set(state.clone()), None, Terms::default());
            let made = answers(&mut workspace, vec![input]);
            if let Ok(Answer::Written { changed: true, heads: Some(now), .. }) = &made[0].1 {
                was.push(state.clone());
                heads.push(now.clone());
            }
        }
        let newest = was.len() - 1;
        let all = moments(&mut workspace, At::Seq(Seq(0)), newest + 5).unwrap();
        prop_assert_eq!(all.moments.len(), was.len());
        let mut followed = was[0].clone();
        for (n, moment) in all.moments.iter().enumerate() {
            let state = all.json(moment).unwrap();
            prop_assert_eq!(&state, &was[n]);
            prop_assert_eq!(&moment.heads, &heads[n]);
            prop_assert_eq!(moment.seq, Some(Seq(u64::try_from(n).unwrap())));
            prop_assert_eq!(moment.author.is_some(), n > 0);
            let patch: JsonPatch = between(&followed, &state, &Identity::default());
            followed = patch.apply(&followed, &limits()).unwrap().json;
            let by_heads = moments(&mut workspace, At::Heads(heads[n].clone()), 0).unwrap();
            prop_assert_eq!(by_heads.json(&by_heads.moments[0]).unwrap(), state);
        }
        prop_assert_eq!(followed, was[newest].clone());
        let ahead = At::Seq(Seq(u64::try_from(newest + 1).unwrap()));
        prop_assert!(moments(&mut workspace, ahead, 0).unwrap().moments.is_empty());
        let unknown = At::Heads(vec![ChangeHash([9; 32])]);
        prop_assert!(moments(&mut workspace, unknown, 0).unwrap().moments.is_empty());
    }
}

fn limits() -> JsonLimits {
    JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() }
}

#[test]
fn a_history_that_was_trimmed_does_not_reach_back() {
    let past = Past { commits_min: 2, commits_max: 2, ..Past::default() };
    let config = StoreConfig { past, ..StoreConfig::open(store()) };
    let mut workspace = open(&config, 0);
    workspace.handle(vec![asked(0, Ask::Get { store: store() })], Millis(1));
    let result = Recovered::build(Arc::new(config), Stored::default()).map(Box::new);
    workspace.handle(vec![Input::Loaded { store: store(), result }], Millis(1));
    let mut first = Vec::new();
    for n in 1..=5 {
        let input = write(n, list(&format!(r#"{{"n":{n}}}"#)), None, Terms::default());
        let made = answers(&mut workspace, vec![input]);
        if let (1, Ok(Answer::Written { heads: Some(heads), .. })) = &made[0] {
            first.clone_from(heads);
        }
    }
    assert_eq!(moments(&mut workspace, At::Seq(Seq(1)), 0).unwrap_err(), Refusal::Stale);
    assert_eq!(moments(&mut workspace, At::Seq(Seq(3)), 9).unwrap().moments.len(), 3);
    // Its heads still name it.
    let by_heads = moments(&mut workspace, At::Heads(first), 9).unwrap();
    let [moment] = by_heads.moments.as_slice() else { panic!("{by_heads:?}") };
    assert_eq!((moment.seq, moment.is_at_hand()), (None, false));
    assert_eq!(by_heads.json(moment).unwrap().to_string(), r#"{"n":1}"#);
}
