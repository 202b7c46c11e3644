//! A run: clients that are ready, work for some time, and then must agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::board::{Board, Counts};
use super::client::{Client, Pace, Phase, Remains};
use super::figures::sorted_ms;
use super::usage::{Meter, own_demand_ns};
use super::voice::Holdings;
use super::{Outcome, now, words};

/// How often a run looks whether everybody has everything.
const LOOK: Duration = Duration::from_millis(5);

/// Clients at work.
#[derive(Debug)]
pub struct Run {
    board: Arc<Board>,
    phase: watch::Sender<Phase>,
    clients: JoinSet<Remains>,
}

/// How long a run lasts.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// What is not measured, first.
    pub warm: Duration,
    /// What is measured.
    pub measured: Duration,
    /// How long clients may take to agree.
    pub patience: Duration,
    /// How many clients besides its author each edit must reach.
    pub others: u64,
}

/// What a run came to, from the end of its warm-up until everybody had everything.
#[derive(Debug)]
pub struct Measured {
    /// What was done in that time.
    pub counts: Counts,
    /// Processor time of the server in that time, in nanoseconds, if it can be known.
    pub cpu_ns: Option<u64>,
    /// Part of their time that the clients' threads were at work, or waited for a processor.
    pub busy: f64,
    /// Edits that were acknowledged while the clients wrote, a second.
    pub acked_per_second: f64,
    /// Messages that all clients received, over the whole run.
    pub frames_in: u64,
    /// Edits of the whole run.
    pub made_in_all: u64,
    /// Milliseconds from making an edit to having it, for all deliveries, sorted.
    pub delivered_ms: Vec<f64>,
    /// Milliseconds from making an edit to its acknowledgement, sorted.
    pub acked_ms: Vec<f64>,
    /// What the clients held at the end, by document.
    pub ends: BTreeMap<String, End>,
}

/// What all clients of one document came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// What each of them held.
    pub holdings: Holdings,
    /// Edits that they made together.
    pub edits: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// A run without clients.
    pub fn new() -> Self {
        let (phase, _) = watch::channel(Phase::Write);
        Self { board: Arc::default(), phase, clients: JoinSet::new() }
    }

    /// Sets a client to work.
    pub fn add(&mut self, client: Client, pace: Pace) {
        let work = client.work(pace, Arc::clone(&self.board), self.phase.subscribe());
        self.clients.spawn(work);
    }

    /// Lets the clients work, waits until each edit has reached all others, and checks that all
    /// clients of a document hold the same.
    ///
    /// Errors: a client that was cut off, edits that do not arrive, clients that disagree.
    pub async fn measure(mut self, meter: Option<Meter>, span: Span) -> Outcome<Measured> {
        self.pass(span.warm).await?;
        let before = self.board.counts();
        let (mut meter, own, started) = (meter, own_demand_ns(), now());
        if let Some(meter) = &mut meter {
            meter.lap_ns();
        }
        self.pass(span.measured).await?;
        let after = self.board.counts();
        let passed = started.elapsed().as_secs_f64();
        let own_ns = own_demand_ns().saturating_sub(own) as f64;
        self.drain(span).await?;
        let cpu_ns = meter.as_mut().map(Meter::lap_ns);
        let end = self.board.counts();
        let remains = self.stop().await?;
        let ends = agree(&remains)?;
        let all =
            |times: fn(&Remains) -> &[Duration]| sorted_ms(remains.iter().flat_map(times).copied());
        Ok(Measured {
            counts: Counts {
                made: end.made - before.made,
                seen: end.seen - before.seen,
                acked: end.acked - before.acked,
            },
            cpu_ns,
            busy: own_ns / 1e9 / passed / workers() as f64,
            acked_per_second: (after.acked - before.acked) as f64 / passed,
            frames_in: remains.iter().map(|client| client.traffic.frames_in).sum(),
            made_in_all: end.made,
            delivered_ms: all(|client| &client.delivered),
            acked_ms: all(|client| &client.acked),
            ends,
        })
    }

    /// Lets the clients work for that time, and on until something is acknowledged, but not longer
    /// than `patience`; then ends the server, and returns what is left of them.
    pub async fn until(
        mut self,
        time: Duration,
        patience: Duration,
        end: impl FnOnce(),
    ) -> Outcome<Vec<Remains>> {
        let started = now();
        self.pass(time).await?;
        while self.board.counts().acked == 0 && started.elapsed() < patience {
            self.pass(LOOK).await?;
        }
        end();
        self.phase.send_replace(Phase::Drain);
        self.collect().await
    }

    /// Lets time pass, unless a client gives up.
    async fn pass(&mut self, time: Duration) -> Outcome<()> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            gone = self.clients.join_next() => Err(why(gone)),
        }
    }

    /// Stops the writing, and waits until each edit has reached so many others.
    async fn drain(&mut self, span: Span) -> Outcome<()> {
        self.phase.send_replace(Phase::Drain);
        let (started, mut made_before) = (now(), None);
        loop {
            self.pass(LOOK).await?;
            let Counts { made, seen, .. } = self.board.counts();
            // A writer may not have heard yet that it should stop: two looks must agree.
            if seen == made * span.others && made_before == Some(made) {
                return Ok(());
            }
            made_before = Some(made);
            if started.elapsed() > span.patience {
                let due = made * span.others;
                return Err(format!("{seen} of {due} deliveries after {:?}", span.patience));
            }
        }
    }

    async fn stop(mut self) -> Outcome<Vec<Remains>> {
        self.phase.send_replace(Phase::Stop);
        let remains = self.collect().await?;
        match remains.iter().find_map(|client| client.cut.clone()) {
            Some(why) => Err(why),
            None => Ok(remains),
        }
    }

    async fn collect(&mut self) -> Outcome<Vec<Remains>> {
        let mut remains = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            remains.push(ended.map_err(words)?);
        }
        Ok(remains)
    }
}

/// Threads on which clients run: one processor is left to the server.
pub fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_sub(1).max(1)
}

fn why(gone: Option<Result<Remains, tokio::task::JoinError>>) -> String {
    match gone {
        Some(Ok(Remains { cut: Some(why), .. })) => why,
        Some(Err(error)) => error.to_string(),
        Some(Ok(_)) | None => "a client ended before its time".to_owned(),
    }
}

/// What all clients of each document hold, if it is the same.
fn agree(remains: &[Remains]) -> Outcome<BTreeMap<String, End>> {
    let mut documents: BTreeMap<String, End> = BTreeMap::new();
    for client in remains {
        let end = documents
            .entry(client.document.clone())
            .or_insert_with(|| End { holdings: client.holdings.clone(), edits: 0 });
        if end.holdings != client.holdings {
            return Err(format!("clients of {} hold different states", client.document));
        }
        end.edits += client.edits;
    }
    Ok(documents)
}
