//! Values for property tests: small, hostile in their keys, and full of what repeats.

use proptest::prelude::*;

use super::edits;
use super::tree::{Array, Json, Key, Object};

/// Keys that must be escaped somewhere, or look like something else.
pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        4 => "[a-c]",
        1 => prop::sample::select(vec!["", "~", "/", "~1", "0", "-", "id", "key", "ключ", "\"\\\n"])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
    .prop_map(Key::from)
}

/// Scalars, of few values so that they repeat, and of any.
pub(crate) fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (0..4).prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (0..4).prop_map(|n| Json::from(f64::from(n))),
        "[ab]".prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ]
}

/// Any value of up to five levels.
pub(crate) fn json() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..8).prop_map(|v| Array::from(v).into()),
            2 => object(inner.clone()),
            2 => records(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    prop::collection::vec((key(), inner), 0..6)
        .prop_map(|members| Json::Object(members.into_iter().collect()))
}

/// Arrays of objects of which most have an identity, and some the same.
fn records(inner: impl Strategy<Value = Json> + Clone) -> impl Strategy<Value = Json> {
    let id = prop_oneof![9 => (0..9).prop_map(|n| Some(Json::from(n))), 1 => Just(None)];
    let record = (id, key(), inner).prop_map(|(id, key, value)| {
        let id = id.map(|id| (Key::from("id"), id));
        Json::Object(id.into_iter().chain([(key, value)]).collect::<Object>())
    });
    prop::collection::vec(record, 0..8).prop_map(|records| Array::from(records).into())
}

/// Two values of which the second was made from the first by a few edits, or has nothing to do
/// with it.
pub(crate) fn pair() -> impl Strategy<Value = (Json, Json)> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), json()), 0..5);
    prop_oneof![
        1 => (json(), json()),
        4 => (json(), edits).prop_map(|(base, edits)| {
            let mut next = base.clone();
            for (place, kind, value) in edits {
                edit(&mut next, place, kind, value);
            }
            (base, next)
        }),
    ]
}

/// Edits somewhere; see [`edits::edit`].
pub(crate) fn edit(json: &mut Json, place: prop::sample::Index, kind: u8, value: Json) {
    edits::edit(json, &|choices| place.index(choices), kind, value);
}
