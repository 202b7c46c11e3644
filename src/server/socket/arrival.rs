//! The first moment of a socket, in which it shows who has come, and how long that counts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{
    CLOSE, End, FrameSink, FrameStream, Seat, await_goodbye, close, end_of, length, reached,
};
use crate::limits;
use crate::protocol::codes::Closing;
use crate::server::Phase;
use crate::server::auth::{Credential, Entry, Guard};
use crate::server::tongue::Heard;
use crate::workspace::{Request, Rights};

/// Who has come, and what he said first if that was to say who he is.
pub(super) struct Arrival {
    pub(super) user: Arc<str>,
    pub(super) rights: Arc<Rights>,
    pub(super) guard: Option<Guard>,
    pub(super) first: Option<(Request, usize)>,
}

/// Finds out who it is. Where he has to say so himself, nothing else is heard before, and nothing
/// is said.
pub(super) async fn arrive(stream: &mut impl FrameStream, seat: &Seat) -> Result<Arrival, End> {
    let known = |guard: Guard, first| {
        let (user, rights) = (Arc::clone(guard.user()), Arc::clone(guard.rights()));
        Arrival { user, rights, guard: Some(guard), first }
    };
    let auth = match &seat.entry {
        Entry::Open(user) => {
            let (user, rights) = (Arc::clone(user), Arc::new(Rights::all()));
            return Ok(Arrival { user, rights, guard: None, first: None });
        }
        Entry::Known(guard) => return Ok(known(guard.clone(), None)),
        Entry::Awaited(auth) => auth,
    };
    let hello = async {
        loop {
            let frame = match stream.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(end_of(&error)),
                None => return Err(End::Gone),
            };
            let bytes = length(&frame);
            return match seat.tongue.hear(&frame, &seat.rules.limits) {
                Heard::Hello(request, token) => Ok((request, bytes, token)),
                Heard::Nothing => continue,
                Heard::End(_, closing) => Err(End::Close(closing)),
                Heard::Request(_) | Heard::Answer(_) => Err(End::Close(Closing::UNAUTHORIZED)),
            };
        }
    };
    let mut phase = seat.phase.clone();
    let heard = tokio::select! {
        biased;
        () = reached(&mut phase, Phase::Stopping) => return Err(End::Close(Closing::RESTART)),
        heard = timeout(Duration::from_millis(limits::HELLO_MS_MAX), hello) => heard,
    };
    let in_time = heard.unwrap_or(Err(End::Close(Closing::UNAUTHORIZED)));
    let (request, bytes, token) = in_time?;
    match auth.admit(&Credential::Token(token), &seat.workspace).await {
        Ok(guard) => Ok(known(guard, Some((request, bytes)))),
        Err(error) => {
            tracing::debug!(workspace = %seat.workspace, %error, "somebody is not let in");
            Err(End::Close(error.closing()))
        }
    }
}

/// Says why a client is not served.
pub(super) async fn turn_away(
    sink: &mut impl FrameSink,
    stream: &mut impl FrameStream,
    closing: Closing,
) {
    if let Ok(Ok(())) = timeout(CLOSE, close(sink, closing)).await {
        await_goodbye(stream).await;
    }
}

/// Waits until what the client has shown, first or since, does not count any more.
pub(super) async fn expired(mut guard: watch::Receiver<Option<Guard>>) -> Closing {
    loop {
        let shown = guard.borrow_and_update().clone();
        let Some(shown) = shown else { return std::future::pending().await };
        tokio::select! {
            biased;
            renewed = guard.changed() => {
                if renewed.is_err() {
                    return std::future::pending().await;
                }
            }
            why = shown.ended() => return why.closing(),
        }
    }
}
