//! What one world is made of: drawn from its seed, and changed by whoever wants it otherwise.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::chance::Chance;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)*) => {
        /// What can go wrong in a world.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }
        }
    };
}

faults! {
    /// Messages take up to seconds instead of milliseconds.
    Delay = "delay",
    /// Sockets break, and what was on its way is lost.
    Cut = "cut",
    /// Clients are gone and the server does not notice.
    HalfOpen = "half-open",
    /// Clients send again what they have sent before.
    Resend = "resend",
    /// Clients stop reading for a while.
    SlowReader = "slow-reader",
    /// Clients edit while they are away: hundreds of edits.
    LongOffline = "long-offline",
    /// The server dies at any moment, and comes back.
    Crash = "crash",
    /// The server dies while it writes the log: just before, or just after.
    CrashInAppend = "crash-in-append",
    /// The server dies while it reads the log.
    CrashInRecovery = "crash-in-recovery",
    /// The server is stopped in order, and started again.
    Restart = "restart",
    /// The log refuses to append.
    FailedAppend = "failed-append",
    /// The log appends some of what it is given.
    ShortAppend = "short-append",
    /// The log appends and says that it could not.
    TornAppend = "torn-append",
    /// The log cannot be read.
    FailedRead = "failed-read",
    /// A checkpoint cannot be made.
    FailedCheckpoint = "failed-checkpoint",
    /// The log takes up to seconds.
    SlowDisk = "slow-disk",
    /// The user's own container of JSON is away, is slow, and is changed by others.
    Container = "container",
    /// Handlers of triggers take their time.
    SlowTrigger = "slow-trigger",
    /// Handlers of triggers panic.
    PanickingTrigger = "panicking-trigger",
    /// The clock on the wall jumps, back too.
    ClockJump = "clock-jump",
    /// Memory is so short that workspaces are unloaded whenever nobody is there.
    Eviction = "eviction",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|fault| fault.as_str() == name);
        found.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|fault| fault.as_str()).collect();
            format!("no such fault; there are {}", all.join(", "))
        })
    }
}

/// The kinds of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Speaks the original protocol, and counts by itself.
    Legacy,
    /// Speaks JSON, understands `ack`, and queues while it is away.
    Ack,
    /// Speaks Automerge in the JSON dialect.
    Crdt,
    /// Speaks the dialect of automerge-repo.
    Repo,
    /// Means no good, in every dialect.
    Liar,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Legacy, Self::Ack, Self::Crdt, Self::Repo, Self::Liar];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Ack => "ack",
            Self::Crdt => "crdt",
            Self::Repo => "repo",
            Self::Liar => "liar",
        }
    }
}

/// What is to be otherwise than the seed says. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// At most so many clients of each kind, in the order of [`Kind::ALL`].
    pub clients: [Option<u32>; 5],
    /// At most so many actions of each client.
    pub actions: Option<u32>,
    /// At most so many stores.
    pub stores: Option<usize>,
    /// None of these.
    pub without: BTreeSet<Fault>,
}

impl fmt::Display for Changes {
    /// As options of the command line, each with a blank before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, clients) in Kind::ALL.iter().zip(self.clients) {
            if let Some(clients) = clients {
                write!(f, " --{} {clients}", kind.as_str())?;
            }
        }
        if let Some(actions) = self.actions {
            write!(f, " --actions {actions}")?;
        }
        if let Some(stores) = self.stores {
            write!(f, " --stores {stores}")?;
        }
        for (n, fault) in self.without.iter().enumerate() {
            write!(f, "{}{fault}", if n == 0 { " --without " } else { "," })?;
        }
        Ok(())
    }
}

/// One world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Clients of each kind, in the order of [`Kind::ALL`].
    pub clients: [u32; 5],
    /// What each client does, in the mean: edits, above all.
    pub actions: u32,
    /// Pause between two actions of a client, at most, in milliseconds.
    pub pause_ms_max: u64,
    /// Stores.
    pub stores: usize,
    /// What goes wrong.
    pub faults: BTreeSet<Fault>,
}

impl Plan {
    /// The world of a seed, with these changes. A world has some of the faults, not all: what one
    /// of them hides, another world shows.
    pub fn draw(seed: u64, stores_max: usize, changes: &Changes) -> Self {
        let mut chance = Chance::new(seed, "plan");
        // Small worlds mostly: they are quick, and say as much.
        let bound = [6, 6, 6, 12][chance.index(4)];
        let mut some = |from: u64| u32::try_from(from + chance.below(bound)).unwrap_or(0);
        let json = some(2);
        let crdts = some(2);
        let legacy = 1 + u32::try_from(chance.below(u64::from(json) - 1)).unwrap_or(0);
        let repos = u32::try_from(chance.below(u64::from(crdts) + 1)).unwrap_or(0);
        let liars = u32::try_from(chance.below(3)).unwrap_or(0);
        let mut clients = [legacy, json - legacy, crdts - repos, repos, liars];
        let actions = [2, 5, 10, 20, 40][chance.index(5)];
        let stores = 1 + chance.index(stores_max);
        let pause_ms_max = [5, 50, 500, 2_000][chance.index(4)];
        let likely = 1 + chance.below(4);
        let mut faults: BTreeSet<Fault> = Fault::ALL
            .iter()
            .copied()
            .filter(|fault| match fault {
                Fault::LongOffline => chance.one_in(12),
                _ => chance.one_in(1 + likely),
            })
            .collect();
        for (clients, at_most) in clients.iter_mut().zip(changes.clients) {
            *clients = (*clients).min(at_most.unwrap_or(u32::MAX));
        }
        faults.retain(|fault| !changes.without.contains(fault));
        Self {
            seed,
            clients,
            actions: actions.min(changes.actions.unwrap_or(u32::MAX)),
            pause_ms_max,
            stores: stores.min(changes.stores.unwrap_or(usize::MAX)).max(1),
            faults,
        }
    }

    /// Whether this goes wrong in it.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Clients of one kind.
    pub fn count(&self, kind: Kind) -> u32 {
        let at = Kind::ALL.iter().position(|other| *other == kind);
        at.and_then(|at| self.clients.get(at)).copied().unwrap_or(0)
    }
}
