//! What clients write.

use std::fmt;

use super::chance::Chance;
use crate::json::{Array, Json, Key, Object};

/// Makes edits: a simulation can be given another one, which makes the edits of one's own program.
pub trait Edits: fmt::Debug + Send + Sync + 'static {
    /// What a user makes of a state. `mark` is a text that nobody else has: put into the state, it
    /// can be told whose it is. A text that begins with `#` and was not given as a mark counts as
    /// invented when it is found in a store.
    fn edit(&self, state: &Json, mark: &str, chance: &mut Chance) -> Json;
}

/// Edits of everything everywhere: members, elements, records with an identity, nested objects.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyEdits;

impl Edits for AnyEdits {
    fn edit(&self, state: &Json, mark: &str, chance: &mut Chance) -> Json {
        let mut next = match state {
            Json::Object(_) => state.clone(),
            _ => Json::Object(Object::new()),
        };
        for _ in 0..=chance.below(3) / 2 {
            edit(&mut next, mark, chance);
        }
        next
    }
}

const KEYS: &[&str] = &["a", "b", "c", "list", "records", "deep", "x/y", "~", "ключ"];

fn edit(state: &mut Json, mark: &str, chance: &mut Chance) {
    match state {
        Json::Object(object) => edit_object(object, mark, chance),
        Json::Array(array) => edit_array(array, mark, chance),
        scalar => *scalar = value(2, mark, chance),
    }
}

fn edit_object(object: &mut Object, mark: &str, chance: &mut Chance) {
    let member = object.iter().nth(chance.index(object.len())).map(|(key, _)| Key::clone(key));
    match member {
        Some(key) if !chance.one_in(3) => {
            let is_container = object.get(&key).is_some_and(Json::is_container);
            // What is in the state as prose is written by those who can write inside of it.
            let is_prose = &*key == "prose" || &*key == "count";
            if is_container && !chance.one_in(8) {
                object.update(&key, |member| edit(member, mark, chance));
            } else if chance.one_in(4) {
                drop(object.remove(&key));
            } else if !is_prose {
                drop(object.insert(key, value(3, mark, chance)));
            }
        }
        _ => {
            let key = chance.pick(KEYS).copied().unwrap_or("a");
            drop(object.insert(Key::from(key), value(3, mark, chance)));
        }
    }
}

fn edit_array(array: &mut Array, mark: &str, chance: &mut Chance) {
    let index = chance.index(array.len());
    if array.is_empty() || array.len() < 12 && chance.one_in(3) {
        let at = chance.index(array.len().saturating_add(1));
        array.insert(at, element(mark, chance));
        return;
    }
    match chance.below(4) {
        0 => drop(array.remove(index)),
        1 => {
            if let Some(moved) = array.remove(index) {
                array.insert(chance.index(array.len().saturating_add(1)), moved);
            }
        }
        _ => {
            array.update(index, |element| edit(element, mark, chance));
        }
    }
}

/// An element: often a record with an identity that others have, too.
fn element(mark: &str, chance: &mut Chance) -> Json {
    if chance.one_in(2) {
        return value(1, mark, chance);
    }
    let id = Json::from(i64::try_from(chance.below(6)).unwrap_or(0));
    let members = [(Key::from("id"), id), (Key::from("v"), value(1, mark, chance))];
    Json::Object(members.into_iter().collect())
}

fn value(depth: u64, mark: &str, chance: &mut Chance) -> Json {
    match chance.below(if depth == 0 { 7 } else { 10 }) {
        0..=3 => Json::from(mark),
        4 => Json::from(i64::try_from(chance.below(4)).unwrap_or(0)),
        5 => Json::from(chance.one_in(2)),
        6 => [Json::Null, Json::from(0.5), Json::from(""), Json::from(1e300)]
            .into_iter()
            .nth(chance.index(4))
            .unwrap_or_default(),
        7 => {
            let elements = (0..chance.below(4)).map(|_| element(mark, chance)).collect::<Vec<_>>();
            Json::Array(Array::from(elements))
        }
        _ => {
            let members = (0..chance.below(3)).map(|_| {
                let key = chance.pick(KEYS).copied().unwrap_or("a");
                (Key::from(key), value(depth - 1, mark, chance))
            });
            Json::Object(members.collect::<Vec<_>>().into_iter().collect())
        }
    }
}
