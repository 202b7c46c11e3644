//! A cut frame is read as if it had come whole.

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::*;

const FRAME_BYTES_MAX: usize = 10_000;
const MESSAGE_BYTES_MAX: usize = 15_000;
/// The error at which [`read`] ends where there is more than that.
const TOO_LONG: &str = "Capacity(MessageTooLong ";

/// What a client sends, and nobody answers.
struct Sent(Cursor<Vec<u8>>);

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the codec makes of these bytes: messages, and the kind of error at which it ends.
fn read(bytes: Vec<u8>) -> (Vec<Message>, String) {
    let config = WebSocketConfig::default()
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(MESSAGE_BYTES_MAX));
    let mut socket =
        WebSocket::from_raw_socket(Sent(Cursor::new(bytes)), Role::Server, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(error) => {
                let text = format!("{error:?}");
                // How large the message was by the time that it was too large, or which of its
                // bytes are no UTF-8, depends on the cuts.
                let kind = text.split(['{', '(']).take(2).collect::<Vec<_>>().join("(");
                return (messages, if kind.starts_with("Utf8") { "Utf8".into() } else { kind });
            }
        }
    }
}

fn cut(bytes: &[u8], chunks: &[usize]) -> Vec<u8> {
    let (mut cutter, mut out, mut rest) = (Cutter::new(FRAME_BYTES_MAX), Vec::new(), bytes);
    for len in chunks.iter().cycle() {
        let (chunk, after) = rest.split_at((*len).min(rest.len()));
        cutter.cut(chunk, &mut out);
        rest = after;
        if rest.is_empty() {
            return out;
        }
    }
    out
}

/// A frame: how it is sent, whether it is whole, and its payload.
fn frame() -> impl Strategy<Value = (OpCode, bool, Vec<u8>)> {
    let opcode = prop_oneof![
        3 => Just(OpCode::Data(Data::Text)),
        3 => Just(OpCode::Data(Data::Binary)),
        4 => Just(OpCode::Data(Data::Continue)),
        2 => Just(OpCode::Control(Control::Ping)),
        1 => Just(OpCode::Control(Control::Pong)),
    ];
    let len = prop_oneof![
        Just(0),
        1..130_usize,
        limits::PIECE_BYTES - 1..limits::PIECE_BYTES + 2,
        1..FRAME_BYTES_MAX + 2,
    ];
    let text = prop_oneof![4 => Just("aé漢🦀"), 1 => Just("a")];
    (opcode, 0..10_u8, len, text, 0..40_u8).prop_map(|(opcode, whole, len, text, spoilt)| {
        let is_control = matches!(opcode, OpCode::Control(_));
        let len = if is_control { len % 126 } else { len };
        let mut payload: Vec<u8> = text.bytes().cycle().take(len).collect();
        if let Some(last) = payload.last_mut()
            && spoilt == 0
        {
            *last = 0xff;
        }
        (opcode, is_control || whole < 6, payload)
    })
}

/// The bytes of these frames; a continuation is one only where there is something to go on from.
fn bytes_of(frames: Vec<(OpCode, bool, Vec<u8>)>, key: [u8; 4]) -> Vec<u8> {
    let (mut bytes, mut goes_on) = (Vec::new(), false);
    for (opcode, is_final, payload) in frames {
        let opcode = match opcode {
            OpCode::Data(_) if goes_on => OpCode::Data(Data::Continue),
            OpCode::Data(Data::Continue) => OpCode::Data(Data::Binary),
            other => other,
        };
        if matches!(opcode, OpCode::Data(_)) {
            goes_on = !is_final;
        }
        let mut frame = Frame::message(payload, OpCode::Data(Data::Binary), is_final);
        frame.header_mut().opcode = opcode;
        frame.header_mut().mask = Some(key);
        frame.format(&mut bytes).unwrap();
    }
    bytes
}

/// The lengths of the payloads of these frames.
fn lengths(mut bytes: &[u8]) -> Vec<u64> {
    let mut lengths = Vec::new();
    while let Some((at, head)) =
        (0..=bytes.len()).find_map(|at| Some((at, Head::parse(&bytes[..at])?)))
    {
        lengths.push(head.len);
        bytes = bytes.get(at + usize::try_from(head.len).unwrap()..).unwrap_or_default();
    }
    lengths
}

proptest! {
    /// Whatever a client sends, and however it arrives, is read as if it had not been cut.
    #[test]
    fn a_cut_changes_nothing_of_what_is_said(
        frames in vec(frame(), 0..12),
        key: [u8; 4],
        chunks in vec(1..5_000_usize, 1..8),
    ) {
        let bytes = bytes_of(frames, key);
        let (mut in_pieces, whole) = (read(cut(&bytes, &chunks)), read(bytes));
        // Text that is spoilt in the frame that makes its message too long: the piece with the bad
        // byte comes before the piece that is too much.
        if in_pieces.1 == "Utf8" && whole.1 == TOO_LONG {
            in_pieces.1.clone_from(&whole.1);
        }
        prop_assert_eq!(in_pieces, whole);
    }

    /// The codec sees no frame that it would have to make much room for.
    #[test]
    fn what_may_be_cut_is_cut(
        len in 0..=FRAME_BYTES_MAX,
        key: [u8; 4],
        chunks in vec(1..5_000_usize, 1..8),
    ) {
        let bytes = bytes_of(vec![(OpCode::Data(Data::Binary), true, vec![7; len])], key);
        let pieces = lengths(&cut(&bytes, &chunks));
        prop_assert!(pieces.iter().all(|piece| *piece <= limits::PIECE_BYTES as u64));
        prop_assert_eq!(pieces.iter().sum::<u64>(), len as u64);
    }

    /// Bytes that are no frames are not lost, and end nothing but themselves.
    #[test]
    fn any_bytes_can_be_taken(bytes in vec(any::<u8>(), 0..300), chunks in vec(1..50_usize, 1..8)) {
        prop_assert_eq!(cut(&bytes, &chunks), cut(&bytes, &[bytes.len().max(1)]));
    }
}

#[test]
fn a_frame_beyond_the_limit_is_refused_by_its_head() {
    let payload = vec![7; FRAME_BYTES_MAX + 1];
    let bytes = bytes_of(vec![(OpCode::Data(Data::Binary), true, payload)], [1, 2, 3, 4]);
    assert_eq!(cut(&bytes, &[100]), bytes);
    let head = bytes[..8].to_vec();
    assert_eq!(read(cut(&head, &[1])), (vec![], TOO_LONG.to_owned()));
}
