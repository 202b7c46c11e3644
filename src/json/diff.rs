//! The difference between two values, in terms that a merge can use.
//!
//! A merge must know *which* element of an array changed, went or came. What a client sends often
//! does not say so: for a shape inserted at the front, a client that compares by position sends
//! "the first shape is now this one, the second that one, and one more at the end". Taken
//! literally this overwrites every shape, and with them whatever somebody else just did to one.
//! So both directions of the bridge compare whole values, here, and look for what is the same:
//!
//! 1. What two versions share in memory is equal, and is not looked at. Equal elements at both
//!    ends of an array are set aside the same way.
//! 2. Elements that carry an identity ([`Identity`]) are the same element if it is the same, in
//!    whatever else they differ. Others are the same if they are equal.
//! 3. Elements keep their order or are taken out and put in again: a longest common subsequence,
//!    or nearly the longest where finding it would take too long.
//! 4. Between two such anchors, elements without an identity are paired by likeness, or in order,
//!    and compared inside. An element with an identity is never turned into another one.
//!
//! Objects are compared member by member, always. What a lone operation says about its element
//! ([`Explicit`]) beats all this.

mod align;
mod identity;

pub use identity::Identity;

use align::{SEARCH_STEPS_MAX, Steps, Window};
use identity::Place;

use super::patch::{Explicit, JsonOp, JsonPatch};
use super::pointer::Pointer;
use super::tree::{Array, Json, Key, Object, ObjectChange};
use crate::limits;

/// Bytes of text that one comparison looks at before it stops looking into arrays and replaces
/// them as a whole. An element is looked at once for each array that it lies in and does not share;
/// only values that are large and nested in many arrays get here.
const LOOKED_AT_BYTES_MAX: usize = 8 * limits::DOCUMENT_BYTES_MAX;

/// How a base value becomes the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// They are equal.
    Same,
    /// The next value, this one, takes the place of the base as a whole.
    Replace(Json),
    /// Both are objects; these members differ. In the order of their keys, and never empty.
    Object(Vec<(Key, Entry)>),
    /// Both are arrays; these steps lead over the elements of the base, from the first on. What
    /// lies behind the last step is kept. Never empty.
    Array(Vec<Step>),
}

/// What becomes of one member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is new, with this value.
    Add(Json),
    /// It goes.
    Remove,
    /// It stays and its value changes; never [`Difference::Same`].
    Change(Difference),
}

/// One step over the elements of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// So many elements stay as they are.
    Keep(usize),
    /// One element stays and its value changes; never [`Difference::Same`].
    Change(Difference),
    /// So many elements go.
    Delete(usize),
    /// These elements are new here.
    Insert(Vec<Json>),
}

/// How `base` becomes `next`.
///
/// Costs what the change costs where the two share structure. Where they do not, it costs
/// O(n log n), and on top of that a search in arrays whose elements repeat, which is bounded.
/// `explicit` is what the patch that made `next` says by itself ([`super::patch::Applied`]); it is
/// believed only if it describes the two arrays.
pub fn difference(
    base: &Json,
    next: &Json,
    identity: &Identity,
    explicit: Option<&Explicit>,
) -> Difference {
    let hint = explicit.map(|explicit| Hint { explicit, below: explicit.array.segments() });
    let mut differ = Differ {
        identity,
        path: Vec::new(),
        bytes_left: LOOKED_AT_BYTES_MAX,
        steps_left: SEARCH_STEPS_MAX,
    };
    differ.compare(base, next, hint)
}

/// The difference as a patch, to be applied to the base: `add`, `remove` and `replace` only, each
/// index as it is when its turn comes.
pub fn patch_of(difference: &Difference) -> JsonPatch {
    let mut patch = JsonPatch::default();
    write(difference, &mut Pointer::root(), &mut patch.ops);
    patch
}

/// A patch that turns `base` into `next`. It never has more than [`limits::PATCH_OPS_MAX`]
/// operations: beyond that, one operation replaces the whole value.
pub fn between(base: &Json, next: &Json, identity: &Identity) -> JsonPatch {
    let patch = patch_of(&difference(base, next, identity, None));
    if patch.ops.len() > limits::PATCH_OPS_MAX {
        return patch_of(&Difference::Replace(next.clone()));
    }
    patch
}

fn write(difference: &Difference, path: &mut Pointer, ops: &mut Vec<JsonOp>) {
    match difference {
        Difference::Same => {}
        Difference::Replace(value) => {
            ops.push(JsonOp::Replace { path: path.clone(), value: value.clone() });
        }
        Difference::Object(entries) => {
            for (key, entry) in entries {
                path.push(Key::clone(key));
                match entry {
                    Entry::Add(value) => {
                        ops.push(JsonOp::Add { path: path.clone(), value: value.clone() });
                    }
                    Entry::Remove => ops.push(JsonOp::Remove { path: path.clone() }),
                    Entry::Change(inner) => write(inner, path, ops),
                }
                path.pop();
            }
        }
        Difference::Array(steps) => write_steps(steps, path, ops),
    }
}

fn write_steps(steps: &[Step], path: &mut Pointer, ops: &mut Vec<JsonOp>) {
    let mut index = 0;
    for step in steps {
        match step {
            Step::Keep(count) => index += count,
            Step::Change(inner) => {
                path.push(index.to_string());
                write(inner, path, ops);
                path.pop();
                index += 1;
            }
            Step::Delete(count) => {
                let path = path.child(index.to_string());
                ops.extend((0..*count).map(|_| JsonOp::Remove { path: path.clone() }));
            }
            Step::Insert(values) => {
                for value in values {
                    let path = path.child(index.to_string());
                    ops.push(JsonOp::Add { path, value: value.clone() });
                    index += 1;
                }
            }
        }
    }
}

/// Where the array that an [`Explicit`] speaks of lies, seen from the value that is compared.
#[derive(Clone, Copy)]
struct Hint<'a> {
    explicit: &'a Explicit,
    below: &'a [Key],
}

impl<'a> Hint<'a> {
    /// The hint for what lies one step down, if the array does.
    fn under(self, matches: impl FnOnce(&str) -> bool) -> Option<Self> {
        let (segment, below) = self.below.split_first()?;
        matches(segment).then_some(Self { below, ..self })
    }

    /// What the hint says of these two arrays themselves, if it can be true of them.
    fn here(self, base: &Array, next: &Array) -> Option<&'a Explicit> {
        let Explicit { index, removed, inserted, .. } = *self.explicit;
        let end = index.checked_add(removed)?;
        let len = base.len().checked_sub(removed)?.checked_add(inserted)?;
        (self.below.is_empty() && end <= base.len() && len == next.len()).then_some(self.explicit)
    }
}

/// A comparison on its way through two values.
struct Differ<'a> {
    identity: &'a Identity,
    /// Where it stands in the base.
    path: Vec<Place<'a>>,
    /// See [`LOOKED_AT_BYTES_MAX`].
    bytes_left: usize,
    /// See [`SEARCH_STEPS_MAX`].
    steps_left: usize,
}

impl<'a> Differ<'a> {
    fn compare(&mut self, base: &'a Json, next: &'a Json, hint: Option<Hint<'a>>) -> Difference {
        match (base, next) {
            (base, next) if base.ptr_eq(next) => Difference::Same,
            (Json::Object(base), Json::Object(next)) => self.objects(base, next, hint),
            (Json::Array(base), Json::Array(next)) => self.arrays(base, next, hint),
            (_, next) => Difference::Replace(next.clone()),
        }
    }

    fn objects(
        &mut self,
        base: &'a Object,
        next: &'a Object,
        hint: Option<Hint<'a>>,
    ) -> Difference {
        let mut entries = Vec::new();
        for change in base.candidates(next) {
            let (key, entry) = match change {
                ObjectChange::Added(key, value) => (key, Entry::Add(value.clone())),
                ObjectChange::Removed(key, _) => (key, Entry::Remove),
                ObjectChange::Changed(key, old, new) => {
                    let hint = hint.and_then(|hint| hint.under(|segment| *segment == **key));
                    self.path.push(Place::Member(key));
                    let inner = self.compare(old, new, hint);
                    self.path.pop();
                    (key, Entry::Change(inner))
                }
            };
            if !matches!(entry, Entry::Change(Difference::Same)) {
                entries.push((Key::clone(key), entry));
            }
        }
        if entries.is_empty() { Difference::Same } else { Difference::Object(entries) }
    }

    fn arrays(&mut self, base: &'a Array, next: &'a Array, hint: Option<Hint<'a>>) -> Difference {
        let prefix = base.prefix_by(next, |a, b| self.same(a, b));
        let shorter = base.len().min(next.len());
        if prefix == shorter && base.len() == next.len() {
            return Difference::Same;
        }
        if let Some(explicit) = hint.and_then(|hint| hint.here(base, next)) {
            let behind = next.len() - explicit.index - explicit.inserted;
            if explicit.index <= prefix && self.suffix(base, next, behind) == behind {
                return explicit_steps(explicit, next);
            }
        }
        let suffix = self.suffix(base, next, shorter - prefix);
        let window = Window {
            start: prefix,
            base: base.range(prefix..base.len() - suffix).collect(),
            next: next.range(prefix..next.len() - suffix).collect(),
        };
        match self.align(&window, hint) {
            Some(steps) if steps.is_empty() => Difference::Same,
            Some(steps) => Difference::Array(steps),
            None => Difference::Replace(next.clone().into()),
        }
    }

    /// How many trailing elements are equal, up to `most`.
    fn suffix(&mut self, base: &Array, next: &Array, most: usize) -> usize {
        let mut asked = 0;
        let suffix = base.suffix_by(next, |a, b| {
            asked += 1;
            asked <= most && self.same(a, b)
        });
        suffix.min(most)
    }

    /// Whether two elements are equal, as far as the budget allows to know.
    fn same(&mut self, base: &Json, next: &Json) -> bool {
        if base.ptr_eq(next) {
            return true;
        }
        // Scalars were compared, and the lengths of containers are known.
        let bytes = base.encoded_len();
        base.is_container()
            && next.is_container()
            && bytes == next.encoded_len()
            && self.spend(bytes)
            && base == next
    }

    /// Takes from the budget; `false` once it is used up.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.unwrap_or(0);
        left.is_some()
    }
}

fn explicit_steps(explicit: &Explicit, next: &Array) -> Difference {
    let Explicit { index, removed, inserted, .. } = *explicit;
    let mut steps = Steps::default();
    steps.keep(index);
    steps.delete(removed);
    steps.insert(next.range(index..index + inserted).cloned().collect());
    Difference::Array(steps.into_vec())
}

#[cfg(test)]
mod tests;
