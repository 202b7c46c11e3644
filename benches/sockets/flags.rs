//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use statehouse::bench::work::Sizes;

/// Drives real server processes with many clients, and prints what each server spent.
#[derive(Debug, Clone, Parser)]
#[command(name = "sockets")]
pub(crate) struct Flags {
    /// How long clients that edit are measured, in seconds
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// This part of the numbers of `statehouse bench --full`, but of the rates
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How long clients may take to agree, in seconds
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    only: Vec<Load>,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Prints the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A tiny round of everything
    #[arg(long)]
    test: bool,
    /// Said by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
    /// Be samod instead, with this folder, until killed
    #[arg(long, hide = true)]
    pub(crate) be_samod: Option<PathBuf>,
}

/// A server that is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
    const ALL: [Self; 4] = [Self::Relay, Self::Statehouse, Self::Samod, Self::Node];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// One document, many clients, a steady stream of edits.
    One,
    /// One document, writers that wait only for their own acknowledgements.
    Hot,
    /// Fresh clients that fetch a document with a long history, before and after a restart.
    Cold,
    /// Very many sessions on that document, and an edit a second.
    Crowd,
    /// Many documents with two writers each.
    Many,
    /// Sockets that joined and say nothing.
    Idle,
}

impl Load {
    const ALL: [Self; 6] = [Self::One, Self::Hot, Self::Cold, Self::Crowd, Self::Many, Self::Idle];
}

impl Flags {
    /// The flags as given.
    pub(crate) fn read() -> Self {
        Self::parse()
    }

    /// How large the workloads are; `--test` makes everything tiny.
    pub(crate) fn sizes(&self) -> Sizes {
        let (part, seconds) = if self.test { (0.01, 0.3) } else { (self.scale, self.seconds) };
        let idle = if self.test { 10 } else { 1_000 };
        let patience = Duration::from_secs_f64(self.patience);
        Sizes { seconds, patience, idle, ..Sizes::full().scaled(part) }
    }

    /// The workloads to run.
    pub(crate) fn loads(&self) -> Vec<Load> {
        if self.only.is_empty() { Load::ALL.to_vec() } else { self.only.clone() }
    }

    /// The servers to run.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        if self.servers.is_empty() { Kind::ALL.to_vec() } else { self.servers.clone() }
    }
}
