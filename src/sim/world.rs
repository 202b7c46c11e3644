//! One world, from its beginning to its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::book::{Book, Checked};
use super::chance::Chance;
use super::client::acking::Acking;
use super::client::crdt::Crdt;
use super::client::legacy::Legacy;
use super::client::liar::Liar;
use super::client::repo::Repo;
use super::client::{Client, Mind, Stage, Tools, pause};
use super::container::Shelf;
use super::crier::Crier;
use super::disk::{Disk, Life};
use super::life::{Ground, Guest, Server};
use super::link::Link;
use super::machine::Clock;
use super::plan::{Fault, Kind, Plan};
use super::{Failed, Passed, Setup, panics};
use crate::document::DocumentError;
use crate::hub::{Hub, HubError};
use crate::ids::{NameError, Seq, StoreName, WorkspaceId};
use crate::storage::ChangeLog as _;
use crate::workspace::{Answer, Ask, Author, Edit, MessageId, Refusal, Terms, Write};

/// Simulated time that a world may be busy for.
const BUSY: Duration = Duration::from_mins(10);
/// Simulated time after which, once nothing goes wrong any more, all must have the same.
const QUIET: Duration = Duration::from_secs(10);
/// Simulated time in which a server must have started, or stopped.
const SOON: Duration = Duration::from_mins(1);

/// What everybody in a world can reach.
#[derive(Debug)]
pub(super) struct World {
    ground: Ground,
    workspace: WorkspaceId,
    server: Mutex<Option<Server>>,
    stage: Crier<Stage>,
    /// Clients that have nothing more to do.
    idle: watch::Sender<u32>,
    /// Rung when the server is to die.
    doom: Notify,
}

/// Runs one world on a runtime whose time is simulated.
pub(super) fn run(plan: &Plan, setup: &Setup) -> Result<Passed, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| Failed::broken(plan, format!("no runtime: {error}")))?;
    panics::watch();
    runtime.block_on(async {
        let world = World::new(plan.clone(), setup.clone());
        let world = world.map_err(|error| Failed::broken(plan, error.to_string()))?;
        let ran = Arc::clone(&world).run().await;
        let book = &world.ground.book;
        book.hold("world", ran);
        if panics::seen() > 0 {
            book.violate(format!("{} panics", panics::seen()));
        }
        let (trace, lines) = book.trace();
        match book.violation() {
            None => Ok(Passed { trace, counts: book.counts() }),
            Some(what) => Err(Failed { plan: plan.clone(), what, lines }),
        }
    })
}

impl World {
    fn new(plan: Plan, setup: Setup) -> Result<Arc<Self>, NameError> {
        let clock = Arc::new(Clock::new());
        let stores = setup.stores.get(..plan.stores).unwrap_or(&setup.stores);
        let book = Arc::new(Book::new(Arc::clone(&clock), stores));
        let disk = Arc::new(Disk::new(Arc::clone(&book), plan.clone()));
        let shelf = Arc::new(Shelf::new(Chance::new(plan.seed, "container")));
        let slow = plan.has(Fault::SlowDisk);
        let disk_ms_max = Arc::new(AtomicU64::new(if slow { 2_000 } else { 10 }));
        // The manager names its workspace after its user.
        let workspace = if plan.has(Fault::Container) { "user" } else { "w" };
        let workspace = workspace.parse()?;
        Ok(Arc::new(Self {
            ground: Ground { plan, setup, book, disk, clock, shelf, disk_ms_max },
            workspace,
            server: Mutex::new(None),
            stage: Crier::new(Stage::Busy),
            idle: watch::Sender::new(0),
            doom: Notify::new(),
        }))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.ground.plan
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client connects; whether there is a server.
    pub(super) fn connect(&self, link: &Link, guest: &Guest) -> bool {
        let mut server = self.server();
        let Some(server) = server.as_mut().filter(|server| !server.life.is_dead()) else {
            return false;
        };
        server.connect(link, guest);
        true
    }

    pub(super) fn latency_ms(&self) -> u64 {
        if self.stage.get() != Stage::Busy {
            5
        } else if self.plan().has(Fault::Delay) {
            3_000
        } else {
            40
        }
    }

    /// A client has nothing more to do.
    pub(super) fn done(&self) {
        self.idle.send_modify(|idle| *idle += 1);
    }

    fn clients(self: &Arc<Self>) -> Vec<JoinHandle<Box<dyn Mind>>> {
        let (plan, ground) = (self.plan().clone(), &self.ground);
        let mut clients = Vec::new();
        for kind in Kind::ALL {
            for n in 0..plan.count(kind) {
                let name = format!("{}-{n}", kind.as_str());
                let tools = Tools::new(name.clone(), &plan, &ground.setup, &ground.book);
                let lies_in_repo = kind == Kind::Liar && n % 2 == 1;
                let mind: Box<dyn Mind> = match kind {
                    Kind::Legacy => Box::new(Legacy::new(tools)),
                    Kind::Ack => Box::new(Acking::new(tools)),
                    Kind::Crdt => Box::new(Crdt::new(tools)),
                    Kind::Repo => Box::new(Repo::new(tools, &self.workspace)),
                    Kind::Liar => Box::new(Liar::new(tools, &self.workspace, lies_in_repo)),
                };
                // Some users have several devices.
                let user = if kind == Kind::Liar { name } else { format!("user-{}", n % 3) };
                let is_repo = kind == Kind::Repo || lies_in_repo;
                let world = Arc::clone(self);
                // So little that a slow reader misses something, except for those who are told
                // of each of their own edits: what they say at once must be answered at once.
                let outbox_bytes_max = if kind == Kind::Ack { 64 << 10 } else { 2 << 10 };
                let guest = Guest { user, is_repo, outbox_bytes_max };
                let client = Client::new(mind, guest, world, self.stage.listen());
                clients.push(tokio::spawn(client.live()));
            }
        }
        clients
    }

    async fn run(self: Arc<Self>) -> Checked {
        let keeper = tokio::spawn(Arc::clone(&self).keep_running());
        let clients = self.clients();
        let others = [
            tokio::spawn(Arc::clone(&self).strike()),
            tokio::spawn(Arc::clone(&self).write()),
            tokio::spawn(Arc::clone(&self).move_the_container()),
        ];
        let busy = async {
            let all = u32::try_from(clients.len()).unwrap_or(u32::MAX);
            let mut idle = self.idle.subscribe();
            let _gone = idle.wait_for(|idle| *idle >= all).await.is_err();
        };
        tokio::select! {
            biased;
            () = self.ground.book.failed() => return Ok(()),
            _busy = timeout(BUSY, busy) => {}
        }
        for other in others {
            other.abort();
        }
        self.ground.disk.heal();
        self.ground.shelf.heal();
        // So quick that an edit after another can be looked for in the log, thousands of them.
        self.ground.disk_ms_max.store(1, Ordering::Relaxed);
        self.ground.clock.set_ahead(0);
        self.stage.tell(Stage::Quiet);
        if let Some(server) = self.server().as_ref() {
            server.hurry();
        }
        let quiet = async {
            self.stir_the_container().await;
            sleep(QUIET).await;
        };
        tokio::select! {
            biased;
            () = self.ground.book.failed() => return Ok(()),
            () = quiet => {}
        }
        let hub = self.server().as_ref().map(|server| server.hub.clone());
        self.ask_states(&hub.ok_or("there is no server at the end")?).await?;
        self.stage.tell(Stage::Over);
        for client in clients {
            let mut mind = client.await.map_err(|error| format!("a client failed: {error}"))?;
            let checked = mind.check();
            let name = mind.tools().name.clone();
            checked.map_err(|what| format!("{name}: {what}"))?;
        }
        keeper.abort();
        self.end().await
    }

    /// The end: what there is must still be there when the server comes again.
    async fn end(&self) -> Checked {
        let book = &self.ground.book;
        let server = self.server().take().ok_or("there is no server at the end")?;
        // Slow handlers take their time, and so do pings that nobody answers.
        sleep(3 * QUIET).await;
        server.check_triggers(book)?;
        server.check_sessions()?;
        self.check_container()?;
        let stopping = timeout(SOON, server.stop(book));
        stopping.await.map_err(|_elapsed| "the server does not stop")??;
        let recall = |store: &StoreName, id: &str| {
            let id = MessageId::new(id)?;
            self.ground.disk.kept().recall(&self.workspace, store, &id).ok().flatten()
        };
        book.check_acknowledged(recall)?;
        let again = timeout(SOON, Server::start(&self.ground, u64::MAX));
        let again = again.await.map_err(|_elapsed| "the server does not start again")?;
        let server = again.ok_or("the server does not start again")?;
        self.ask_states(&server.hub).await?;
        server.crash(book)
    }

    /// Holds what the server says against what is true.
    async fn ask_states(&self, hub: &Hub) -> Checked {
        let book = &self.ground.book;
        let answer = hub.ask(&self.workspace, Ask::States).await;
        let answer = answer.map_err(|error| format!("asked for its states: {error}"))?;
        let Answer::States { states, unavailable } = answer else {
            return Err(format!("asked for its states, it says {answer:?}"));
        };
        if let Some(store) = unavailable.first() {
            return Err(format!("{store} is not available though all is well"));
        }
        for (store, state, cursor) in states {
            book.saw(store.as_str(), cursor.seq.0, &state)?;
            let newest = book.newest(&store);
            if cursor.seq != newest {
                return Err(format!("{store} stands at {}, and should at {newest}", cursor.seq));
            }
        }
        Ok(())
    }

    /// Writes to every store once more: that its owner has changed the container is only seen when
    /// there is something to save.
    async fn stir_the_container(&self) {
        let Ground { plan, setup, book, .. } = &self.ground;
        if !plan.has(Fault::Container) {
            return;
        }
        let mut tools = Tools::new("last".to_owned(), plan, setup, book);
        for store in tools.stores.clone() {
            loop {
                sleep(Duration::from_millis(200)).await;
                let hub = self.server().as_ref().map(|server| server.hub.clone());
                let Some(hub) = hub else { continue };
                let mark = serde_json::json!({ "last": tools.mark() });
                let Ok(merge) = serde_json::from_value(mark) else { return };
                let author = Author::Server { depth: 0 };
                let (store, edit) = (store.clone(), Edit::Merge(merge));
                let write = Write { store, base: None, edit, author, terms: Terms::default() };
                let unfit = |refusal: &Refusal| {
                    matches!(refusal, Refusal::Document(DocumentError::Unfit(_)))
                };
                match hub.ask(&self.workspace, Ask::Write(write)).await {
                    // What breaks a rule now does so the next time too.
                    Err(HubError::Refused(refusal)) if unfit(&refusal) => break,
                    Ok(_) => break,
                    Err(_) => {}
                }
            }
        }
    }

    fn check_container(&self) -> Checked {
        let Ground { plan, setup, book, shelf, .. } = &self.ground;
        if !plan.has(Fault::Container) {
            return Ok(());
        }
        for store in setup.stores.iter().take(plan.stores).filter(|store| store.persistent) {
            let (held, state) = (shelf.get(&store.name), book.state(&store.name));
            // Nothing was ever written: there was nothing to save.
            let untouched = held.is_none() && book.newest(&store.name) == Seq(0);
            if held != state && !untouched {
                let say = |json: Option<crate::json::Json>| json.map(|json| json.to_string());
                let (name, held, state) = (&store.name, say(held), say(state));
                return Err(format!("{name} is {state:?}, and its container holds {held:?}"));
            }
        }
        Ok(())
    }

    /// Sees to it that there is a server, however often it dies.
    async fn keep_running(self: Arc<Self>) {
        let mut chance = Chance::new(self.plan().seed, "keeper");
        for number in 0.. {
            let starting = timeout(SOON, Server::start(&self.ground, number));
            let server = match starting.await {
                Ok(Some(server)) => server,
                Ok(None) => {
                    pause(50).await;
                    continue;
                }
                Err(_elapsed) => {
                    self.ground.book.violate("the server does not start".to_owned());
                    return;
                }
            };
            let life: Arc<Life> = Arc::clone(&server.life);
            *self.server() = Some(server);
            let in_order = tokio::select! {
                biased;
                () = life.died() => false,
                () = self.doom.notified() => {
                    self.plan().has(Fault::Restart)
                        && (!self.plan().has(Fault::Crash) || chance.one_in(2))
                }
            };
            let server = self.server().take();
            if let Some(server) = server {
                let book = &self.ground.book;
                book.count(|counts| counts.faults += 1);
                book.note("server", format!("life {number} ends").as_bytes());
                let ended = if in_order {
                    let stopping = timeout(SOON, server.stop(book)).await;
                    stopping.unwrap_or_else(|_elapsed| Err("it does not stop".to_owned()))
                } else {
                    server.crash(book)
                };
                book.hold("server", ended);
            }
            if self.stage.get() == Stage::Busy {
                sleep(chance.time(3_000)).await;
            }
        }
    }

    /// What strikes from outside.
    async fn strike(self: Arc<Self>) {
        let plan = self.plan();
        let mut chance = Chance::new(plan.seed, "strikes");
        loop {
            sleep(Duration::from_millis(50) + chance.time(12_000)).await;
            let kind = chance.below(3);
            if kind == 0 && (plan.has(Fault::Crash) || plan.has(Fault::Restart)) {
                self.doom.notify_one();
            }
            if kind == 1 && plan.has(Fault::ClockJump) {
                let ahead = i64::try_from(chance.below(4 * 24 * 3_600_000)).unwrap_or(0);
                self.ground.clock.set_ahead(ahead - 2 * 24 * 3_600_000);
                self.ground.book.note("clock", ahead.to_string().as_bytes());
                self.ground.book.count(|counts| counts.faults += 1);
            }
            if kind == 2 && plan.has(Fault::Container) {
                self.ground.shelf.set_away(chance.one_in(2));
            }
        }
    }

    /// Server code that reads and writes.
    async fn write(self: Arc<Self>) {
        let Ground { plan, setup, book, .. } = &self.ground;
        let mut tools = Tools::new("code".to_owned(), plan, setup, book);
        let mut base = None;
        loop {
            let pause = tools.chance.time(4_000);
            sleep(Duration::from_millis(10) + pause).await;
            let store = tools.store();
            let hub = self.server().as_ref().map(|server| server.hub.clone());
            let Some(hub) = hub else { continue };
            let read = hub.ask(&self.workspace, Ask::Get { store: store.clone() }).await;
            let Ok(Answer::State { state, cursor }) = read else { continue };
            book.hold("code", book.saw(store.as_str(), cursor.seq.0, &state));
            let (_, next) = tools.edit(&state);
            // From the newest state, or from the one that was read, whatever came since.
            if tools.chance.one_in(2) {
                base = Some(cursor);
            }
            pause_for(&mut tools.chance).await;
            let edit = Edit::Set(next);
            let author = Author::Server { depth: 0 };
            let write = Write {
                store: store.clone(),
                base: base.take(),
                edit,
                author,
                terms: Terms::default(),
            };
            let written = hub.ask(&self.workspace, Ask::Write(write)).await;
            match written {
                Ok(Answer::Written { seq, .. }) => {
                    let durable = !book.is_persistent(&store) || seq <= book.newest(&store);
                    if !durable {
                        book.violate(format!("code was told of {seq} of {store}: not durable"));
                    }
                }
                Ok(other) => book.violate(format!("a write was answered {other:?}")),
                // The server died, or the disk failed, or the state is too old; or it breaks a rule
                // of the configuration.
                Err(
                    HubError::Closed
                    | HubError::Storage(_)
                    | HubError::Refused(
                        Refusal::NotSaved(_)
                        | Refusal::Unavailable(_)
                        | Refusal::Stale
                        | Refusal::Document(DocumentError::Unfit(_)),
                    ),
                ) => {}
                Err(error) => book.violate(format!("a write was refused: {error}")),
            }
        }
    }

    /// The owner of the container changes it himself now and then.
    async fn move_the_container(self: Arc<Self>) {
        let Ground { plan, setup, book, shelf, .. } = &self.ground;
        if !plan.has(Fault::Container) {
            return;
        }
        let mut tools = Tools::new("owner".to_owned(), plan, setup, book);
        loop {
            let pause = tools.chance.time(8_000);
            sleep(Duration::from_millis(100) + pause).await;
            let store = tools.store();
            if let Some(state) = shelf.get(&store) {
                let (_, next) = tools.edit(&state);
                shelf.put(&store, next);
            }
        }
    }
}

async fn pause_for(chance: &mut Chance) {
    sleep(chance.time(500)).await;
}
