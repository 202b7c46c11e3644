//! The frames of the automerge-repo WebSocket protocol, version 1, as far as a bench needs them:
//! one CBOR map (RFC 8949) in a binary message.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::Outcome;

/// What a frame says; a field that it does not have is empty.
#[derive(Debug, Default, PartialEq)]
pub struct Frame {
    /// `join`, `peer`, `request`, `sync`, `doc-unavailable`, `error` and others.
    pub kind: String,
    /// Who sent it.
    pub sender: String,
    /// The document it is about, bs58check.
    pub document: String,
    /// An Automerge sync message.
    pub data: Vec<u8>,
    /// The text of an error.
    pub message: String,
}

/// The first frame of a client.
pub fn join(sender: &str) -> Vec<u8> {
    written(|out| {
        out.map(4)?.str("type")?.str("join")?.str("senderId")?.str(sender)?;
        out.str("peerMetadata")?.map(1)?.str("isEphemeral")?.bool(true)?;
        out.str("supportedProtocolVersions")?.array(1)?.str("1")?;
        Ok(())
    })
}

/// The answer of a server.
pub fn peer(sender: &str, target: &str) -> Vec<u8> {
    written(|out| {
        out.map(5)?.str("type")?.str("peer")?.str("senderId")?.str(sender)?;
        out.str("targetId")?.str(target)?.str("selectedProtocolVersion")?.str("1")?;
        out.str("peerMetadata")?.map(1)?.str("isEphemeral")?.bool(false)?;
        Ok(())
    })
}

/// A sync message in a frame of this kind: `request` or `sync`.
pub fn sync(kind: &str, between: [&str; 2], document: &str, data: &[u8]) -> Vec<u8> {
    let [sender, target] = between;
    written(|out| {
        out.map(5)?.str("type")?.str(kind)?.str("senderId")?.str(sender)?;
        out.str("targetId")?.str(target)?.str("documentId")?.str(document)?;
        out.str("data")?.bytes(data)?;
        Ok(())
    })
}

fn written(
    write: impl FnOnce(
        &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    match write(&mut out) {
        // Writing to memory fails for nobody.
        Ok(()) | Err(_) => out.into_writer(),
    }
}

/// Reads any frame, and passes over what it does not know.
pub fn read(bytes: &[u8]) -> Outcome<Frame> {
    fields(&mut Decoder::new(bytes)).map_err(|error| format!("not a frame: {error}"))
}

fn fields(input: &mut Decoder<'_>) -> Result<Frame, minicbor::decode::Error> {
    let mut frame = Frame::default();
    let count = input.map()?.ok_or_else(|| minicbor::decode::Error::message("no length"))?;
    for _ in 0..count {
        let name = input.str()?;
        let text = input.datatype()? == Type::String;
        match name {
            "type" if text => input.str()?.clone_into(&mut frame.kind),
            "senderId" if text => input.str()?.clone_into(&mut frame.sender),
            "documentId" if text => input.str()?.clone_into(&mut frame.document),
            "message" if text => input.str()?.clone_into(&mut frame.message),
            "data" if input.datatype()? == Type::Bytes => frame.data = input.bytes()?.to_vec(),
            _ => input.skip()?,
        }
    }
    Ok(frame)
}
