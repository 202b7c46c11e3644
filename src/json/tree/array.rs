//! Arrays: one vector while they are short, a tree of chunks (RRB) when they are long.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::Arc;

use imbl::{Vector, vector};

use super::{FLAT_MEMBERS_MAX, Json, Measured};

/// The elements of a JSON array: persistent, O(1) to clone, O(log n) to edit.
#[derive(Clone)]
pub struct Array(Shape);

#[derive(Clone)]
enum Shape {
    Flat(Arc<Measured<Vec<Json>>>),
    Tree(Arc<Measured<Vector<Json>>>),
}

impl Array {
    /// `[]`
    pub fn new() -> Self {
        Self(Shape::Flat(Arc::default()))
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Flat(node) => node.items.len(),
            Shape::Tree(node) => node.items.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<&Json> {
        match &self.0 {
            Shape::Flat(node) => node.items.get(index),
            Shape::Tree(node) => node.items.get(index),
        }
    }

    /// The elements in order, from either end.
    pub fn iter(&self) -> ArrayIter<'_> {
        ArrayIter(match &self.0 {
            Shape::Flat(node) => Iter::Flat(node.items.iter()),
            Shape::Tree(node) => Iter::Tree(node.items.iter()),
        })
    }

    /// The elements of a range, as far as there are any.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = &Json> {
        range.map_while(|index| self.get(index))
    }

    /// Puts `value` in the place of an element and returns that; `None`, and nothing is changed,
    /// if there is no such element.
    pub fn set(&mut self, index: usize, value: Json) -> Option<Json> {
        self.update(index, |element| std::mem::replace(element, value))
    }

    /// Changes one element in place, copying it first where it is shared; `None` if there is no
    /// such element.
    pub fn update<R>(&mut self, index: usize, change: impl FnOnce(&mut Json) -> R) -> Option<R> {
        if index >= self.len() {
            return None;
        }
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let element = node.items.get_mut(index)?;
                let before = element.encoded_len();
                let result = change(element);
                let after = element.encoded_len();
                node.shrink(before);
                node.grow(after);
                Some(result)
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                let element = node.items.get_mut(index)?;
                let before = element.encoded_len();
                let result = change(element);
                let after = element.encoded_len();
                node.shrink(before);
                node.grow(after);
                Some(result)
            }
        }
    }

    /// Puts `value` before the element at `index`, or at the end. `false`, and nothing is changed,
    /// if `index` is beyond the end.
    pub fn insert(&mut self, index: usize, value: Json) -> bool {
        if index > self.len() {
            return false;
        }
        let bytes = value.encoded_len();
        self.reshape(self.len() + 1);
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                node.items.insert(index, value);
                node.grow(bytes);
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                node.items.insert(index, value);
                node.grow(bytes);
            }
        }
        true
    }

    /// Puts `value` at the end.
    pub fn push(&mut self, value: Json) {
        let end = self.insert(self.len(), value);
        debug_assert!(end, "the end is a place to insert at");
    }

    /// Takes an element out; `None` if there is no such element.
    pub fn remove(&mut self, index: usize) -> Option<Json> {
        if index >= self.len() {
            return None;
        }
        self.reshape(self.len() - 1);
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let removed = node.items.remove(index);
                node.shrink(removed.encoded_len());
                Some(removed)
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                let removed = node.items.remove(index);
                node.shrink(removed.encoded_len());
                Some(removed)
            }
        }
    }

    /// Takes `removed` elements from `index` on out and puts `inserted` there, in
    /// O(log n + removed + inserted). `false`, and nothing is changed, if there are not so many.
    pub fn splice(&mut self, index: usize, removed: usize, inserted: Vec<Json>) -> bool {
        let Some(end) = index.checked_add(removed).filter(|end| *end <= self.len()) else {
            return false;
        };
        let gained = total_len(&inserted);
        self.reshape(self.len() - removed + inserted.len());
        match &mut self.0 {
            Shape::Flat(node) => {
                let node = Arc::make_mut(node);
                let lost = node.items.splice(index..end, inserted).collect::<Vec<_>>();
                node.grow(gained);
                node.shrink(total_len(&lost));
            }
            Shape::Tree(node) => {
                let node = Arc::make_mut(node);
                let mut lost = node.items.split_off(index);
                let rest = lost.split_off(removed);
                node.items.append(inserted.into());
                node.items.append(rest);
                node.grow(gained);
                lost.iter().for_each(|element| node.shrink(element.encoded_len()));
            }
        }
        true
    }

    /// Takes the shape that suits `len` elements. Between half of the limit and the limit both
    /// shapes stand, so that an array at the boundary is not rebuilt by every edit.
    fn reshape(&mut self, len: usize) {
        match &self.0 {
            Shape::Flat(node) if len > FLAT_MEMBERS_MAX => {
                let items = node.items.iter().cloned().collect();
                self.0 = Shape::Tree(Arc::new(Measured { items, bytes: node.bytes }));
            }
            Shape::Tree(node) if len <= FLAT_MEMBERS_MAX / 2 => {
                let items = node.items.iter().cloned().collect();
                self.0 = Shape::Flat(Arc::new(Measured { items, bytes: node.bytes }));
            }
            Shape::Flat(_) | Shape::Tree(_) => {}
        }
    }

    /// Whether both are the same array in memory.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Shape::Flat(a), Shape::Flat(b)) => Arc::ptr_eq(a, b),
            (Shape::Tree(a), Shape::Tree(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The length of the array's compact text in bytes; O(1).
    pub fn encoded_len(&self) -> usize {
        match &self.0 {
            Shape::Flat(node) => node.encoded_len(node.items.len()),
            Shape::Tree(node) => node.encoded_len(node.items.len()),
        }
    }

    /// How many elements from the first on are equal in both.
    ///
    /// What both share is skipped chunk by chunk: the arrays before and after one edit are
    /// compared in O(n / 64), whatever their elements are.
    pub fn shared_prefix(&self, other: &Self) -> usize {
        if self.ptr_eq(other) { self.len() } else { self.prefix_by(other, Json::eq) }
    }

    /// How many elements from the last backwards are equal in both; as [`Array::shared_prefix`].
    ///
    /// Prefix and suffix may overlap: between `[1]` and `[1, 1]` both are 1.
    pub fn shared_suffix(&self, other: &Self) -> usize {
        if self.ptr_eq(other) { self.len() } else { self.suffix_by(other, Json::eq) }
    }

    /// How many leading elements are the `same`, which is not asked of what is shared.
    pub(in crate::json) fn prefix_by(
        &self,
        other: &Self,
        mut same: impl FnMut(&Json, &Json) -> bool,
    ) -> usize {
        let (mut our_leaves, mut their_leaves) = (self.leaves(), other.leaves());
        let (mut ours, mut theirs): (&[Json], &[Json]) = (&[], &[]);
        let mut count = 0;
        while refill(&mut ours, || our_leaves.next()) && refill(&mut theirs, || their_leaves.next())
        {
            let run = ours.len().min(theirs.len());
            let (our_run, our_rest) = ours.split_at(run);
            let (their_run, their_rest) = theirs.split_at(run);
            if !ptr::eq(our_run, their_run) {
                let mut pairs = our_run.iter().zip(their_run);
                if let Some(matching) = pairs.position(|(a, b)| !same(a, b)) {
                    return count + matching;
                }
            }
            count += run;
            (ours, theirs) = (our_rest, their_rest);
        }
        count
    }

    /// How many trailing elements are the `same`, which is not asked of what is shared.
    pub(in crate::json) fn suffix_by(
        &self,
        other: &Self,
        mut same: impl FnMut(&Json, &Json) -> bool,
    ) -> usize {
        let (mut our_leaves, mut their_leaves) = (self.leaves(), other.leaves());
        let (mut ours, mut theirs): (&[Json], &[Json]) = (&[], &[]);
        let mut count = 0;
        while refill(&mut ours, || our_leaves.next_back())
            && refill(&mut theirs, || their_leaves.next_back())
        {
            let run = ours.len().min(theirs.len());
            let (our_rest, our_run) = ours.split_at(ours.len() - run);
            let (their_rest, their_run) = theirs.split_at(theirs.len() - run);
            if !ptr::eq(our_run, their_run) {
                let mut pairs = our_run.iter().rev().zip(their_run.iter().rev());
                if let Some(matching) = pairs.position(|(a, b)| !same(a, b)) {
                    return count + matching;
                }
            }
            count += run;
            (ours, theirs) = (our_rest, their_rest);
        }
        count
    }

    /// The elements as they lie in memory, in runs.
    fn leaves(&self) -> Leaves<'_> {
        match &self.0 {
            Shape::Flat(node) => Leaves::Flat(Some(&node.items)),
            Shape::Tree(node) => Leaves::Tree(node.items.leaves()),
        }
    }
}

fn refill<'a>(run: &mut &'a [Json], next: impl FnOnce() -> Option<&'a [Json]>) -> bool {
    if run.is_empty() {
        *run = next().unwrap_or_default();
    }
    !run.is_empty()
}

fn total_len(items: &[Json]) -> usize {
    items.iter().fold(0, |sum, item| sum.saturating_add(item.encoded_len()))
}

enum Leaves<'a> {
    Flat(Option<&'a [Json]>),
    Tree(vector::Chunks<'a, Json, imbl::shared_ptr::DefaultSharedPtr>),
}

impl<'a> Iterator for Leaves<'a> {
    type Item = &'a [Json];

    fn next(&mut self) -> Option<&'a [Json]> {
        match self {
            Self::Flat(leaf) => leaf.take(),
            Self::Tree(leaves) => leaves.next(),
        }
    }
}

impl DoubleEndedIterator for Leaves<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Flat(leaf) => leaf.take(),
            Self::Tree(leaves) => leaves.next_back(),
        }
    }
}

impl Default for Array {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<Json>> for Array {
    fn from(items: Vec<Json>) -> Self {
        let bytes = total_len(&items);
        Self(if items.len() > FLAT_MEMBERS_MAX {
            Shape::Tree(Arc::new(Measured { items: items.into(), bytes }))
        } else {
            Shape::Flat(Arc::new(Measured { items, bytes }))
        })
    }
}

impl FromIterator<Json> for Array {
    fn from_iter<I: IntoIterator<Item = Json>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other)
            || self.len() == other.len()
                && self.encoded_len() == other.encoded_len()
                && self.prefix_by(other, Json::eq) == self.len()
    }
}

impl Eq for Array {}

impl Hash for Array {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|element| element.hash(state));
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Array {
    type Item = &'a Json;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// The elements of an [`Array`], in order.
#[derive(Clone)]
pub struct ArrayIter<'a>(Iter<'a>);

#[derive(Clone)]
enum Iter<'a> {
    Flat(slice::Iter<'a, Json>),
    Tree(vector::Iter<'a, Json, imbl::shared_ptr::DefaultSharedPtr>),
}

impl fmt::Debug for ArrayIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = &'a Json;

    fn next(&mut self) -> Option<&'a Json> {
        match &mut self.0 {
            Iter::Flat(iter) => iter.next(),
            Iter::Tree(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Iter::Flat(iter) => iter.size_hint(),
            Iter::Tree(iter) => iter.size_hint(),
        }
    }
}

impl DoubleEndedIterator for ArrayIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Iter::Flat(iter) => iter.next_back(),
            Iter::Tree(iter) => iter.next_back(),
        }
    }
}

impl ExactSizeIterator for ArrayIter<'_> {}
