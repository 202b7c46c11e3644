//! Objects: one sorted vector while they are small, a B+ tree when they are large.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::{self, DiffItem};
use imbl::shared_ptr::DefaultSharedPtr;

use super::{FLAT_MEMBERS_MAX, Json, Key, Measured, text_len};

/// The members of a JSON object in the order of their keys' bytes: persistent, O(1) to clone,
/// O(log n) to edit.
#[derive(Clone)]
pub struct Object(Shape);

#[derive(Clone)]
enum Shape {
    /// Sorted by key, no key twice.
    Flat(Arc<Measured<Vec<(Key, Json)>>>),
    Tree(Arc<Measured<OrdMap<Key, Slot>>>),
}

/// A member of the tree, compared by its address: [`OrdMap::diff`] compares each pair of members
/// that it meets, and whoever walks the differences is about to look into them anyway.
#[derive(Clone)]
struct Slot(Json);

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// One key for which two objects differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectChange<'a> {
    /// Only the other object has it, with this value.
    Added(&'a Key, &'a Json),
    /// Only this object has it, with this value.
    Removed(&'a Key, &'a Json),
    /// Both have it: with this object's value, and with the other's.
    Changed(&'a Key, &'a Json, &'a Json),
}

impl Object {
    /// `{}`
    pub fn new() -> Self {
        Self(Shape::Flat(Arc::default()))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Flat(node) => node.items.len(),
            Shape::Tree(node) => node.items.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a member.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match &self.0 {
            Shape::Flat(node) => {
                let index = search(&node.items, key).ok()?;
                node.items.get(index).map(|(_, value)| value)
            }
            Shape::Tree(node) => node.items.get(key).map(|slot| &slot.0),
        }
    }

    /// Whether there is such a member.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The members in the order of their keys' bytes, from either end.
    pub fn iter(&self) -> ObjectIter<'_> {
        ObjectIter(match &self.0 {
            Shape::Flat(node) => Iter::Flat(node.items.iter()),
            Shape::Tree(node) => Iter::Tree(node.items.iter()),
        })
    }

    /// Sets a member, and returns the value that it had.
    pub fn insert(&mut self, key: Key, value: Json) -> Option<Json> {
        if self.contains_key(&key) {
            return self.update(&key, |member| std::mem::replace(member, value));
        }
        let bytes = member_len(&key, &value);
        self.reshape(self.len() + 1);
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let place = search(&node.items, &key).unwrap_or_else(|place| place);
                node.items.insert(place, (key, value));
                node.grow(bytes);
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                node.items.insert(key, Slot(value));
                node.grow(bytes);
            }
        }
        None
    }

    /// Changes the value of a member in place, copying it first where it is shared; `None` if
    /// there is no such member.
    pub fn update<R>(&mut self, key: &str, change: impl FnOnce(&mut Json) -> R) -> Option<R> {
        if !self.contains_key(key) {
            return None;
        }
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let index = search(&node.items, key).ok()?;
                let (_, value) = node.items.get_mut(index)?;
                let before = value.encoded_len();
                let result = change(value);
                let after = value.encoded_len();
                node.shrink(before);
                node.grow(after);
                Some(result)
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                let Slot(value) = node.items.get_mut(key)?;
                let before = value.encoded_len();
                let result = change(value);
                let after = value.encoded_len();
                node.shrink(before);
                node.grow(after);
                Some(result)
            }
        }
    }

    /// Takes a member out, and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        if !self.contains_key(key) {
            return None;
        }
        self.reshape(self.len() - 1);
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let (key, removed) = node.items.remove(search(&node.items, key).ok()?);
                node.shrink(member_len(&key, &removed));
                Some(removed)
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                let (key, Slot(removed)) = node.items.remove_with_key(key)?;
                node.shrink(member_len(&key, &removed));
                Some(removed)
            }
        }
    }

    /// Takes the shape that suits `len` members; as for arrays, both stand near the boundary.
    fn reshape(&mut self, len: usize) {
        match &self.0 {
            Shape::Flat(node) if len > FLAT_MEMBERS_MAX => {
                let items =
                    node.items.iter().map(|(key, value)| (Key::clone(key), Slot(value.clone())));
                let items = items.collect();
                self.0 = Shape::Tree(Arc::new(Measured { items, bytes: node.bytes }));
            }
            Shape::Tree(node) if len <= FLAT_MEMBERS_MAX / 2 => {
                let items = node.items.iter().map(|(key, slot)| (Key::clone(key), slot.0.clone()));
                let items = items.collect();
                self.0 = Shape::Flat(Arc::new(Measured { items, bytes: node.bytes }));
            }
            Shape::Flat(_) | Shape::Tree(_) => {}
        }
    }

    /// Whether both are the same object in memory.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Shape::Flat(a), Shape::Flat(b)) => Arc::ptr_eq(a, b),
            (Shape::Tree(a), Shape::Tree(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The length of the object's compact text in bytes; O(1).
    pub fn encoded_len(&self) -> usize {
        match &self.0 {
            Shape::Flat(node) => node.encoded_len(node.items.len()),
            Shape::Tree(node) => node.encoded_len(node.items.len()),
        }
    }

    /// What turns this object into `other`, in the order of the keys.
    ///
    /// What both share is skipped node by node, so the objects before and after one edit are
    /// compared in O(log n), however large they are.
    pub fn changes<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = ObjectChange<'a>> {
        self.candidates(other).filter(|change| match change {
            ObjectChange::Changed(_, old, new) => old != new,
            ObjectChange::Added(..) | ObjectChange::Removed(..) => true,
        })
    }

    /// As [`Object::changes`]; but containers that are equal without being shared count as changed.
    pub(in crate::json) fn candidates<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = ObjectChange<'a>> {
        let (tree, merge) = match (&self.0, &other.0) {
            _ if self.ptr_eq(other) => (None, None),
            (Shape::Tree(old), Shape::Tree(new)) => (Some(old.items.diff(&new.items)), None),
            _ => (None, Some(Merge { old: self.iter(), new: other.iter(), met: (None, None) })),
        };
        let tree = tree.into_iter().flatten().map(|item| match item {
            DiffItem::Add(key, slot) => ObjectChange::Added(key, &slot.0),
            DiffItem::Remove(key, slot) => ObjectChange::Removed(key, &slot.0),
            DiffItem::Update { old: (key, old), new: (_, new) } => {
                ObjectChange::Changed(key, &old.0, &new.0)
            }
        });
        tree.chain(merge.into_iter().flatten())
    }
}

fn search(items: &[(Key, Json)], key: &str) -> Result<usize, usize> {
    items.binary_search_by(|(candidate, _)| (**candidate).cmp(key))
}

/// The length of `"key":value`.
fn member_len(key: &str, value: &Json) -> usize {
    value.encoded_len().saturating_add(text_len(key) + 1)
}

type Member<'a> = (&'a Key, &'a Json);

/// Walks two objects side by side, key by key.
struct Merge<'a> {
    old: ObjectIter<'a>,
    new: ObjectIter<'a>,
    /// The next member of each that has been taken from its iterator but not been dealt with.
    met: (Option<Member<'a>>, Option<Member<'a>>),
}

impl<'a> Iterator for Merge<'a> {
    type Item = ObjectChange<'a>;

    fn next(&mut self) -> Option<ObjectChange<'a>> {
        loop {
            let old = self.met.0.take().or_else(|| self.old.next());
            let new = self.met.1.take().or_else(|| self.new.next());
            match (old, new) {
                (Some((key, old)), Some((new_key, new))) if key == new_key => {
                    if !old.ptr_eq(new) {
                        return Some(ObjectChange::Changed(key, old, new));
                    }
                }
                (Some((key, value)), new) if new.is_none_or(|(new_key, _)| key < new_key) => {
                    self.met.1 = new;
                    return Some(ObjectChange::Removed(key, value));
                }
                (old, Some((key, value))) => {
                    self.met.0 = old;
                    return Some(ObjectChange::Added(key, value));
                }
                (_, None) => return None,
            }
        }
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

/// Of members with the same key the last one stays.
impl FromIterator<(Key, Json)> for Object {
    fn from_iter<I: IntoIterator<Item = (Key, Json)>>(members: I) -> Self {
        let mut items: Vec<_> = members.into_iter().collect();
        if !items.is_sorted_by(|(a, _), (b, _)| a < b) {
            // The sort keeps equal keys in their order, so the last is the first from behind.
            items.sort_by(|(a, _), (b, _)| a.cmp(b));
            items.reverse();
            items.dedup_by(|(a, _), (b, _)| a == b);
            items.reverse();
        }
        let lens = items.iter().map(|(key, value)| member_len(key, value));
        let bytes = lens.fold(0, usize::saturating_add);
        Self(if items.len() > FLAT_MEMBERS_MAX {
            let items = items.into_iter().map(|(key, value)| (key, Slot(value))).collect();
            Shape::Tree(Arc::new(Measured { items, bytes }))
        } else {
            Shape::Flat(Arc::new(Measured { items, bytes }))
        })
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other)
            || self.len() == other.len()
                && self.encoded_len() == other.encoded_len()
                && self.changes(other).next().is_none()
    }
}

impl Eq for Object {}

impl Hash for Object {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|member| member.hash(state));
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a Key, &'a Json);
    type IntoIter = ObjectIter<'a>;

    fn into_iter(self) -> ObjectIter<'a> {
        self.iter()
    }
}

/// The members of an [`Object`], in the order of their keys' bytes.
#[derive(Clone)]
pub struct ObjectIter<'a>(Iter<'a>);

#[derive(Clone)]
enum Iter<'a> {
    Flat(slice::Iter<'a, (Key, Json)>),
    Tree(ordmap::Iter<'a, Key, Slot, DefaultSharedPtr>),
}

impl fmt::Debug for ObjectIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

impl<'a> Iterator for ObjectIter<'a> {
    type Item = (&'a Key, &'a Json);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Iter::Flat(iter) => iter.next().map(|(key, value)| (key, value)),
            Iter::Tree(iter) => iter.next().map(|(key, slot)| (key, &slot.0)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Iter::Flat(iter) => iter.size_hint(),
            Iter::Tree(iter) => iter.size_hint(),
        }
    }
}

impl DoubleEndedIterator for ObjectIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Iter::Flat(iter) => iter.next_back().map(|(key, value)| (key, value)),
            Iter::Tree(iter) => iter.next_back().map(|(key, slot)| (key, &slot.0)),
        }
    }
}

impl ExactSizeIterator for ObjectIter<'_> {}
