//! This server beside others, as processes, driven by many clients over real sockets.
//!
//! `cargo bench --bench sockets` prints one table. Its columns are measured in the same run, so
//! read the ratios (`x` is a multiple of this server's figure): the machine's speed is in all of
//! them. Costs are processor time and memory of the server's process; what the clients cost is
//! not in them. Latencies stand beside and prove nothing, since clients and servers share the
//! machine. A column whose clients do not all end with the same heads says FAILED; if it is this
//! server's, so does the bench.
//!
//! The columns are `bare` (Automerge alone, in process, taking the same changes), `relay` (a
//! process that only copies frames: the floor of the sockets), this server, samod, and the
//! published sync server of automerge-repo under Node. `-- --help` lists the flags.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench that cannot run stops, prints what it found, and counts in floats"
)]

mod bare;
mod board;
mod client;
mod flags;
mod frame;
mod link;
mod node;
mod process;
mod replica;
mod run;
mod serve;
mod table;
mod usage;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use tokio::runtime::Runtime;

use flags::{Flags, Kind, Work};
use table::{Figure, Section};
use work::World;

/// A result, or why there is none, in words for the table.
type Outcome<T> = Result<T, String>;

#[expect(clippy::disallowed_methods, reason = "a bench is timed by the clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> ExitCode {
    let flags = Flags::read();
    let runtime = Runtime::new().unwrap();
    if let Some(kind) = flags.serve {
        runtime.block_on(serve::serve(kind, &flags.data));
        return ExitCode::SUCCESS;
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo bench --bench sockets -- {}", command.join(" "));
    let kinds: Vec<Kind> = flags.kinds().into_iter().filter(|kind| runs_here(*kind)).collect();
    let works = flags.works();
    let world = World::new(flags, &works);
    let (mut sections, mut failed) = (Vec::new(), false);
    if !world.flags.json {
        println!("{command}");
        for (name, version) in versions() {
            println!("  {name} {version}");
        }
    }
    for work in works {
        let bare = work::bare(work, &world);
        let mut columns: Vec<(&str, Outcome<Vec<Figure>>)> = Vec::new();
        columns.extend(bare.map(|figures| ("bare", Ok(figures))));
        for kind in kinds.iter().filter(|kind| work::takes_part(work, **kind)) {
            columns.push((kind.name(), runtime.block_on(work::run(work, *kind, &world))));
        }
        // How the others do is told, and is theirs.
        let ours = Kind::Statehouse.name();
        failed |= columns.iter().any(|(name, found)| *name == ours && found.is_err());
        let section = Section { title: work::title(work, &world.flags), columns };
        if !world.flags.json {
            section.print();
        }
        sections.push(section.json());
    }
    if world.flags.json {
        let versions: serde_json::Map<_, _> = versions()
            .into_iter()
            .map(|(name, version)| (name.to_owned(), version.into()))
            .collect();
        println!("{:#}", json!({"command": command, "versions": versions, "results": sections}));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether a server can run here; says so if not.
fn runs_here(kind: Kind) -> bool {
    let Kind::Node = kind else { return true };
    let installed = node::install();
    if let Err(why) = &installed {
        eprintln!("SKIPPED {}: {why}", kind.name());
    }
    installed.is_ok()
}

/// What is compared, by its versions.
fn versions() -> Vec<(&'static str, String)> {
    let lock = include_str!("../../Cargo.lock");
    let locked = |name: &str| {
        let entry = lock.split("[[package]]").find_map(|entry| {
            entry.trim_start().strip_prefix(&format!("name = \"{name}\"\nversion = \""))
        });
        entry.and_then(|entry| entry.split('"').next()).unwrap_or("none").to_owned()
    };
    vec![
        ("statehouse", env!("CARGO_PKG_VERSION").to_owned()),
        ("automerge", locked("automerge")),
        ("samod", locked("samod")),
        ("sync-server", node::package("@automerge/automerge-repo-sync-server")),
        ("its automerge-repo", node::package("@automerge/automerge-repo")),
        ("its automerge", node::package("@automerge/automerge")),
        ("node", node::version("node")),
    ]
}

impl World {
    /// Prepares the documents that these workloads need.
    fn new(flags: Flags, works: &[Work]) -> Self {
        let large = works.iter().any(|work| matches!(work, Work::Handshake | Work::Crowd));
        let large = if large { replica::prepared(flags.changes).save() } else { Vec::new() };
        Self { small: replica::prepared(work::SEED_CHANGES), large, flags }
    }
}
