//! One world: a server with its lives, its clients, and what goes wrong between them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use statehouse::server::Server;
use statehouse::server::config::Config;
use statehouse::storage::ChangeLog;
use statehouse::storage::memory::MemoryLog;
use statehouse::workspace::StoreConfig;
use tokio::sync::watch;
use tokio::time::timeout;
use turmoil::Sim;
use turmoil::net::TcpStream;

use crate::chance::Chance;
use crate::client::{CONNECT, Client, DEAD, PORT, SERVER, connect, look};
use crate::json::JsonClient;
use crate::machine::{Machine, Port};
use crate::replica::Replica;
use crate::witness::{STORE, Stage, Witness};

/// Silence after which the server asks for a sign of life, in milliseconds.
const PING_MS: u64 = 2_000;
/// Time in which a client must take something, or send its request, in milliseconds.
const STALL_MS: u64 = 3_000;
/// Sockets that the server takes beyond one for each client.
const SPARE_SOCKETS: usize = 2;
/// Time in which a dead socket must be gone on both sides, and after which all must be settled:
/// three silences, and what a client waits for.
const RECOVERY: Duration =
    Duration::from_millis(10_000 + 3 * PING_MS + STALL_MS).saturating_add(DEAD);

/// What is wrong at the moment with the way to one client.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Cut,
    Deaf,
    Mute,
    Held,
}

struct World {
    sim: Sim<'static>,
    chance: Chance,
    witness: Witness,
    clients: Vec<String>,
    /// What is wrong, with whom, and until when.
    troubles: Vec<(Duration, usize, Trouble)>,
    /// When the server, which is down, is started again.
    up_at: Option<Duration>,
    stop: Rc<watch::Sender<u64>>,
}

/// Plays the world of a seed to its end; the hash of all that was said and heard, and when.
pub(crate) fn play(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.be_busy();
    let state = world.settle();
    world.witness.judge(&state);
    world.count_sockets();
    world.stop_for_good(&state);
    world.witness.trace()
}

fn config(clients: usize) -> Config {
    let mut config = Config { insecure: true, ..Config::default() };
    config.limits.ping_ms = PING_MS;
    config.limits.repo_ping_ms = PING_MS;
    config.limits.outbox_stall_ms = STALL_MS;
    config.limits.request_ms = STALL_MS;
    config.limits.sockets = clients + SPARE_SOCKETS;
    // So small that a client that sleeps is told to start anew.
    config.limits.outbox_bytes = 12 << 10;
    config.limits.idle_ms = 1_500;
    let mut board = StoreConfig::open(STORE.parse().unwrap());
    board.initial = serde_json::from_value(json!({"log": [], "map": {}, "pad": ""})).unwrap();
    config.workspace.stores.push(board);
    config
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let latency = chance.millis(2, 250);
        let mut sim = turmoil::Builder::new()
            .rng_seed(chance.next())
            .epoch(std::time::UNIX_EPOCH + Duration::from_hours(500_000))
            .simulation_duration(Duration::from_mins(30))
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(latency)
            .tcp_capacity(32 << chance.below(4))
            .build();
        let log = Arc::new(MemoryLog::with_identity(chance.bytes()));
        let witness = Witness::new(Arc::clone(&log));
        let (acking, legacy, replicas) =
            (2 + chance.below(2), 1 + chance.below(2), 1 + chance.below(2));
        let (stop, _) = watch::channel(0);
        let stop = Rc::new(stop);
        let count = usize::try_from(acking + legacy + replicas).unwrap();
        host(&mut sim, chance.split(), config(count), log, Rc::clone(&stop));
        let mut clients = Vec::new();
        for n in 0..acking + legacy + replicas {
            let (name, own) = (format!("client{n}"), chance.split());
            clients.push(name.clone());
            let (witness, speaks) = (witness.clone(), chance.split());
            let life = (name.clone(), own, witness.clone());
            if n < acking + legacy {
                let speaker = JsonClient::new(name, speaks, witness, n < acking);
                client(&mut sim, life, speaker);
            } else {
                client(&mut sim, life, Replica::new(name, speaks, witness));
            }
        }
        Self { sim, chance, witness, clients, troubles: Vec::new(), up_at: None, stop }
    }

    fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            panic!("{error}");
        }
    }

    /// Everything goes wrong, for a while.
    fn be_busy(&mut self) {
        let end = self.chance.millis(15_000, 40_000);
        let mut next = self.chance.millis(500, 3_000);
        while self.sim.elapsed() < end {
            self.step();
            self.mend(self.sim.elapsed());
            if self.sim.elapsed() >= next {
                next = self.sim.elapsed() + self.chance.millis(100, 4_000);
                self.go_wrong();
            }
        }
        self.mend(Duration::MAX);
        self.witness.note("world", "quiet");
        self.witness.enter(Stage::Quiet);
    }

    fn go_wrong(&mut self) {
        let now = self.sim.elapsed();
        match self.chance.below(8) {
            0 | 1 if self.up_at.is_none() => {
                self.witness.note("world", "crash");
                self.sim.crash(SERVER);
                self.up_at = Some(now + self.chance.millis(5, 3_000));
            }
            2 if self.up_at.is_none() => {
                self.witness.note("world", "stop");
                self.stop.send_modify(|stops| *stops += 1);
                self.up_at = Some(now + self.chance.millis(20, 9_000));
            }
            _ => {
                let who = usize::try_from(self.chance.next() % 64).unwrap() % self.clients.len();
                if self.troubles.iter().any(|(_, troubled, _)| *troubled == who) {
                    return;
                }
                let all = [Trouble::Cut, Trouble::Deaf, Trouble::Mute, Trouble::Held];
                let trouble = all[usize::try_from(self.chance.below(4)).unwrap()];
                let name = self.clients[who].as_str();
                self.witness.note("world", &format!("{name} {trouble:?}"));
                match trouble {
                    Trouble::Cut => self.sim.partition(SERVER, name),
                    Trouble::Deaf => self.sim.partition_oneway(SERVER, name),
                    Trouble::Mute => self.sim.partition_oneway(name, SERVER),
                    Trouble::Held => self.sim.hold(SERVER, name),
                }
                self.troubles.push((now + self.chance.millis(50, 12_000), who, trouble));
            }
        }
    }

    /// Ends what has lasted until now.
    fn mend(&mut self, now: Duration) {
        let (over, rest) = std::mem::take(&mut self.troubles)
            .into_iter()
            .partition::<Vec<_>, _>(|(until, ..)| *until <= now);
        self.troubles = rest;
        for (_, who, trouble) in over {
            let name = self.clients[who].as_str();
            self.witness.note("world", &format!("{name} mended"));
            match trouble {
                Trouble::Held => self.sim.release(SERVER, name),
                _ => self.sim.repair(SERVER, name),
            }
        }
        if self.up_at.is_some_and(|at| at <= now) {
            self.up_at = None;
            self.witness.note("world", "start");
            self.sim.bounce(SERVER);
        }
    }

    /// All clients come to one state, in time.
    fn settle(&mut self) -> Value {
        let end = self.sim.elapsed() + RECOVERY;
        loop {
            self.step();
            match self.witness.agreed(&self.clients) {
                Ok(state) => {
                    self.witness.note("world", &format!("settled as {state:.2000}"));
                    return state;
                }
                Err(why) => assert!(self.sim.elapsed() < end, "it does not settle: {why}"),
            }
        }
    }

    /// Runs a newcomer to its end.
    fn visit(&mut self, name: &'static str, visit: impl Future<Output = ()> + 'static) {
        let done = Rc::new(Cell::new(false));
        let end = self.sim.elapsed() + Duration::from_mins(1);
        let ended = Rc::clone(&done);
        self.sim.client(name, async move {
            visit.await;
            ended.set(true);
            Ok(())
        });
        while !done.get() {
            self.step();
            assert!(self.sim.elapsed() < end, "{name} does not come to an end");
        }
    }

    /// Dead sockets are gone, and there are no more places than there should be.
    fn count_sockets(&mut self) {
        for (name, path) in [("ghost", "socket"), ("spirit", "automerge")] {
            self.visit(name, async move {
                let socket = connect(path).await.expect("there is room for one more");
                // The server hears nothing of its end.
                turmoil::partition(name, SERVER);
                drop(socket);
            });
        }
        let end = self.sim.elapsed() + RECOVERY;
        while self.sim.elapsed() < end {
            self.step();
        }
        let clients = self.clients.len();
        self.visit("greedy", async move {
            let sockets = turmoil::established_tcp_stream_count_on(SERVER);
            assert_eq!(sockets, clients, "sockets of the server, and clients that are there");
            let mut taken = Vec::new();
            while let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect((SERVER, PORT))).await {
                taken.push(stream);
            }
            assert_eq!(taken.len(), SPARE_SOCKETS, "places that were left");
        });
    }

    /// The server says to all that it stops, and has everything when it is there again.
    fn stop_for_good(&mut self, state: &Value) {
        self.witness.enter(Stage::Stopping);
        self.stop.send_modify(|stops| *stops += 1);
        let end = self.sim.elapsed() + Duration::from_secs(20);
        while self.witness.who_was_told_of_stop().len() < self.clients.len()
            || self.sim.is_host_running(SERVER)
        {
            self.step();
            let told = self.witness.who_was_told_of_stop();
            assert!(self.sim.elapsed() < end, "the server does not stop; it told {told:?}");
        }
        self.sim.bounce(SERVER);
        let (state, newest) = (state.clone(), self.witness.newest());
        self.visit("newcomer", async move { assert_eq!(look().await, (newest, state)) });
    }
}

/// Registers the server; every start is a life of its own, over the same log.
fn host(
    sim: &mut Sim<'static>,
    chance: Chance,
    config: Config,
    log: Arc<MemoryLog>,
    stop: Rc<watch::Sender<u64>>,
) {
    let chance = Cell::new(Some(chance));
    sim.host(SERVER, move || {
        let mut left = chance.take().unwrap();
        let machine = Arc::new(Machine::new(left.split()));
        chance.set(Some(left));
        let (config, mut stop) = (config.clone(), stop.subscribe());
        let log: Arc<dyn ChangeLog> = Arc::<MemoryLog>::clone(&log);
        async move {
            let port = Port::bind(PORT).await?;
            let server = Server::on(port, &config, log, machine)?;
            let stopped = server.run(async move { drop(stop.changed().await) }).await;
            assert!(stopped.unsaved.is_empty(), "{stopped:?}");
            Ok(())
        }
    });
}

fn client<S: crate::client::Speaker + 'static>(
    sim: &mut Sim<'static>,
    (name, chance, witness): (String, Chance, Witness),
    speaker: S,
) {
    let client = Client { name: name.clone(), chance, witness, speaker };
    sim.client(name, async move {
        client.live().await;
        Ok(())
    });
}
