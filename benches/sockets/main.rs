//! This server beside others, as processes, driven by the clients of `statehouse bench`.
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
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench that cannot run stops, prints what it found, and counts in floats"
)]

mod bare;
mod crowd;
mod flags;
mod node;
mod server;
mod table;

use std::process::ExitCode;

use serde_json::json;
use statehouse::bench::Outcome;
use statehouse::bench::figures::Figure;
use statehouse::bench::target::Sources;
use statehouse::bench::voice::Dialect;
use statehouse::bench::work::{Work, World};
use tokio::runtime::Runtime;

use flags::{Flags, Kind, Load};
use table::Section;

fn main() -> ExitCode {
    let flags = Flags::read();
    let runtime = Runtime::new().unwrap();
    if let Some(data) = &flags.be_samod {
        runtime.block_on(server::serve_samod(data));
        return ExitCode::SUCCESS;
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo bench --bench sockets -- {}", command.join(" "));
    let kinds: Vec<Kind> = flags.kinds().into_iter().filter(|kind| runs_here(*kind)).collect();
    let sources: Sources = server::sources();
    let world = World::new(sources, flags.sizes(), vec![Dialect::Repo]).unwrap();
    let (mut sections, mut failed) = (Vec::new(), false);
    if !flags.json {
        println!("{command}");
        for (name, version) in versions() {
            println!("  {name} {version}");
        }
    }
    for load in flags.loads() {
        let bare = bare::figures(load, &world);
        let mut columns: Vec<(&str, Outcome<Vec<Figure>>)> = Vec::new();
        columns.extend(bare.map(|figures| ("bare", Ok(figures))));
        for kind in kinds.iter().filter(|kind| takes_part(load, **kind)) {
            columns.push((kind.name(), runtime.block_on(run(load, *kind, &world))));
        }
        // How the others do is told, and is theirs.
        let ours = Kind::Statehouse.name();
        failed |= columns.iter().any(|(name, found)| *name == ours && found.is_err());
        let section = Section { title: title(load, &world), columns };
        if !flags.json {
            section.print();
        }
        sections.push(section.json());
    }
    if flags.json {
        let versions: serde_json::Map<_, _> = versions()
            .into_iter()
            .map(|(name, version)| (name.to_owned(), version.into()))
            .collect();
        println!("{:#}", json!({"command": command, "versions": versions, "results": sections}));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether a server can take part: who only copies keeps no documents to fetch.
fn takes_part(load: Load, kind: Kind) -> bool {
    !(load == Load::Cold && kind == Kind::Relay)
}

fn work(load: Load) -> Option<Work> {
    match load {
        Load::One => Some(Work::One),
        Load::Hot => Some(Work::Hot),
        Load::Many => Some(Work::Many),
        Load::Idle => Some(Work::Idle),
        Load::Cold => Some(Work::Cold),
        Load::Crowd => None,
    }
}

fn title(load: Load, world: &World) -> String {
    work(load).map_or_else(|| crowd::title(world), |work| work.title(&world.sizes))
}

/// Runs a workload at a server of this kind, with a folder of its own.
async fn run(load: Load, kind: Kind, world: &World) -> Outcome<Vec<Figure>> {
    let mut target = server::start(kind, world)?;
    if let Some(work) = work(load) {
        let measured = Box::pin(work.measure(Dialect::Repo, &mut target, world)).await;
        return measured.map(|(found, _)| found.figures);
    }
    let found = Box::pin(crowd::run(&target, world)).await;
    target.explain(found)
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
