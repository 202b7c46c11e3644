//! `get` and `watch`: reading a store.

use clap::Args;
use serde::Serialize;
use statehouse::json::{Identity, Json, JsonPatch, Pointer, between};
use statehouse::protocol::ServerMessage;

use super::client::{Backoff, Client, Lost, Snapshot, no_limits};
use super::{Failure, Place, output, parse_pointer};

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    place: Place,
    /// A JSON pointer (RFC 6901) into the state.
    #[arg(
        value_name = "POINTER",
        default_value = "",
        hide_default_value = true,
        value_parser = parse_pointer
    )]
    pointer: Pointer,
    /// Print compact JSON.
    #[arg(long)]
    raw: bool,
}

impl Get {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::connect(&self.place).await?;
        let version = client.fetch().await?;
        client.close().await;
        let value = version.state.get(&self.pointer);
        let value = value.ok_or_else(|| Failure::Nothing(self.pointer.to_string()))?;
        if self.raw { output::print_json(value) } else { output::print_pretty(value) }
    }
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    place: Place,
    /// A JSON pointer (RFC 6901) into the state: only what changes there is printed.
    #[arg(
        value_name = "POINTER",
        default_value = "",
        hide_default_value = true,
        value_parser = parse_pointer
    )]
    pointer: Pointer,
    /// Print what changed, as a JSON patch, instead of the new value.
    #[arg(long)]
    patch: bool,
}

/// A line of `watch`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    seq: u64,
    /// Left out if there is nothing at the pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<JsonPatch>,
}

impl Watch {
    /// Runs until it is interrupted. The first line is the state as it is; a lost connection is
    /// made again, and goes on where it was lost.
    pub(super) async fn run(self) -> Result<(), Failure> {
        tokio::select! {
            done = self.follow() => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn follow(&self) -> Result<(), Failure> {
        let mut held = None;
        // The first time, a server that is not there is an error and not something to wait for.
        let mut client = Client::connect(&self.place).await?;
        let mut backoff = Backoff::new();
        loop {
            match self.listen(&mut client, &mut held, &mut backoff).await {
                Lost::Failure(failure) => return Err(failure),
                lost @ Lost::Connection(_) => output::complain(&format!("{lost}; trying again")),
            }
            client = loop {
                backoff.pause().await;
                match Client::connect(&self.place).await {
                    Ok(client) => break client,
                    Err(Failure::Unreachable(_)) => {}
                    Err(failure) => return Err(failure),
                }
            };
        }
    }

    /// Prints what changes until the connection is lost.
    async fn listen(
        &self,
        client: &mut Client,
        held: &mut Option<Snapshot>,
        backoff: &mut Backoff,
    ) -> Lost {
        if let Err(lost) = client.hello(held.as_ref().map(|version| version.seq)).await {
            return lost;
        }
        loop {
            let version = match client.hear().await {
                Err(lost) => return lost,
                Ok(ServerMessage::Snapshot { seq, state, .. }) => {
                    Snapshot { seq, state: state.into_owned() }
                }
                Ok(ServerMessage::Patch { seq, patch, .. }) => {
                    let Some(base) = held.as_ref() else { continue };
                    match patch.apply(&base.state, &no_limits()) {
                        Ok(applied) => Snapshot { seq, state: applied.json },
                        Err(error) => {
                            let message = format!("cannot apply what the server sent: {error}");
                            return Failure::Failed(message).into();
                        }
                    }
                }
                Ok(_) => continue,
            };
            *backoff = Backoff::new();
            if let Err(failure) = self.print(held.as_ref(), &version) {
                return failure.into();
            }
            *held = Some(version);
        }
    }

    fn print(&self, old: Option<&Snapshot>, new: &Snapshot) -> Result<(), Failure> {
        let value = new.state.get(&self.pointer);
        let before = old.and_then(|old| old.state.get(&self.pointer));
        if old.is_some() && before == value {
            return Ok(());
        }
        // Where there was nothing, or is nothing now, a patch has nothing to speak of.
        let patch = match (before, value) {
            (Some(before), Some(value)) if self.patch => {
                Some(between(before, value, &Identity::default()))
            }
            _ => None,
        };
        let value = if patch.is_some() { None } else { value };
        output::print_json(&Line { seq: new.seq, value, patch })
    }
}
