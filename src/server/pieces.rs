//! Large frames of a client, read as if they had come in pieces.
//!
//! The codec makes room for a whole frame and keeps that room for as long as the socket lives. So
//! the frames are cut before they reach it: it then sees fragments of one message, which is the
//! same to whoever takes the message (RFC 6455, section 5.4), and its own buffer stays small.

use crate::limits;

/// Bytes of the longest head of a frame (RFC 6455, section 5.2).
const HEAD_BYTES_MAX: usize = 14;
const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// This length says that the real one follows in two bytes; one more, in eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Cuts the frames of one client; what is not a masked data frame passes as it came.
#[derive(Debug)]
pub(super) struct Cutter {
    frame_bytes_max: u64,
    /// The head of a frame, as far as it came.
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// Payload of the frame that is still to come, in bytes.
    left: u64,
    /// The same of its current piece.
    piece_left: u64,
    /// How the next piece begins, if the frame is cut.
    next: Option<Next>,
}

/// What the heads of a frame's pieces are made of.
#[derive(Debug, Clone, Copy)]
struct Next {
    /// The first byte of the head: opcode and reserved bits, without the bit of the last piece.
    first: u8,
    /// That bit, as the client set it for the whole frame.
    last: u8,
    key: [u8; 4],
}

/// A frame's head.
#[derive(Debug)]
struct Head {
    first: u8,
    len: u64,
    key: Option<[u8; 4]>,
}

impl Cutter {
    /// A frame of more than `frame_bytes_max` is not cut: the codec refuses it by its head.
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max: u64::try_from(frame_bytes_max).unwrap_or(u64::MAX),
            head: [0; HEAD_BYTES_MAX],
            head_len: 0,
            left: 0,
            piece_left: 0,
            next: None,
        }
    }

    /// Takes the client's next bytes, cut anywhere, and appends to `out` what the codec is to see
    /// of them.
    pub(super) fn cut(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            bytes = if self.left == 0 { self.behead(bytes, out) } else { self.pass(bytes, out) };
        }
    }

    /// Takes what there is of a head, and returns the rest.
    fn behead<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        let Some((byte, rest)) = bytes.split_first() else { return bytes };
        if let Some(free) = self.head.get_mut(self.head_len) {
            *free = *byte;
            self.head_len += 1;
        }
        let bytes = self.head.get(..self.head_len).unwrap_or_default();
        let Some(head) = Head::parse(bytes) else { return rest };
        self.left = head.len;
        let is_large = head.len > limits::PIECE_BYTES as u64 && head.len <= self.frame_bytes_max;
        self.next = head.key.filter(|_| is_large && head.is_data()).map(|key| Next {
            first: head.first & !FINAL,
            last: head.first & FINAL,
            key,
        });
        if self.next.is_none() {
            out.extend_from_slice(bytes);
            self.piece_left = head.len;
        }
        self.head_len = 0;
        rest
    }

    /// Passes on what there is of a piece, and returns the rest.
    fn pass<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        if self.piece_left == 0
            && let Some(next) = &mut self.next
        {
            self.piece_left = self.left.min(limits::PIECE_BYTES as u64);
            let last = if self.piece_left == self.left { next.last } else { 0 };
            let len = u16::try_from(self.piece_left).unwrap_or(u16::MAX);
            out.extend_from_slice(&[next.first | last, MASKED | LENGTH_16]);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&next.key);
            // All further pieces are continuations.
            next.first = 0;
        }
        let len = usize::try_from(self.piece_left).unwrap_or(usize::MAX).min(bytes.len());
        let (piece, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        out.extend_from_slice(piece);
        self.left -= piece.len() as u64;
        self.piece_left -= piece.len() as u64;
        rest
    }
}

impl Head {
    /// `None` if there is more of the head to come.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (len, rest) = match second & LENGTH {
            LENGTH_16 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            LENGTH_64 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*len), rest)
            }
            len => (u64::from(len), rest),
        };
        let key = if second & MASKED == 0 { None } else { Some(*rest.first_chunk()?) };
        Some(Self { first, len, key })
    }

    /// Whether it is of a data frame: text, binary, or the continuation of one.
    fn is_data(&self) -> bool {
        self.first & OPCODE <= 2
    }
}

#[cfg(test)]
mod tests;
