//! What helps to run the program: its effective configuration, completions, manual pages.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{Failure, output, serve};

/// Commands about the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print each value that a server would run with, and where it comes from, as TOML.
    Print(serve::Settings),
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self::Print(settings) = self;
        let (config, sources, flags) = settings.read()?;
        for setting in sources.settings(&config, &flags) {
            output::print(&setting.to_string())?;
        }
        Ok(())
    }
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut program: clap::Command) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut program, "statehouse", &mut text);
        output::print_bytes(&text)
    }
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder that they are written to, which is there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self, program: clap::Command) -> Result<(), Failure> {
        clap_mangen::generate_to(program, &self.folder).map_err(|error| {
            Failure::Failed(format!("cannot write to {}: {error}", self.folder.display()))
        })
    }
}
