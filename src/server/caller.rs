//! Who makes a request, and in which workspace: the one way in for every path below a workspace,
//! whatever dialect is spoken behind it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::Seats;
use super::auth::{AuthError, Credential, Entry, Guard};
use super::problem::Problem;
use super::rates::Address;
use crate::hub::{Attached, Channel, HubError};
use crate::ids::{Secret, StoreName, WorkspaceId};
use crate::workspace::{ANONYMOUS, Answer, Ask, Refusal, Rights};

/// The author of a request, let in to the workspace that its path names.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) seats: Seats,
    pub(super) workspace: WorkspaceId,
    /// As whom he is known: stamped on commits and presence.
    pub(super) user: Arc<str>,
    /// What he may do there.
    pub(super) rights: Arc<Rights>,
    /// Who he has shown to be, and how long that counts; `None`: nobody is asked.
    pub(super) guard: Option<Guard>,
}

impl FromRequestParts<Seats> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        Visitor::from_request_parts(parts, seats).await?.try_into()
    }
}

impl TryFrom<Visitor> for Caller {
    type Error = Problem;

    /// Errors: 401 `unauthorized`, if he still has to say who he is.
    fn try_from(Visitor { seats, workspace, entry }: Visitor) -> Result<Self, Problem> {
        let (user, rights, guard) = match entry {
            Entry::Open(user) => (user, Arc::new(Rights::all()), None),
            Entry::Known(guard) => {
                (Arc::clone(guard.user()), Arc::clone(guard.rights()), Some(guard))
            }
            Entry::Awaited(_) => return Err(AuthError::Missing.into()),
        };
        Ok(Self { seats, workspace, user, rights, guard })
    }
}

/// Who asks for what everybody may have, at the same rate as for the rest.
#[derive(Debug)]
pub(super) struct Stranger;

impl FromRequestParts<Seats> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        if let Some(Address(address)) = parts.extensions.get() {
            seats.rates.request(*address).map_err(Problem::too_often)?;
        }
        Ok(Self)
    }
}

/// Who comes for a connection that will stay open: a socket, or a stream of events. He is not asked
/// yet who he is, so that who is refused here keeps his ticket.
#[derive(Debug)]
pub(super) struct Line(pub(super) Comer);

impl FromRequestParts<Seats> for Line {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let comer = Comer::from_request_parts(parts, seats).await?;
        if let Some(Address(address)) = parts.extensions.get() {
            seats.rates.socket(*address).map_err(Problem::too_often)?;
        }
        Ok(Self(comer))
    }
}

/// The author of a request for a stream of events.
#[derive(Debug)]
pub(super) struct Follower(pub(super) Caller);

impl FromRequestParts<Seats> for Follower {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let Line(comer) = Line::from_request_parts(parts, seats).await?;
        comer.shows(parts, seats).await?.try_into().map(Self)
    }
}

/// Who comes to a workspace, and may still have to say who he is.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) seats: Seats,
    pub(super) workspace: WorkspaceId,
    pub(super) entry: Entry,
}

impl FromRequestParts<Seats> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        Comer::from_request_parts(parts, seats).await?.shows(parts, seats).await
    }
}

/// Who comes to a workspace, and was not asked yet who he is.
#[derive(Debug)]
pub(super) struct Comer(WorkspaceId);

impl FromRequestParts<Seats> for Comer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let Stranger = Stranger::from_request_parts(parts, seats).await?;
        let workspace = named(parts, seats, "workspace").await?.parse().map_err(bad_name)?;
        if !seats.rules.origins.allow(&parts.headers) {
            return Err(Problem::bad_origin());
        }
        seats.check_running()?;
        Ok(Self(workspace))
    }
}

impl Comer {
    /// Looks at what he shows. A ticket is gone with it, unless he comes too often.
    pub(super) async fn shows(self, parts: &Parts, seats: &Seats) -> Result<Visitor, Problem> {
        let Self(workspace) = self;
        let entry = match &seats.auth {
            None => Entry::Open(ANONYMOUS.into()),
            Some(auth) => match credential(parts)? {
                None => Entry::Awaited(Arc::clone(auth)),
                Some(credential) => {
                    let rate = |user: &str| seats.rates.user(user).map_err(Problem::too_often);
                    let holder = auth.holder(&credential);
                    holder.as_deref().map_or(Ok(()), rate)?;
                    let guard = auth.admit(&credential, &workspace).await?;
                    if holder.is_none() {
                        rate(guard.user())?;
                    }
                    Entry::Known(guard)
                }
            },
        };
        Ok(Visitor { seats: seats.clone(), workspace, entry })
    }
}

impl Caller {
    /// Begins a session of his in the workspace.
    pub(super) async fn attach(&self, channel: Arc<dyn Channel>) -> Result<Attached, Problem> {
        let rights = Arc::clone(&self.rights);
        let attached = self.seats.hub.attach_as(&self.workspace, &self.user, rights, channel).await;
        attached.map_err(|error| refused(&error))
    }

    /// Asks the workspace something.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Problem> {
        let workspace = &self.workspace;
        // What counts is this moment: the body of the request may have been long on its way.
        if let Some(guard) = &self.guard {
            guard.check()?;
        }
        let rights = Arc::clone(&self.rights);
        self.seats.hub.ask_as(workspace, rights, ask).await.map_err(|error| {
            let problem = refused(&error);
            // The text of the refusal may quote the client's document; the code does not.
            let code = problem.code();
            if problem.is_ours() {
                tracing::warn!(%workspace, code, "a request could not be done");
            } else {
                tracing::debug!(%workspace, code, "a request was refused");
            }
            problem
        })
    }
}

/// What a request shows of who makes it: a token in a header, or as a subprotocol, or a ticket in
/// the URL. A token in a URL is not looked at.
fn credential(parts: &Parts) -> Result<Option<Credential>, AuthError> {
    let mut found = bearer(&parts.headers)?.map(Credential::Token);
    for offered in subprotocols(&parts.headers) {
        if let Some(token) = offered.strip_prefix("bearer.") {
            let token = Credential::Token(Secret::new(token));
            if found.replace(token).is_some() {
                return Err(AuthError::Invalid("there are several"));
            }
        }
    }
    let query = parts.uri.query().unwrap_or_default();
    for ticket in query.split('&').filter_map(|pair| pair.strip_prefix("ticket=")) {
        if found.replace(Credential::Ticket(Secret::new(ticket))).is_some() {
            return Err(AuthError::Invalid("there are several"));
        }
    }
    Ok(found)
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, AuthError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let scheme_and_token = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
    match scheme_and_token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && all.next().is_none() => {
            Ok(Some(Secret::new(token.trim())))
        }
        _ => Err(AuthError::Invalid("the header holds no bearer token")),
    }
}

/// What a client offers to speak (RFC 6455, section 4.1).
pub(super) fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// The store that the path of a request names.
#[derive(Debug)]
pub(super) struct Named(pub(super) StoreName);

impl FromRequestParts<Seats> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let name = named(parts, seats, "store").await?.parse();
        Ok(Self(name.map_err(|error| bad_name(format!("store: {error}")))?))
    }
}

async fn named(parts: &mut Parts, seats: &Seats, what: &str) -> Result<String, Problem> {
    let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, seats).await;
    let Path(mut names) = path.map_err(|error| bad_name(error.body_text()))?;
    names.remove(what).ok_or_else(|| bad_name(format!("the path names no {what}")))
}

fn bad_name(detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-name", detail.to_string())
}

/// Why the hub could not do what it was asked, as an answer.
fn refused(error: &HubError) -> Problem {
    match error {
        HubError::Refused(refusal) => Problem::of(refusal),
        // What the disk says is for the log.
        HubError::Storage(_) => {
            Problem::of(&Refusal::Unavailable("the workspace cannot be opened".to_owned()))
        }
        HubError::Closed => Problem::of(&Refusal::ShuttingDown),
    }
}
