//! The query of an event stream.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::ids::StoreName;
use crate::json::Pointer;
use crate::limits;
use crate::server::Seats;
use crate::server::http::query::{members, pointer};
use crate::server::problem::Problem;

/// `?stores=`, `?path=`, `?format=` and `?lastEventId=`.
#[derive(Debug)]
pub(in crate::server) struct EventsQuery {
    /// Only these stores; `None`: all.
    pub(super) stores: Option<Vec<StoreName>>,
    /// Only what is at this place of each.
    pub(super) path: Option<Pointer>,
    pub(super) format: Format,
    /// For clients that cannot send the header.
    pub(super) last: Option<String>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As the messages of the socket.
    Socket,
    /// As events of the AG-UI protocol.
    AgUi,
}

impl FromRequestParts<Seats> for EventsQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let mut members = members(parts, seats).await?;
        let stores = members.remove("stores").map(|text| stores(&text)).transpose()?;
        let path = members.remove("path").map(|text| pointer(&text)).transpose()?;
        let format = match members.remove("format").as_deref() {
            None | Some("socket") => Format::Socket,
            Some("ag-ui") => Format::AgUi,
            Some(_) => return Err(Problem::bad_query("`format` is `socket` or `ag-ui`")),
        };
        if format == Format::AgUi && stores.as_ref().is_none_or(|stores| stores.len() != 1) {
            return Err(Problem::bad_query("a stream of AG-UI has the state of one store"));
        }
        // To look at the whole is no view of its own.
        let path = path.filter(|path| !path.is_root());
        Ok(Self { stores, path, format, last: members.remove("lastEventId") })
    }
}

fn stores(text: &str) -> Result<Vec<StoreName>, Problem> {
    let mut names = text.split(',').map(str::parse).collect::<Result<Vec<StoreName>, _>>();
    if let Ok(names) = &mut names {
        names.sort_unstable();
        names.dedup();
    }
    match names {
        Ok(names) if names.len() <= limits::EVENT_STORES_MAX => Ok(names),
        Ok(_) => {
            let max = limits::EVENT_STORES_MAX;
            Err(Problem::bad_query(format!("`stores` names at most {max} stores")))
        }
        Err(error) => Err(Problem::bad_query(format!("`stores`: {error}"))),
    }
}
