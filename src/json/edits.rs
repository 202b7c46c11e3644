//! One edit somewhere in a value, as tests and fuzz targets make them.

use super::tree::{Json, Key};

/// Edits somewhere: replaces, inserts, removes, duplicates or moves. `place` chooses one of so
/// many, at every level on the way down.
pub(crate) fn edit(json: &mut Json, place: &dyn Fn(usize) -> usize, kind: u8, value: Json) {
    let descend = !kind.is_multiple_of(3);
    match json {
        Json::Array(array) if !array.is_empty() => {
            let index = place(array.len());
            if descend && array.get(index).is_some_and(Json::is_container) {
                array.update(index, |element| edit(element, place, kind / 3, value));
                return;
            }
            match kind % 5 {
                0 => drop(array.set(index, value)),
                1 => assert!(array.insert(index, value)),
                2 => drop(array.remove(index)),
                3 => {
                    let again = array.get(index).cloned();
                    assert!(again.is_some_and(|again| array.insert(index, again)));
                }
                _ => {
                    let moved = array.remove(index);
                    array.push(moved.unwrap_or(Json::Null));
                }
            }
        }
        Json::Object(object) if !object.is_empty() => {
            let key = object.iter().nth(place(object.len())).map(|(key, _)| Key::clone(key));
            let key = key.unwrap_or_default();
            if descend && object.get(&key).is_some_and(Json::is_container) {
                object.update(&key, |member| edit(member, place, kind / 3, value));
                return;
            }
            match kind % 3 {
                0 => drop(object.remove(&key)),
                1 => drop(object.insert(key, value)),
                _ => drop(object.insert("new".into(), value)),
            }
        }
        json => *json = value,
    }
}
