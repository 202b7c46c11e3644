//! The whole server over a simulated network, in simulated time: seeds of worlds in which links
//! are cut and held, clients go, sleep and come again, and the server crashes and stops.
//!
//! `STATEHOUSE_TURMOIL_SEEDS=n` plays the seeds up to n, `STATEHOUSE_TURMOIL_SEED=s` one of them,
//! with all that it logs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_in_result,
    reason = "a test that meets what it does not expect stops there, and says what it met"
)]

mod chance;
mod client;
mod json;
mod machine;
mod replica;
mod witness;
mod world;

use std::env;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracing_subscriber::EnvFilter;

/// Seeds that are played if nobody asks for more.
const SEEDS: u64 = 30;
/// Of so many seeds one is played twice.
const TWICE: u64 = 5;
/// Worlds that are played at the same time.
const TOGETHER: usize = 2;
/// Lines of the log that are shown of a world that failed.
const LAST_LINES: usize = 40;

const ONE: &str = "STATEHOUSE_TURMOIL_SEED";
const MANY: &str = "STATEHOUSE_TURMOIL_SEEDS";
/// Set in the process that plays one world.
const CHILD: &str = "STATEHOUSE_TURMOIL_CHILD";

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {value}")))
}

/// tokio and turmoil keep state for the whole process, so each world has its own.
fn play_elsewhere(seed: u64) -> Output {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "seeds", "--nocapture"]).env(CHILD, seed.to_string());
    child.env_remove(ONE).env("RUST_BACKTRACE", "0").output().unwrap()
}

/// The hash of what was said and heard in a world, or why there is none.
fn trace_of(seed: u64) -> Result<String, String> {
    let output = play_elsewhere(seed);
    let said = String::from_utf8_lossy(&output.stdout);
    let trace = said.lines().find_map(|line| line.split_once("trace=")).map(|(_, hash)| hash);
    if let Some(trace) = trace.filter(|_| output.status.success()) {
        return Ok(trace.to_owned());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    Err(format!("{last}\nseed {seed} failed; to play it again:\n{}", again(seed)))
}

fn again(seed: u64) -> String {
    format!("  {ONE}={seed} cargo test --test turmoil -- --nocapture")
}

fn check(seed: u64) -> Result<(), String> {
    let trace = trace_of(seed)?;
    if seed.is_multiple_of(TWICE) && trace_of(seed)? != trace {
        return Err(format!("seed {seed} is not the same each time:\n{}", again(seed)));
    }
    Ok(())
}

/// Plays one world here, with its log on standard error.
fn play(seed: u64) {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let filter = EnvFilter::new("off,statehouse=debug,world=info");
    let logs = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false);
    logs.with_writer(std::io::stderr).init();
    let print = std::panic::take_hook();
    // tokio contains the panics of tasks, and the server those of workspaces.
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
    let trace = world::play(seed);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panicked on the way");
    println!("trace={trace:016x}");
}

#[test]
fn seeds() {
    if let Some(seed) = number(CHILD).or_else(|| number(ONE)) {
        return play(seed);
    }
    let (next, count) = (AtomicU64::new(0), number(MANY).unwrap_or(SEEDS));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    if let Err(why) = check(seed) {
                        eprintln!("{why}");
                        failures.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failures.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds that failed, of {count}: {failed:?}");
}
