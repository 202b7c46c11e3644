//! Tickets: what stands in a URL in place of a token, because some clients can send nothing else.
//!
//! A URL ends up in logs and histories, so what stands there is worth nothing a moment later: a
//! ticket lets in once, and soon not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::{AuthError, Pass};
use crate::hub::Host;
use crate::ids::{Millis, Secret};
use crate::limits;

/// Tickets that were given and not used. They are found by their hash: how long that takes tells
/// nothing of a ticket that is being guessed.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Drawer>);

#[derive(Debug, Default)]
struct Drawer {
    issued: BTreeMap<[u8; 32], Issued>,
    /// How many there ever were.
    count: u64,
}

#[derive(Debug)]
struct Issued {
    pass: Pass,
    until: Millis,
    number: u64,
}

impl Tickets {
    /// A ticket for whoever has this pass. Of his older ones the first is lost if he has too many.
    pub(super) fn issue(&self, pass: Pass, host: &dyn Host) -> Result<Secret, AuthError> {
        let now = host.now();
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.issued.retain(|_, issued| issued.until > now);
        let own = tickets.issued.iter().filter(|(_, issued)| issued.pass.user == pass.user);
        if own.clone().count() >= limits::TICKETS_PER_USER_MAX {
            let oldest = own.min_by_key(|(_, issued)| issued.number).map(|(hash, _)| *hash);
            oldest.map(|oldest| tickets.issued.remove(&oldest));
        }
        if tickets.issued.len() >= limits::TICKETS_MAX {
            return Err(AuthError::TooManyTickets);
        }
        let ticket = URL_SAFE_NO_PAD.encode([host.random(), host.random()].concat());
        let until = Millis(now.0.saturating_add(limits::TICKET_MS_MAX));
        tickets.count = tickets.count.saturating_add(1);
        let number = tickets.count;
        tickets.issued.insert(hash(&ticket), Issued { pass, until, number });
        Ok(Secret::new(&ticket))
    }

    /// Whose a ticket is, as far as it counts. It stays what it is.
    pub(super) fn holder(&self, ticket: &Secret, now: Millis) -> Option<Arc<str>> {
        let tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = tickets.issued.get(&hash(ticket.expose()));
        issued.filter(|issued| issued.until > now).map(|issued| Arc::clone(&issued.pass.user))
    }

    /// Takes a ticket: it is gone, whatever comes of it.
    pub(super) fn redeem(&self, ticket: &Secret, now: Millis) -> Result<Pass, AuthError> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = tickets.issued.remove(&hash(ticket.expose()));
        let issued = issued.filter(|issued| issued.until > now);
        issued.map(|issued| issued.pass).ok_or(AuthError::Invalid("the ticket is not valid"))
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}
