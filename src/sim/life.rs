//! One life of the simulated server: the real hub, or the real manager, and real sessions over
//! simulated sockets.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::Setup;
use super::book::{Book, Checked};
use super::chance::Chance;
use super::container::{Shelf, SimContainer};
use super::crier::Crier;
use super::disk::{Disk, Life, SimLog};
use super::link::Link;
use super::machine::{Clock, SimMachine};
use super::plan::{Fault, Plan};
use crate::hub::{Fired, Handler, Hub, HubConfig, Watch, WatchOptions};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::json::{Json, Pointer};
use crate::limits;
use crate::manager::{WorkspaceManager, WorkspaceManagerConfig};
use crate::server::Phase;
use crate::server::auth::Entry;
use crate::server::metrics::SocketMeter;
use crate::server::socket::{Patience, Seat, converse};
use crate::server::tongue::{ServerName, Tongue};
use crate::workspace::{Dialect, Durability, WorkspaceConfig};

/// Places that triggers watch in each store; the first is the root.
const WATCHED: [&str; 3] = ["", "/a", "/deep/a"];

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) life: Arc<Life>,
    pub(super) hub: Hub,
    pub(super) workspace: WorkspaceId,
    manager: Option<WorkspaceManager>,
    rules: Arc<WorkspaceConfig>,
    name: Arc<ServerName>,
    phase: Crier<Phase>,
    patience: Patience,
    links: Vec<Link>,
    watching: Vec<Watching>,
}

/// Who connects.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) user: String,
    pub(super) is_repo: bool,
    /// What may wait for him.
    pub(super) outbox_bytes_max: usize,
}

/// A trigger, and what its handler was told.
#[derive(Debug)]
struct Watching {
    store: StoreName,
    path: Pointer,
    /// The newest seq when it was registered.
    since: Seq,
    fired: Arc<Mutex<Vec<Fired>>>,
    /// Dropped, the handler runs no more.
    _watch: Watch,
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) plan: Plan,
    pub(super) setup: Setup,
    pub(super) book: Arc<Book>,
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Arc<Clock>,
    pub(super) shelf: Arc<Shelf>,
    /// How long the disk takes at most, in milliseconds.
    pub(super) disk_ms_max: Arc<AtomicU64>,
}

impl Server {
    /// Starts life number so and so; `None` if it was not to live long.
    pub(super) async fn start(ground: &Ground, number: u64) -> Option<Self> {
        let Ground { plan, setup, book, disk, clock, shelf, .. } = ground;
        let life = Arc::new(Life::new(number));
        let mut chance = Chance::new(plan.seed, &format!("life {number}"));
        let machine = SimMachine {
            clock: Arc::clone(clock),
            chance: Mutex::new(chance.fork()),
            disk_ms_max: Arc::clone(&ground.disk_ms_max),
        };
        let patience = Patience {
            ping: Duration::from_millis(1_000 + chance.below(5_000)),
            stall: Duration::from_millis(2_000 + chance.below(10_000)),
        };
        let name = Arc::new(ServerName::new(u128::from_be_bytes(chance.bytes())));
        let host = Arc::new(machine);
        let log = Arc::new(SimLog { disk: Arc::clone(disk), life: Arc::clone(&life) });
        let rules = Arc::new(WorkspaceConfig {
            create_stores: false,
            stores: setup.stores.iter().take(plan.stores).cloned().collect(),
            durability: Durability::Strict,
            ..WorkspaceConfig::default()
        });
        let memory_bytes_max = if plan.has(Fault::Eviction) { 1 } else { usize::MAX };
        let (hub, manager, workspace) = if plan.has(Fault::Container) {
            let container = SimContainer::new(Arc::clone(shelf), Arc::clone(&life));
            let manager = WorkspaceManager::new(WorkspaceManagerConfig {
                container: Some(Arc::new(container)),
                log: Some(log),
                host,
                ..WorkspaceManagerConfig::new("user", "session", rules.stores.clone())
            });
            let (hub, workspace) = manager.ground();
            (hub.clone(), Some(manager.clone()), workspace.clone())
        } else {
            let config = HubConfig {
                workspace: Arc::clone(&rules),
                idle_ms_max: 200 + chance.below(2_000),
                memory_bytes_max,
                host,
            };
            (Hub::start(config, log), None, "w".parse().ok()?)
        };
        book.count(|counts| counts.lives += 1);
        book.note("server", format!("life {number} of {workspace}").as_bytes());
        let mut server = Self {
            life,
            hub,
            workspace,
            manager,
            rules,
            name,
            phase: Crier::new(Phase::Running),
            patience,
            links: Vec::new(),
            watching: Vec::new(),
        };
        server.watch_all(ground, &mut chance).await?;
        if let Some(manager) = server.manager.clone() {
            while let Err(error) = manager.initialize().await {
                book.note("server", format!("not initialized: {error}").as_bytes());
                if server.life.is_dead() {
                    return None;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Some(server)
    }

    async fn watch_all(&mut self, ground: &Ground, chance: &mut Chance) -> Option<()> {
        let stores: Vec<StoreName> = self.rules.stores.iter().map(|s| s.name.clone()).collect();
        for store in stores {
            let path = WATCHED[chance.index(WATCHED.len())];
            let pattern = format!("$/{store}{path}");
            let fired = Arc::<Mutex<Vec<Fired>>>::default();
            let since = ground.book.newest(&store);
            let watch = loop {
                let handler = handler(ground, &self.life, &fired);
                let pattern = pattern.parse().ok()?;
                let watch =
                    self.hub.watch(&self.workspace, pattern, WatchOptions::default(), handler);
                match watch.await {
                    Ok(watch) => break watch,
                    Err(_) if self.life.is_dead() => return None,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            };
            let path = path.parse().ok()?;
            self.watching.push(Watching { store, path, since, fired, _watch: watch });
        }
        Some(())
    }

    /// A client connects.
    pub(super) fn connect(&mut self, link: &Link, guest: &Guest) {
        let Guest { user, is_repo, outbox_bytes_max } = guest;
        let tongue = if *is_repo {
            Tongue::repo(self.workspace.clone(), Arc::clone(&self.name))
        } else {
            Tongue::Json
        };
        let seat = Seat {
            hub: self.hub.clone(),
            rules: Arc::clone(&self.rules),
            workspace: self.workspace.clone(),
            entry: Entry::Open(user.as_str().into()),
            tongue,
            outbox_bytes_max: *outbox_bytes_max,
            frame_bytes_max: 4 << 20,
            message_bytes_max: 4 << 20,
            patience: self.patience,
            phase: self.phase.listen(),
            meter: SocketMeter::default(),
            messages_per_s: limits::MESSAGES_PER_S_CEILING,
        };
        self.links.push(link.clone());
        let link = link.clone();
        drop(tokio::spawn(async move {
            converse(link.sink(), link.stream(), &link, seat).await;
            link.end_of_server();
        }));
    }

    /// It is gone, from one moment to the next.
    pub(super) fn crash(self, book: &Book) -> Checked {
        self.life.die();
        self.links.iter().for_each(Link::cut);
        self.watching.iter().try_for_each(|watching| watching.check(book, false))
    }

    /// It ends in order.
    pub(super) async fn stop(self, book: &Book) -> Checked {
        self.phase.tell(Phase::Stopping);
        if let Some(manager) = &self.manager
            && let Err(error) = manager.shutdown().await
        {
            return Err(format!("the manager could not be shut down: {error}"));
        }
        let stopped = self.hub.stop().await;
        book.note("server", format!("stopped: {:?}", stopped.unsaved).as_bytes());
        self.phase.tell(Phase::Stopped);
        // What it said last still arrives.
        sleep(Duration::from_millis(200)).await;
        let left_out = !stopped.unsaved.is_empty();
        self.life.die();
        self.links.iter().for_each(Link::cut);
        self.watching.iter().try_for_each(|watching| watching.check(book, !left_out))
    }

    /// Whether the triggers were told of everything up to now.
    pub(super) fn check_triggers(&self, book: &Book) -> Checked {
        self.watching.iter().try_for_each(|watching| watching.check(book, true))
    }

    /// Whether it has let go of all clients that are gone.
    pub(super) fn check_sessions(&self) -> Checked {
        match self.links.iter().filter(|link| link.is_haunted()).count() {
            0 => Ok(()),
            count => Err(format!("{count} sessions of clients that are gone are still there")),
        }
    }

    /// The links of clients that are still there are quick from now on.
    pub(super) fn hurry(&self) {
        self.links.iter().for_each(|link| link.hurry(5));
    }
}

fn handler(ground: &Ground, life: &Arc<Life>, fired: &Arc<Mutex<Vec<Fired>>>) -> Handler {
    let (book, life, told) = (Arc::clone(&ground.book), Arc::clone(life), Arc::clone(fired));
    let slow = ground.plan.has(Fault::SlowTrigger);
    let panics = ground.plan.has(Fault::PanickingTrigger);
    let name = format!("{}/{}", ground.plan.seed, life.number);
    let chance = Arc::new(Mutex::new(Chance::new(ground.plan.seed, &name)));
    Handler::new(move |call: Fired| {
        let draw = |of: u64| chance.lock().unwrap_or_else(PoisonError::into_inner).below(of);
        let (pause, panic) = (draw(20), draw(10));
        if !life.is_dead() {
            book.count(|counts| counts.firings += 1);
            told.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
        async move {
            if slow {
                sleep(Duration::from_millis(pause)).await;
            }
            if panics && panic == 0 {
                // Without the hook that would print it.
                std::panic::resume_unwind(Box::new("a simulated panic"));
            }
            Ok(())
        }
    })
}

impl Watching {
    /// Holds what the handler was told against the commits. All of them must have been told if
    /// the server had time to; if it crashed, those after the last that was told may be missing.
    fn check(&self, book: &Book, complete: bool) -> Checked {
        let fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told: BTreeMap<Seq, (Option<Json>, Option<Json>)> = BTreeMap::new();
        for call in fired.iter() {
            if call.missed > 0 {
                return Err(format!("{} firings were dropped", call.missed));
            }
            let context = &call.firing.context;
            let values = (call.firing.old.clone(), call.firing.new.clone());
            if told.insert(context.seq, values).is_some() {
                return Err(format!("a trigger fired twice for {}", context.seq));
            }
        }
        let last = told.keys().next_back().copied().unwrap_or(self.since);
        let place = format!("{}{}", self.store, self.path);
        for (seq, before, after, dialect) in book.steps(&self.store, self.since) {
            let (old, new) = (before.get(&self.path).cloned(), after.get(&self.path).cloned());
            let due = old != new && dialect != Dialect::Container;
            match told.remove(&seq) {
                Some(values) if values == (old, new) => {}
                Some((old, new)) => {
                    let what = format!("{old:?} -> {new:?}");
                    return Err(format!("a trigger was told at {seq} of {place}: {what}"));
                }
                None if due && (complete || seq < last) => {
                    return Err(format!("a trigger was not told of {seq} of {place}"));
                }
                None => {}
            }
        }
        let invented = told.keys().next().filter(|_| book.newest(&self.store) > Seq(0));
        match invented {
            Some(seq) if book.is_persistent(&self.store) => {
                Err(format!("a trigger was told of {seq} of {place}, which is not in the log"))
            }
            _ => Ok(()),
        }
    }
}
