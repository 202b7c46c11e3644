//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Drives real server processes with many clients, and prints what each server spent.
#[derive(Debug, Clone, Parser)]
#[command(name = "sockets")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Flags {
    /// How long each workload is measured, in seconds.
    #[arg(long, default_value_t = 8.0)]
    pub(crate) seconds: f64,
    /// How long each workload runs before it is measured, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm: f64,
    /// Clients on one document (workload `steady`).
    #[arg(long, default_value_t = 20)]
    pub(crate) clients: usize,
    /// Edits a second that these make together.
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// Writers on one document (workload `hot`).
    #[arg(long, default_value_t = 8)]
    pub(crate) writers: usize,
    /// Changes in the prepared document (workloads `handshake` and `crowd`).
    #[arg(long, default_value_t = 100_000)]
    pub(crate) changes: i64,
    /// Handshakes of fresh clients in a row (workload `handshake`).
    #[arg(long, default_value_t = 10)]
    pub(crate) handshakes: usize,
    /// Sessions on the prepared document, and idle sockets (workloads `crowd` and `idle`).
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sessions: usize,
    /// Edits made before the crowd, one a second.
    #[arg(long, default_value_t = 20)]
    pub(crate) crowd_edits: u64,
    /// The crowd comes without the document, instead of with what it had from the last time.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// How long the crowd may take to come in, in seconds; then it stays as large as it is.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) opening: f64,
    /// Documents with two writers each (workload `many`).
    #[arg(long, default_value_t = 200)]
    pub(crate) documents: usize,
    /// How long clients may take to agree, in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) patience: f64,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Work>,
    /// Only these servers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) servers: Vec<Kind>,
    /// Prints the results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// A tiny round of everything.
    #[arg(long)]
    pub(crate) test: bool,
    /// Said by cargo to every bench.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// Be this server instead, until killed.
    #[arg(long, hide = true)]
    pub(crate) serve: Option<Kind>,
    /// Where that server keeps its data.
    #[arg(long, hide = true, default_value = ".")]
    pub(crate) data: PathBuf,
}

/// A server that is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Copies frames and knows nothing: what the sockets alone cost.
    Relay,
    /// The binary of this package.
    Statehouse,
    /// samod over axum, with its storage in files.
    Samod,
    /// `@automerge/automerge-repo-sync-server` under Node.
    Node,
}

impl Kind {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Relay, Self::Statehouse, Self::Samod, Self::Node];

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Statehouse => "statehouse",
            Self::Samod => "samod",
            Self::Node => "sync-server",
        }
    }
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Work {
    /// One document, many clients, a steady stream of edits.
    Steady,
    /// One document, writers that wait only for their own acknowledgements.
    Hot,
    /// Fresh clients that fetch a document with a long history, before and after a restart.
    Handshake,
    /// Very many sessions on that document, and an edit a second.
    Crowd,
    /// Many documents with two writers each.
    Many,
    /// Sockets that joined and say nothing.
    Idle,
}

impl Work {
    const ALL: [Self; 6] =
        [Self::Steady, Self::Hot, Self::Handshake, Self::Crowd, Self::Many, Self::Idle];
}

impl Flags {
    /// The flags as given; `--test` makes everything tiny.
    pub(crate) fn read() -> Self {
        let flags = Self::parse();
        if !flags.test {
            return flags;
        }
        Self {
            seconds: 0.3,
            warm: 0.1,
            clients: 3,
            writers: 2,
            changes: 300,
            handshakes: 2,
            sessions: 5,
            crowd_edits: 2,
            documents: 3,
            ..flags
        }
    }

    /// The workloads to run.
    pub(crate) fn works(&self) -> Vec<Work> {
        if self.only.is_empty() { Work::ALL.to_vec() } else { self.only.clone() }
    }

    /// The servers to run.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        if self.servers.is_empty() { Kind::ALL.to_vec() } else { self.servers.clone() }
    }

    /// How long clients may take to agree.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience)
    }
}
