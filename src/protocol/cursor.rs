//! A [`Cursor`] as opaque text: url-safe base64, without padding, of a version byte, the seq in
//! eight bytes, most significant first, and 32 bytes for each head in ascending order.
//!
//! A cursor that cannot be read is no error for its client: it comes from another version of the
//! server, and the seq beside it, or a snapshot, serves as well.

use automerge::ChangeHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ids::Seq;
use crate::limits;
use crate::workspace::Cursor;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 32;
/// Length of the longest text that can be a cursor.
const TEXT_BYTES_MAX: usize = (1 + 8 + HEAD_BYTES * limits::CURSOR_HEADS_MAX).div_ceil(3) * 4;

/// The cursor as text, or `None` if it has more than [`limits::CURSOR_HEADS_MAX`] heads.
pub fn encode(cursor: &Cursor) -> Option<String> {
    if cursor.heads.len() > limits::CURSOR_HEADS_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    bytes.push(VERSION);
    bytes.extend(cursor.seq.0.to_be_bytes());
    for head in &cursor.heads {
        bytes.extend(head.0);
    }
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// The cursor that [`encode`] wrote, and nothing else.
pub fn decode(text: &str) -> Option<Cursor> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (&version, bytes) = bytes.split_first()?;
    let (seq, bytes) = bytes.split_first_chunk::<8>()?;
    let (heads, rest) = bytes.as_chunks::<HEAD_BYTES>();
    let sorted = heads.is_sorted_by(|a, b| a < b);
    let sound = version == VERSION && rest.is_empty() && sorted;
    sound.then(|| Cursor {
        seq: Seq(u64::from_be_bytes(*seq)),
        heads: heads.iter().map(|head| ChangeHash(*head)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(seq: u64, heads: usize) -> Cursor {
        let heads = (0..heads).map(|n| {
            let mut hash = [7; HEAD_BYTES];
            hash[..2].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            ChangeHash(hash)
        });
        Cursor { seq: Seq(seq), heads: heads.collect() }
    }

    #[test]
    fn what_is_written_is_read() {
        for heads in [0, 1, 2, limits::CURSOR_HEADS_MAX] {
            for seq in [0, 1, 1 << 32, u64::MAX] {
                let text = encode(&cursor(seq, heads)).unwrap();
                assert_eq!(decode(&text), Some(cursor(seq, heads)));
            }
        }
        assert_eq!(encode(&cursor(1, limits::CURSOR_HEADS_MAX + 1)), None);
    }

    /// Clients keep cursors across upgrades of the server, so their form is fixed.
    #[test]
    fn the_form_is_fixed() {
        assert_eq!(encode(&cursor(5, 0)).unwrap(), "AQAAAAAAAAAF");
        let one = "AQAAAAAAAAAFAAAHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
        assert_eq!(encode(&cursor(5, 1)).unwrap(), one);
    }

    #[test]
    fn anything_else_is_not_a_cursor() {
        let good = encode(&cursor(5, 2)).unwrap();
        let short = good.get(..good.len() - 4).unwrap();
        let padded = format!("{good}==");
        let long = "A".repeat(TEXT_BYTES_MAX + 1);
        let other_version = "AgAAAAAAAAAF";
        for bad in ["", "AQ", "!", "5", short, &padded, &long, other_version, "{\"seq\":5}"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        let mut unsorted = cursor(5, 2);
        unsorted.heads.reverse();
        assert_eq!(decode(&encode(&unsorted).unwrap()), None);
        let twice = Cursor { seq: Seq(1), heads: vec![ChangeHash([1; 32]); 2] };
        assert_eq!(decode(&encode(&twice).unwrap()), None);
    }
}
