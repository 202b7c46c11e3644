//! CBOR (RFC 8949), as far as messages of automerge-repo need it.
//!
//! The other side is cbor-x, in JavaScript. It reads integers of 64 bits as `BigInt`, which no
//! client expects, and so writes its own as floats; here both are read, and floats are written.
//! Every walk is bounded: by the bytes that are there, whatever a length claims, and by a depth.

use std::borrow::Cow;

use minicbor::decode::{Decoder, Error};

use crate::limits;

/// The largest whole number that JavaScript counts exactly to: `Number.MAX_SAFE_INTEGER`.
pub(super) const WHOLE_MAX: i64 = (1 << 53) - 1;
const WHOLE_MAX_FLOAT: f64 = 9_007_199_254_740_991.0;

/// The tag of bytes that are a `Uint8Array` (RFC 8746, section 2.1).
const TAG_UINT8_ARRAY: u64 = 64;

/// First bytes of items, by their major type.
const UINT: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const ARRAY: u8 = 0x80;
const MAP: u8 = 0xa0;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const FLOAT64: u8 = 0xfb;
const BREAK: u8 = 0xff;

/// The bytes are not CBOR, or not what is read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<Error> for Malformed {
    fn from(_: Error) -> Self {
        Self
    }
}

/// What comes next, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Integer,
    Bytes,
    Text,
    Array,
    Map,
    Tag,
    Bool,
    /// `null` and `undefined`: JavaScript says either for what is not there.
    Absent,
    Float,
    /// A simple value without a meaning.
    Simple,
}

/// A place in a frame. Cloning it is cheap, and the clone reads on from the same place.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a>(Decoder<'a>);

/// How many items of an array or map are still to come; `None`: until the break.
#[derive(Debug)]
pub(super) struct Items(Option<u64>);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Whether nothing comes any more.
    pub(super) fn is_end(&self) -> bool {
        self.0.position() >= self.0.input().len()
    }

    fn head(&self) -> Result<u8, Malformed> {
        self.0.input().get(self.0.position()).copied().ok_or(Malformed)
    }

    /// Steps over one byte, which `head` has seen.
    fn step(&mut self) {
        self.0.set_position(self.0.position().saturating_add(1));
    }

    pub(super) fn item(&self) -> Result<Item, Malformed> {
        Ok(match self.head()? {
            0x00..=0x1b | 0x20..=0x3b => Item::Integer,
            0x40..=0x5b | 0x5f => Item::Bytes,
            0x60..=0x7b | 0x7f => Item::Text,
            0x80..=0x9b | 0x9f => Item::Array,
            0xa0..=0xbb | 0xbf => Item::Map,
            0xc0..=0xdb => Item::Tag,
            0xf4 | 0xf5 => Item::Bool,
            0xf6 | 0xf7 => Item::Absent,
            0xf9..=0xfb => Item::Float,
            0xe0..=0xf3 | 0xf8 => Item::Simple,
            _ => return Err(Malformed),
        })
    }

    /// A text, borrowed unless it comes in pieces.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.head()? == 0x7f {
            let pieces: Result<String, Error> = self.0.str_iter()?.collect();
            return Ok(Cow::Owned(pieces?));
        }
        Ok(Cow::Borrowed(self.0.str()?))
    }

    /// Bytes, plain or tagged as a `Uint8Array`, borrowed unless they come in pieces.
    pub(super) fn bytes(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.item()? == Item::Tag && self.tag()? != TAG_UINT8_ARRAY {
            return Err(Malformed);
        }
        if self.head()? == 0x5f {
            let mut whole = Vec::new();
            for piece in self.0.bytes_iter()? {
                whole.extend_from_slice(piece?);
            }
            return Ok(Cow::Owned(whole));
        }
        Ok(Cow::Borrowed(self.0.bytes()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.0.bool()?)
    }

    pub(super) fn tag(&mut self) -> Result<u64, Malformed> {
        Ok(self.0.tag()?.as_u64())
    }

    pub(super) fn float(&mut self) -> Result<f64, Malformed> {
        Ok(self.0.f64()?)
    }

    pub(super) fn integer(&mut self) -> Result<i128, Malformed> {
        Ok(self.0.int()?.into())
    }

    /// A whole number from 0 to [`WHOLE_MAX`], written as an integer or as a float.
    pub(super) fn whole(&mut self) -> Result<u64, Malformed> {
        let whole = if self.item()? == Item::Float {
            whole(self.float()?)
        } else {
            i64::try_from(self.integer()?).ok().filter(|n| *n <= WHOLE_MAX)
        };
        whole.and_then(|n| u64::try_from(n).ok()).ok_or(Malformed)
    }

    /// Enters an array; [`Reader::more`] then asks before each element.
    pub(super) fn array(&mut self) -> Result<Items, Malformed> {
        Ok(Items(self.0.array()?))
    }

    /// Enters a map; [`Reader::more`] then asks before each key.
    pub(super) fn map(&mut self) -> Result<Items, Malformed> {
        Ok(Items(self.0.map()?))
    }

    /// Whether another item comes, in the array or map that was entered.
    pub(super) fn more(&mut self, items: &mut Items) -> Result<bool, Malformed> {
        match &mut items.0 {
            Some(left) => {
                let more = *left > 0;
                *left = left.saturating_sub(1);
                Ok(more)
            }
            None if self.head()? == BREAK => {
                self.step();
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Steps over one item with all that is in it.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        self.skip_beneath(0)
    }

    /// Recursion is safe here: it ends at [`limits::JSON_DEPTH_MAX`].
    fn skip_beneath(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > limits::JSON_DEPTH_MAX {
            return Err(Malformed);
        }
        let beneath = depth.saturating_add(1);
        match self.item()? {
            Item::Integer => self.integer().map(drop),
            Item::Bytes => self.bytes().map(drop),
            Item::Text => self.text().map(drop),
            Item::Array => {
                let mut items = self.array()?;
                while self.more(&mut items)? {
                    self.skip_beneath(beneath)?;
                }
                Ok(())
            }
            Item::Map => {
                let mut items = self.map()?;
                while self.more(&mut items)? {
                    self.skip_beneath(beneath)?;
                    self.skip_beneath(beneath)?;
                }
                Ok(())
            }
            Item::Tag => {
                self.tag()?;
                self.skip_beneath(beneath)
            }
            Item::Bool | Item::Absent => {
                self.step();
                Ok(())
            }
            Item::Float => self.float().map(drop),
            Item::Simple => Ok(self.0.simple().map(drop)?),
        }
    }
}

/// The members of a map that have one of `N` names: where each one's value stands. They are read
/// only when it is known what they ought to be.
#[derive(Debug)]
pub(super) struct Members<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<Reader<'a>>; N],
}

impl<'a, const N: usize> Members<'a, N> {
    /// Walks a map. What has another name is skipped, what is `null` or `undefined` is not there,
    /// and of two members with one name the last stays, as in cbor-x. Where the map breaks off,
    /// the members before that are there all the same.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        names: &'static [&'static str; N],
    ) -> (Self, Result<(), Malformed>) {
        let mut members = Self { names, values: [const { None }; N] };
        let read = members.fill(reader);
        (members, read)
    }

    fn fill(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let mut items = reader.map()?;
        while reader.more(&mut items)? {
            if reader.item()? == Item::Text {
                let name = reader.text()?;
                let value = (reader.item()? != Item::Absent).then(|| reader.clone());
                let mut places = self.names.iter().zip(&mut self.values);
                if let Some((_, place)) = places.find(|(known, _)| **known == name) {
                    *place = value;
                }
            } else {
                reader.skip()?;
            }
            reader.skip()?;
        }
        Ok(())
    }

    /// Where the value of a member stands, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<Reader<'a>> {
        let mut places = self.names.iter().zip(&self.values);
        places.find(|(known, _)| **known == name).and_then(|(_, value)| value.clone())
    }
}

/// A float without a fraction that JavaScript counts exactly to.
pub(super) fn whole(n: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::as_conversions,
        reason = "there is no fraction, and it is within the range"
    )]
    (n.fract() == 0.0 && n.abs() <= WHOLE_MAX_FLOAT).then_some(n as i64)
}

/// The float that is nearest to an integer, as JavaScript reads its digits.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "the nearest is meant")]
pub(super) fn nearest(n: i128) -> f64 {
    n as f64
}

/// The length that [`Writer::text`] and [`Writer::bytes`] give to what has this length, in bytes.
pub(super) const fn written_len(length: usize) -> usize {
    let head: usize = match length {
        0..=0x17 => 1,
        0x18..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    };
    head.saturating_add(length)
}

/// Writes items one after another, in the shortest form and of definite length.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, n: u64) {
        match (u8::try_from(n), u16::try_from(n), u32::try_from(n)) {
            (Ok(n), ..) if n < 0x18 => self.0.push(major | n),
            (Ok(n), ..) => self.0.extend([major | 0x18, n]),
            (_, Ok(n), _) => {
                self.0.push(major | 0x19);
                self.0.extend(n.to_be_bytes());
            }
            (.., Ok(n)) => {
                self.0.push(major | 0x1a);
                self.0.extend(n.to_be_bytes());
            }
            _ => {
                self.0.push(major | 0x1b);
                self.0.extend(n.to_be_bytes());
            }
        }
    }

    fn length(&mut self, major: u8, length: usize) {
        // No collection in memory is longer than that.
        self.head(major, u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// The head of a map; its keys and values follow.
    pub(super) fn map(&mut self, members: usize) {
        self.length(MAP, members);
    }

    /// The head of an array; its elements follow.
    pub(super) fn array(&mut self, elements: usize) {
        self.length(ARRAY, elements);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(TEXT, text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(BYTES, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.0.push(if value { TRUE } else { FALSE });
    }

    pub(super) fn null(&mut self) {
        self.0.push(NULL);
    }

    pub(super) fn float(&mut self, n: f64) {
        self.0.push(FLOAT64);
        self.0.extend(n.to_be_bytes());
    }

    /// A whole number that JavaScript reads as a `number`: as an integer of up to 32 bits, and
    /// beyond as the nearest float.
    pub(super) fn integer(&mut self, n: i128) {
        match (u32::try_from(n), u32::try_from(!n)) {
            (Ok(n), _) => self.head(UINT, n.into()),
            (_, Ok(complement)) => self.head(NEGATIVE, complement.into()),
            _ => self.float(nearest(n)),
        }
    }
}
