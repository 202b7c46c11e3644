//! Two versions of an array, element against element.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, Interner, Token};

use super::identity::{Element, Id, Place};
use super::{Differ, Difference, Hint, Step};
use crate::json::pointer::array_index;
use crate::json::tree::Json;

/// Members and elements that are compared to find the likeliest pairs in one gap between anchors;
/// if there would be more, the elements are paired in order.
const LIKENESS_STEPS_MAX: usize = 1 << 14;

/// Pairs of elements among which one comparison, in all its arrays together, may search for what
/// stayed. Where elements repeat the search is quadratic; so many pairs take some 50 ms.
pub(super) const SEARCH_STEPS_MAX: usize = 1 << 27;

/// Elements that tell a repeated element from another, in arrays too long to be searched.
const CONTEXT: usize = 32;

/// The part of two versions of an array in which they differ.
pub(super) struct Window<'a> {
    /// How many elements come before it, in both.
    pub(super) start: usize,
    pub(super) base: Vec<&'a Json>,
    pub(super) next: Vec<&'a Json>,
}

impl Window<'_> {
    fn inserted(&self, range: Range<usize>) -> Vec<Json> {
        let values = self.next.get(range).unwrap_or_default();
        values.iter().copied().cloned().collect()
    }
}

/// What elements are compared by when looking for those that stayed.
#[derive(PartialEq, Eq, Hash)]
enum Sign<'a> {
    Id(Id<'a>),
    Value(&'a Json),
}

impl<'a> Element<'a> {
    fn sign(&self) -> Sign<'a> {
        self.unique.map_or(Sign::Value(self.json), Sign::Id)
    }
}

impl<'a> Differ<'a> {
    /// The steps that lead over the base; `None` if finding out takes too much.
    pub(super) fn align(
        &mut self,
        window: &Window<'a>,
        hint: Option<Hint<'a>>,
    ) -> Option<Vec<Step>> {
        let (base, next) = self.identity.identify(&self.path, &window.base, &window.next);
        let mut pairs = self.anchors(&base, &next)?;
        fill_gaps(&mut pairs, &base, &next);

        let mut steps = Steps::default();
        steps.keep(window.start);
        let (mut base_done, mut next_done) = (0, 0);
        for (base_index, next_index) in pairs {
            steps.delete(base_index - base_done);
            steps.insert(window.inserted(next_done..next_index));
            let (old, new) = (window.base.get(base_index)?, window.next.get(next_index)?);
            let index = window.start + base_index;
            let hint = hint.and_then(|h| h.under(|segment| array_index(segment) == Some(index)));
            self.path.push(Place::Element(index));
            steps.change(self.compare(old, new, hint));
            self.path.pop();
            (base_done, next_done) = (base_index + 1, next_index + 1);
        }
        steps.delete(base.len() - base_done);
        steps.insert(window.inserted(next_done..next.len()));
        Some(steps.into_vec())
    }

    /// Pairs of elements that stayed, as their indices, ascending on both sides.
    fn anchors(
        &mut self,
        base: &[Element<'a>],
        next: &[Element<'a>],
    ) -> Option<Vec<(usize, usize)>> {
        if let ([old], [new]) = (base, next) {
            // One changed element is the usual case. They are not equal, or would not be here.
            let same = old.unique.is_some() && old.unique == new.unique;
            return Some(if same { vec![(0, 0)] } else { Vec::new() });
        }
        if base.is_empty() || next.is_empty() {
            return Some(Vec::new());
        }
        let whole = base.iter().chain(next).filter(|element| element.unique.is_none());
        let bytes = whole.fold(0_usize, |sum, e| sum.saturating_add(e.json.encoded_len()));
        if !self.spend(bytes) {
            return None;
        }
        let mut interner = Interner::new(base.len() + next.len());
        let before: Vec<Token> = base.iter().map(|e| interner.intern(e.sign())).collect();
        let after: Vec<Token> = next.iter().map(|e| interner.intern(e.sign())).collect();
        Some(common_subsequence(&before, &after, &mut self.steps_left))
    }
}

/// What both have in common and in the same order, as pairs of indices: the longest where no sign
/// occurs twice, and a long one elsewhere. Signs are numbered as they first occur in `before`.
pub(super) fn common_subsequence(
    before: &[Token],
    after: &[Token],
    steps_left: &mut usize,
) -> Vec<(usize, usize)> {
    let (single, repeats) = single_pairs(before, after);
    if !repeats {
        return longest_ascent(&single);
    }
    if let Some(pairs) = search(before, after, steps_left) {
        return pairs;
    }
    // Too large to search as a whole. What repeats can be told apart by what follows it, and what
    // lies between two places that are told apart can be searched by itself.
    let mut contexts = Interner::new(before.len() + after.len());
    let before_contexts: Vec<_> =
        before.windows(CONTEXT).map(|context| contexts.intern(context)).collect();
    let after_contexts: Vec<_> =
        after.windows(CONTEXT).map(|context| contexts.intern(context)).collect();
    let (single, _) = single_pairs(&before_contexts, &after_contexts);

    let mut pairs = Vec::new();
    let (mut base_from, mut next_from) = (0, 0);
    let end = (before.len(), after.len());
    for (base_to, next_to) in longest_ascent(&single).into_iter().chain([end]) {
        let old = before.get(base_from..base_to).unwrap_or_default();
        let new = after.get(next_from..next_to).unwrap_or_default();
        let found = search(old, new, steps_left).unwrap_or_default();
        pairs.extend(found.into_iter().map(|(old, new)| (base_from + old, next_from + new)));
        pairs.push((base_to, next_to));
        (base_from, next_from) = (base_to + 1, next_to + 1);
    }
    // The end is no pair.
    pairs.pop();
    pairs
}

/// The pairs of those signs that occur once in each, ascending by the first half; and whether
/// there are signs that occur in both and more often.
fn single_pairs(before: &[Token], after: &[Token]) -> (Vec<(usize, usize)>, bool) {
    /// Where a sign occurs: nowhere, at one place, or at several.
    #[derive(Clone, Copy)]
    enum Places {
        None,
        One(usize),
        Many,
    }

    let places = |signs: &[Token]| {
        let count = signs.iter().map(|sign| sign.0 as usize + 1).max().unwrap_or(0);
        let mut places = vec![Places::None; count];
        for (index, sign) in signs.iter().enumerate() {
            if let Some(place) = places.get_mut(sign.0 as usize) {
                *place = match place {
                    Places::None => Places::One(index),
                    Places::One(_) | Places::Many => Places::Many,
                };
            }
        }
        places
    };
    let (mut pairs, mut repeats) = (Vec::new(), false);
    // A sign that occurs once is numbered after all that come before it, so the pairs ascend.
    for (old, new) in places(before).into_iter().zip(places(after)) {
        match (old, new) {
            (Places::One(old), Places::One(new)) => pairs.push((old, new)),
            (Places::None, _) | (_, Places::None) => {}
            (Places::Many, _) | (_, Places::Many) => repeats = true,
        }
    }
    (pairs, repeats)
}

/// Searches a common subsequence where signs may repeat; `None` if the steps left do not suffice.
fn search(
    before: &[Token],
    after: &[Token],
    steps_left: &mut usize,
) -> Option<Vec<(usize, usize)>> {
    *steps_left = steps_left.checked_sub(before.len().checked_mul(after.len())?)?;
    // Myers rather than the histogram: its recursion is shallow, whatever the input.
    let mut diff = Diff::default();
    diff.compute_with(Algorithm::Myers, before, after, 0);
    let mut pairs = Vec::new();
    let (mut base_from, mut next_from) = (0, 0);
    for hunk in diff.hunks() {
        let (gone, come) = (range(&hunk.before), range(&hunk.after));
        pairs.extend((base_from..gone.start).zip(next_from..come.start));
        (base_from, next_from) = (gone.end, come.end);
    }
    pairs.extend((base_from..before.len()).zip(next_from..after.len()));
    Some(pairs)
}

/// The most pairs that ascend in both halves, of pairs that ascend in the first: what stays where
/// each element occurs once. The longest common subsequence, in O(n log n).
fn longest_ascent(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the pair with the smallest end that an ascent of this length can have; and
    // for each pair, the one before it in the longest ascent that ends with it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let end_of = |pair: &usize| pairs.get(*pair).map(|(_, next)| *next);
    for (index, (_, next)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|pair| end_of(pair) < Some(*next));
        before.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter)).copied());
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let last = ends.last().copied();
    let chain = std::iter::successors(last, |pair| before.get(*pair).copied().flatten());
    let mut ascent: Vec<_> = chain.filter_map(|pair| pairs.get(pair).copied()).collect();
    ascent.reverse();
    ascent
}

fn range(range: &Range<u32>) -> Range<usize> {
    // Indices of vectors that were built here; usize has 32 bits at least.
    range.start as usize..range.end as usize
}

/// Pairs the elements between the anchors that can be seen as changed.
fn fill_gaps(pairs: &mut Vec<(usize, usize)>, base: &[Element<'_>], next: &[Element<'_>]) {
    let mut filled = Vec::with_capacity(pairs.len());
    let (mut base_from, mut next_from) = (0, 0);
    let end = (base.len(), next.len());
    for (base_to, next_to) in pairs.drain(..).chain([end]) {
        if base_from < base_to && next_from < next_to {
            let old = anonymous(base, base_from..base_to);
            let new = anonymous(next, next_from..next_to);
            pair(&old, &new, &mut filled);
        }
        filled.push((base_to, next_to));
        (base_from, next_from) = (base_to + 1, next_to + 1);
    }
    // The end is no pair.
    filled.pop();
    *pairs = filled;
}

/// The elements of a range that nothing identifies, with their indices.
fn anonymous<'a>(elements: &[Element<'a>], range: Range<usize>) -> Vec<(usize, &'a Json)> {
    let numbered = range.clone().zip(elements.get(range).unwrap_or_default());
    let anonymous = numbered.filter(|(_, element)| element.anonymous);
    anonymous.map(|(index, element)| (index, element.json)).collect()
}

/// Pairs the elements of one gap: by likeness where there is a choice and it is cheap, else in
/// order.
fn pair(old: &[(usize, &Json)], new: &[(usize, &Json)], pairs: &mut Vec<(usize, usize)>) {
    let widest = |elements: &[(usize, &Json)]| {
        elements.iter().map(|(_, json)| width(json)).max().unwrap_or(0)
    };
    let (old_width, new_width) = (widest(old), widest(new));
    let choices = old.len().saturating_mul(new.len());
    let steps = choices.saturating_mul(old_width.saturating_add(new_width));
    if choices < 2 || old_width == 0 || new_width == 0 || steps > LIKENESS_STEPS_MAX {
        pairs.extend(old.iter().zip(new).map(|((old, _), (new, _))| (*old, *new)));
    } else {
        pair_by_likeness(old, new, pairs);
    }
}

fn width(json: &Json) -> usize {
    match json {
        Json::Array(array) => array.len(),
        Json::Object(object) => object.len(),
        _ => 0,
    }
}

/// Pairs in ascending order so that the sum of the likeness is the greatest.
fn pair_by_likeness(
    old: &[(usize, &Json)],
    new: &[(usize, &Json)],
    pairs: &mut Vec<(usize, usize)>,
) {
    // From the end: in row i, at j, the likeness of the pair (i, j), and the greatest sum that the
    // elements from (i, j) on can reach.
    let mut rows: Vec<Vec<(usize, usize)>> = Vec::with_capacity(old.len() + 1);
    rows.push(vec![(0, 0); new.len() + 1]);
    for (_, old) in old.iter().rev() {
        let mut row = vec![(0, 0)];
        let below = rows.last().map(Vec::as_slice).unwrap_or_default();
        let mut right = 0;
        // `below` runs from the end of `new` to its start, like this row.
        for ((_, new), edge) in new.iter().rev().zip(below.windows(2)) {
            let [(_, diagonal), (_, under)] = edge else { continue };
            let alike = likeness(old, new);
            right = (diagonal + alike).max(*under).max(right);
            row.push((alike, right));
        }
        rows.push(row);
    }

    let sum = |i: usize, j: usize| {
        let row = rows.get(old.len() - i)?;
        row.get(new.len() - j).copied()
    };
    let (mut i, mut j) = (0, 0);
    while let (Some((old_index, _)), Some((new_index, _))) = (old.get(i), new.get(j)) {
        let (alike, best) = sum(i, j).unwrap_or_default();
        let with = |i, j| sum(i, j).map(|(_, best)| best);
        if with(i + 1, j + 1) == Some(best - alike) {
            pairs.push((*old_index, *new_index));
            (i, j) = (i + 1, j + 1);
        } else if with(i + 1, j) == Some(best) {
            i += 1;
        } else {
            j += 1;
        }
    }
}

/// How much speaks for two elements being one that changed; more than 0, so that any pair is
/// better than none.
fn likeness(old: &Json, new: &Json) -> usize {
    let (equal, of) = match (old, new) {
        (Json::Object(a), Json::Object(b)) => {
            let differ = |key: &str, old: &Json| b.get(key).is_none_or(|new| !old.ptr_eq(new));
            let equal = a.iter().filter(|(key, value)| !differ(key, value)).count();
            (equal, a.len().max(b.len()))
        }
        (Json::Array(a), Json::Array(b)) => (a.prefix_by(b, Json::ptr_eq), a.len().max(b.len())),
        (Json::Array(_) | Json::Object(_), _) | (_, Json::Array(_) | Json::Object(_)) => return 1,
        _ => return 2,
    };
    3 + 16 * equal / of.max(1)
}

/// Steps as they are found; neighbours of a kind become one.
#[derive(Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    /// Elements that are kept, as soon as a step follows them.
    kept: usize,
}

impl Steps {
    pub(super) fn keep(&mut self, count: usize) {
        self.kept += count;
    }

    pub(super) fn delete(&mut self, count: usize) {
        if count > 0 {
            self.push(Step::Delete(count));
        }
    }

    pub(super) fn insert(&mut self, values: Vec<Json>) {
        if !values.is_empty() {
            self.push(Step::Insert(values));
        }
    }

    fn change(&mut self, difference: Difference) {
        match difference {
            Difference::Same => self.keep(1),
            difference => self.push(Step::Change(difference)),
        }
    }

    fn push(&mut self, step: Step) {
        if self.kept > 0 {
            self.steps.push(Step::Keep(self.kept));
            self.kept = 0;
        }
        self.steps.push(step);
    }

    pub(super) fn into_vec(self) -> Vec<Step> {
        self.steps
    }
}
