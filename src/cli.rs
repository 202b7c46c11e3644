//! The command line: the server, a client of a running server, and what is done to the data of one
//! that does not run.

mod admin;
mod backup;
mod bench;
mod client;
mod doctor;
mod edit;
mod guide;
mod output;
mod serve;
mod show;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "otel")]
mod telemetry;
mod token;
mod transfer;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use statehouse::ids::{Secret, StoreName, WorkspaceId};
use statehouse::json::Pointer;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or the configuration is wrong
  3  the server cannot be reached
  4  there is nothing at the pointer
  5  the server refused; its code is printed
  6  data is damaged";

const EXAMPLES: &str = "\
Examples:
  statehouse serve
  statehouse set  acme/chartState '{\"symbol\": \"BTC/USD\"}'
  statehouse get  acme/chartState /symbol
  statehouse set  acme/chartState /symbol '\"ETH/USD\"'
  statehouse patch acme/chartState '[{\"op\": \"remove\", \"path\": \"/symbol\"}]'
  statehouse watch acme/chartState /symbol
  statehouse bench
Whether a server has the data or not:
  statehouse backup ./statehouse-data --to ./monday.db
While no server has the data:
  statehouse restore ./monday.db ./statehouse-data
  statehouse doctor ./statehouse-data
  statehouse export ./statehouse-data --to ./export
  statehouse import ./other-data ./export";

/// A collaborative, durable state server.
///
/// Clients that send JSON patches and clients that speak Automerge edit the same stores live.
#[derive(Debug, Parser)]
#[command(name = "statehouse", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Print the state of a store, or the part of it at a pointer.
    Get(show::Get),
    /// Print the state of a store whenever it changes, one line each.
    Watch(show::Watch),
    /// Make a store, or the part of it at a pointer, a JSON value.
    Set(edit::Set),
    /// Apply a JSON patch (RFC 6902) to a store.
    Patch(edit::Patch),
    /// Run whole worlds of clients and failures on simulated time, each from one seed.
    #[cfg(feature = "sim")]
    Sim(sim::Sim),
    /// Make a token for a server that asks who one is, look into one, or take it back.
    Token(token::Token),
    /// Calls of webhooks that were given up: look at them, or let them be made again.
    Webhooks(admin::Webhooks),
    /// Examine the data of a server that does not run; nothing of it is changed.
    Doctor(doctor::Doctor),
    /// Write all data into one file, while a server has it or not.
    Backup(backup::Backup),
    /// Make a data folder of a backup.
    Restore(backup::Restore),
    /// Make the data of a server that does not run as small as it can be.
    Compact(backup::Compact),
    /// Write stores of a server that does not run as files for other programs.
    Export(transfer::Export),
    /// Bring files into the data of a server that does not run.
    Import(transfer::Import),
    /// Measure what the server does on this machine, beside a relay that only copies.
    Bench(bench::Bench),
    /// What a server would run with.
    #[command(subcommand)]
    Config(guide::ConfigCommand),
    /// Print what a shell needs to complete this program's commands.
    Completions(guide::Completions),
    /// Write a manual page for the program and one for each of its commands.
    Man(guide::Man),
}

/// Which store of which server.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The workspace and the store in it.
    #[arg(value_name = "WORKSPACE/STORE", value_parser = parse_place)]
    at: (WorkspaceId, StoreName),
    /// The address of the server, with http: or ws:
    #[arg(
        long,
        value_name = "URL",
        env = "STATEHOUSE_SERVER",
        default_value = "http://127.0.0.1:4600"
    )]
    server: String,
    /// What the server is shown where it asks who one is; better in the environment, where others
    /// on this machine do not see it
    #[arg(long, value_name = "TOKEN", env = "STATEHOUSE_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
}

fn parse_place(text: &str) -> Result<(WorkspaceId, StoreName), String> {
    let (workspace, store) = text.split_once('/').ok_or("expected WORKSPACE/STORE")?;
    let workspace = workspace.parse().map_err(|error| format!("workspace: {error}"))?;
    let store = store.parse().map_err(|error| format!("store: {error}"))?;
    Ok((workspace, store))
}

/// Where in the state of a store; clap turns the error into a usage message.
fn parse_pointer(text: &str) -> Result<Pointer, String> {
    text.parse().map_err(|error| format!("{error}; for example /notes/0/body"))
}

/// Why a command failed: what it prints, and how the process exits.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("there is nothing at {0:?}")]
    Nothing(String),
    #[error("refused: {message} ({code})")]
    Refused { code: String, message: String },
    #[error("{0}")]
    Damaged(String),
    /// Nobody reads the output any more, which is how `watch | head` ends: no failure.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Nothing(_) => 4,
            Self::Refused { .. } => 5,
            Self::Damaged(_) => 6,
        }
    }
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    // Exits by itself, with code 2 or 0, on a wrong command line and on --help.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Get(get) => client::block_on(get.run()),
        Command::Watch(watch) => client::block_on(watch.run()),
        Command::Set(set) => client::block_on(set.run()),
        Command::Patch(patch) => client::block_on(patch.run()),
        #[cfg(feature = "sim")]
        Command::Sim(sim) => sim.run(),
        Command::Token(token) => token.run(),
        Command::Webhooks(webhooks) => webhooks.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Compact(compact) => compact.run(),
        Command::Bench(bench) => bench.run(),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.exit_code() != 0 {
                output::complain(&format!("error: {failure}"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use statehouse::server::config::FLAGS;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_place_is_a_workspace_and_a_store() {
        let (workspace, store) = parse_place("acme/chartState").unwrap();
        assert_eq!((workspace.as_str(), store.as_str()), ("acme", "chartState"));
        for bad in ["acme", "acme/", "/x", "a/b/c", "acme/.."] {
            assert!(parse_place(bad).is_err(), "{bad}");
        }
    }

    fn variables(command: &clap::Command) -> BTreeSet<String> {
        let own = command.get_arguments().filter_map(clap::Arg::get_env);
        let own = own.map(|name| name.to_str().unwrap().to_owned());
        own.chain(command.get_subcommands().flat_map(variables)).collect()
    }

    /// A variable that a server took for its configuration would keep it from starting.
    #[test]
    fn what_the_command_line_reads_of_the_environment_is_no_configuration() {
        let flags = FLAGS.iter().map(|flag| format!("STATEHOUSE_{flag}")).collect();
        assert_eq!(variables(&Cli::command()), flags);
    }
}
