//! `bench`: what the server does on this machine, beside a relay that only copies.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use statehouse::bench::process::raise_open_files;
use statehouse::bench::report::Report;
use statehouse::bench::target::{Durable, Elsewhere, Sources};
use statehouse::bench::voice::Dialect;
use statehouse::bench::work::{Sizes, Work, World};
use statehouse::bench::{relay, run, usage};
use statehouse::ids::Secret;

use super::serve::Signals;
use super::{Failure, output};

const FIGURES: &str = "\
What the figures mean:
  Every figure of the server may have xN behind it: N times that of the relay, a process that
  only copies messages between the sockets of a room, in the same run. The machine's speed is in
  both, so the ratio tells more than the number.

  CPU               processor time of the server's process, user and system; not of the clients
  per delivery      for each edit and client that it reached, its author not counted
  acknowledged      from the sending of an edit until its author knows that the server keeps it
  delivered         from the sending of an edit until another client has it; p50: half are faster
  memory            what the server's process holds in RAM
  edits made        in all; each was looked for at the end, and none may be missing

  one, hot, many    clients that edit: at 50 edits/s, flat out, two in each of many documents
  idle              connections that say nothing: what each costs to make and to keep
  cold              a long history is opened: while the server has it loaded, and after a restart
  touched           documents are used once: does their memory come back?
  catchup           clients come back after an hour away
  kill              kill -9 under load: acknowledged edits that are lost afterwards
  slow              a tenth of all sockets does not read until more is owed to it than the server
                    keeps: do the others notice?
  sizes             what an edit costs as keys and history grow (keys x changes)

  A note says where clients were too busy to ask more of the server. A column says FAILED, and
  the exit code is 1, where an edit does not reach a client, clients disagree, or one is cut off.";

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_long_help = FIGURES)]
pub(super) struct Bench {
    /// Only these workloads [default: one, hot, many, idle, cold, kill]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    workload: Vec<Work>,
    /// Only these dialects
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    dialect: Vec<Dialect>,
    /// All workloads, in full size; takes about ten minutes
    #[arg(long)]
    full: bool,
    /// How long clients that edit are measured, in each dialect [default: 1.5; with --full 5]
    #[arg(long, value_name = "SECONDS", value_parser = parse_positive)]
    seconds: Option<f64>,
    /// Clients that edit one document [default: 20]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    clients: Option<u32>,
    /// This part of all other numbers: of documents, connections, changes
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_positive)]
    scale: f64,
    /// When the server that is started shows edits
    #[arg(long, value_enum, default_value = "strict")]
    durability: Durable,
    /// How long clients may take to agree, before the bench fails
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = parse_positive)]
    patience: f64,
    /// Measure a server that runs already, in a workspace of its own that stays there; it needs
    /// to let clients create stores
    #[arg(long, value_name = "URL", conflicts_with = "durability")]
    against: Option<String>,
    /// What that server is shown if it asks who one is
    #[arg(long, value_name = "TOKEN", env = "STATEHOUSE_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// The process of that server, where it runs on this machine: for CPU and memory
    #[arg(long, value_name = "PROCESS", requires = "against")]
    pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Be the relay, until standard input ends
    #[arg(long, hide = true)]
    be_relay: bool,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(run::workers())
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
        if self.be_relay {
            return runtime.block_on(relay::serve()).map_err(Failure::Failed);
        }
        if let Some(server) = &self.against
            && !["ws://", "http://"].iter().any(|scheme| server.starts_with(scheme))
        {
            let text = format!("--against {server}: the address begins with ws:// or http://");
            return Err(Failure::Usage(text));
        }
        // Before any server is started, which inherits it.
        let _open_files = raise_open_files();
        let report = runtime.block_on(async {
            let mut signals = Signals::listen().map_err(|error| {
                Failure::Failed(format!("cannot listen for the signals of the system: {error}"))
            })?;
            tokio::select! {
                report = self.measure() => report,
                // What was started ends with what is dropped here, and its folders go.
                () = signals.next() => Err(Failure::Failed("interrupted".to_owned())),
            }
        })?;
        if self.json {
            output::print(&report.json().map_err(Failure::Failed)?)?;
        }
        if report.passed {
            return Ok(());
        }
        Err(Failure::Failed("not everything was done, or something was lost".to_owned()))
    }

    async fn measure(&self) -> Result<Report, Failure> {
        let sizes = self.sizes();
        let world = World::new(self.sources()?, sizes, self.dialect.clone());
        let world = world.map_err(Failure::Failed)?;
        let works = self.works();
        let own = if self.durability == Durable::Strict { "strict" } else { "relaxed" };
        let durability = self.against.is_none().then_some(own);
        let costs = usage::is_told() && (self.against.is_none() || self.pid.is_some());
        let mut report = Report::new(self.against.clone(), durability, costs);
        let bar = Arc::new(progress(works.len()));
        if !self.json {
            output::print(&report.head())?;
        }
        for work in works {
            let section = work.run(&world, &|doing| bar.set_message(doing.to_owned())).await;
            bar.inc(1);
            if !self.json {
                bar.suspend(|| output::print(&section.table()))?;
            }
            report.add(section);
        }
        bar.finish_and_clear();
        Ok(report)
    }

    fn works(&self) -> Vec<Work> {
        match (&*self.workload, self.full) {
            ([], true) => Work::ALL.to_vec(),
            ([], false) => Work::QUICK.to_vec(),
            (works, _) => works.to_vec(),
        }
    }

    fn sizes(&self) -> Sizes {
        let sizes = if self.full { Sizes::full() } else { Sizes::quick() };
        let sizes = sizes.scaled(self.scale);
        Sizes {
            seconds: self.seconds.unwrap_or(sizes.seconds),
            clients: self.clients.map_or(sizes.clients, |clients| clients as usize),
            patience: Duration::from_secs_f64(self.patience),
            ..sizes
        }
    }

    fn sources(&self) -> Result<Sources, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::Failed(format!("this program does not know where it is: {error}"))
        })?;
        let elsewhere = self.against.clone().map(|server| {
            let (token, pid) = (self.token.clone(), self.pid);
            Elsewhere { server, token, pid }
        });
        Ok(Sources { program, elsewhere, durable: self.durability })
    }
}

/// On a terminal, how far it is; elsewhere nothing.
fn progress(works: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(works as u64);
    let style = ProgressStyle::with_template("{spinner} [{elapsed}] {bar:20} {pos}/{len} {msg}");
    // The template is ours; one that did not parse would leave the usual bar.
    bar.set_style(style.unwrap_or_else(|_error| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
