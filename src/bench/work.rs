//! The workloads. Each starts servers of its own, so that none pays for another's past.

mod catchup;
mod cold;
mod idle;
mod kill;
mod live;
mod sizes;
mod slow;
mod touched;

use std::time::Duration;

use automerge::Automerge;
use clap::ValueEnum;
use rand::RngExt as _;

use super::Outcome;
use super::client::Client;
use super::figures::{Figure, figure};
use super::replica::prepared;
use super::report::{Column, Section, beside};
use super::run::{End, Measured, Span};
use super::target::{Sources, Target};
use super::voice::{Dialect, Place};

/// Changes in a document before the clients of a live workload edit it.
const SEED_CHANGES: u64 = 200;

/// Part of its threads' time from which on the load generator is itself in the way.
const BUSY: f64 = 0.9;

/// The number of a client that only looks, among those of a document.
const LOOKER: u32 = u32::MAX;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Work {
    /// One document, 20 clients, 50 edits a second in all.
    One,
    /// One document, 8 writers flat out.
    Hot,
    /// Many documents with two writers each.
    Many,
    /// Connections that say nothing.
    Idle,
    /// Opening a document with a long history.
    Cold,
    /// Documents that are written to once, and then left.
    Touched,
    /// Coming back after many commits.
    Catchup,
    /// kill -9 under load.
    Kill,
    /// Sockets that do not read, beside others that do.
    Slow,
    /// Edits in documents of several sizes.
    Sizes,
}

/// How large the workloads are.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// How long each live workload is measured, in seconds.
    pub seconds: f64,
    /// Clients of one document.
    pub clients: usize,
    /// Edits that these make together in a second.
    pub rate: f64,
    /// Writers flat out.
    pub writers: usize,
    /// Documents with two writers.
    pub documents: usize,
    /// Connections that say nothing.
    pub idle: usize,
    /// For so many intervals between pings these are watched; below 1 not at all.
    pub pings: f64,
    /// Changes in the document that is opened.
    pub cold_changes: u64,
    /// Documents that are written to once.
    pub touched: usize,
    /// How long the memory of these is watched once they may go, in seconds.
    pub watched: f64,
    /// Commits that a client has missed.
    pub missed: u64,
    /// Clients that come back at once.
    pub returning: usize,
    /// How often the server is killed.
    pub kills: usize,
    /// Sockets of one document, of which a tenth does not read.
    pub sockets: usize,
    /// Keys, and changes, of a large document; a small one has 1,000.
    pub large: u64,
    /// Edits by which the cost in such a document is measured.
    pub large_edits: u64,
    /// How long clients may take to agree.
    pub patience: Duration,
}

impl Sizes {
    /// Of a run of about a minute.
    pub fn quick() -> Self {
        Self {
            seconds: 1.5,
            idle: 1_000,
            pings: 0.0,
            cold_changes: 10_000,
            touched: 500,
            missed: 1_000,
            kills: 3,
            sockets: 200,
            large: 10_000,
            ..Self::full()
        }
    }

    /// Of a run that leaves nothing out.
    pub fn full() -> Self {
        Self {
            seconds: 5.0,
            clients: 20,
            rate: 50.0,
            writers: 8,
            documents: 200,
            idle: 10_000,
            pings: 1.0,
            cold_changes: 100_000,
            touched: 5_000,
            watched: 8.0,
            missed: 3_600,
            returning: 100,
            kills: 10,
            sockets: 1_000,
            large: 100_000,
            large_edits: 64,
            patience: Duration::from_mins(1),
        }
    }

    /// The same with this part of all numbers, but of the rates.
    #[must_use]
    pub fn scaled(self, part: f64) -> Self {
        let some = |number: usize| ((number as f64 * part).round() as usize).max(2);
        let many = |number: u64| ((number as f64 * part).round() as u64).max(2);
        Self {
            clients: some(self.clients),
            writers: some(self.writers),
            documents: some(self.documents),
            idle: some(self.idle).max(10),
            pings: self.pings * part,
            cold_changes: many(self.cold_changes),
            touched: some(self.touched),
            watched: (self.watched * part).max(0.5),
            missed: many(self.missed),
            returning: some(self.returning),
            kills: some(self.kills),
            sockets: some(self.sockets).max(10),
            large: many(self.large).max(2_000),
            large_edits: many(self.large_edits),
            ..self
        }
    }

    /// How long a live run with so many other clients of each document lasts.
    fn span(&self, others: usize) -> Span {
        Span {
            warm: Duration::from_secs_f64((self.seconds / 4.0).min(1.0)),
            measured: Duration::from_secs_f64(self.seconds),
            patience: self.patience,
            others: others as u64,
        }
    }
}

/// What all workloads of one run have in common.
#[derive(Debug)]
pub struct World {
    /// How servers come to be.
    pub sources: Sources,
    /// How large the workloads are.
    pub sizes: Sizes,
    /// Only these dialects; none: all that a workload has.
    pub dialects: Vec<Dialect>,
    small: Automerge,
}

/// What a workload found at one server.
#[derive(Debug, Default)]
pub struct Found {
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What makes it worth less than it looks.
    pub warnings: Vec<String>,
}

impl Found {
    fn with(figures: Vec<Figure>) -> Self {
        Self { figures, warnings: Vec::new() }
    }

    /// Adds a figure that is not known everywhere.
    fn add(&mut self, what: &'static str, unit: &'static str, value: Option<f64>) {
        self.figures.extend(value.map(|value| figure(what, unit, value)));
    }

    fn warn_if_busy(&mut self, busy: f64) {
        if busy > BUSY {
            // Threads that wait for each other's processor count twice.
            let percent = busy.min(1.0) * 100.0;
            self.warnings.push(format!(
                "clients wanted {percent:.0} % of their processors: more might be possible"
            ));
        }
    }
}

impl World {
    /// Prepares what workloads need.
    pub fn new(sources: Sources, sizes: Sizes, dialects: Vec<Dialect>) -> Outcome<Self> {
        Ok(Self { sources, sizes, dialects, small: prepared(SEED_CHANGES)? })
    }

    fn has(&self, dialect: Dialect) -> bool {
        self.dialects.is_empty() || self.dialects.contains(&dialect)
    }

    fn of(&self, dialects: &[Dialect]) -> Vec<Dialect> {
        dialects.iter().copied().filter(|dialect| self.has(*dialect)).collect()
    }

    /// The client with this number of a document. The first one brings the document along.
    pub async fn client(
        &self,
        target: &Target,
        dialect: Dialect,
        (document, number): (&str, usize),
    ) -> Outcome<Client> {
        let brings = number == 0 || target.copies;
        let doc = if brings { self.small.fork() } else { Automerge::new() };
        let number = u32::try_from(number).unwrap_or(LOOKER);
        let voice = dialect.voice(Place::new(document, number), doc, target.copies);
        target.open(dialect, document, voice, self.sizes.patience).await
    }

    /// A newcomer who is given all of a document.
    async fn newcomer(&self, target: &Target, dialect: Dialect, document: &str) -> Outcome<Client> {
        let voice = dialect.voice(Place::new(document, LOOKER), Automerge::new(), false);
        target.open(dialect, document, voice, self.sizes.patience).await
    }

    /// Whether a newcomer is given what those have who were there, and every edit took a seq.
    async fn check(&self, target: &Target, dialect: Dialect, measured: &Measured) -> Outcome<()> {
        for (document, End { holdings, edits }) in &measured.ends {
            if target.copies {
                break;
            }
            let client = self.newcomer(target, dialect, document).await?;
            if client.voice.holdings() != *holdings {
                return Err("a newcomer is given another state than the others have".to_owned());
            }
            match client.voice.seq() {
                Some(seq) if seq != *edits => {
                    return Err(format!("{edits} edits were made, and the store is at seq {seq}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Work {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 10] = [
        Self::One,
        Self::Hot,
        Self::Many,
        Self::Idle,
        Self::Cold,
        Self::Touched,
        Self::Catchup,
        Self::Kill,
        Self::Slow,
        Self::Sizes,
    ];

    /// Those of a run of about a minute.
    pub const QUICK: [Self; 6] =
        [Self::One, Self::Hot, Self::Many, Self::Idle, Self::Cold, Self::Kill];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Hot => "hot",
            Self::Many => "many",
            Self::Idle => "idle",
            Self::Cold => "cold",
            Self::Touched => "touched",
            Self::Catchup => "catchup",
            Self::Kill => "kill",
            Self::Slow => "slow",
            Self::Sizes => "sizes",
        }
    }

    /// What is done, with sizes.
    pub fn title(self, sizes: &Sizes) -> String {
        let Sizes { seconds, clients, rate, writers, documents, idle, cold_changes, .. } = sizes;
        let Sizes { touched, missed, returning, kills, sockets, large, .. } = sizes;
        let what = match self {
            Self::One => {
                format!("1 document, {clients} clients, {rate} edits/s in all, {seconds} s")
            }
            Self::Hot => format!(
                "1 document, {writers} writers flat out, {} edits in flight each, {seconds} s",
                live::WINDOW
            ),
            Self::Many => format!("{documents} documents x 2 writers, 1 edit/s each, {seconds} s"),
            Self::Idle => format!("{idle} connections that say nothing"),
            Self::Cold => format!("a document of {cold_changes} changes is opened"),
            Self::Touched => format!("{touched} documents are written to once, and left"),
            Self::Catchup => {
                format!("1 client, then {returning}, come back after {missed} commits")
            }
            Self::Kill => format!("{writers} writers flat out, kill -9, {kills} times"),
            Self::Slow => {
                format!("{sockets} sockets on 1 document, {} of them do not read", sockets / 10)
            }
            Self::Sizes => format!("edits in documents of 1000 or {large} keys and changes"),
        };
        format!("{}: {what}", self.name())
    }

    /// Why it cannot be done at a server that runs elsewhere, if so.
    fn needs_own(self) -> Option<&'static str> {
        match self {
            Self::Kill => Some("only a server that was started here is killed"),
            Self::Touched => Some("only a server that was started here is told when to forget"),
            _ => None,
        }
    }

    /// Runs it; `tell` hears what is done next.
    pub async fn run(self, world: &World, tell: &(dyn Fn(&str) + Sync)) -> Section {
        let title = self.title(&world.sizes);
        let columns = match self.needs_own().filter(|_| world.sources.elsewhere.is_some()) {
            Some(why) => vec![Column {
                name: "-".to_owned(),
                figures: Vec::new(),
                warnings: vec![format!("left out: {why}")],
                failed: None,
            }],
            None => self.columns(world, tell).await,
        };
        Section { workload: self.name(), title, columns }
    }

    async fn columns(self, world: &World, tell: &(dyn Fn(&str) + Sync)) -> Vec<Column> {
        if self == Self::Sizes {
            return Box::pin(sizes::columns(world, tell)).await;
        }
        let mut columns = Vec::new();
        // What the relay copies in the original protocol is what it copies in its successor.
        let mut floor: Option<Outcome<Found>> = None;
        for dialect in world.of(self.dialects()) {
            let reuses = dialect == Dialect::Original && floor.is_some();
            let copied = if reuses {
                floor.take().unwrap_or_else(|| Ok(Found::default()))
            } else {
                tell(&format!("{}, {}: the relay", self.name(), dialect.name()));
                Box::pin(self.at_relay(dialect, world)).await
            };
            tell(&format!("{}, {}: the server", self.name(), dialect.name()));
            let found = Box::pin(self.at_server(dialect, world)).await;
            columns.push(column(dialect.name(), found, &copied));
            floor = Some(copied);
        }
        columns
    }

    /// The dialects in which it is done.
    fn dialects(self) -> &'static [Dialect] {
        use Dialect::{Crdt, Json, Original, Repo};
        match self {
            Self::One => &[Json, Original, Crdt, Repo],
            Self::Hot | Self::Many | Self::Cold | Self::Touched | Self::Catchup | Self::Kill => {
                &[Json, Crdt, Repo]
            }
            // A slow Automerge client is told less in one message; the server owes it little.
            Self::Slow => &[Json],
            Self::Idle => &[Json, Repo],
            Self::Sizes => &[],
        }
    }

    async fn at_relay(self, dialect: Dialect, world: &World) -> Outcome<Found> {
        // Of these the server says first what the relay has to copy, or there is nothing to copy.
        if matches!(self, Self::Cold | Self::Catchup | Self::Touched | Self::Kill) {
            return Ok(Found::default());
        }
        let mut target = Target::relay(&world.sources)?;
        Ok(self.measure(dialect, &mut target, world).await?.0)
    }

    async fn at_server(self, dialect: Dialect, world: &World) -> Outcome<(Found, Vec<Figure>)> {
        let mut target = match self {
            Self::Touched => Target::forgetful(&world.sources, touched::IDLE_MS)?,
            Self::Slow => Target::stingy(&world.sources, slow::OUTBOX_BYTES)?,
            _ => Target::server(&world.sources)?,
        };
        self.measure(dialect, &mut target, world).await
    }

    /// Runs it in one dialect at one server, which nothing else has happened to. Beside what was
    /// found stands what the relay took for the same bytes, where only the server can say which.
    pub async fn measure(
        self,
        dialect: Dialect,
        target: &mut Target,
        world: &World,
    ) -> Outcome<(Found, Vec<Figure>)> {
        let mut floor = Vec::new();
        let found = match self {
            Self::Idle => idle::run(dialect, target, world).await,
            Self::Slow if target.copies => slow::floor(dialect, target, world).await,
            Self::Slow => slow::run(dialect, target, world).await,
            Self::Touched => touched::run(dialect, target, world).await,
            Self::Kill => Box::pin(kill::run(dialect, target, world)).await,
            Self::Cold => Box::pin(cold::run(dialect, target, world, &mut floor)).await,
            Self::Catchup => Box::pin(catchup::run(dialect, target, world, &mut floor)).await,
            Self::Sizes => sizes::run(target, world).await,
            Self::One | Self::Hot | Self::Many => live::run(self, dialect, target, world).await,
        };
        target.explain(found).map(|found| (found, floor))
    }
}

/// A column of a report, of what the server and the relay came to.
fn column(name: &str, found: Outcome<(Found, Vec<Figure>)>, copied: &Outcome<Found>) -> Column {
    let name = name.to_owned();
    let mut warnings = Vec::new();
    let floor = match copied {
        Ok(floor) => {
            warnings.extend(floor.warnings.iter().map(|why| format!("at the relay: {why}")));
            floor.figures.clone()
        }
        Err(why) => {
            let failed = Some(format!("the relay: {why}"));
            return Column { name, figures: Vec::new(), warnings, failed };
        }
    };
    match found {
        Ok((found, more)) => {
            warnings.extend(found.warnings);
            let floor = [floor, more].concat();
            Column { name, figures: beside(&found.figures, &floor), warnings, failed: None }
        }
        Err(why) => Column { name, figures: Vec::new(), warnings, failed: Some(why) },
    }
}

/// A name for a new document: bs58check over a random UUID, which every dialect understands. A
/// stock server of automerge-repo leaves other bytes without an answer.
pub fn new_document() -> String {
    let id = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    bs58::encode(id.as_bytes()).with_check().into_string()
}

/// A document's name in this dialect. Strings that come to a document with an id are text, so
/// that JSON gets a store with a name of its own.
fn document_of(dialect: Dialect) -> String {
    if dialect == Dialect::Repo { new_document() } else { "bench".to_owned() }
}

/// Bytes as MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes as KiB.
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1_024.0
}

/// Nanoseconds as microseconds, for each of so many.
fn us_each(ns: Option<u64>, count: u64) -> Option<f64> {
    ns.map(|ns| ns as f64 / 1e3 / count.max(1) as f64)
}
