//! Simulated clients: each does what a good client of its protocol does, on a bad network.

pub(super) mod acking;
pub(super) mod crdt;
pub(super) mod legacy;
pub(super) mod liar;
pub(super) mod replica;
pub(super) mod repo;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::Setup;
use super::book::{Book, Checked};
use super::chance::Chance;
use super::life::Guest;
use super::link::Link;
use super::plan::{Fault, Plan};
use super::world::World;
use crate::ids::StoreName;
use crate::json::Json;

/// How far a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Everybody does what he does.
    Busy,
    /// Nothing is written any more, and nothing goes wrong.
    Quiet,
    /// The end.
    Over,
}

/// What a client has at hand.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) name: String,
    pub(super) book: Arc<Book>,
    pub(super) setup: Setup,
    pub(super) stores: Vec<StoreName>,
    pub(super) chance: Chance,
    written: u64,
}

impl Tools {
    pub(super) fn new(name: String, plan: &Plan, setup: &Setup, book: &Arc<Book>) -> Self {
        let stores = setup.stores.iter().take(plan.stores).map(|store| store.name.clone());
        Self {
            chance: Chance::new(plan.seed, &name),
            stores: stores.collect(),
            setup: setup.clone(),
            book: Arc::clone(book),
            name,
            written: 0,
        }
    }

    /// A name for the next edit, which nobody else has.
    pub(super) fn mark(&mut self) -> String {
        self.written += 1;
        let mark = format!("#{}-{}", self.name, self.written);
        self.book.mark(&mark);
        mark
    }

    /// What this client's user makes of a state.
    pub(super) fn edit(&mut self, state: &Json) -> (String, Json) {
        let mark = self.mark();
        let next = self.setup.edits.edit(state, &mark, &mut self.chance);
        (mark, next)
    }

    /// One of the stores.
    pub(super) fn store(&mut self) -> StoreName {
        let at = self.chance.index(self.stores.len());
        self.stores[at].clone()
    }
}

/// What makes one kind of client another than the rest.
pub(super) trait Mind: Send + std::fmt::Debug {
    fn tools(&mut self) -> &mut Tools;

    /// The first words on a new socket.
    fn greet(&mut self) -> Vec<Message>;

    /// The socket is gone.
    fn lose(&mut self);

    /// Takes a message and answers it.
    fn hear(&mut self, message: Message) -> Checked<Vec<Message>>;

    /// Writes something; also while there is no socket.
    fn write(&mut self) -> Vec<Message>;

    /// Says again something it has said before.
    fn repeat(&mut self) -> Vec<Message> {
        Vec::new()
    }

    /// What it says when nothing came for a while, though something should.
    fn ask_again(&mut self) -> Vec<Message> {
        Vec::new()
    }

    /// Holds what it has, at the end, against what is true.
    fn check(&mut self) -> Checked;
}

/// What to do next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Write,
    Repeat,
    Leave(Duration),
    Vanish(Duration),
    Stall(Duration),
    Storm,
}

/// One client, from the beginning of a world to its end.
pub(super) struct Client {
    pub(super) mind: Box<dyn Mind>,
    pub(super) guest: Guest,
    pub(super) world: Arc<World>,
    pub(super) stage: watch::Receiver<Stage>,
    left: u32,
    /// Whether it was said that nothing is left.
    is_done: bool,
    /// Until when it reads nothing.
    stalled: Option<Instant>,
}

/// How the time on one socket ended.
enum Ended {
    /// It is to be away for so long.
    Away(Duration),
    Over,
}

impl Client {
    pub(super) fn new(
        mind: Box<dyn Mind>,
        guest: Guest,
        world: Arc<World>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let left = world.plan().actions;
        Self { mind, guest, world, stage, left, is_done: false, stalled: None }
    }

    fn chance(&mut self) -> &mut Chance {
        &mut self.mind.tools().chance
    }

    /// Whether it still does something by itself. The first time that it does not, it says so.
    fn is_busy(&mut self) -> bool {
        if self.left == 0 && !self.is_done {
            self.is_done = true;
            self.world.done();
        }
        self.left > 0 && *self.stage.borrow() == Stage::Busy
    }

    /// Lives, and returns what it knows in the end.
    pub(super) async fn live(mut self) -> Box<dyn Mind> {
        let first = self.chance().time(300);
        let mut ended = Ended::Away(first);
        while let Ended::Away(time) = ended {
            if self.away(time).await {
                break;
            }
            let latency = self.world.latency_ms();
            let link = Link::new(self.chance().fork(), latency);
            if !self.world.connect(&link, &self.guest) {
                ended = Ended::Away(Duration::from_millis(50) + self.chance().time(300));
                continue;
            }
            for said in self.mind.greet() {
                self.say(&link, said);
            }
            ended = self.serve(&link).await;
            link.leave();
            self.mind.lose();
        }
        self.mind
    }

    /// Is away, and writes now and then; whether the world has ended meanwhile.
    async fn away(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let pause = self.pause();
            let wake = until.min(Instant::now() + pause);
            tokio::select! {
                biased;
                _over = self.stage.wait_for(|stage| *stage == Stage::Over) => return true,
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= until || *self.stage.borrow() == Stage::Quiet {
                return false;
            }
            if self.is_busy() {
                self.left -= 1;
                drop(self.mind.write());
            }
        }
    }

    fn pause(&mut self) -> Duration {
        let ms_max = self.world.plan().pause_ms_max;
        Duration::from_millis(1) + self.chance().time(ms_max)
    }

    async fn serve(&mut self, link: &Link) -> Ended {
        let mut next = Instant::now() + self.pause();
        let mut heard = Instant::now();
        loop {
            let busy = self.is_busy();
            let stalled = self.stalled.filter(|until| *until > Instant::now());
            // In the quiet nobody waits for ever for what was lost on the way.
            let patience = heard + Duration::from_secs(2);
            let quiet = *self.stage.borrow() == Stage::Quiet;
            tokio::select! {
                biased;
                changed = self.stage.changed() => {
                    if changed.is_err() || *self.stage.borrow() == Stage::Over {
                        return Ended::Over;
                    }
                    self.stalled = None;
                    link.hurry(5);
                    heard = Instant::now();
                }
                message = link.hear(), if stalled.is_none() => {
                    match message {
                        Some(message) => {
                            if !matches!(message, Message::Ping(_)) {
                                heard = Instant::now();
                            }
                            if let Some(ended) = self.hear(link, message) {
                                return ended;
                            }
                        }
                        None => return Ended::Away(self.backoff()),
                    }
                }
                () = sleep_until(stalled.unwrap_or(patience)), if stalled.is_some() => {
                    self.stalled = None;
                }
                () = sleep_until(next), if busy => {
                    self.left -= 1;
                    let act = self.choose();
                    if let Some(ended) = self.act(link, act) {
                        return ended;
                    }
                    next = Instant::now() + self.pause();
                }
                () = sleep_until(patience), if quiet => {
                    heard = Instant::now();
                    for said in self.mind.ask_again() {
                        self.say(link, said);
                    }
                }
            }
        }
    }

    fn backoff(&mut self) -> Duration {
        Duration::from_millis(20) + self.chance().time(400)
    }

    fn say(&mut self, link: &Link, message: Message) {
        let tools = self.mind.tools();
        tools.book.count(|counts| counts.messages += 1);
        tools.book.note(&format!("{} >", tools.name), &payload(&message));
        link.send(message);
    }

    fn hear(&mut self, link: &Link, message: Message) -> Option<Ended> {
        let tools = self.mind.tools();
        tools.book.count(|counts| counts.messages += 1);
        tools.book.note(&format!("{} <", tools.name), &payload(&message));
        match message {
            Message::Ping(bytes) => link.send(Message::Pong(bytes)),
            Message::Close(frame) => {
                link.send(Message::Close(None));
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                if reason == "internal" {
                    self.mind.tools().book.violate(format!("the server closed with: {reason}"));
                }
                return Some(Ended::Away(self.backoff()));
            }
            Message::Pong(_) | Message::Frame(_) => {}
            message => match self.mind.hear(message) {
                Ok(answers) => answers.into_iter().for_each(|said| self.say(link, said)),
                Err(what) => {
                    let tools = self.mind.tools();
                    tools.book.hold(&tools.name, Err(what));
                }
            },
        }
        None
    }

    fn choose(&mut self) -> Act {
        let plan = self.world.plan().clone();
        let chance = self.chance();
        if chance.one_in(3) {
            let time = chance.time(8_000);
            let fault = [
                (Fault::Cut, Act::Leave(time)),
                (Fault::HalfOpen, Act::Vanish(time / 4)),
                (Fault::SlowReader, Act::Stall(time)),
                (Fault::Resend, Act::Repeat),
                (Fault::LongOffline, Act::Storm),
            ];
            let at = chance.index(fault.len());
            if let Some((fault, act)) = fault.into_iter().nth(at)
                && plan.has(fault)
            {
                self.mind.tools().book.count(|counts| counts.faults += 1);
                return act;
            }
        }
        Act::Write
    }

    fn act(&mut self, link: &Link, act: Act) -> Option<Ended> {
        match act {
            Act::Write => {
                for said in self.mind.write() {
                    self.say(link, said);
                }
            }
            Act::Repeat => {
                for said in self.mind.repeat() {
                    self.say(link, said);
                }
            }
            Act::Leave(time) => return Some(Ended::Away(time)),
            Act::Vanish(time) => {
                link.forsake();
                return Some(Ended::Away(time));
            }
            Act::Stall(time) => self.stalled = Some(Instant::now() + time),
            Act::Storm => {
                link.cut();
                for _ in 0..self.chance().below(1_000) {
                    drop(self.mind.write());
                }
                return Some(Ended::Away(self.backoff()));
            }
        }
        None
    }
}

fn payload(message: &Message) -> Vec<u8> {
    match message {
        Message::Close(Some(frame)) => format!("close {} {}", frame.code, frame.reason).into(),
        message => message.clone().into_data().to_vec(),
    }
}

/// A pause, so that others come to their turn.
pub(super) async fn pause(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}
