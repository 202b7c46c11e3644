//! `set` and `patch`: changing a store.

use std::io::Read as _;

use clap::Args;
use serde::Serialize;
use statehouse::json::{Identity, Json, JsonOp, JsonPatch, Pointer, between};
use statehouse::protocol::{self, ClientMessage, ServerMessage, Whole};

use super::client::{Backoff, Client, Lost, no_limits};
use super::{Failure, Place, output, parse_pointer};

/// Connections that an edit may lose before it is given up.
const ATTEMPTS_MAX: usize = 8;

/// Arguments of `set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    place: Place,
    /// A JSON pointer (RFC 6901) into the state, and the value to put there; `-` reads the value
    /// from standard input. A string is in quotes: '"text"'.
    #[arg(
        value_name = "[POINTER] VALUE",
        num_args = 1..=2,
        required = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

/// Arguments of `patch`.
#[derive(Debug, Args)]
pub(super) struct Patch {
    #[command(flatten)]
    place: Place,
    /// A JSON patch (RFC 6902); `-` reads it from standard input.
    #[arg(value_name = "PATCH", allow_hyphen_values = true)]
    patch: String,
}

/// What an edit prints.
#[derive(Debug, Serialize)]
struct Outcome {
    /// The seq of the state with the edit in it.
    seq: u64,
    /// Whether there was anything to change.
    changed: bool,
}

impl Set {
    /// Writes only what differs, so that what others change at the same time elsewhere stays.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (pointer, value) = match &*self.arguments {
            [pointer, value] => (parse_pointer(pointer).map_err(Failure::Usage)?, value),
            [value] => (Pointer::root(), value),
            _ => return Err(Failure::Usage("expected [POINTER] VALUE".to_owned())),
        };
        let hint = "the value is not JSON (a string is in quotes: '\"text\"')";
        let value: Json = read_json(value, hint)?;
        let mut client = Client::connect(&self.place).await?;
        let base = client.fetch().await?;
        let target = place_value(&base.state, pointer, value)?;
        let patch = between(&base.state, &target, &Identity::default());
        if patch.ops.is_empty() {
            client.close().await;
            return output::print_json(&Outcome { seq: base.seq, changed: false });
        }
        let seq = submit(&self.place, client, base.seq, patch).await?;
        output::print_json(&Outcome { seq, changed: true })
    }
}

impl Patch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let patch: JsonPatch = read_json(&self.patch, "not a JSON patch")?;
        let changed = !patch.ops.is_empty();
        let mut client = Client::connect(&self.place).await?;
        let base = client.fetch().await?;
        let seq = submit(&self.place, client, base.seq, patch).await?;
        output::print_json(&Outcome { seq, changed })
    }
}

/// The argument, or standard input, as JSON.
fn read_json<T: serde::de::DeserializeOwned>(argument: &str, hint: &str) -> Result<T, Failure> {
    let mut input = String::new();
    let text = if argument == "-" {
        std::io::stdin()
            .read_to_string(&mut input)
            .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        &input
    } else {
        argument
    };
    serde_json::from_str(text).map_err(|error| Failure::Usage(format!("{hint}: {error}")))
}

/// The state with the value in its place, which need not have been there.
fn place_value(state: &Json, pointer: Pointer, value: Json) -> Result<Json, Failure> {
    let name = pointer.to_string();
    let op = match state.get(&pointer) {
        Some(_) => JsonOp::Replace { path: pointer, value },
        None => JsonOp::Add { path: pointer, value },
    };
    match (JsonPatch { ops: vec![op] }).apply(state, &no_limits()) {
        Ok(applied) => Ok(applied.json),
        Err(_no_parent) => Err(Failure::Nothing(name)),
    }
}

/// Sends an edit until it is known to be durable, and returns its seq. The id makes it safe to
/// send again: the server makes of it one change, however often it comes.
async fn submit(
    place: &Place,
    mut client: Client,
    base: u64,
    patch: JsonPatch,
) -> Result<u64, Failure> {
    let id = format!("{:032x}", rand::random::<u128>());
    let message = ClientMessage::Patch(protocol::Patch {
        store: place.at.1.as_str().into(),
        seq: Whole(i64::try_from(base).unwrap_or(i64::MAX)),
        id: Some(id.as_str().into()),
        patch,
    });
    let mut backoff = Backoff::new();
    let mut lost = Lost::Connection("it was never made".to_owned());
    for _ in 0..ATTEMPTS_MAX {
        match attempt(&mut client, &message, &id).await {
            Ok(seq) => {
                client.close().await;
                return Ok(seq);
            }
            Err(Lost::Failure(failure)) => return Err(failure),
            Err(connection) => lost = connection,
        }
        backoff.pause().await;
        match Client::connect(place).await {
            Ok(mut again) => {
                // If this socket is lost as well, the next attempt finds out.
                if again.hello(Some(base)).await.is_ok() {
                    client = again;
                }
            }
            Err(Failure::Unreachable(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Unreachable(format!("{lost}; it is not known whether the change was made")))
}

async fn attempt(client: &mut Client, message: &ClientMessage<'_>, id: &str) -> Result<u64, Lost> {
    client.say(message).await?;
    loop {
        match client.hear_soon().await? {
            ServerMessage::Ack { id: acked, seq, .. } if acked.as_deref() == Some(id) => {
                return Ok(seq);
            }
            ServerMessage::Nack { id: refused, code, message, .. }
                if refused.as_deref() == Some(id) =>
            {
                let (code, message) = (code.into_owned(), message.into_owned());
                return Err(Failure::Refused { code, message }.into());
            }
            _ => {}
        }
    }
}
