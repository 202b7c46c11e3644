//! The body of a request: what it says it is, how large it may be, and how long it may take.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::limits;
use crate::server::problem::Problem;
use crate::workspace::Refusal;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Its length, in bytes.
    pub(super) bytes_max: usize,
    /// Time in which the client must send some of it.
    pub(super) stall: Duration,
}

/// The media type of the body, without parameters and in small letters.
pub(in crate::server) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
}

/// The body is of a kind that is not understood; `header` says which are.
pub(in crate::server) fn unsupported(header: header::HeaderName, kinds: &'static str) -> Problem {
    let detail = format!("the content-type is one of {kinds}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
        .with(header, HeaderValue::from_static(kinds))
}

/// Reads the whole body.
///
/// Errors: 413 `too-large`, 408 `request-timeout`, 415 for one that is compressed, 400 for one that
/// breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    allowance: Allowance,
) -> Result<Vec<u8>, Problem> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(unsupported(header::ACCEPT_ENCODING, "identity"));
    }
    let whole = Duration::from_millis(limits::BODY_MS_MAX);
    match timeout(whole, gather(body, allowance)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(late()),
    }
}

async fn gather(body: Body, allowance: Allowance) -> Result<Vec<u8>, Problem> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut surplus) = (Vec::new(), 0_usize);
    loop {
        let piece: Bytes = match timeout(allowance.stall, pieces.next()).await {
            Err(_elapsed) => return Err(late()),
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_error))) => {
                return Err(Problem::of(&Refusal::BadMessage("the body breaks off".to_owned())));
            }
        };
        if surplus == 0 && bytes.len().saturating_add(piece.len()) <= allowance.bytes_max {
            bytes.extend_from_slice(&piece);
            continue;
        }
        // A client that is answered while it sends may never hear the answer.
        bytes = Vec::new();
        surplus = surplus.saturating_add(piece.len()).max(1);
        if surplus > limits::BODY_SURPLUS_BYTES_MAX {
            break;
        }
    }
    if surplus > 0 {
        return Err(too_large(allowance.bytes_max));
    }
    Ok(bytes)
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("a body has at most {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

fn late() -> Problem {
    let detail = "the body did not come in time";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn allowance(bytes_max: usize) -> Allowance {
        Allowance { bytes_max, stall: Duration::from_millis(20) }
    }

    fn in_pieces(pieces: &[usize]) -> Body {
        let pieces: Vec<_> = pieces.iter().map(|len| Bytes::from(vec![b'x'; *len])).collect();
        Body::from_stream(stream::iter(pieces).map(Ok::<_, std::convert::Infallible>))
    }

    async fn outcome(body: Body, bytes_max: usize) -> Result<usize, &'static str> {
        let read = read(&HeaderMap::new(), body, allowance(bytes_max)).await;
        read.map(|bytes| bytes.len()).map_err(|problem| problem.code())
    }

    #[tokio::test]
    async fn a_body_is_as_large_as_it_may_be_and_no_larger() {
        assert_eq!(outcome(in_pieces(&[]), 10).await, Ok(0));
        assert_eq!(outcome(in_pieces(&[4, 6]), 10).await, Ok(10));
        assert_eq!(outcome(in_pieces(&[4, 7]), 10).await, Err("too-large"));
        assert_eq!(outcome(in_pieces(&[11, 1, 1]), 10).await, Err("too-large"));
        assert_eq!(outcome(in_pieces(&[11, 0]), 10).await, Err("too-large"));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>());
        assert_eq!(outcome(never, 10).await, Err("request-timeout"));
        let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err("gone")]);
        assert_eq!(outcome(Body::from_stream(broken), 10).await, Err("bad-message"));
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters() {
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), None);
        let value = HeaderValue::from_static("Application/JSON-patch+json ; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, value);
        assert_eq!(media_type(&headers).unwrap(), "application/json-patch+json");
    }
}
