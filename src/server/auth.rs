//! Who somebody is: tokens, tickets, and what they give.
//!
//! A token ends here. What it grants goes on as [`Rights`], which is all that a workspace knows of
//! it. What is wrong with a token is said in a few fixed words: no error, log line or answer
//! carries a part of it.

mod keys;
mod revoked;
mod strict;
mod tickets;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{sleep, timeout};

pub use keys::{KeySource, Signing};

use super::problem::Problem;
use crate::hub::Host;
use crate::hub::host::blocking;
use crate::ids::{Millis, Secret, WorkspaceId};
use crate::limits;
use crate::protocol::codes::Closing;
use crate::workspace::{Glob, Grant, Rights};
use keys::Keys;
pub(crate) use revoked::{Revocation, RevokeError};
use revoked::{Revoked, RevokedFile};
use tickets::Tickets;
use token::Expected;

/// What a server asks of those who come.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// The algorithms by which tokens may be signed; never chosen by the token.
    pub signing: Vec<Signing>,
    /// The keys.
    pub keys: KeySource,
    /// Who must have made a token (`iss`); `None`: anybody who has the key.
    pub issuer: Option<String>,
    /// For whom a token must be made (`aud`); `None`: it must name nobody.
    pub audience: Option<String>,
    /// The claim that holds what may be done.
    pub claim: String,
    /// A list of those who are not let in any more; read again while the server runs.
    pub revoked_file: Option<PathBuf>,
}

/// Why somebody is not let in. It says nothing of the token itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("say who you are: a token is needed")]
    Missing,
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("the token has been revoked")]
    Revoked,
    #[error("this token gives nothing in this workspace")]
    Forbidden,
    #[error("too many tickets are waiting to be used")]
    TooManyTickets,
}

impl AuthError {
    /// How a socket ends for this reason.
    pub(crate) fn closing(&self) -> Closing {
        match self {
            Self::Missing | Self::Invalid(_) | Self::TooManyTickets => Closing::UNAUTHORIZED,
            Self::Expired => Closing::EXPIRED,
            Self::Revoked => Closing::REVOKED,
            Self::Forbidden => Closing::FORBIDDEN,
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let (status, code) = match &error {
            AuthError::Missing | AuthError::Invalid(_) => {
                (StatusCode::UNAUTHORIZED, "unauthorized")
            }
            AuthError::Expired => (StatusCode::UNAUTHORIZED, "expired"),
            AuthError::Revoked => (StatusCode::UNAUTHORIZED, "revoked"),
            AuthError::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            AuthError::TooManyTickets => (StatusCode::TOO_MANY_REQUESTS, "too-many"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// What a valid token gives.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    user: Arc<str>,
    /// The token's own name.
    id: Option<Arc<str>>,
    /// When it was made, if it says so.
    made: Option<Millis>,
    /// When it does not count any more.
    expires: Millis,
    /// What may be done, each in the workspaces whose names fit.
    grants: Arc<[(Vec<Glob>, Grant)]>,
}

impl Pass {
    fn rights(&self, workspace: &WorkspaceId) -> Result<Rights, AuthError> {
        let here = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(workspace.as_str()));
        let grants = self.grants.iter().filter(|(globs, _)| here(globs));
        let grants: Vec<Grant> = grants.map(|(_, grant)| grant.clone()).collect();
        if grants.is_empty() { Err(AuthError::Forbidden) } else { Ok(Rights::of(grants)) }
    }
}

/// What a client shows to be let in.
#[derive(Debug)]
pub(crate) enum Credential {
    Token(Secret),
    Ticket(Secret),
}

/// Decides who comes in.
#[derive(Debug)]
pub(crate) struct Auth {
    expected: Expected,
    source: KeySource,
    keys: watch::Sender<Arc<Keys>>,
    /// When the keys were asked for last, in milliseconds.
    asked: AtomicU64,
    /// Whether the answer is still awaited.
    asking: AtomicBool,
    /// Somebody came with a key that is not known.
    wanted: Notify,
    revoked_file: RevokedFile,
    revoked: watch::Sender<Arc<Revoked>>,
    /// Held by who changes the list, or reads it anew.
    revoking: Mutex<()>,
    tickets: Tickets,
    host: Arc<dyn Host>,
}

impl Auth {
    /// Reads the keys and the list of the revoked. The error says what is wrong, for people.
    pub(super) fn open(config: &AuthConfig, host: Arc<dyn Host>) -> Result<Self, String> {
        let keys = Keys::at_hand(&config.keys, &config.signing)?;
        let revoked_file = RevokedFile(config.revoked_file.clone());
        let revoked = revoked_file.read()?;
        Ok(Self {
            expected: Expected {
                signing: config.signing.clone(),
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                claim: config.claim.clone(),
            },
            source: config.keys.clone(),
            keys: watch::Sender::new(Arc::new(keys)),
            asked: AtomicU64::new(0),
            asking: AtomicBool::new(false),
            wanted: Notify::new(),
            revoked_file,
            revoked: watch::Sender::new(Arc::new(revoked)),
            revoking: Mutex::new(()),
            tickets: Tickets::default(),
            host,
        })
    }

    /// Lets in who shows this, into this workspace.
    pub(super) async fn admit(
        self: &Arc<Self>,
        credential: &Credential,
        workspace: &WorkspaceId,
    ) -> Result<Guard, AuthError> {
        let pass = match credential {
            Credential::Token(token) => self.check(token).await?,
            Credential::Ticket(ticket) => {
                let pass = self.tickets.redeem(ticket, self.host.now())?;
                self.left(&pass).map(|_left| pass)?
            }
        };
        let rights = Arc::new(pass.rights(workspace)?);
        Ok(Guard { auth: Arc::clone(self), workspace: workspace.clone(), pass, rights })
    }

    /// Whose ticket this is, if it is shown as one and counts. It is not used up by the question.
    pub(super) fn holder(&self, credential: &Credential) -> Option<Arc<str>> {
        match credential {
            Credential::Token(_) => None,
            Credential::Ticket(ticket) => self.tickets.holder(ticket, self.host.now()),
        }
    }

    /// A ticket for who shows a token.
    pub(super) async fn ticket(&self, token: &Secret) -> Result<Secret, AuthError> {
        let pass = self.check(token).await?;
        self.tickets.issue(pass, &*self.host)
    }

    async fn check(&self, token: &Secret) -> Result<Pass, AuthError> {
        let parts = self.expected.open(token.expose())?;
        let mut keys = self.keys.subscribe();
        let known = Arc::clone(&keys.borrow_and_update());
        let mut checked = self.expected.check(&parts, &known, self.host.now());
        if checked.is_none() && self.may_change() {
            self.wanted.notify_one();
            let patience = Duration::from_millis(limits::JWKS_FETCH_MS_MAX);
            // If nothing new comes, what is there is looked at once more.
            drop(timeout(patience, keys.changed()).await);
            let known = Arc::clone(&keys.borrow());
            checked = self.expected.check(&parts, &known, self.host.now());
        }
        let pass = checked.ok_or(AuthError::Invalid("its key is not known"))??;
        self.left(&pass).map(|_left| pass)
    }

    /// Whether asking for the keys again could bring others.
    fn may_change(&self) -> bool {
        let from_set = matches!(self.source, KeySource::JwksFile(_) | KeySource::JwksUrl(_));
        let asked = self.asked.load(Ordering::Relaxed);
        let due = asked.saturating_add(limits::JWKS_REFRESH_MS_MIN);
        from_set && (self.host.now().0 >= due || self.asking.load(Ordering::Relaxed))
    }

    /// How long a pass still counts, in milliseconds.
    fn left(&self, pass: &Pass) -> Result<u64, AuthError> {
        if self.revoked.borrow().names(pass) {
            return Err(AuthError::Revoked);
        }
        match pass.expires.0.saturating_sub(self.host.now().0) {
            0 => Err(AuthError::Expired),
            left => Ok(left),
        }
    }

    /// Keeps the keys and the list of the revoked fresh; it never ends.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut age_ms = limits::JWKS_AGE_MS_MAX;
        let pause = Duration::from_millis(limits::AUTH_CHECK_MS);
        loop {
            if age_ms >= limits::JWKS_AGE_MS_MAX {
                self.refresh_keys().await;
                age_ms = 0;
            }
            if self.revoked_file.0.is_some() {
                self.refresh_revoked().await;
            }
            tokio::select! {
                biased;
                // Whoever waited for the answer that has just come has left word, too.
                () = self.wanted.notified() => {
                    if self.may_change() {
                        age_ms = limits::JWKS_AGE_MS_MAX;
                    }
                }
                () = sleep(pause) => age_ms = age_ms.saturating_add(limits::AUTH_CHECK_MS),
            }
        }
    }

    /// Asks for the keys again. While they cannot be had, the last ones count on.
    async fn refresh_keys(self: &Arc<Self>) {
        if !matches!(self.source, KeySource::JwksFile(_) | KeySource::JwksUrl(_)) {
            return;
        }
        self.asked.store(self.host.now().0, Ordering::Relaxed);
        self.asking.store(true, Ordering::Relaxed);
        let fetched = if let KeySource::JwksUrl(url) = &self.source {
            let fetched = fetch(url).await;
            fetched.and_then(|text| Keys::of_set(&text, &self.expected.signing))
        } else {
            let this = Arc::clone(self);
            let read = move || Keys::at_hand(&this.source, &this.expected.signing);
            blocking(&*self.host, read).await.unwrap_or_else(Err)
        };
        self.asking.store(false, Ordering::Relaxed);
        match fetched {
            Ok(keys) => drop(self.keys.send_replace(Arc::new(keys))),
            Err(error) => {
                tracing::warn!(error, "the keys of tokens cannot be read anew");
                // Whoever waits need not wait longer.
                self.keys.send_modify(|_same| {});
            }
        }
    }

    /// Shuts somebody out from now on; who is in is sent away. Says whether it outlives a restart.
    pub(super) async fn revoke(self: &Arc<Self>, one: Revocation) -> Result<bool, RevokeError> {
        let _turn = self.revoking.lock().await;
        let is_kept = self.revoked_file.0.is_some();
        if !is_kept {
            let known = self.revoked.borrow();
            if known.holds(&one) {
                return Ok(false);
            }
            if known.len() >= limits::REVOKED_MAX {
                return Err(RevokeError::Full);
            }
        }
        let (this, line) = (Arc::clone(self), one.clone());
        let written = blocking(&*self.host, move || this.revoked_file.append(&line)).await;
        let durable = written.unwrap_or_else(|error| Err(RevokeError::Unwritable(error)))?;
        self.revoked.send_modify(|known| {
            let mut more = Revoked::clone(known);
            more.add(one);
            *known = Arc::new(more);
        });
        Ok(durable)
    }

    async fn refresh_revoked(self: &Arc<Self>) {
        let _turn = self.revoking.lock().await;
        let this = Arc::clone(self);
        let read = blocking(&*self.host, move || this.revoked_file.read()).await;
        match read.unwrap_or_else(Err) {
            Ok(revoked) => {
                self.revoked.send_if_modified(|known| {
                    let differs = **known != revoked;
                    if differs {
                        *known = Arc::new(revoked);
                    }
                    differs
                });
            }
            Err(error) => tracing::error!(error, "the list of the revoked cannot be read anew"),
        }
    }
}

/// What stands at an address, if it is not too long.
async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let fetching = async {
        let mut response = reqwest::get(url).await?.error_for_status()?;
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await? {
            text.extend_from_slice(&piece);
            let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
            if len > limits::AUTH_FILE_BYTES_MAX {
                return Ok(Err("the key set is too large".to_owned()));
            }
        }
        Ok(Ok(text))
    };
    match timeout(Duration::from_millis(limits::JWKS_FETCH_MS_MAX), fetching).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(error)) => {
            let error: reqwest::Error = error;
            Err(error.without_url().to_string())
        }
        Err(_elapsed) => Err("the address of the keys does not answer".to_owned()),
    }
}

/// Who was let in, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    auth: Arc<Auth>,
    workspace: WorkspaceId,
    pass: Pass,
    rights: Arc<Rights>,
}

impl Guard {
    /// Who it is.
    pub(crate) fn user(&self) -> &Arc<str> {
        &self.pass.user
    }

    /// What he may do in the workspace.
    pub(crate) fn rights(&self) -> &Arc<Rights> {
        &self.rights
    }

    /// Takes another token of the same user in place of the one before.
    pub(crate) async fn renew(&self, token: Secret) -> Result<Self, AuthError> {
        let guard = self.auth.admit(&Credential::Token(token), &self.workspace).await?;
        if guard.pass.user != self.pass.user {
            return Err(AuthError::Invalid("it names another user"));
        }
        Ok(guard)
    }

    /// Whether the token still counts.
    pub(crate) fn check(&self) -> Result<(), AuthError> {
        self.auth.left(&self.pass).map(|_left| ())
    }

    /// Waits until the token does not count any more, and says why.
    pub(crate) async fn ended(&self) -> AuthError {
        let mut revoked = self.auth.revoked.subscribe();
        loop {
            let left = match self.auth.left(&self.pass) {
                Ok(left) => left,
                Err(why) => return why,
            };
            // The clock on the wall may jump: it is looked at now and then.
            let pause = sleep(Duration::from_millis(left.min(limits::AUTH_CHECK_MS)));
            tokio::select! {
                biased;
                _changed = revoked.changed() => {}
                () = pause => {}
            }
        }
    }
}

/// How somebody stands before the door of a workspace.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Nobody is asked who he is: he is known by this name, and may do everything.
    Open(Arc<str>),
    /// He has shown who he is.
    Known(Guard),
    /// He has to say who he is with his first word.
    Awaited(Arc<Auth>),
}

#[cfg(test)]
mod tests;
