//! The task of one workspace.
//!
//! It takes what waits as one turn, hands it to the state machine and carries out what comes back.
//! It awaits in one place only, [`Task::next`]: effects are carried out without waiting for them,
//! and what they bring is awaited there beside the next message.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use automerge::ChangeHash;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Span;

use crate::hub::deliver::{Channel, Channels};
use crate::hub::directory::{Lease, Slot};
use crate::hub::fire::{Handler, Watch, WatchOptions, Watchers};
use crate::hub::read::Opened;
use crate::hub::save::{Job, Work};
use crate::hub::{Attached, HubError, Phase, Shared, panic_text, walk};
use crate::ids::{SessionId, StoreName, WorkspaceId};
use crate::limits;
use crate::protocol::codes;
use crate::workspace::{
    Answer, Append, Ask, Burden, Delivery, Effect, Input, Opening, Pattern, Refusal, Request,
    Rights, SaveId, StorageId, Ticket, TriggerId, Workspace,
};

/// Stores whose news a session has missed, and the heads that it has.
pub(super) type Missed = Vec<(StoreName, Vec<ChangeHash>)>;

type Reply<T> = oneshot::Sender<Result<T, HubError>>;

/// What comes into the mailbox of a workspace.
#[derive(Debug)]
pub(super) enum Message {
    Attach {
        attached: Attached,
        user: String,
        rights: Arc<Rights>,
        channel: Arc<dyn Channel>,
        reply: Reply<Attached>,
    },
    Detach {
        session: SessionId,
    },
    Say {
        session: SessionId,
        request: Request,
        burden: Burden,
        span: Span,
    },
    Resync {
        session: SessionId,
        missed: Missed,
    },
    Close {
        session: SessionId,
        refusal: Refusal,
    },
    Entitle {
        session: SessionId,
        rights: Arc<Rights>,
    },
    Ask {
        ask: Ask,
        rights: Arc<Rights>,
        reply: Reply<Answer>,
        span: Span,
    },
    Watch {
        pattern: Pattern,
        options: WatchOptions,
        handler: Handler,
        lease: Lease,
        reply: Reply<Watch>,
    },
    Unwatch {
        trigger: TriggerId,
    },
}

impl Message {
    /// Whether somebody new wants something; all else comes from who was attached before, and
    /// means nothing to a workspace that is not loaded.
    fn is_a_call(&self) -> bool {
        matches!(self, Self::Attach { .. } | Self::Ask { .. } | Self::Watch { .. })
    }
}

/// The task of one workspace. It outlives the workspace itself: one that failed is dropped, and
/// the next message opens it again from the log.
#[derive(Debug)]
pub(super) struct Task {
    id: WorkspaceId,
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    mailbox: mpsc::Receiver<Message>,
    phase: watch::Receiver<Phase>,
    workspace: Option<Workspace>,
    channels: Channels,
    tickets: BTreeMap<Ticket, Reply<Answer>>,
    tickets_given: u64,
    watchers: Arc<Watchers>,
    triggers_given: u64,
    runner: Option<JoinHandle<()>>,
    /// Saves that the writer has no room for yet, in order.
    unsent: VecDeque<Job>,
    /// What the log was asked; each brings one input, and the turn that asked for it.
    asked: FuturesUnordered<BoxFuture<'static, (Input, Span)>>,
    /// Of what the turn that is being gathered takes; empty where nobody collects spans.
    causes: Vec<Span>,
}

/// What woke the task.
enum Event {
    Message(Message),
    Answered(Input, Span),
    Idle,
    Stopping,
}

impl Task {
    pub(super) fn new(
        id: WorkspaceId,
        shared: Arc<Shared>,
        slot: Arc<Slot>,
        mailbox: mpsc::Receiver<Message>,
    ) -> Self {
        let phase = shared.phase.subscribe();
        Self {
            id,
            shared,
            slot,
            mailbox,
            phase,
            workspace: None,
            channels: Channels::default(),
            tickets: BTreeMap::new(),
            tickets_given: 0,
            watchers: Arc::default(),
            triggers_given: 0,
            runner: None,
            unsent: VecDeque::new(),
            asked: FuturesUnordered::new(),
            causes: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Message(message) => self.turn_with(message).await,
                Event::Answered(input, span) => {
                    self.note_cause(span);
                    self.turn(vec![input]).await;
                }
                Event::Idle => {
                    if self.shared.directory.unload(&self.id, &self.slot) {
                        self.watchers.close();
                        return;
                    }
                }
                Event::Stopping => return self.stop().await,
            }
        }
    }

    /// Waits for the next thing to happen. Dropping what it waits for loses nothing.
    async fn next(&mut self) -> Event {
        let idle = self.is_idle();
        let idle_max = Duration::from_millis(self.shared.config.idle_ms_max);
        loop {
            // A workspace that waits for much of the log takes nothing new: its clients wait.
            let has_room = self.unsent.is_empty() && self.asked.len() < limits::TURN_INPUTS_MAX;
            tokio::select! {
                // Answers go before messages: they let go of what waits for them.
                biased;
                _stopping = self.phase.wait_for(|phase| *phase != Phase::Running) => {
                    return Event::Stopping;
                }
                Some((input, span)) = self.asked.next() => return Event::Answered(input, span),
                permit = self.shared.writer.room(), if !self.unsent.is_empty() => {
                    send_first(permit, &mut self.unsent);
                }
                message = self.mailbox.recv(), if has_room => {
                    return message.map_or(Event::Stopping, Event::Message);
                }
                () = tokio::time::sleep(idle_max), if idle => return Event::Idle,
                () = self.slot.evicted(), if idle => return Event::Idle,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.asked.is_empty()
            && self.channels.is_empty()
            && self.workspace.as_ref().is_none_or(Workspace::is_idle)
    }

    /// A turn that starts with a message; the workspace is opened if it is not.
    async fn turn_with(&mut self, first: Message) {
        let mut inputs = Vec::new();
        if self.workspace.is_none() {
            if !first.is_a_call() {
                return;
            }
            match self.open().await {
                Ok(workspace) => self.workspace = Some(workspace),
                Err(error) => return self.refuse_waiting(first, &error),
            }
            // Handlers outlive a workspace that failed.
            let again = |(trigger, pattern)| Input::Watch { trigger, pattern };
            inputs.extend(self.watchers.patterns().into_iter().map(again));
        }
        self.admit(first, &mut inputs);
        self.turn(inputs).await;
    }

    async fn open(&mut self) -> Result<Workspace, HubError> {
        let bytes_max = self.shared.config.workspace.limits.bytes_max;
        let counted = bytes_max < limits::WORKSPACE_BYTES_MAX;
        let opened = self.shared.reader.open(self.id.clone(), counted).await;
        let Opened { stored, held, epoch, identity } = opened.map_err(|error| {
            tracing::error!(workspace = %self.id, %error, "a workspace cannot be opened");
            HubError::Storage(Arc::new(error))
        })?;
        #[cfg(planted)]
        let epoch = if crate::planted::is("epoch-not-raised") { 0 } else { epoch };
        let (stores, place) = (stored.len(), u128::from_be_bytes(identity));
        tracing::debug!(workspace = %self.id, stores, epoch, place, "workspace opened");
        let config = Arc::clone(&self.shared.config.workspace);
        let (id, actor) = (self.id.clone(), self.shared.config.host.random());
        #[cfg(planted)]
        let actor = if crate::planted::is("actor-reused") { [7; 16] } else { actor };
        let storage = StorageId(uuid::Uuid::from_bytes(identity).to_string().into());
        Ok(Workspace::open(Opening { id, config, stored, held, epoch, actor, storage }))
    }

    /// Tells everybody who waited that the workspace could not be opened.
    fn refuse_waiting(&mut self, first: Message, error: &HubError) {
        refuse(first, error);
        while let Ok(message) = self.mailbox.try_recv() {
            refuse(message, error);
        }
    }

    /// One turn: these inputs and what else waits, and then what follows from it.
    async fn turn(&mut self, mut inputs: Vec<Input>) {
        self.gather(&mut inputs);
        let span = walk::turn(&std::mem::take(&mut self.causes), inputs.len());
        while !inputs.is_empty() {
            let taken = std::mem::take(&mut inputs);
            let Some(effects) = span.in_scope(|| self.handle(taken)) else {
                return self.abandon().await;
            };
            for effect in effects {
                span.in_scope(|| self.carry_out(effect, &mut inputs));
            }
        }
        let idle = self.is_idle();
        let bytes = self.workspace.as_ref().map_or(0, Workspace::bytes);
        let bytes_max = self.shared.config.memory_bytes_max;
        self.shared.directory.note_turn(&self.slot, bytes, idle, bytes_max);
    }

    /// Adds what waits, answers of the log first, up to the limit of a turn.
    fn gather(&mut self, inputs: &mut Vec<Input>) {
        while inputs.len() < limits::TURN_INPUTS_MAX {
            if let Some(Some((input, span))) = self.asked.next().now_or_never() {
                self.note_cause(span);
                inputs.push(input);
            } else if let Ok(message) = self.mailbox.try_recv() {
                self.admit(message, inputs);
            } else {
                break;
            }
        }
        for input in inputs {
            match input {
                Input::Saved { save, failed } => self.note_saved(*save, failed),
                Input::Loaded { result, .. } => self.shared.meter.loaded(result.is_ok()),
                Input::Checkpointed { done, .. } => self.shared.meter.checkpointed(done.is_some()),
                _ => {}
            }
        }
    }

    fn note_cause(&mut self, span: Span) {
        if !span.is_disabled() {
            self.causes.push(span);
        }
    }

    fn note_saved(&self, save: SaveId, failed: &[(StoreName, String)]) {
        for (store, why) in failed {
            tracing::error!(workspace = %self.id, %store, why, "commits could not be saved");
        }
        // While the hub runs, whoever wrote is told that it was not saved. At its end, who stopped
        // it is told too.
        let stopping = *self.phase.borrow() != Phase::Running;
        let left = failed.iter().filter(|_failed| stopping).map(|(store, _)| store.clone());
        self.slot.note_saved(save, left.collect());
    }

    /// Turns a message into an input, and notes who is to be told of its effects.
    fn admit(&mut self, message: Message, inputs: &mut Vec<Input>) {
        match message {
            Message::Attach { reply, .. }
                if self.channels.len() >= self.shared.config.workspace.limits.sessions_max =>
            {
                let refusal = Refusal::TooMany("sessions");
                self.shared.meter.refused(codes::error_code(&refusal));
                drop(reply.send(Err(HubError::Refused(refusal))));
            }
            Message::Attach { attached, user, rights, channel, reply } => {
                let session = attached.session();
                self.channels.insert(session, channel);
                inputs.push(Input::Attach { session, user, rights });
                // If the caller has gone, the guard comes back and detaches.
                drop(reply.send(Ok(attached)));
            }
            Message::Detach { session } => {
                if self.channels.remove(session) {
                    inputs.push(Input::Detach { session });
                }
            }
            // What a session said before it was closed is not heard after.
            Message::Say { session, request, burden, span } if self.channels.contains(session) => {
                self.note_cause(span);
                inputs.push(Input::Say { session, request, burden });
            }
            Message::Resync { session, missed } if self.channels.contains(session) => {
                inputs.push(Input::Resync { session, missed });
            }
            Message::Entitle { session, rights } if self.channels.contains(session) => {
                inputs.push(Input::Entitle { session, rights });
            }
            Message::Say { .. } | Message::Resync { .. } | Message::Entitle { .. } => {}
            Message::Close { session, refusal } => {
                if self.channels.contains(session) {
                    self.channels.close(session, &refusal);
                    inputs.push(Input::Detach { session });
                }
            }
            Message::Ask { ask, rights, reply, span } => {
                self.note_cause(span);
                self.tickets_given = self.tickets_given.saturating_add(1);
                let ticket = Ticket(self.tickets_given);
                self.tickets.insert(ticket, reply);
                inputs.push(Input::Ask { ticket, ask, rights });
            }
            Message::Watch { pattern, options, handler, lease, reply } => {
                let watch = self.watch(pattern.clone(), options, handler, lease);
                if let Ok((trigger, _)) = &watch {
                    inputs.push(Input::Watch { trigger: *trigger, pattern });
                }
                drop(reply.send(watch.map(|(_, watch)| watch).map_err(HubError::Refused)));
            }
            Message::Unwatch { trigger } => inputs.push(Input::Unwatch { trigger }),
        }
    }

    fn watch(
        &mut self,
        pattern: Pattern,
        options: WatchOptions,
        handler: Handler,
        lease: Lease,
    ) -> Result<(TriggerId, Watch), Refusal> {
        let trigger = TriggerId(self.triggers_given);
        self.watchers.add(trigger, pattern, options, handler)?;
        self.triggers_given = self.triggers_given.saturating_add(1);
        if self.runner.is_none() {
            self.runner = Some(tokio::spawn(Arc::clone(&self.watchers).run()));
        }
        Ok((trigger, Watch::new(trigger, Arc::clone(&self.watchers), lease)))
    }

    /// What the workspace makes of the inputs; `None` if it panicked.
    fn handle(&mut self, inputs: Vec<Input>) -> Option<Vec<Effect>> {
        let workspace = self.workspace.as_mut()?;
        let host = &self.shared.config.host;
        // Unwind safe: a workspace that panicked is not looked at again.
        let handled = catch_unwind(AssertUnwindSafe(|| workspace.handle(inputs, host.now())));
        if let Err(panic) = &handled {
            let panic = panic_text(panic.as_ref());
            tracing::error!(workspace = %self.id, panic, "a workspace failed and is opened anew");
        }
        handled.ok()
    }

    /// Drops a workspace that failed. What its clients were not told is in the log or was never
    /// done; they have to ask again.
    async fn abandon(&mut self) {
        self.workspace = None;
        let failed = "the workspace failed and is opened anew: connect again";
        self.channels.close_all(&Refusal::Unavailable(failed.to_owned()));
        self.tickets.clear();
        // Its saves come to an end before it is opened again, or the next life would read a log
        // that still grows.
        loop {
            while let Some(job) = self.unsent.pop_front() {
                match self.shared.writer.room().await {
                    Some(permit) => permit.send(Work::Save(job)),
                    None => self.unsent.clear(),
                }
            }
            let Some((input, _)) = self.asked.next().await else { break };
            if let Input::Saved { save, .. } = input {
                self.slot.note_saved(save, Vec::new());
            }
        }
        self.shared.directory.note_turn(&self.slot, 0, true, usize::MAX);
    }

    /// Carries out an effect without waiting. `follow_up` takes what comes of it at once.
    fn carry_out(&mut self, effect: Effect, follow_up: &mut Vec<Input>) {
        if let Some(refusal) = refusal_in(&effect) {
            self.shared.meter.refused(codes::error_code(refusal));
        }
        match effect {
            Effect::Save { save, appends } => self.save(save, appends),
            Effect::Deliver { to, delivery } => {
                for session in self.channels.deliver(&to, delivery) {
                    follow_up.push(Input::Detach { session });
                }
            }
            Effect::Fire(firing) => {
                self.shared.meter.fired();
                self.watchers.push(*firing);
            }
            Effect::Answer { ticket, answer } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    // Who asked may have gone.
                    drop(reply.send(answer.map_err(HubError::Refused)));
                }
            }
            Effect::Mended { store, breach } => {
                self.shared.meter.mended();
                tracing::warn!(workspace = %self.id, %store, %breach, "a change was put back");
            }
            Effect::Close { session, refusal } => self.channels.close(session, &refusal),
            Effect::Load { store } => {
                let rules = Arc::clone(&self.shared.config.workspace);
                let load = self.shared.reader.clone().load(self.id.clone(), store.clone(), rules);
                self.await_input(load.map(|result| Input::Loaded { store, result }));
            }
            Effect::Recall { store, id } => {
                let reader = self.shared.reader.clone();
                let recall = reader.recall(self.id.clone(), store.clone(), id.clone());
                self.await_input(recall.map(|found| Input::Recalled { store, id, found }));
            }
            Effect::Checkpoint { store } => {
                let reader = self.shared.reader.clone();
                let rules = Arc::clone(&self.shared.config.workspace);
                let now = self.shared.config.host.now();
                let made = reader.checkpoint(self.id.clone(), store.clone(), rules, now);
                self.await_input(made.map(|done| Input::Checkpointed { store, done }));
            }
        }
    }

    fn save(&mut self, save: SaveId, appends: Vec<Append>) {
        let stores: Vec<StoreName> = appends.iter().map(|append| append.store.clone()).collect();
        self.slot.note_saving(save, stores.clone());
        let (reply, saved) = oneshot::channel();
        let job = Job::new(&self.id, appends, self.shared.config.host.passed(), reply);
        // A save never overtakes the one before: the log takes commits in order.
        if !self.unsent.is_empty() {
            self.unsent.push_back(job);
        } else if let Err(job) = self.shared.writer.try_send(job) {
            self.unsent.push_back(job);
        }
        let answered = async move {
            let gone = |store| (store, "the log is not written any more".to_owned());
            let failed = saved.await.unwrap_or_else(|_gone| stores.into_iter().map(gone).collect());
            Input::Saved { save, failed }
        };
        self.await_input(answered);
    }

    /// Waits for what the log answers, beside all else.
    fn await_input(&mut self, answer: impl Future<Output = Input> + Send + 'static) {
        let span = Span::current();
        self.asked.push(answer.map(|input| (input, span)).boxed());
    }

    /// Finishes what was begun, as far as there is time for it, and closes the sessions.
    async fn stop(mut self) {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            () = self.finish() => {}
            _over = phase.wait_for(|phase| *phase == Phase::Over) => {
                tracing::error!(workspace = %self.id, "a workspace had no time to finish");
            }
        }
        self.channels.close_all(&Refusal::ShuttingDown);
        if let Some(runner) = self.runner.take() {
            runner.abort();
        }
    }

    async fn finish(&mut self) {
        self.mailbox.close();
        loop {
            // What came in before the end is done, but nobody new is let in.
            while let Some(message) = self.mailbox.recv().await {
                match message {
                    Message::Attach { .. } | Message::Watch { .. } => {
                        refuse(message, &HubError::Closed);
                    }
                    message => self.turn_with(message).await,
                }
            }
            if let Some(job) = self.unsent.pop_front() {
                if let Some(permit) = self.shared.writer.room().await {
                    permit.send(Work::Save(job));
                }
            } else if let Some((input, span)) = self.asked.next().await {
                self.note_cause(span);
                self.turn(vec![input]).await;
            } else {
                break;
            }
        }
        self.watchers.close();
        if let Some(runner) = &mut self.runner
            && let Err(error) = runner.await
        {
            tracing::error!(workspace = %self.id, %error, "the runner of handlers failed");
        }
    }
}

/// Why somebody is refused with this effect.
fn refusal_in(effect: &Effect) -> Option<&Refusal> {
    match effect {
        Effect::Deliver {
            delivery: Delivery::Nack { refusal, .. } | Delivery::Error { refusal, .. },
            ..
        }
        | Effect::Close { refusal, .. } => Some(refusal),
        Effect::Answer { answer, .. } => answer.as_ref().err(),
        _ => None,
    }
}

/// Sends the first of the saves that had to wait. Without a permit the writer is gone: the saves
/// are dropped, and with them their replies, which fails them.
fn send_first(permit: Option<mpsc::Permit<'_, Work>>, unsent: &mut VecDeque<Job>) {
    match permit {
        None => unsent.clear(),
        Some(permit) => {
            if let Some(job) = unsent.pop_front() {
                permit.send(Work::Save(job));
            }
        }
    }
}

/// Answers a message that cannot be dealt with.
fn refuse(message: Message, error: &HubError) {
    // Each of these may find that nobody waits any more.
    match message {
        Message::Attach { reply, .. } => drop(reply.send(Err(error.clone()))),
        Message::Ask { reply, .. } => drop(reply.send(Err(error.clone()))),
        Message::Watch { reply, .. } => drop(reply.send(Err(error.clone()))),
        Message::Detach { .. }
        | Message::Say { .. }
        | Message::Resync { .. }
        | Message::Entitle { .. }
        | Message::Close { .. }
        | Message::Unwatch { .. } => {}
    }
}
