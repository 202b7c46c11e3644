//! What of a store's JSON may be seen, or changed.

use super::{Json, Pointer};
use crate::json::tree::ObjectChange;
use crate::json::{Array, Key, Object};

/// A part of a store's JSON: some places, with all that is below them.
///
/// What lies on the way to such a place is there too, as empty as it can be: objects without other
/// members, arrays with `null` for what may not be seen, so that an index means the same in the
/// part as in the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// No such store.
    Nothing,
    /// All of it.
    Whole,
    /// Only these places and below; a segment `*` is any member or element.
    Parts(Vec<Pointer>),
}

/// What is left of the patterns on the way down.
type Rest<'a> = Vec<&'a [Key]>;

impl View {
    /// The sum of these places.
    pub(super) fn of_parts(mut parts: Vec<Pointer>) -> Self {
        parts.sort_unstable();
        parts.dedup();
        match parts.first() {
            None => Self::Nothing,
            // The root sorts first.
            Some(first) if first.is_root() => Self::Whole,
            Some(_) => Self::Parts(parts),
        }
    }

    /// Whether it is all there is.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// What is to be seen of a state.
    pub fn of(&self, state: &Json) -> Json {
        let empty = || Json::Object(Object::new());
        match self {
            Self::Nothing => empty(),
            Self::Whole => state.clone(),
            Self::Parts(parts) => part(state, &starts(parts)).unwrap_or_else(empty),
        }
    }

    /// The whole in which what is [seen](Self::of) of it has become `wanted`; `None` if that would
    /// change what is not seen.
    pub fn lift(&self, whole: &Json, wanted: &Json) -> Option<Json> {
        let Self::Parts(parts) = self else {
            return self.is_whole().then(|| wanted.clone());
        };
        let lifted = lift(whole, &self.of(whole), wanted, &starts(parts))?;
        // What is written has to be seen by its author, or he would count on what is not there.
        (self.of(&lifted) == *wanted).then_some(lifted)
    }

    /// Whether all that differs between two states lies in this part.
    pub fn covers_change(&self, before: &Json, after: &Json) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Parts(parts) => covers(before, after, &starts(parts)),
        }
    }

    /// Whether a place lies in this part, taken by its name alone.
    pub fn covers_place(&self, place: &Pointer) -> bool {
        let fits = |(pattern, key): (&Key, &Key)| **pattern == *"*" || pattern == key;
        let covers = |part: &Pointer| {
            part.len() <= place.len() && part.segments().iter().zip(place.segments()).all(fits)
        };
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Parts(parts) => parts.iter().any(covers),
        }
    }
}

fn starts(parts: &[Pointer]) -> Rest<'_> {
    parts.iter().map(Pointer::segments).collect()
}

/// Whether all from here on is in the part.
fn is_in(rest: &[&[Key]]) -> bool {
    rest.iter().any(|rest| rest.is_empty())
}

/// What is left below a member; below an element if there is no key.
fn below<'a>(rest: &[&'a [Key]], key: Option<&str>) -> Rest<'a> {
    let step = |rest: &&'a [Key]| {
        let (first, rest) = rest.split_first()?;
        (**first == *"*" || key == Some(&**first)).then_some(rest)
    };
    rest.iter().filter_map(step).collect()
}

fn part(value: &Json, rest: &[&[Key]]) -> Option<Json> {
    if is_in(rest) {
        return Some(value.clone());
    }
    match value {
        Json::Object(members) => {
            let mut seen = Object::new();
            let mut take = |key: &Key, member: &Json| {
                if let Some(member) = part(member, &below(rest, Some(key))) {
                    seen.insert(Key::clone(key), member);
                }
            };
            if rest.iter().any(|rest| rest.first().is_some_and(|first| **first == *"*")) {
                members.iter().for_each(|(key, member)| take(key, member));
            } else {
                // However large the object is, only these are looked at.
                for key in rest.iter().filter_map(|rest| rest.first()) {
                    if let Some(member) = members.get(key) {
                        take(key, member);
                    }
                }
            }
            Some(Json::Object(seen))
        }
        Json::Array(items) => {
            let rest = below(rest, None);
            let seen = |item| part(item, &rest).unwrap_or(Json::Null);
            (!rest.is_empty())
                .then(|| Json::Array(items.iter().map(seen).collect::<Vec<_>>().into()))
        }
        _ => None,
    }
}

fn lift(whole: &Json, seen: &Json, wanted: &Json, rest: &[&[Key]]) -> Option<Json> {
    if is_in(rest) {
        return Some(wanted.clone());
    }
    if seen == wanted {
        return Some(whole.clone());
    }
    match (whole, seen, wanted) {
        (Json::Object(whole), Json::Object(seen), Json::Object(wanted)) => {
            let mut lifted = whole.clone();
            for change in seen.changes(wanted) {
                match change {
                    ObjectChange::Added(key, value) if is_in(&below(rest, Some(key))) => {
                        lifted.insert(Key::clone(key), value.clone());
                    }
                    ObjectChange::Removed(key, _) if is_in(&below(rest, Some(key))) => {
                        lifted.remove(key);
                    }
                    ObjectChange::Changed(key, seen, wanted) => {
                        let member = whole.get(key)?;
                        let member = lift(member, seen, wanted, &below(rest, Some(key)))?;
                        lifted.insert(Key::clone(key), member);
                    }
                    ObjectChange::Added(..) | ObjectChange::Removed(..) => return None,
                }
            }
            Some(Json::Object(lifted))
        }
        (Json::Array(whole), Json::Array(seen), Json::Array(wanted)) => {
            lift_items(whole, seen, wanted, &below(rest, None))
        }
        _ => None,
    }
}

fn lift_items(whole: &Array, seen: &Array, wanted: &Array, rest: &[&[Key]]) -> Option<Json> {
    if is_in(rest) {
        return Some(Json::Array(wanted.clone()));
    }
    // One more or one less would move what is not seen.
    if seen.len() != wanted.len() {
        return None;
    }
    let mut lifted = whole.clone();
    for (index, (seen, wanted)) in seen.iter().zip(wanted.iter()).enumerate() {
        if seen != wanted {
            lifted.set(index, lift(whole.get(index)?, seen, wanted, rest)?);
        }
    }
    Some(Json::Array(lifted))
}

fn covers(before: &Json, after: &Json, rest: &[&[Key]]) -> bool {
    if is_in(rest) || before == after {
        return true;
    }
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => before.changes(after).all(|change| {
            let below = |key: &Key| below(rest, Some(key));
            match change {
                ObjectChange::Added(key, _) | ObjectChange::Removed(key, _) => is_in(&below(key)),
                ObjectChange::Changed(key, before, after) => covers(before, after, &below(key)),
            }
        }),
        (Json::Array(before), Json::Array(after)) => {
            let rest = below(rest, None);
            let mut pairs = before.iter().zip(after.iter());
            is_in(&rest)
                || before.len() == after.len()
                    && pairs.all(|(before, after)| covers(before, after, &rest))
        }
        _ => false,
    }
}
