//! Patterns of names, and the laws of a view.

use proptest::prelude::*;

use super::*;
use crate::json::{JsonLimits, arbitrary};

fn json(text: &str) -> Json {
    Json::parse(text, &JsonLimits::default()).unwrap()
}

fn view(parts: &[&str]) -> View {
    View::of_parts(parts.iter().map(|part| part.parse().unwrap()).collect())
}

#[test]
fn a_star_stands_for_any_part_of_a_name() {
    let fits = |glob: &str, name: &str| glob.parse::<Glob>().unwrap().matches(name);
    for (glob, name) in [
        ("*", "a"),
        ("notes", "notes"),
        ("notes*", "notes"),
        ("notes*", "notes-1"),
        ("*.json", "a.b.json"),
        ("a*b*c", "aXbYbZc"),
        ("**", "x"),
        ("*a*", "banana"),
    ] {
        assert!(fits(glob, name), "{glob} {name}");
    }
    for (glob, name) in [
        ("notes", "notes2"),
        ("notes", "note"),
        ("notes*", "note"),
        ("*.json", "a.json2"),
        ("a*b*c", "acb"),
        ("A", "a"),
        ("a*a", "a"),
    ] {
        assert!(!fits(glob, name), "{glob} {name}");
    }
    for bad in ["", "a/b", "a?", "ä", &"*".repeat(129)] {
        assert!(bad.parse::<Glob>().is_err(), "{bad}");
    }
}

/// What a glob means, said by a regular expression's own definition.
fn fits_slowly(glob: &[u8], name: &[u8]) -> bool {
    match (glob.split_first(), name.split_first()) {
        (None, _) => name.is_empty(),
        (Some((b'*', rest)), None) => fits_slowly(rest, name),
        (Some((b'*', rest)), Some((_, after))) => {
            fits_slowly(rest, name) || fits_slowly(glob, after)
        }
        (Some((wanted, rest)), Some((byte, after))) => wanted == byte && fits_slowly(rest, after),
        (Some(_), None) => false,
    }
}

#[test]
fn a_part_is_what_is_granted_and_the_way_to_it() {
    let state = json(r#"{"a":{"b":1,"c":2},"list":[{"x":1,"y":2},3],"d":4}"#);
    let seen = |parts: &[&str]| view(parts).of(&state);
    assert_eq!(seen(&["/a/b"]), json(r#"{"a":{"b":1}}"#));
    assert_eq!(seen(&["/a"]), json(r#"{"a":{"b":1,"c":2}}"#));
    assert_eq!(seen(&["/*/b"]), json(r#"{"a":{"b":1}}"#));
    assert_eq!(seen(&["/list/*/x"]), json(r#"{"list":[{"x":1},null]}"#));
    assert_eq!(seen(&["/list/0/x"]), json("{}"), "an element has no number that stays");
    assert_eq!(seen(&["/d/e"]), json("{}"));
    assert_eq!(seen(&[""]), state);
    assert_eq!(View::Nothing.of(&state), json("{}"));
}

#[test]
fn an_edit_of_a_part_leaves_the_rest() {
    let state = json(r#"{"a":{"b":1,"c":2},"list":[{"x":1,"y":2},{"y":3}]}"#);
    let lift = |parts: &[&str], wanted: &str| view(parts).lift(&state, &json(wanted));
    let lifted = json(r#"{"a":{"b":7,"c":2},"list":[{"x":1,"y":2},{"y":3}]}"#);
    assert_eq!(lift(&["/a/b"], r#"{"a":{"b":7}}"#), Some(lifted));
    let lifted = json(r#"{"a":{"c":2},"list":[{"x":1,"y":2},{"y":3}]}"#);
    assert_eq!(lift(&["/a/b"], r#"{"a":{}}"#), Some(lifted), "what is granted may go");
    let lifted = json(r#"{"a":{"b":1,"c":2},"list":[{"y":2},{"x":5,"y":3}]}"#);
    assert_eq!(lift(&["/list/*/x"], r#"{"list":[{},{"x":5}]}"#), Some(lifted));
    for beyond in ["{}", r#"{"a":{"b":1,"c":3}}"#, r#"{"a":5}"#, r#"{"a":{"b":1},"z":1}"#, "[]"] {
        assert_eq!(lift(&["/a/b"], beyond), None, "{beyond}");
    }
    for beyond in [r#"{"list":[{"x":1}]}"#, r#"{"list":[{},{"x":1},{}]}"#, r#"{"list":[]}"#] {
        assert_eq!(lift(&["/list/*/x"], beyond), None, "{beyond}");
    }
}

#[test]
fn several_grants_add_up() {
    let grant = |store: &str, read, write, paths: Option<&[&str]>| Grant {
        stores: vec![store.parse().unwrap()],
        read,
        write,
        paths: paths.map(|paths| paths.iter().map(|path| path.parse().unwrap()).collect()),
    };
    let rights = Rights::of(vec![
        grant("notes*", true, false, None),
        grant("notes1", false, true, Some(&["/a"])),
        grant("blind", false, true, None),
        grant("part", true, false, Some(&["/a"])),
        grant("part", true, true, Some(&["/b"])),
    ]);
    let name = |name: &str| -> StoreName { name.parse().unwrap() };
    assert_eq!(rights.reading(&name("notes1")), View::Whole);
    assert_eq!(rights.writing(&name("notes1")), view(&["/a"]));
    assert_eq!(rights.writing(&name("notes2")), View::Nothing);
    assert_eq!(rights.reading(&name("part")), view(&["/a", "/b"]));
    assert_eq!(rights.writing(&name("part")), view(&["/b"]));
    assert!(!rights.writes(&name("blind")), "what may not be read may not be written");
    assert_eq!(rights.writing(&name("blind")), View::Nothing);
    assert!(!rights.reads(&name("other")));
    assert_eq!(Rights::all().writing(&name("other")), View::Whole);
}

fn parts() -> impl Strategy<Value = Vec<Pointer>> {
    let segment = prop_oneof![2 => Just("*".into()), 5 => arbitrary::key()];
    let part = prop::collection::vec(segment, 1..4).prop_map(|segments| {
        let mut part = Pointer::root();
        for segment in segments {
            part.push(segment);
        }
        part
    });
    prop::collection::vec(part, 1..4)
}

proptest! {
    #[test]
    fn a_glob_means_what_it_says(glob in "[ab*]{1,8}", name in "[ab]{1,10}") {
        let fits = glob.parse::<Glob>().unwrap().matches(&name);
        prop_assert_eq!(fits, fits_slowly(glob.as_bytes(), name.as_bytes()));
    }

    /// What is seen is seen again in itself, and nothing of what is not seen shows in it.
    #[test]
    fn what_is_not_seen_makes_no_difference(state in arbitrary::json(), parts in parts()) {
        let view = View::of_parts(parts);
        let seen = view.of(&state);
        prop_assert_eq!(view.of(&seen), seen.clone());
        prop_assert_eq!(view.lift(&state, &seen), Some(state));
    }

    /// An edit of what is seen does exactly that, and changes only what is in the part.
    #[test]
    fn an_edit_is_seen_as_it_was_made_and_changes_nothing_else(
        (before, after) in arbitrary::pair(), parts in parts(),
    ) {
        let view = View::of_parts(parts);
        let wanted = view.of(&after);
        if let Some(lifted) = view.lift(&before, &wanted) {
            prop_assert_eq!(view.of(&lifted), wanted);
            prop_assert!(view.covers_change(&before, &lifted));
            // What the rest of it is, another view of all the rest would see unchanged.
            prop_assert_eq!(view.lift(&lifted, &view.of(&before)), Some(before));
        }
    }

    /// What differs only in a part is the same again when the part is put back, and all else is
    /// not covered.
    #[test]
    fn a_change_is_covered_only_if_all_of_it_is(
        (before, after) in arbitrary::pair(), parts in parts(),
    ) {
        let view = View::of_parts(parts);
        let put_back = view.lift(&after, &view.of(&before));
        prop_assert_eq!(view.covers_change(&before, &after), put_back == Some(before));
    }
}
