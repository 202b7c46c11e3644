//! The server is killed under load: what it acknowledged must be there afterwards.

use std::time::Duration;

use super::{Found, World, document_of};
use crate::bench::client::Pace;
use crate::bench::figures::{figure, percentile, sorted_ms};
use crate::bench::run::Run;
use crate::bench::target::Target;
use crate::bench::voice::Dialect;
use crate::bench::{Outcome, now};

/// How long the writers write at least before the server is killed.
const LOAD: Duration = Duration::from_millis(500);

/// Several times: writers flat out, the kill, and a newcomer who counts.
pub(super) async fn run(dialect: Dialect, target: &mut Target, world: &World) -> Outcome<Found> {
    let (mut acknowledged, mut lost, mut returns) = (0, 0, Vec::new());
    for round in 0..world.sizes.kills {
        let document = match dialect {
            Dialect::Repo => document_of(dialect),
            _ => format!("bench-{round}"),
        };
        let mut run = Run::new();
        for n in 0..world.sizes.writers {
            let client = world.client(target, dialect, (&document, n)).await?;
            run.add(client, Pace::Window(super::live::WINDOW));
        }
        let remains = run.until(LOAD, world.sizes.patience, || target.kill()).await?;
        let started = now();
        target.start()?;
        let newcomer = world.newcomer(target, dialect, &document).await?;
        returns.push(started.elapsed());
        let claims = remains.iter().map(|client| &client.claim);
        lost += claims.clone().map(|claim| newcomer.voice.lost(claim)).sum::<u64>();
        let edits: u64 = claims.map(|claim| claim.edits).sum();
        if newcomer.voice.seq().is_some_and(|seq| seq < edits) {
            return Err(format!("{edits} edits were acknowledged, and fewer are in the log"));
        }
        acknowledged += edits;
    }
    if lost > 0 {
        return Err(format!("{lost} of {acknowledged} acknowledged edits are lost"));
    }
    if acknowledged == 0 {
        return Err("nothing was acknowledged before the server was killed".to_owned());
    }
    let returns = sorted_ms(returns);
    Ok(Found::with(vec![
        figure("edits acknowledged before kills", "", acknowledged as f64),
        figure("of these lost", "", lost as f64),
        figure("from start to first answer, p50", "ms", percentile(&returns, 0.5)),
        figure("from start to first answer, most", "ms", percentile(&returns, 1.0)),
    ]))
}
