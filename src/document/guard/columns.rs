//! Columns of operations and of changes: which there are, and how many rows each claims.
//!
//! A run of equal rows is two numbers, whatever its length: so rows are counted here, run by run,
//! before Automerge makes an operation of each. Every list of columns is closed: Automerge passes
//! over columns that it does not know, and forgets them when it writes the change again, which then
//! has another hash.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::inflate::Inflater;
use super::input::Input;
use super::{Checked, GuardLimits, malformed, too_many};

/// In a column's specification: its bytes are deflated.
const DEFLATED: u32 = 0b1000;
/// Operations that there are: make map, set, make list, delete, make text, increment, make table,
/// mark.
const ACTION_MAX: u64 = 7;
/// Bits of a value's type in its metadata; the others are its length.
const VALUE_TYPE_BITS: u32 = 4;
/// Types of values that have no bytes: null, false and true.
const BARE_TYPE_MAX: u64 = 2;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Indexes into the list of actors.
    Actor,
    /// Numbers that count operations or changes.
    Counter,
    /// The same, each as its difference to the one before.
    DeltaCounter,
    /// Times, each as its difference to the one before.
    DeltaTime,
    /// Text: of keys and of mark names.
    Key,
    /// Text: messages.
    Message,
    /// Runs of false and true by turns.
    Flag,
    /// Kinds of operations.
    Action,
    /// How many rows of the columns in its group belong to a row.
    Group,
    /// Types and lengths of values.
    ValueMeta,
    /// The bytes of values.
    Value,
}

/// A column that may be: its number and type as the format has them, and what it holds.
pub(super) type Known = (u32, Holds);

/// Columns of the operations in a change.
pub(super) const CHANGE_OPS: &[Known] = &[
    (0x01, Holds::Actor),
    (0x02, Holds::Counter),
    (0x11, Holds::Actor),
    (0x13, Holds::DeltaCounter),
    (0x15, Holds::Key),
    (0x34, Holds::Flag),
    (ACTION, Holds::Action),
    (0x56, Holds::ValueMeta),
    (0x57, Holds::Value),
    (PREDECESSORS, Holds::Group),
    (0x71, Holds::Actor),
    (0x73, Holds::DeltaCounter),
    (0x94, Holds::Flag),
    (0xa5, Holds::Key),
];

/// Columns of the operations in a document.
pub(super) const DOCUMENT_OPS: &[Known] = &[
    (0x01, Holds::Actor),
    (0x02, Holds::Counter),
    (0x11, Holds::Actor),
    (0x13, Holds::DeltaCounter),
    (0x15, Holds::Key),
    (0x21, Holds::Actor),
    (0x23, Holds::DeltaCounter),
    (0x34, Holds::Flag),
    (ACTION, Holds::Action),
    (0x56, Holds::ValueMeta),
    (0x57, Holds::Value),
    (SUCCESSORS, Holds::Group),
    (0x81, Holds::Actor),
    (0x83, Holds::DeltaCounter),
    (0x94, Holds::Flag),
    (0xa5, Holds::Key),
];

/// Columns of the changes in a document.
pub(super) const DOCUMENT_CHANGES: &[Known] = &[
    (CHANGE_ACTOR, Holds::Actor),
    (0x03, Holds::DeltaCounter),
    (0x13, Holds::DeltaCounter),
    (0x23, Holds::DeltaTime),
    (0x35, Holds::Message),
    (DEPENDENCIES, Holds::Group),
    (0x43, Holds::DeltaCounter),
    (0x56, Holds::ValueMeta),
    (0x57, Holds::Value),
];

/// The column that every operation has a row in.
pub(super) const ACTION: u32 = 0x42;
/// The column that every change of a document has a row in.
pub(super) const CHANGE_ACTOR: u32 = 0x01;
pub(super) const PREDECESSORS: u32 = 0x70;
pub(super) const SUCCESSORS: u32 = 0x80;
pub(super) const DEPENDENCIES: u32 = 0x40;
/// The part of a column's specification that a group and its members share.
const COLUMN_ID: u32 = !0b1111;

/// What a list of columns says of itself: specification and length in bytes of each.
#[derive(Debug)]
pub(super) struct Listed {
    columns: Vec<(Known, bool, usize)>,
}

/// Reads which columns there are. Their bytes follow later.
pub(super) fn list(input: &mut Input<'_>, known: &[Known], deflated: bool) -> Checked<Listed> {
    let count = input.length()?;
    if count > known.len() {
        return Err(malformed("columns that there are not"));
    }
    let mut columns: Vec<(Known, bool, usize)> = Vec::with_capacity(count);
    for _ in 0..count {
        let spec = u32::try_from(input.number()?).map_err(|_wide| malformed("a column"))?;
        let is_deflated = spec & DEFLATED != 0;
        let column = known.iter().find(|(known, _)| *known == spec & !DEFLATED);
        let column = column.ok_or_else(|| malformed("a column that there is not"))?;
        let after = columns.last().is_none_or(|((last, _), ..)| *last < column.0);
        if !after || (is_deflated && !deflated) {
            return Err(malformed("the order or form of columns"));
        }
        let length = usize::try_from(input.number()?).map_err(|_wide| malformed("a length"))?;
        columns.push((*column, is_deflated, length));
    }
    Ok(Listed { columns })
}

/// What a column turned out to hold.
#[derive(Debug, Clone, Copy)]
struct Counted {
    spec: u32,
    holds: Holds,
    rows: u64,
    /// Of a group, the rows of its members; of value metadata, the bytes of the values.
    sum: u64,
}

/// All columns of a list, counted.
#[derive(Debug)]
pub(super) struct Counts(Vec<Counted>);

impl Listed {
    /// Takes the bytes of the columns, inflates what is deflated, and counts the rows.
    pub(super) fn count(
        &self,
        input: &mut Input<'_>,
        actors: u64,
        limits: &GuardLimits,
        inflater: &mut Inflater,
    ) -> Checked<Counts> {
        let mut counted = Vec::with_capacity(self.columns.len());
        for ((spec, holds), is_deflated, length) in &self.columns {
            let bytes = input.take(*length)?;
            let (rows, sum) = if *holds == Holds::Value {
                // Only the length of values matters here; they need not be inflated for it.
                let size =
                    if *is_deflated { inflater.measure(bytes, usize::MAX)? } else { bytes.len() };
                (0, size as u64)
            } else {
                let bytes = if *is_deflated {
                    Cow::Owned(inflater.inflate(bytes, usize::MAX)?)
                } else {
                    Cow::Borrowed(bytes)
                };
                Counter { actors, limits, rows: 0, sum: 0 }.count(*holds, &bytes)?
            };
            counted.push(Counted { spec: *spec, holds: *holds, rows, sum });
        }
        Ok(Counts(counted))
    }
}

impl Counts {
    /// Rows of a column; none if it is not there.
    pub(super) fn rows(&self, spec: u32) -> u64 {
        self.find(spec).map_or(0, |column| column.rows)
    }

    /// Rows of all members of a group together, or bytes of all values.
    pub(super) fn sum(&self, spec: u32) -> u64 {
        self.find(spec).map_or(0, |column| column.sum)
    }

    fn find(&self, spec: u32) -> Option<&Counted> {
        self.0.iter().find(|column| column.spec == spec)
    }

    /// Checks that columns agree: each has as many rows as `leading`, or none; members of a group
    /// have what the group says; values fill their bytes.
    pub(super) fn agree(&self, leading: u32) -> Checked<()> {
        let rows = self.rows(leading);
        for column in &self.0 {
            let group = self.find(column.spec & COLUMN_ID).filter(|g| g.holds == Holds::Group);
            let agrees = match (column.holds, group) {
                (Holds::Value, _) => self.sum(column.spec.saturating_sub(1)) == column.sum,
                (Holds::ValueMeta, _) if column.sum > 0 => {
                    column.rows == rows && self.find(column.spec.saturating_add(1)).is_some()
                }
                (Holds::Group, _) => {
                    let empty = column.sum == 0 || self.find(column.spec | 0b11).is_some();
                    column.rows == rows && empty
                }
                (_, Some(group)) => column.rows == group.sum,
                _ => column.rows == rows || column.rows == 0,
            };
            if !agrees {
                return Err(malformed("columns that do not agree"));
            }
        }
        Ok(())
    }
}

/// The counting of one column.
struct Counter<'a> {
    actors: u64,
    limits: &'a GuardLimits,
    rows: u64,
    sum: u64,
}

impl Counter<'_> {
    fn count(mut self, holds: Holds, bytes: &[u8]) -> Checked<(u64, u64)> {
        let mut input = Input::new(bytes);
        match holds {
            Holds::Flag => self.flags(&mut input)?,
            Holds::DeltaCounter => self.deltas(&mut input, 0, u32::MAX.into())?,
            Holds::DeltaTime => self.deltas(&mut input, i64::MIN, i64::MAX)?,
            Holds::Key => {
                let longest = self.limits.key_bytes;
                self.runs(&mut input, |input| text(input, longest), |_, _, _| Ok(()))?;
            }
            Holds::Message => {
                let longest = self.limits.note_bytes;
                self.runs(&mut input, |input| text(input, longest), |_, _, _| Ok(()))?;
            }
            _ => {
                self.runs(&mut input, number, |rows, number, times| {
                    rows.number(holds, number, times)
                })?;
            }
        }
        Ok((self.rows, self.sum))
    }

    /// One number that stands in so many rows.
    fn number(&mut self, holds: Holds, number: Option<u64>, times: u64) -> Checked<()> {
        let valid = match (holds, number) {
            // Which object and which key an operation is about may be left open.
            (Holds::Actor, Some(number)) => number < self.actors,
            (Holds::Counter, Some(number)) => number <= u32::MAX.into(),
            (Holds::Action, Some(number)) => number <= ACTION_MAX,
            (Holds::Group, Some(number)) => self.add(number, times)?,
            (Holds::ValueMeta, Some(meta)) => {
                let (kind, length) = (meta & 0b1111, meta >> VALUE_TYPE_BITS);
                (kind > BARE_TYPE_MAX || length == 0) && self.add(length, times)?
            }
            (holds, None) => matches!(holds, Holds::Actor | Holds::Counter),
            _ => false,
        };
        if valid { Ok(()) } else { Err(malformed("a number in a column")) }
    }

    /// A sum that overflows is beyond every limit; one that does not is compared by `agree`.
    fn add(&mut self, number: u64, times: u64) -> Checked<bool> {
        let sum = number.checked_mul(times).and_then(|product| self.sum.checked_add(product));
        self.sum = sum.ok_or_else(|| too_many("rows in a column"))?;
        Ok(true)
    }

    fn grow(&mut self, rows: u64) -> Checked<()> {
        let grown = self.rows.checked_add(rows);
        self.rows = grown
            .filter(|rows| *rows <= self.limits.ops_max)
            .ok_or_else(|| too_many("rows in a column"))?;
        Ok(())
    }

    /// Run lengths: of one value, of as many values as follow, or of nothing.
    fn runs<T>(
        &mut self,
        input: &mut Input<'_>,
        read: impl Fn(&mut Input<'_>) -> Checked<T>,
        mut each: impl FnMut(&mut Self, Option<T>, u64) -> Checked<()>,
    ) -> Checked<()> {
        while !input.is_empty() {
            let length = input.signed()?;
            let rows = length.unsigned_abs();
            match length.cmp(&0) {
                Ordering::Less => {
                    self.grow(rows)?;
                    for _ in 0..rows {
                        let value = read(input)?;
                        each(self, Some(value), 1)?;
                    }
                }
                Ordering::Greater => {
                    self.grow(rows)?;
                    let value = read(input)?;
                    each(self, Some(value), rows)?;
                }
                Ordering::Equal => {
                    let rows = input.number()?;
                    if rows == 0 {
                        return Err(malformed("an empty run"));
                    }
                    self.grow(rows)?;
                    each(self, None, rows)?;
                }
            }
        }
        Ok(())
    }

    /// Differences, the sums of which must stay between two bounds. A run goes one way, so its end
    /// is enough.
    fn deltas(&mut self, input: &mut Input<'_>, least: i64, most: i64) -> Checked<()> {
        let mut value = 0_i128;
        self.runs(input, signed, |_, delta, times| {
            if let Some(delta) = delta {
                value += i128::from(delta) * i128::from(times);
            }
            let bounded = i128::from(least) <= value && value <= i128::from(most);
            if bounded { Ok(()) } else { Err(malformed("a counter out of range")) }
        })
    }

    fn flags(&mut self, input: &mut Input<'_>) -> Checked<()> {
        let mut first = true;
        while !input.is_empty() {
            let rows = input.number()?;
            if rows == 0 && !first {
                return Err(malformed("an empty run"));
            }
            self.grow(rows)?;
            first = false;
        }
        Ok(())
    }
}

fn text(input: &mut Input<'_>, longest: usize) -> Checked<()> {
    let bytes = input.prefixed()?;
    if bytes.len() > longest {
        return Err(too_many("bytes in a key or message"));
    }
    std::str::from_utf8(bytes).map(|_| ()).map_err(|error| malformed(&error.to_string()))
}

fn number(input: &mut Input<'_>) -> Checked<u64> {
    input.number()
}

fn signed(input: &mut Input<'_>) -> Checked<i64> {
    input.signed()
}
