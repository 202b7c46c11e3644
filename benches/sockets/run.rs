//! A run: clients that are ready, work for some time, and then must agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use automerge::ChangeHash;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::board::{Board, Counts};
use crate::client::{Client, Pace, Phase, Remains};
use crate::flags::Flags;
use crate::process::Server;
use crate::replica::Follower;
use crate::{Outcome, now};

/// How often a run looks whether everybody has everything.
const LOOK: Duration = Duration::from_millis(5);

/// Clients at work.
pub(crate) struct Run {
    board: Arc<Board>,
    phase: watch::Sender<Phase>,
    clients: JoinSet<Outcome<Remains>>,
}

/// What a run came to, from the end of its warm-up until everybody had everything.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What was done in that time.
    pub(crate) counts: Counts,
    /// Processor time of the server in that time, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Edits that were acknowledged while the clients wrote, a second.
    pub(crate) acked_per_second: f64,
    /// Frames that all clients received, over the whole run.
    pub(crate) frames_in: u64,
    /// Edits of the whole run.
    pub(crate) made_in_all: u64,
    /// Milliseconds from making an edit to having it, for all deliveries, sorted.
    pub(crate) delivered_ms: Vec<f64>,
    /// Milliseconds from making an edit to its acknowledgement, sorted.
    pub(crate) acked_ms: Vec<f64>,
}

impl Run {
    pub(crate) fn new() -> Self {
        let (phase, _) = watch::channel(Phase::Write);
        Self { board: Arc::default(), phase, clients: JoinSet::new() }
    }

    /// Sets a client to work.
    pub(crate) fn add<F: Follower>(&mut self, client: Client<F>, pace: Pace) {
        let work = client.work(pace, Arc::clone(&self.board), self.phase.subscribe());
        self.clients.spawn(work);
    }

    /// Lets the clients work, waits until each edit has reached `others` clients, and checks
    /// that all clients of a document have the same heads.
    pub(crate) async fn measure(
        mut self,
        server: &Server,
        flags: &Flags,
        (seconds, others): (f64, u64),
    ) -> Outcome<Measured> {
        self.pass(flags.warm).await?;
        let before = self.board.counts();
        let (mut meter, started) = (server.meter(), now());
        self.pass(seconds).await?;
        let after = self.board.counts();
        let passed = started.elapsed().as_secs_f64();
        self.drain(others, flags.patience()).await?;
        let cpu_ns = meter.lap_ns();
        let end = self.board.counts();
        let remains = self.stop().await?;
        agree(&remains)?;
        let all = |times: fn(&Remains) -> &[Duration]| {
            let times = remains.iter().flat_map(times);
            let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        Ok(Measured {
            counts: Counts {
                made: end.made - before.made,
                seen: end.seen - before.seen,
                acked: end.acked - before.acked,
            },
            cpu_ns,
            acked_per_second: (after.acked - before.acked) as f64 / passed,
            frames_in: remains.iter().map(|client| client.traffic.frames_in).sum(),
            made_in_all: end.made,
            delivered_ms: all(|client| &client.delivered),
            acked_ms: all(|client| &client.acked),
        })
    }

    /// Lets time pass, unless a client gives up.
    async fn pass(&mut self, seconds: f64) -> Outcome<()> {
        tokio::select! {
            () = sleep(Duration::from_secs_f64(seconds)) => Ok(()),
            gone = self.clients.join_next() => Err(why(gone)),
        }
    }

    /// Stops the writing, and waits until each edit has reached so many others.
    async fn drain(&mut self, others: u64, patience: Duration) -> Outcome<()> {
        self.phase.send_replace(Phase::Drain);
        let (started, mut made_before) = (now(), None);
        loop {
            self.pass(LOOK.as_secs_f64()).await?;
            let Counts { made, seen, .. } = self.board.counts();
            // A writer may not have heard yet that it should stop: two looks must agree.
            if seen == made * others && made_before == Some(made) {
                return Ok(());
            }
            made_before = Some(made);
            if started.elapsed() > patience {
                return Err(format!("{seen} of {} deliveries after {patience:?}", made * others));
            }
        }
    }

    async fn stop(mut self) -> Outcome<Vec<Remains>> {
        self.phase.send_replace(Phase::Stop);
        let mut remains = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            remains.push(ended.map_err(|error| error.to_string())??);
        }
        Ok(remains)
    }
}

fn why(gone: Option<Result<Outcome<Remains>, tokio::task::JoinError>>) -> String {
    match gone {
        Some(Ok(Err(why))) => why,
        Some(Err(error)) => error.to_string(),
        Some(Ok(Ok(_))) | None => "a client ended before its time".to_owned(),
    }
}

/// Whether all clients of each document have the same heads.
fn agree(remains: &[Remains]) -> Outcome<()> {
    let mut documents: BTreeMap<&str, &[ChangeHash]> = BTreeMap::new();
    for client in remains {
        let heads = documents.entry(&client.document).or_insert(&client.heads);
        if *heads != client.heads {
            return Err(format!("clients of {} have different heads", client.document));
        }
    }
    Ok(())
}
