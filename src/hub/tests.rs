//! The hub over a log that can be held up, made to fail and looked at.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::*;
use crate::ids::{Millis, Seq};
use crate::json::{Json, JsonPatch};
use crate::storage::memory::MemoryLog;
use crate::storage::{AppendTo, Backlog, CallId, Lane, Settled, WaitingCall};
use crate::workspace::{
    Author, Caps, Checkpoint, Delivery, Dialect, Edit, Hello, MessageId, Stored, Terms, Write,
};

/// A memory log whose calls can be held up and made to fail.
#[derive(Debug, Default)]
struct TestLog {
    kept: MemoryLog,
    held: Mutex<Held>,
    moved: Condvar,
    /// The sizes of the batches that were appended, failed ones too.
    batches: Mutex<Vec<usize>>,
    /// How the next appends fail.
    failures: Mutex<VecDeque<StorageError>>,
    openings: AtomicUsize,
    openings_fail: AtomicUsize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    appends: bool,
    reads: bool,
    openings: bool,
}

impl TestLog {
    fn hold(&self, held: Held) {
        *lock(&self.held) = held;
        self.moved.notify_all();
    }

    fn pass(&self, is_held: impl Fn(&Held) -> bool) {
        // Not for ever: a test that failed could not end otherwise.
        let (long, held) = (Duration::from_secs(20), lock(&self.held));
        drop(self.moved.wait_timeout_while(held, long, |held| is_held(held)));
    }

    fn fail_next(&self, errors: impl IntoIterator<Item = StorageError>) {
        lock(&self.failures).extend(errors);
    }

    fn batches(&self) -> Vec<usize> {
        lock(&self.batches).clone()
    }
}

impl ChangeLog for TestLog {
    fn append(&self, batch: &[AppendTo]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        lock(&self.batches).push(batch.len());
        self.pass(|held| held.appends);
        match lock(&self.failures).pop_front() {
            Some(error) => Err(error),
            None => self.kept.append(batch),
        }
    }

    fn read(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Stored, StorageError> {
        self.pass(|held| held.reads);
        self.kept.read(workspace, store)
    }

    fn stores(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, Seq)>, StorageError> {
        self.kept.stores(workspace)
    }

    fn recall(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        id: &MessageId,
    ) -> Result<Option<Seq>, StorageError> {
        self.kept.recall(workspace, store, id)
    }

    fn checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError> {
        self.kept.checkpoint(workspace, store, checkpoint, keep)
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StorageError> {
        self.kept.backlog()
    }

    fn opening(&self, workspace: &WorkspaceId) -> Result<u32, StorageError> {
        self.openings.fetch_add(1, Ordering::SeqCst);
        self.pass(|held| held.openings);
        let fails = self.openings_fail.load(Ordering::SeqCst) > 0;
        if fails {
            self.openings_fail.fetch_sub(1, Ordering::SeqCst);
            return Err(StorageError::Failed("the disk is away".to_owned()));
        }
        self.kept.opening(workspace)
    }

    fn lanes(&self, after: Option<&Lane>, count_max: usize) -> Result<Vec<Lane>, StorageError> {
        self.kept.lanes(after, count_max)
    }

    fn calls(&self, lane: &Lane, count_max: usize) -> Result<Vec<WaitingCall>, StorageError> {
        self.kept.calls(lane, count_max)
    }

    fn settle(&self, settled: &[(CallId, Settled)]) -> Result<(), StorageError> {
        self.kept.settle(settled)
    }

    fn identity(&self) -> Result<[u8; 16], StorageError> {
        self.kept.identity()
    }
}

/// A client that remembers what it was told.
#[derive(Debug, Default)]
struct Client {
    told: Mutex<Vec<Delivery>>,
    closed: Mutex<Option<Refusal>>,
    breaks: AtomicBool,
}

impl Client {
    fn told(&self) -> Vec<Delivery> {
        lock(&self.told).clone()
    }

    fn patches(&self) -> usize {
        self.told().iter().filter(|d| matches!(d, Delivery::Patch { .. })).count()
    }
}

impl Channel for Client {
    fn deliver(&self, message: &Arc<Outgoing>) {
        assert!(!self.breaks.load(Ordering::SeqCst), "the client's own bug");
        assert!(lock(&self.closed).is_none(), "delivered after close");
        lock(&self.told).push(message.delivery().clone());
    }

    fn close(&self, refusal: &Refusal) {
        let before = lock(&self.closed).replace(refusal.clone());
        assert_eq!(before, None, "closed twice");
    }
}

/// The real machine with another clock.
#[derive(Debug)]
struct At(fn() -> Millis);

impl Host for At {
    fn now(&self) -> Millis {
        self.0()
    }

    fn random(&self) -> [u8; 16] {
        Machine.random()
    }

    fn parallelism(&self) -> NonZeroUsize {
        Machine.parallelism()
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) {
        Machine.run_writer(writer);
    }

    fn run_blocking(&self, work: host::Work) {
        Machine.run_blocking(work);
    }
}

fn noon() -> Millis {
    Millis(43_200_000)
}

fn config() -> HubConfig {
    HubConfig {
        workspace: Arc::default(),
        idle_ms_max: 60_000,
        memory_bytes_max: usize::MAX,
        host: Arc::new(At(noon)),
    }
}

fn start(config: HubConfig) -> (Hub, Arc<TestLog>) {
    let log = Arc::new(TestLog::default());
    (Hub::start(config, Arc::<TestLog>::clone(&log)), log)
}

fn id(name: &str) -> WorkspaceId {
    name.parse().unwrap()
}

fn store() -> StoreName {
    "notes".parse().unwrap()
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn patch(text: &str) -> JsonPatch {
    serde_json::from_str(text).unwrap()
}

fn merge(text: &str) -> Ask {
    let author = Author::Server { depth: depth() };
    Ask::Write(Write {
        store: store(),
        base: None,
        edit: Edit::Merge(json(text)),
        author,
        terms: Terms::default(),
    })
}

fn get() -> Ask {
    Ask::Get { store: store() }
}

async fn state(hub: &Hub, workspace: &str) -> Json {
    match hub.ask(&id(workspace), get()).await.unwrap() {
        Answer::State { state, .. } => state,
        other => panic!("{other:?}"),
    }
}

fn hello() -> Request {
    Request::Hello(Hello { seqs: [(store(), 0)].into(), ..Hello::default() })
}

fn edit(seq: i64, text: &str) -> Request {
    Request::Patch { store: store(), seq, id: None, patch: patch(text) }
}

/// Waits until something is so; the test fails if it never is.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if so() {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

/// Gives what should not happen time to happen.
async fn a_moment() {
    sleep(Duration::from_millis(50)).await;
}

async fn attach(hub: &Hub, workspace: &str) -> (Attached, Arc<Client>) {
    let client = Arc::<Client>::default();
    let channel = Arc::<Client>::clone(&client);
    (hub.attach(&id(workspace), "alice", channel).await.unwrap(), client)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_clients_that_come_together_get_one_workspace() {
    let (hub, log) = start(config());
    log.hold(Held { openings: true, ..Held::default() });
    let mut coming = tokio::task::JoinSet::new();
    for n in 0..50 {
        let hub = hub.clone();
        coming.spawn(async move {
            hub.ask(&id("w"), merge(&format!(r#"{{"k{n}":{n}}}"#))).await.unwrap();
        });
    }
    a_moment().await;
    log.hold(Held::default());
    coming.join_all().await;
    assert_eq!(log.openings.load(Ordering::SeqCst), 1);
    assert_eq!(state(&hub, "w").await.as_object().unwrap().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_opening_reaches_all_who_wait_and_is_tried_again() {
    let (hub, log) = start(config());
    log.openings_fail.store(1, Ordering::SeqCst);
    log.hold(Held { openings: true, ..Held::default() });
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let hub = hub.clone();
            tokio::spawn(async move { hub.ask(&id("w"), get()).await })
        })
        .collect();
    a_moment().await;
    log.hold(Held::default());
    for answer in waiting {
        assert!(matches!(answer.await.unwrap(), Err(HubError::Storage(_))));
    }
    assert_eq!(state(&hub, "w").await, json("{}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_what_is_not_durable() {
    let (hub, log) = start(config());
    let (alice, told_alice) = attach(&hub, "w").await;
    let (bob, told_bob) = attach(&hub, "w").await;
    alice.say(hello()).await.unwrap();
    bob.say(hello()).await.unwrap();
    hub.ask(&id("w"), merge(r#"{"n":0}"#)).await.unwrap();
    until("both hear of the first", || told_alice.patches() + told_bob.patches() == 2).await;
    log.hold(Held { appends: true, ..Held::default() });
    alice.say(edit(1, r#"[{"op":"add","path":"/a","value":1}]"#)).await.unwrap();
    a_moment().await;
    assert_eq!(told_bob.patches(), 1);
    log.hold(Held::default());
    until("bob hears of it", || told_bob.patches() == 2).await;
    assert_eq!(told_alice.patches(), 1, "an edit is not echoed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_the_disk_works_is_written_together() {
    let (hub, log) = start(config());
    for n in 0..20 {
        state(&hub, &format!("w{n}")).await;
    }
    log.hold(Held { appends: true, ..Held::default() });
    let write = |n: usize| {
        let hub = hub.clone();
        async move { hub.ask(&id(&format!("w{n}")), merge(r#"{"a":1}"#)).await.unwrap() }
    };
    let mut writes = tokio::task::JoinSet::new();
    writes.spawn(write(0));
    until("a lone edit goes at once", || log.batches() == [1]).await;
    for n in 1..20 {
        writes.spawn(write(n));
    }
    until("they wait", || hub.holding().saves_waiting == 19).await;
    log.hold(Held::default());
    writes.join_all().await;
    assert_eq!(log.batches(), [1, 19]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_append_is_tried_again_and_a_full_disk_is_not() {
    let (hub, log) = start(config());
    log.fail_next([StorageError::Failed("once".to_owned())]);
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    assert_eq!(log.batches(), [1, 1]);
    log.fail_next([StorageError::Full]);
    let refused = hub.ask(&id("w"), merge(r#"{"a":2}"#)).await.unwrap_err();
    assert!(matches!(refused, HubError::Refused(Refusal::NotSaved(_))), "{refused}");
    assert_eq!(log.batches(), [1, 1, 1]);
    assert_eq!(state(&hub, "w").await, json(r#"{"a":1}"#));
    hub.ask(&id("w"), merge(r#"{"a":3}"#)).await.unwrap();
    assert_eq!(state(&hub, "w").await, json(r#"{"a":3}"#));
}

/// Panics in the turn after the flag was set.
fn broken_clock() -> Millis {
    assert!(!CLOCK_BREAKS.swap(false, Ordering::SeqCst), "the clock broke");
    noon()
}

static CLOCK_BREAKS: AtomicBool = AtomicBool::new(false);

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_panics_is_opened_anew_and_nobody_else_notices() {
    let (hub, log) = start(HubConfig { host: Arc::new(At(broken_clock)), ..config() });
    let (alice, told_alice) = attach(&hub, "w").await;
    let (_bob, told_bob) = attach(&hub, "other").await;
    let fired = Arc::new(AtomicUsize::new(0));
    let _watch = hub
        .watch(&id("w"), "/*".parse().unwrap(), WatchOptions::default(), counting(&fired))
        .await
        .unwrap();
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    until("the handler runs", || fired.load(Ordering::SeqCst) == 1).await;
    CLOCK_BREAKS.store(true, Ordering::SeqCst);
    alice.say(hello()).await.unwrap();
    until("alice is told", || lock(&told_alice.closed).is_some()).await;
    assert!(matches!(*lock(&told_alice.closed), Some(Refusal::Unavailable(_))));
    // It comes back from the log, with the handlers that were there.
    hub.ask(&id("w"), merge(r#"{"b":2}"#)).await.unwrap();
    assert_eq!(state(&hub, "w").await, json(r#"{"a":1,"b":2}"#));
    until("the handler runs again", || fired.load(Ordering::SeqCst) == 2).await;
    assert_eq!(*lock(&told_bob.closed), None);
    assert_eq!(log.openings.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_panics_ends_its_own_session_only() {
    let (hub, _log) = start(config());
    let (alice, told_alice) = attach(&hub, "w").await;
    let (bob, told_bob) = attach(&hub, "w").await;
    alice.say(hello()).await.unwrap();
    bob.say(hello()).await.unwrap();
    state(&hub, "w").await;
    told_alice.breaks.store(true, Ordering::SeqCst);
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    hub.ask(&id("w"), merge(r#"{"a":2}"#)).await.unwrap();
    until("bob hears of both", || told_bob.patches() == 2).await;
    assert_eq!(told_alice.patches(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_message_is_lost_to_an_unloading_workspace() {
    let (hub, log) = start(HubConfig { idle_ms_max: 0, ..config() });
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8_u64 {
        let hub = hub.clone();
        callers.spawn(async move {
            for n in 0..100_u64 {
                let key = format!(r#"{{"k{caller}-{n}":1}}"#);
                hub.ask(&id("w"), merge(&key)).await.unwrap();
                sleep(Duration::from_millis((caller * 7 + n * 13) % 5)).await;
            }
        });
    }
    callers.join_all().await;
    assert_eq!(state(&hub, "w").await.as_object().unwrap().len(), 800);
    assert!(log.openings.load(Ordering::SeqCst) > 1, "it was never unloaded");
    until("it is unloaded at last", || hub.holding() == Holding::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_recently_used_of_the_idle_make_room() {
    let (hub, log) = start(HubConfig { memory_bytes_max: 1, ..config() });
    let (_held, _) = attach(&hub, "busy").await;
    hub.ask(&id("busy"), merge(r#"{"a":1}"#)).await.unwrap();
    hub.ask(&id("idle"), merge(r#"{"a":1}"#)).await.unwrap();
    until("the idle one is unloaded", || hub.holding().workspaces == 1).await;
    assert_eq!(log.openings.load(Ordering::SeqCst), 2);
    assert_eq!(state(&hub, "busy").await, json(r#"{"a":1}"#));
    assert_eq!(log.openings.load(Ordering::SeqCst), 2, "the busy one stayed");
    assert_eq!(state(&hub, "idle").await, json(r#"{"a":1}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detach_is_not_lost_when_the_mailbox_is_full() {
    let (hub, log) = start(HubConfig { idle_ms_max: 1, ..config() });
    // One session alone may not have so many messages under way.
    let mut sessions = Vec::new();
    for _ in 0..=limits::MAILBOX_INPUTS_MAX / limits::SESSION_WAITING_MESSAGES_MAX {
        sessions.push(Arc::new(attach(&hub, "w").await.0));
    }
    log.hold(Held { reads: true, ..Held::default() });
    // As many answers of the log as a turn takes, and the workspace takes nothing new.
    let stores = (0..limits::TURN_INPUTS_MAX).map(|n| format!("s{n}").parse().unwrap());
    let all = Hello { stores: Some(stores.collect()), ..Hello::default() };
    sessions[0].say(Request::Hello(all)).await.unwrap();
    a_moment().await;
    let presence = || Request::Presence { data: json("1") };
    let mut full = tokio::task::JoinSet::new();
    for n in 0..=limits::MAILBOX_INPUTS_MAX {
        let session = Arc::clone(&sessions[n % sessions.len()]);
        full.spawn(async move { session.say(presence()).await.unwrap() });
    }
    until("the mailbox is full", || {
        while full.try_join_next().is_some() {}
        full.len() == 1
    })
    .await;
    full.abort_all();
    while full.join_next().await.is_some() {}
    drop(sessions);
    a_moment().await;
    log.hold(Held::default());
    until("nobody is attached", || hub.holding().workspaces == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_saves_what_was_taken_in_and_closes_the_sessions() {
    let (hub, log) = start(config());
    let (alice, told_alice) = attach(&hub, "w").await;
    let caps = Caps { ack: true, ..Caps::default() };
    alice.say(Request::Hello(Hello { caps, ..Hello::default() })).await.unwrap();
    state(&hub, "w").await;
    log.hold(Held { appends: true, ..Held::default() });
    alice.say(edit(0, r#"[{"op":"add","path":"/a","value":1}]"#)).await.unwrap();
    until("it is on its way", || hub.unsaved() == [(id("w"), store())]).await;
    let stopping = tokio::spawn({
        let hub = hub.clone();
        async move { hub.stop().await }
    });
    a_moment().await;
    assert!(matches!(hub.ask(&id("w"), get()).await, Err(HubError::Closed)));
    log.hold(Held::default());
    assert_eq!(stopping.await.unwrap(), Stopped::default());
    assert!(matches!(told_alice.told().last(), Some(Delivery::Ack { .. })));
    assert_eq!(*lock(&told_alice.closed), Some(Refusal::ShuttingDown));
    assert_eq!(hub.stop().await, Stopped::default(), "a second stop says the same");
    drop(hub);
    assert_eq!(Arc::strong_count(&log), 1, "the log can be opened again");
    let again = Hub::start(config(), log);
    assert_eq!(state(&again, "w").await, json(r#"{"a":1}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_names_what_it_could_not_save() {
    let (hub, log) = start(config());
    let (alice, _) = attach(&hub, "w").await;
    alice.say(hello()).await.unwrap();
    state(&hub, "w").await;
    log.hold(Held { appends: true, ..Held::default() });
    alice.say(edit(0, r#"[{"op":"add","path":"/a","value":1}]"#)).await.unwrap();
    until("it is on its way", || !hub.unsaved().is_empty()).await;
    log.fail_next([StorageError::Full]);
    let stopping = tokio::spawn(async move { hub.stop().await });
    a_moment().await;
    log.hold(Held::default());
    let stopped = stopping.await.unwrap();
    assert_eq!(stopped.unsaved, [(id("w"), store())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_hub_ends_by_itself() {
    let (hub, log) = start(config());
    let (_alice, told_alice) = attach(&hub, "w").await;
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    drop(hub);
    until("the session is closed", || lock(&told_alice.closed).is_some()).await;
    until("the log is let go", || Arc::strong_count(&log) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_gets_a_checkpoint_and_keeps_its_history() {
    let (hub, log) = start(config());
    let commits = limits::CHECKPOINT_COMMITS + 1;
    for n in 0..commits {
        hub.ask(&id("w"), merge(&format!(r#"{{"a":{n}}}"#))).await.unwrap();
    }
    let stored = || log.kept.read(&id("w"), &store()).unwrap();
    until("a checkpoint stands", || stored().checkpoint.is_some()).await;
    assert!(stored().commits.len() >= limits::HISTORY_COMMITS_MIN);
    let before = state(&hub, "w").await;
    hub.stop().await;
    assert_eq!(state(&Hub::start(config(), log), "w").await, before);
}

/// A handler that counts its calls.
fn counting(calls: &Arc<AtomicUsize>) -> Handler {
    let calls = Arc::clone(calls);
    Handler::new(move |_fired| {
        calls.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    })
}

/// A handler that notes its name and what it was told, in one list for all.
fn noting(name: &'static str, notes: &Arc<Mutex<Vec<(&'static str, Fired)>>>) -> Handler {
    let notes = Arc::clone(notes);
    Handler::new(move |fired| {
        lock(&notes).push((name, fired));
        async { Ok(()) }
    })
}

async fn watch(hub: &Hub, options: WatchOptions, handler: Handler) -> Watch {
    let pattern = "/notes/a".parse().unwrap();
    hub.watch(&id("w"), pattern, options, handler).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_run_in_order_and_a_bad_one_does_not_stop_the_next() {
    let (hub, _log) = start(config());
    let notes = Arc::default();
    let any = WatchOptions::default();
    let _first = watch(&hub, any, noting("first", &notes)).await;
    let fails = Handler::new(|_fired| async { Err("no".into()) });
    let _fails = watch(&hub, any, fails).await;
    let panics = Handler::new(|_fired| async { panic!("the handler's own bug") });
    let _panics = watch(&hub, any, panics).await;
    let panics_early = Handler::new(|fired| {
        assert!(fired.missed > 0, "the handler's own bug");
        std::future::ready(Ok(()))
    });
    let _panics_early = watch(&hub, any, panics_early).await;
    let hangs = Handler::new(|_fired| std::future::pending());
    let _hangs = watch(&hub, WatchOptions { ms_max: 10 }, hangs).await;
    let _last = watch(&hub, any, noting("last", &notes)).await;
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    until("the last one runs", || lock(&notes).len() == 2).await;
    let names: Vec<_> = lock(&notes).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["first", "last"]);
    let fired = lock(&notes).last().unwrap().1.clone();
    assert_eq!((fired.firing.old, fired.firing.new), (None, Some(json("1"))));
    assert_eq!(fired.firing.context.origin.dialect, Dialect::Server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_unsubscribes_makes_nobody_be_skipped() {
    let (hub, _log) = start(config());
    let notes = Arc::default();
    let any = WatchOptions::default();
    let guards: Arc<Mutex<BTreeMap<&str, Watch>>> = Arc::default();
    let unsubscribes = Handler::new({
        let guards = Arc::clone(&guards);
        move |_fired| {
            let gone = std::mem::take(&mut *lock(&guards));
            async move {
                drop(gone);
                Ok(())
            }
        }
    });
    let itself = watch(&hub, any, unsubscribes).await;
    lock(&guards).insert("self", itself);
    let _second = watch(&hub, any, noting("second", &notes)).await;
    let third = watch(&hub, any, noting("third", &notes)).await;
    lock(&guards).insert("third", third);
    let _fourth = watch(&hub, any, noting("fourth", &notes)).await;
    hub.ask(&id("w"), merge(r#"{"a":1}"#)).await.unwrap();
    hub.ask(&id("w"), merge(r#"{"a":2}"#)).await.unwrap();
    until("all have run", || lock(&notes).len() == 4).await;
    let names: Vec<_> = lock(&notes).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["second", "fourth", "second", "fourth"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fires_itself_is_cut_off() {
    let (hub, _log) = start(config());
    let calls = Arc::new(AtomicUsize::new(0));
    assert_eq!(depth(), 0);
    let feeds_itself = Handler::new({
        let (hub, calls) = (hub.clone(), Arc::clone(&calls));
        move |fired| {
            let hub = hub.clone();
            assert_eq!(
                fired.firing.context.depth,
                u32::try_from(calls.load(Ordering::SeqCst)).unwrap()
            );
            let n = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(depth(), fired.firing.context.depth + 1);
                hub.ask(&id("w"), merge(&format!(r#"{{"a":{n}}}"#))).await?;
                Ok(())
            }
        }
    });
    let _watch = watch(&hub, WatchOptions::default(), feeds_itself).await;
    hub.ask(&id("w"), merge(r#"{"a":-1}"#)).await.unwrap();
    let depth_max = usize::try_from(limits::TRIGGER_DEPTH_MAX).unwrap();
    until("it is at the end", || calls.load(Ordering::SeqCst) == depth_max).await;
    a_moment().await;
    assert_eq!(calls.load(Ordering::SeqCst), depth_max);
    assert_eq!(state(&hub, "w").await, json(&format!(r#"{{"a":{}}}"#, depth_max - 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handlers_see_a_chain_without_gaps() {
    let (hub, _log) = start(config());
    let notes: Arc<Mutex<Vec<(&'static str, Fired)>>> = Arc::default();
    let (go, gate) = watch::channel(false);
    let waits = Handler::new(move |_fired| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await?;
            Ok(())
        }
    });
    let _waits = watch(&hub, WatchOptions { ms_max: 60_000 }, waits).await;
    let _notes = watch(&hub, WatchOptions::default(), noting("a", &notes)).await;
    let writes = limits::FIRINGS_WAITING_MAX;
    for n in 0..writes {
        hub.ask(&id("w"), merge(&format!(r#"{{"a":{n}}}"#))).await.unwrap();
    }
    go.send(true).unwrap();
    let newest = json(&(writes - 1).to_string());
    until("it has caught up", || {
        lock(&notes).last().is_some_and(|(_, fired)| fired.firing.new.as_ref() == Some(&newest))
    })
    .await;
    let notes = lock(&notes);
    assert!(notes.len() < writes, "nothing was merged");
    let mut before = None;
    for (_, fired) in notes.iter() {
        assert_eq!((&fired.firing.old, fired.missed), (&before, 0));
        before.clone_from(&fired.firing.new);
    }
}
