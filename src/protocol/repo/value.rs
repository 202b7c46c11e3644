//! A value of JavaScript in CBOR, as JSON; and JSON as CBOR.
//!
//! | CBOR | JSON |
//! |---|---|
//! | integers; floats that are whole and at most 2^53 - 1 | integer |
//! | integers beyond 64 bits, big numbers (tags 2 and 3) | the nearest float, or about it |
//! | other floats | float; `null` for NaN and the infinities |
//! | `null`, `undefined` | `null` |
//! | bytes, typed arrays | string: base64 (RFC 4648), padded |
//! | a date (tag 1) | integer: milliseconds |
//! | any other tag | what it is on |
//! | a map with keys that are no text, simple values | refused |
//!
//! It is the table by which the values of documents are read. What is written is read as the same
//! value by JavaScript, where all numbers are floats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cbor::{Item, Malformed, Reader, Writer, nearest, whole};
use crate::json::{Array, Json, JsonLimits, Key};

const TAG_DATE: u64 = 1;
const TAG_BIG: u64 = 2;
const TAG_BIG_NEGATIVE: u64 = 3;

const MS_PER_SECOND: f64 = 1_000.0;

/// Reads one value within the depth and the keys that `limits` allow; `depth` counts what is around
/// it. Its size is for the caller to check.
pub(super) fn read_json(
    reader: &mut Reader<'_>,
    limits: &JsonLimits,
    depth: usize,
) -> Result<Json, Malformed> {
    match reader.item()? {
        Item::Integer => reader.integer().map(read_integer),
        Item::Float => reader.float().map(read_float),
        Item::Text => reader.text().map(|text| Json::from(&*text)),
        Item::Bytes => reader.bytes().map(|bytes| STANDARD.encode(bytes).into()),
        Item::Bool => reader.bool().map(Json::Bool),
        Item::Absent => reader.skip().map(|()| Json::Null),
        // Nesting of any kind counts: it is the stack that is kept.
        Item::Array | Item::Map | Item::Tag if depth >= limits.depth_max => Err(Malformed),
        Item::Array => read_array(reader, limits, depth.saturating_add(1)),
        Item::Map => read_object(reader, limits, depth.saturating_add(1)),
        Item::Tag => read_tagged(reader, limits, depth.saturating_add(1)),
        Item::Simple => Err(Malformed),
    }
}

fn read_integer(n: i128) -> Json {
    match (i64::try_from(n), u64::try_from(n)) {
        (Ok(n), _) => Json::Int(n),
        (_, Ok(n)) => Json::Uint(n),
        _ => nearest(n).into(),
    }
}

fn read_float(n: f64) -> Json {
    whole(n).map_or_else(|| n.into(), Json::Int)
}

fn read_array(
    reader: &mut Reader<'_>,
    limits: &JsonLimits,
    depth: usize,
) -> Result<Json, Malformed> {
    let mut items = reader.array()?;
    let mut elements = Vec::new();
    while reader.more(&mut items)? {
        elements.push(read_json(reader, limits, depth)?);
    }
    Ok(Array::from(elements).into())
}

fn read_object(
    reader: &mut Reader<'_>,
    limits: &JsonLimits,
    depth: usize,
) -> Result<Json, Malformed> {
    let mut items = reader.map()?;
    let mut members = Vec::new();
    while reader.more(&mut items)? {
        let key = reader.text()?;
        if limits.check_key(&key).is_err() {
            return Err(Malformed);
        }
        members.push((Key::from(key), read_json(reader, limits, depth)?));
    }
    Ok(Json::Object(members.into_iter().collect()))
}

fn read_tagged(
    reader: &mut Reader<'_>,
    limits: &JsonLimits,
    depth: usize,
) -> Result<Json, Malformed> {
    match reader.tag()? {
        TAG_DATE => {
            let float = reader.item()? == Item::Float;
            let seconds = if float { reader.float()? } else { nearest(reader.integer()?) };
            Ok(read_float((seconds * MS_PER_SECOND).round()))
        }
        TAG_BIG => Ok(read_float(read_big(reader)?)),
        TAG_BIG_NEGATIVE => Ok(read_float(-1.0 - read_big(reader)?)),
        _ => read_json(reader, limits, depth),
    }
}

/// The bytes of a big number, most significant first (RFC 8949, section 3.4.3).
fn read_big(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    Ok(reader.bytes()?.iter().fold(0.0, |n, byte| n * 256.0 + f64::from(*byte)))
}

/// Writes one value.
pub(super) fn write_json(writer: &mut Writer, json: &Json) {
    match json {
        Json::Null => writer.null(),
        Json::Bool(value) => writer.bool(*value),
        Json::Int(n) => writer.integer((*n).into()),
        Json::Uint(n) => writer.integer((*n).into()),
        Json::Float(n) => writer.float(*n),
        Json::String(text) => writer.text(text),
        Json::Array(array) => {
            writer.array(array.len());
            for element in array {
                write_json(writer, element);
            }
        }
        Json::Object(object) => {
            writer.map(object.len());
            for (key, value) in object {
                writer.text(key);
                write_json(writer, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{Object, arbitrary};

    fn any_key() -> JsonLimits {
        JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() }
    }

    fn read(bytes: &[u8], limits: &JsonLimits) -> Result<Json, Malformed> {
        read_json(&mut Reader::new(bytes), limits, 0)
    }

    fn written(json: &Json) -> Vec<u8> {
        let mut writer = Writer::with_capacity(0);
        write_json(&mut writer, json);
        writer.finish()
    }

    /// What is left of a value in JavaScript, where every number is a float.
    fn in_javascript(json: &Json) -> Json {
        match json {
            Json::Int(n) if u32::try_from(n.unsigned_abs()).is_err() => {
                read_float(nearest((*n).into()))
            }
            Json::Uint(n) => read_float(nearest((*n).into())),
            Json::Float(n) => read_float(*n),
            Json::Array(array) => Json::Array(array.iter().map(in_javascript).collect()),
            Json::Object(object) => Json::Object(
                object.iter().map(|(key, value)| (Key::clone(key), in_javascript(value))).collect(),
            ),
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::String(_) => json.clone(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(json in arbitrary::json()) {
            prop_assert_eq!(read(&written(&json), &any_key()), Ok(in_javascript(&json)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(json) = read(&bytes, &any_key()) {
                prop_assert_eq!(read(&written(&json), &any_key()), Ok(in_javascript(&json)));
            }
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let limits = JsonLimits { depth_max: 3, ..JsonLimits::default() };
        for (layer, end) in
            [(&[0x81][..], 0x01), (&[0xa1, 0x61, 0x61], 0x01), (&[0xd8, 0x40], 0x40)]
        {
            let nested = |depth| [layer.repeat(depth), vec![end]].concat();
            assert!(read(&nested(3), &limits).is_ok(), "{layer:?}");
            assert_eq!(read(&nested(4), &limits), Err(Malformed), "{layer:?}");
            assert_eq!(read(&nested(1 << 20), &limits), Err(Malformed), "{layer:?}");
            assert_eq!(Reader::new(&nested(1 << 20)).skip(), Err(Malformed), "{layer:?}");
        }
    }

    #[test]
    fn a_length_that_is_not_there_costs_nothing() {
        for head in [0x5b, 0x7b, 0x9b, 0xbb] {
            let bytes = [vec![head], vec![0xff; 8]].concat();
            assert_eq!(read(&bytes, &any_key()), Err(Malformed));
        }
    }

    #[test]
    fn forbidden_keys_are_refused() {
        let object: Object = [("__proto__".into(), Json::Null)].into_iter().collect();
        let bytes = written(&object.into());
        assert_eq!(read(&bytes, &JsonLimits::default()), Err(Malformed));
        assert!(read(&bytes, &any_key()).is_ok());
    }
}
