//! A span for each request: the first of a walk. See `hub/walk.rs`.
//!
//! With the feature `otel` it goes on from the span that the client names in `traceparent` (W3C
//! Trace Context, section 3.2). What else a client may send along, `tracestate` and `baggage`, is
//! not taken: it could be anything.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span};

use crate::hub::WALK;

/// Answers a request within its span. The names of its attributes are those of the semantic
/// conventions of OpenTelemetry.
pub(super) async fn walk(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let span = debug_span!(
        target: WALK,
        "request",
        otel.kind = "server",
        http.request.method = method(request.method()),
        http.route = route.map(MatchedPath::as_str),
        http.response.status_code = Empty,
    );
    if span.is_disabled() {
        return next.run(request).await;
    }
    #[cfg(feature = "otel")]
    remote::adopt(&span, request.headers());
    let answer = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", answer.status().as_u16());
    answer
}

/// A method that is not known is whatever the client has made up.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "PATCH", "PUT", "DELETE", "POST", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

#[cfg(feature = "otel")]
mod remote {
    use axum::http::HeaderMap;
    use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    const TRACEPARENT: &str = "traceparent";

    struct Sent<'a>(&'a HeaderMap);

    impl Extractor for Sent<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            let value = self.0.get(TRACEPARENT).filter(|_| key == TRACEPARENT)?;
            value.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }

    /// Goes on from where the client says that it is, if it says so.
    pub(super) fn adopt(span: &Span, headers: &HeaderMap) {
        if headers.contains_key(TRACEPARENT) {
            let context = TraceContextPropagator::new().extract(&Sent(headers));
            // Where spans are not collected there is nothing to go on to.
            drop(span.set_parent(context));
        }
    }
}
