//! What the proxy tells of itself: metrics, traces, the access log.

mod exporter;
mod log;
mod metrics;
mod observer;
mod traces;

pub use exporter::Exporter;
pub use log::{AccessLine, LogSink, Notice, clock};
pub use metrics::{AttemptMeasure, InFlight, Metrics, RequestMeasure, STATES, TargetState};
pub use observer::Contexts;
pub(crate) use observer::observe;
pub use traces::{AttemptSpan, RequestSpan, TraceContext, export, spans};
