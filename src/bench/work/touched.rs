//! Documents that are written to once, and then left: does their memory come back?

use std::time::Duration;

use tokio::time::sleep;

use super::{Found, World, kib, mib, new_document, us_each};
use crate::bench::figures::figure;
use crate::bench::replica::prepared;
use crate::bench::target::Target;
use crate::bench::usage::Meter;
use crate::bench::voice::{Dialect, Place};
use crate::bench::{Outcome, now};

/// Time without sessions after which the server of this workload unloads, in milliseconds.
pub(super) const IDLE_MS: u64 = 1_000;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Each document gets a client, an edit, and is left.
pub(super) async fn run(dialect: Dialect, target: &Target, world: &World) -> Outcome<Found> {
    let documents = world.sizes.touched;
    // What the first document brings into memory for good is not counted.
    touch(dialect, target, world, "first").await?;
    sleep(Duration::from_millis(2 * IDLE_MS)).await;
    let before = target.memory().map(|(now, _)| now);
    let (mut meter, started) = (target.meter(), now());
    for n in 0..documents {
        touch(dialect, target, world, &format!("bench-{n}")).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_ns = meter.as_mut().map(Meter::lap_ns);
    let most = target.memory().map(|(_, most)| most);
    let after = fallen(target, world.sizes.watched).await;
    let mut found =
        Found::with(vec![figure("documents touched", "1/s", documents as f64 / seconds)]);
    found.add("CPU per document", "us", us_each(cpu_ns, documents as u64));
    found.add("memory before", "MiB", before.map(mib));
    found.add("memory at most", "MiB", most.map(mib));
    found.add("memory after they are left", "MiB", after.map(mib));
    let each = |most: Option<u64>| {
        let grown = before.zip(most).map(|(before, most)| kib(most.saturating_sub(before)));
        grown.map(|grown| grown / documents as f64)
    };
    found.add("at most, per document", "KiB", each(most));
    found.add("after they are left, per document", "KiB", each(after));
    Ok(found)
}

async fn touch(dialect: Dialect, target: &Target, world: &World, name: &str) -> Outcome<()> {
    let document = if dialect == Dialect::Repo { new_document() } else { name.to_owned() };
    let voice = dialect.voice(Place::new(&document, 0), prepared(1)?, false);
    let mut client = target.open(dialect, &document, voice, world.sizes.patience).await?;
    client.edit_and_wait(1, world.sizes.patience).await
}

/// The least memory of the server in the time after it has unloaded.
async fn fallen(target: &Target, seconds: f64) -> Option<u64> {
    sleep(Duration::from_millis(2 * IDLE_MS)).await;
    let (started, mut least) = (now(), target.memory()?.0);
    while started.elapsed().as_secs_f64() < seconds {
        sleep(LOOK).await;
        least = least.min(target.memory()?.0);
    }
    Some(least)
}
