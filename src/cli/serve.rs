//! `serve`: the server as a process.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use statehouse::server::config::Config;
use statehouse::server::config::print::Sources;
use statehouse::server::{Server, StartError};
use statehouse::storage::StorageError;
use statehouse::storage::sqlite::SqliteLog;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

#[cfg(feature = "otel")]
use super::telemetry;
use super::{Failure, output};

/// The configuration that is read if it is there and no other is asked for.
const CONFIG: &str = "statehouse.toml";

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// How logs are written; auto: as text on a terminal, as JSON otherwise
    #[arg(long, value_enum, default_value_t, env = "STATEHOUSE_LOG_FORMAT")]
    log_format: LogFormat,
    /// Which logs are written, for example `statehouse=debug`
    #[arg(long, value_name = "FILTER", default_value = "info", env = "STATEHOUSE_LOG")]
    log: String,
}

/// What the server is told. The flags go before the environment, and that before the file.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// The address to listen on [default: 127.0.0.1:4600]; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The folder that holds everything that is saved [default: ./statehouse-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The configuration [default: statehouse.toml, if it is there]
    ///
    /// Environment variables go before it: `STATEHOUSE_LISTEN`, `STATEHOUSE_LIMITS__IDLE_MS` and
    /// so on, two underscores between a section and its key.
    #[arg(long, value_name = "FILE", env = "STATEHOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// Listen beyond this machine although nobody is asked who he is
    #[arg(long)]
    insecure: bool,
}

impl Settings {
    /// What they come to, where it was read, and the keys that flags have set.
    pub(super) fn read(self) -> Result<(Config, Sources, Vec<&'static str>), Failure> {
        let (sources, mut config) = read_sources(self.config)?;
        let mut flags = Vec::new();
        if let Some(listen) = self.listen {
            config.listen = listen;
            flags.push("listen");
        }
        if let Some(data) = self.data {
            config.data = data;
            flags.push("data");
        }
        if self.insecure {
            config.insecure = true;
            flags.push("insecure");
        }
        Ok((config, sources, flags))
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        #[cfg(feature = "otel")]
        let (traces, more) = telemetry::start()?.unzip();
        #[cfg(not(feature = "otel"))]
        let more = None;
        start_logs(self.log_format, &self.log, more)?;
        let (config, ..) = self.settings.read()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
        let served = runtime.block_on(serve(&config));
        if served.is_err() {
            // What still hangs on the disk would hold the end up for as long.
            runtime.shutdown_background();
        }
        #[cfg(feature = "otel")]
        traces.into_iter().for_each(telemetry::Traces::end);
        served
    }
}

/// Reads the configuration that is asked for, or else the usual one if it is there, with the
/// environment over it.
pub(super) fn read_config(path: Option<PathBuf>) -> Result<Config, Failure> {
    read_sources(path).map(|(_, config)| config)
}

fn read_sources(path: Option<PathBuf>) -> Result<(Sources, Config), Failure> {
    let usual = Path::new(CONFIG);
    let path = path.or_else(|| usual.exists().then(|| usual.to_owned()));
    // A variable that is not text cannot be one of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Sources::read(path.as_deref(), environment).map_err(|error| Failure::Usage(error.to_string()))
}

async fn serve(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(|error| {
        Failure::Failed(format!("cannot listen for the signals of the system: {error}"))
    })?;
    let log = open_log(&config.data).await?;
    let server = Server::start(config, log).await.map_err(|error| match error {
        StartError::Exposed(_) | StartError::Auth(_) => Failure::Usage(error.to_string()),
        StartError::Listen { .. } | StartError::Webhooks(_) => Failure::Failed(error.to_string()),
    })?;
    if let Some(address) = server.admin_address() {
        tracing::info!(%address, "answering those who run the server");
    }
    match output::print(&format!("listening on http://{}", server.address())) {
        // A server serves, whether or not anybody reads where.
        Ok(()) | Err(Failure::OutputClosed) => {}
        Err(failure) => return Err(failure),
    }
    let stop = Notify::new();
    let stopped = tokio::select! {
        biased;
        stopped = server.run(stop.notified()) => stopped,
        () = signals.twice(&stop) => {
            let text = "a second signal: ended without saving the rest".to_owned();
            return Err(Failure::Failed(text));
        }
    };
    if stopped.unsaved.is_empty() {
        return Ok(());
    }
    let stores: Vec<_> =
        stopped.unsaved.iter().map(|(workspace, store)| format!("{workspace}/{store}")).collect();
    Err(Failure::Failed(format!("changes could not be saved in {}", stores.join(", "))))
}

/// Opening may have to repair what a crash left behind, so it gets a thread that may block.
async fn open_log(folder: &Path) -> Result<Arc<SqliteLog>, Failure> {
    let path = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || SqliteLog::open(&path)).await;
    let opened = opened.unwrap_or_else(|error| Err(StorageError::Failed(error.to_string())));
    let failed = |error| Failure::Failed(format!("cannot open {}: {error}", folder.display()));
    opened.map(Arc::new).map_err(failed)
}

/// The signals by which the system asks the process to end.
#[cfg(unix)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on: a signal that comes while the server starts is not lost.
    pub(super) fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The way in which the user asks the process to end.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// There is nothing to be done before it comes.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for it.
    pub(super) async fn next(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}

impl Signals {
    /// Passes the first one on, and is ready at the second.
    async fn twice(&mut self, first: &Notify) {
        self.next().await;
        first.notify_one();
        self.next().await;
    }
}

/// Who else is told of what is logged.
pub(super) type MoreLogs = Box<dyn Layer<Registry> + Send + Sync>;

/// Logs go to standard error; standard output says where the server listens, and nothing else.
/// `more` is told of what happens too, whatever the filter is.
pub(super) fn start_logs(
    format: LogFormat,
    filter: &str,
    more: Option<MoreLogs>,
) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("--log {filter}: {error}"));
    let mut wanted = EnvFilter::try_new(filter).map_err(|error| wrong(&error))?;
    // Whatever is asked for: at its most talkative the first library prints what clients say. Of
    // what sends traces, it counts that it cannot.
    let quiet =
        ["tungstenite", "tungstenite::protocol", "tungstenite::protocol::frame", "opentelemetry"];
    for quiet in quiet {
        let directive = format!("{quiet}=warn").parse();
        wanted = wanted.add_directive(directive.map_err(|error| wrong(&error))?);
    }
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let Some(more) = more else {
        // One filter for all is the cheapest: what is not wanted costs one comparison.
        let logs = tracing_subscriber::fmt().with_env_filter(wanted).with_writer(std::io::stderr);
        if json {
            logs.json().flatten_event(true).init();
        } else {
            logs.init();
        }
        return Ok(());
    };
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if json { logs.json().flatten_event(true).boxed() } else { logs.boxed() };
    tracing_subscriber::registry().with(more).with(logs.with_filter(wanted)).init();
    Ok(())
}
