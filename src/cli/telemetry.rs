//! Traces by OTLP (HTTP, protobuf), configured by the environment variables of OpenTelemetry.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use statehouse::hub::WALK;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::{Layer as _, Registry};

use super::Failure;
use super::serve::MoreLogs;

/// Spans that are collected, and sent.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

/// Begins to send traces, if the environment says where to. The default of the specification, an
/// address of this machine, counts only if it says `OTEL_TRACES_EXPORTER=otlp`: a server that
/// nobody has told of a collector looks for none.
///
/// It must not be called within a tokio runtime: what sends has a thread of its own.
pub(super) fn start() -> Result<Option<(Traces, MoreLogs)>, Failure> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let places = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let wanted = match set("OTEL_TRACES_EXPORTER").as_deref() {
        None => places.into_iter().any(|name| set(name).is_some()),
        Some("otlp") => true,
        Some("none") => false,
        Some(other) => {
            let text = format!("OTEL_TRACES_EXPORTER={other}: it is `otlp` or `none`");
            return Err(Failure::Usage(text));
        }
    };
    if disabled || !wanted {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().build();
    let exporter = exporter.map_err(|error| Failure::Usage(format!("OTEL_EXPORTER: {error}")))?;
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = set("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=");
    let resource = Resource::builder();
    let resource = if is_named { resource } else { resource.with_service_name("statehouse") };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let spans = tracing_opentelemetry::layer::<Registry>()
        .with_tracer(provider.tracer("statehouse"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    // Only the spans of a walk, and no events: those tell of names and of what clients sent.
    let walk = FilterFn::new(|metadata| metadata.is_span() && metadata.target() == WALK)
        .with_max_level_hint(LevelFilter::DEBUG);
    Ok(Some((Traces(provider), spans.with_filter(walk).boxed())))
}

impl Traces {
    /// Sends what is left.
    pub(super) fn end(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
