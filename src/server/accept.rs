//! From an accepted socket to its requests: HTTP/1.1 on each, until it is upgraded or closed.
//!
//! This is hyper itself and not `axum::serve`, which would wait for ever for a client to send its
//! request, and so let anybody hold all places with sockets that say nothing.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use super::Phase;
use super::rates::Address;
use super::wire::{Carrier, Gate, Listener, Wire};

/// Accepts sockets and serves each, until the sender of `ending` is dropped. Requests that came
/// before are still answered.
///
/// Each socket that is served holds a receiver of the phase, so that whoever stops the server can
/// wait until what was asked is answered.
///
/// A client has `request` from when it may begin with a request until its head must be there.
pub(super) async fn serve(
    mut gate: Gate<impl Listener>,
    routes: Router,
    request: Duration,
    mut ending: watch::Receiver<()>,
    held: watch::Receiver<Phase>,
) {
    let end = ending.clone();
    let accepting = async {
        loop {
            let wire = gate.accept().await;
            tokio::spawn(serve_one(wire, routes.clone(), request, end.clone(), held.clone()));
        }
    };
    tokio::select! {
        // Not drawn by lot: what is decided by chance cannot be played again.
        biased;
        _dropped = ending.changed() => {}
        () = accepting => {}
    }
}

async fn serve_one(
    wire: Wire<impl Carrier>,
    routes: Router,
    request: Duration,
    mut ending: watch::Receiver<()>,
    _held: watch::Receiver<Phase>,
) {
    let peer = wire.peer().map(Address);
    let routes = TowerToHyperService::new(routes);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        routes.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(request)
        .serve_connection(TokioIo::new(wire), answer)
        .with_upgrades();
    let mut serving = pin!(serving);
    let done = tokio::select! {
        biased;
        done = serving.as_mut() => done,
        _dropped = ending.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = done {
        // Whatever is wrong with it, it is one client's doing.
        tracing::trace!(%error, "a socket ended before its request was answered");
    }
}
