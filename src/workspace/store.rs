//! One named document, and the steps of a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use automerge::ChangeHash;

use super::actors::Actors;
use super::commit::{Commit, MessageId, Origin};
use super::config::StoreConfig;
use super::effect::{Moment, Moments};
use super::gate;
use super::history::History;
use super::input::{At, Cursor};
use super::recover::{Checkpoint, Stored, Unavailable};
use super::rights::View;
use crate::document::{Document, DocumentError, Note, State, Written, genesis, genesis_heads};
use crate::ids::{Millis, Seq};
use crate::json::{Explicit, Json, JsonPatch, between};

/// A loaded store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) config: Arc<StoreConfig>,
    pub(super) document: Document,
    history: History,
    /// The newest commit, durable or not.
    seq: Seq,
    /// The log has all commits up to here, and may have more.
    durable: Seq,
    /// The commits that carried a message id; the older ones only the log knows.
    messages: BTreeMap<MessageId, Seq>,
    older_messages: bool,
    /// Whether it has, or has had, a commit.
    written: bool,
    /// The first change, until the first commit carries it into the log.
    genesis: Option<Vec<u8>>,
    pub(super) actors: Actors,
    /// What the log holds beyond its checkpoint.
    tail: Tail,
    /// Memory that the store takes, roughly, in bytes.
    bytes: usize,
    /// What the log holds of it: the checkpoint, and the changes after it, in bytes.
    logged: usize,
}

#[derive(Debug, Default)]
struct Tail {
    commits: usize,
    bytes: usize,
    /// Whether a checkpoint was asked for and has not been reported yet.
    asked: bool,
    /// What the log held when it was asked for, in bytes.
    logged: usize,
}

/// What a commit did to a store.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) commit: Commit,
    /// The changes of this edit, without the genesis that the first commit also carries.
    pub(super) changes: Vec<Arc<[u8]>>,
    pub(super) heads_before: Vec<ChangeHash>,
    pub(super) before: Json,
    pub(super) after: Json,
    /// Turns `before` into `after`.
    pub(super) patch: Arc<JsonPatch>,
}

/// Why a store has no state at a seq or cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown;

impl Store {
    /// A store as the log has it; new if the log has nothing.
    pub(super) fn rebuild(
        config: Arc<StoreConfig>,
        mut stored: Stored,
    ) -> Result<Self, Unavailable> {
        let unavailable = |error: DocumentError| Unavailable(error.to_string());
        let policy = Arc::new(config.policy.clone());
        let blank = stored.checkpoint.is_none() && stored.commits.is_empty();
        if let (true, Some(gate)) = (blank, &config.gate)
            && let Some(breach) = gate.breaches(&config.initial).first()
        {
            return Err(Unavailable(format!("its initial state: {breach}")));
        }
        let genesis = if blank {
            genesis(&config.name, &config.initial, &policy).map_err(unavailable)?
        } else {
            None
        };
        let checkpoint = stored.checkpoint.as_ref().map(|checkpoint| &*checkpoint.bytes);
        let changes =
            genesis.iter().chain(stored.commits.iter().flat_map(|commit| &commit.changes));
        let changes: Vec<&[u8]> = changes.map(Vec::as_slice).collect();
        let bytes = changes.iter().map(|change| change.len()).sum::<usize>();
        let logged = bytes.saturating_add(checkpoint.map_or(0, <[u8]>::len));
        let document = Document::load(policy, checkpoint, &changes).map_err(unavailable)?;
        let mut store = Self {
            seq: stored.start,
            durable: stored.start,
            history: History::new(config.past, stored.start, document.heads(), Millis::default()),
            messages: BTreeMap::new(),
            older_messages: stored.older_messages,
            written: !blank,
            actors: if config.persistent { Actors::default() } else { Actors::common() },
            genesis,
            tail: Tail::default(),
            bytes: logged.saturating_mul(4),
            logged,
            config,
            document,
        };
        store.own_recorded(&mut stored)?;
        store.replay(stored)?;
        store.durable = store.seq;
        Ok(store)
    }

    /// Takes over who owns which actor: from the checkpoint, and then from the commits after it.
    fn own_recorded(&mut self, stored: &mut Stored) -> Result<(), Unavailable> {
        if let Some(checkpoint) = &mut stored.checkpoint {
            self.actors = std::mem::take(&mut checkpoint.actors);
        }
        let first = stored.commits.first().filter(|commit| commit.seq == stored.start.next());
        let recorded = first.filter(|first| !genesis_heads(&first.changes).is_empty());
        let genesis = self.genesis.as_ref().or(recorded.and_then(|first| first.changes.first()));
        let mut noted = genesis.map_or(Some(()), |genesis| self.actors.note_genesis(genesis));
        for commit in &stored.commits {
            noted = noted.and_then(|()| self.actors.replay(commit));
        }
        noted.ok_or_else(|| Unavailable("a change in the log has no author".to_owned()))
    }

    /// Takes over what the log says of the commits, and holds the document against it.
    fn replay(&mut self, stored: Stored) -> Result<(), Unavailable> {
        let past = self.config.past;
        let covered = stored.checkpoint.as_ref().map_or(stored.start, |checkpoint| checkpoint.seq);
        let mut commits = stored.commits.into_iter();
        let checkpoint_heads = stored.checkpoint.map(|checkpoint| checkpoint.heads);
        if let Some(first) = commits.next() {
            // The state before the oldest kept commit is known only where nothing was trimmed.
            if covered == stored.start {
                let start = genesis_heads(&first.changes);
                self.history = History::new(past, stored.start, start, first.time);
                self.note(&first, covered);
            } else {
                self.history = History::new(past, first.seq, first.heads.clone(), first.time);
                self.seq = first.seq;
                self.remember(&first, covered);
            }
            for commit in commits {
                self.note(&commit, covered);
            }
        } else if let Some(heads) = checkpoint_heads {
            self.seq = covered;
            self.history = History::new(past, covered, heads, Millis::default());
        }
        if self.history.heads(self.seq) != Some(&self.document.heads()) {
            return Err(Unavailable("the log and the document in it do not agree".to_owned()));
        }
        self.history.keep_newest(self.document.state());
        Ok(())
    }

    fn note(&mut self, commit: &Commit, covered: Seq) {
        self.history.push(commit, None);
        self.seq = commit.seq;
        self.remember(commit, covered);
    }

    fn remember(&mut self, commit: &Commit, covered: Seq) {
        if commit.seq > covered {
            self.grow_tail(commit);
        }
        if let Some(id) = &commit.origin.id {
            self.messages.insert(id.clone(), commit.seq);
        }
    }

    fn grow_tail(&mut self, commit: &Commit) {
        let bytes = commit.changes.iter().map(Vec::len).sum::<usize>();
        self.tail.commits = self.tail.commits.saturating_add(1);
        self.tail.bytes = self.tail.bytes.saturating_add(bytes);
    }

    /// The newest commit, durable or not.
    pub(super) fn seq(&self) -> Seq {
        self.seq
    }

    /// Memory that the store takes, roughly, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.saturating_add(self.actors.bytes())
    }

    /// What it holds of the log, or of memory where it is not kept, in bytes.
    pub(super) fn held(&self) -> u64 {
        let held = if self.config.persistent { self.logged } else { self.bytes() };
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// Where the store stands, as a cursor.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { seq: self.seq, heads: self.document.heads() }
    }

    /// The state at a seq.
    pub(super) fn state(&mut self, seq: Seq) -> Result<State, Unknown> {
        self.history.state(seq, &self.document).ok_or(Unknown)
    }

    /// The heads at a seq.
    pub(super) fn heads(&self, seq: Seq) -> Result<&[ChangeHash], Unknown> {
        self.history.heads(seq).ok_or(Unknown)
    }

    /// The state at a cursor: the history's if both agree, else whatever the document can tell.
    pub(super) fn state_at(&mut self, cursor: &Cursor) -> Result<State, Unknown> {
        if self.history.heads(cursor.seq) == Some(&cursor.heads) {
            return self.state(cursor.seq);
        }
        self.document.state_at(&cursor.heads).or(Err(Unknown))
    }

    /// A state, and up to so many after it, as far as they may be seen; none if it is ahead of all
    /// there is.
    ///
    /// Errors: [`Unknown`], if the history does not reach back to it.
    pub(super) fn moments(&self, from: &At, more: usize, view: View) -> Result<Moments, Unknown> {
        let mut alone = None;
        let first = match from {
            At::Seq(seq) => Some(*seq).filter(|seq| *seq <= self.seq),
            At::Heads(heads) => {
                let mut heads = heads.clone();
                heads.sort_unstable();
                heads.dedup();
                let seq = self.history.seq_of(&heads);
                if seq.is_none() && self.document.knows(&heads) {
                    alone = Some(Moment::new(None, heads, Millis::default(), None, None));
                }
                seq
            }
        };
        let moments = match first {
            Some(seq) => self.history.moments(seq, more),
            None => alone.into_iter().collect(),
        };
        if moments.is_empty() && first.is_some() {
            return Err(Unknown);
        }
        let identity = self.config.policy.identity.clone();
        Ok(Moments::new(moments, self.seq, (identity, view), || self.document.frozen()))
    }

    /// Whether somebody has written to the store.
    pub(super) fn is_written(&self) -> bool {
        self.written
    }

    /// Whether this message was committed before: where, if it is known here.
    pub(super) fn message(&self, id: &MessageId) -> MessageFate {
        match self.messages.get(id) {
            Some(seq) => MessageFate::Committed(*seq),
            None if self.older_messages => MessageFate::AskTheLog,
            None => MessageFate::New,
        }
    }

    /// Writes an edit of JSON, unless it would break a rule of the store that is not broken yet.
    pub(super) fn write(
        &mut self,
        base: &State,
        next: &Json,
        explicit: Option<&Explicit>,
        note: Note<'_>,
    ) -> Result<Written, DocumentError> {
        let Some(gate) = self.config.gate.clone() else {
            return self.document.write(base, next, explicit, note);
        };
        let judge = |before: &Json, after: &Json| gate::judge(&*gate, before, after);
        self.document.write_if(base, next, explicit, note, &judge)
    }

    /// Signs what is written from now on; no client may use that actor.
    pub(super) fn sign_as(&mut self, actor: &[u8]) {
        self.document.sign_as(actor);
        self.actors.sign_as(actor);
    }

    /// Makes changes that are in the document already the next commit.
    pub(super) fn commit(
        &mut self,
        before: Json,
        mut changes: Vec<Vec<u8>>,
        origin: Origin,
        time: Millis,
    ) -> Committed {
        let after = self.document.json();
        let news = changes.iter().map(|change| change.as_slice().into()).collect();
        let heads_before = self.history.heads(self.seq).map(<[_]>::to_vec).unwrap_or_default();
        let patch = Arc::new(between(&before, &after, &self.config.policy.identity));
        if let Some(genesis) = self.genesis.take() {
            changes.insert(0, genesis);
        }
        self.seq = self.seq.next();
        let commit = Commit { seq: self.seq, changes, heads: self.document.heads(), time, origin };
        self.history.push(&commit, Some(self.document.state()));
        self.written = true;
        self.grow_tail(&commit);
        let bytes = commit.changes.iter().map(Vec::len).sum::<usize>();
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(4));
        self.logged = self.logged.saturating_add(bytes);
        if let Some(id) = &commit.origin.id {
            self.messages.insert(id.clone(), commit.seq);
            self.forget_messages();
        }
        Committed { commit, changes: news, heads_before, before, after, patch }
    }

    /// Notes that the log has all commits up to here.
    pub(super) fn is_durable_to(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq);
    }

    /// Ids are bounded in memory; the log keeps them all, once it has their commits.
    fn forget_messages(&mut self) {
        if self.messages.len() <= self.config.past.message_ids_max {
            return;
        }
        let mut seqs: Vec<Seq> = self.messages.values().copied().collect();
        seqs.sort_unstable();
        if let Some(oldest_kept) = seqs.get(seqs.len() / 2).copied() {
            let (durable, persistent) = (self.durable, self.config.persistent);
            self.messages.retain(|_, seq| *seq >= oldest_kept || persistent && *seq > durable);
            self.older_messages = persistent;
        }
    }

    /// Whether the log has grown long enough for a checkpoint; says so once.
    pub(super) fn wants_checkpoint(&mut self) -> bool {
        let past = &self.config.past;
        let long = self.tail.commits >= past.checkpoint_commits
            || self.tail.bytes >= past.checkpoint_bytes;
        let wants = long && !std::mem::replace(&mut self.tail.asked, long);
        if wants {
            self.tail.logged = self.logged;
        }
        wants
    }

    /// The checkpoint that was asked for was made, with so many bytes, or could not be.
    ///
    /// Failed or not, the next one is asked for after as many commits again.
    pub(super) fn checkpointed(&mut self, bytes: Option<usize>) {
        if let Some(bytes) = bytes {
            self.logged = self.logged.saturating_sub(self.tail.logged).saturating_add(bytes);
        }
        self.tail = Tail::default();
    }

    /// A verified checkpoint of the whole store.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, Unavailable> {
        let bytes = self.document.save();
        let again = Document::load(Arc::new(self.config.policy.clone()), Some(&bytes), &[])
            .map_err(|error| Unavailable(format!("the checkpoint does not load: {error}")))?;
        if again.state() != self.document.state() {
            return Err(Unavailable("the checkpoint loads as another document".to_owned()));
        }
        let actors = self.actors.clone();
        Ok(Checkpoint { seq: self.seq, heads: self.document.heads(), bytes, actors })
    }
}

/// What became of a message with an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MessageFate {
    /// It was never seen.
    New,
    /// It was committed.
    Committed(Seq),
    /// It is not among those remembered here, and the log holds older ones.
    AskTheLog,
}
