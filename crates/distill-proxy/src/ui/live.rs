//! The live stream of a page: its parts, drawn anew when something was put on record and sent where
//! they changed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use distill_ledger::LedgerEvent;
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::Instant,
};

use super::{Kind, Shared, Ui, form::Fields, page::Part, parts_of};

/// Pages that may be live at once.
pub(super) const MOST_STREAMS: usize = 32;
/// Least time between two drawings of one page.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// A page is not drawn for more than this share of the time, however long a drawing takes.
const PAUSE_FACTOR: u32 = 20;
/// How long nothing may be recorded before the page is drawn anyhow: rests run out and bars move on.
const IDLE: Duration = Duration::from_secs(5);

/// How often a live page looks whether the server stops.
const LOOK_FOR_STOP: Duration = Duration::from_millis(250);
/// The ledger tells of a row before its tables have it; after so long they do.
const SETTLING: Duration = Duration::from_millis(150);

/// Answers `GET /ui/live?page=PATH&...` with server-sent events: `parts`, a JSON object of markup by
/// part, and `ended` when the login ends.
pub(super) async fn stream(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    if ui
        .sessions
        .of(&headers, std::time::Instant::now())
        .is_none()
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let fields = Fields::read(query.as_deref().unwrap_or_default());
    let Some(kind) = fields.get("page").and_then(Kind::of) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(permit) = Arc::clone(&ui.streams).try_acquire_owned() else {
        let headers = [(header::RETRY_AFTER, "30")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers).into_response();
    };
    let State(ui) = ui;
    let page = Live {
        events: ui.pages.ledger.subscribe(),
        ui,
        kind,
        fields,
        headers,
        shown: HashMap::new(),
        pause: Duration::ZERO,
        drawn: Instant::now(),
        ended: false,
        _permit: permit,
    };
    let body = Body::from_stream(stream::unfold(page, |mut page| async move {
        let bytes = page.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), page))
    }));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

/// One page that somebody looks at.
struct Live {
    ui: Arc<Shared>,
    kind: Kind,
    fields: Fields,
    headers: HeaderMap,
    events: broadcast::Receiver<LedgerEvent>,
    /// What the page shows now.
    shown: HashMap<&'static str, String>,
    /// How long to leave the page alone after it was drawn.
    pause: Duration,
    drawn: Instant,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Live {
    /// The next bytes of the stream; `None` when it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let first = self.shown.is_empty();
        if !first {
            self.wait().await;
            if self.ended {
                return None;
            }
        }
        let now = std::time::Instant::now();
        let Some(session) = self.ui.sessions.of(&self.headers, now) else {
            self.ended = true;
            return Some(Bytes::from_static(b"event: ended\ndata: {}\n\n"));
        };
        let began = Instant::now();
        let parts = parts_of(&self.ui, self.kind, &self.fields, &session).await;
        self.drawn = Instant::now();
        self.pause = LEAST_PAUSE.max((self.drawn - began) * PAUSE_FACTOR);
        let changed = match parts {
            Ok(parts) => self.changed(parts),
            // The page stays as it is; the next drawing may succeed.
            Err(_) => HashMap::new(),
        };
        if changed.is_empty() {
            // A comment keeps the connection alive, and shows when the reader has gone.
            return Some(Bytes::from_static(b": nothing new\n\n"));
        }
        let mut bytes = Vec::new();
        let data = serde_json::to_string(&changed).unwrap_or_default();
        distill_wire::sse::write(Some("parts"), &data, &mut bytes);
        Some(bytes.into())
    }

    /// Waits until something was recorded or enough time has passed, and for the pause; or until the
    /// server stops.
    async fn wait(&mut self) {
        let stopping = Arc::clone(&self.ui.pages.stopping);
        let stopped = async move {
            while !stopping() {
                tokio::time::sleep(LOOK_FOR_STOP).await;
            }
        };
        tokio::select! {
            () = stopped => self.ended = true,
            () = self.news() => {}
        }
    }

    async fn news(&mut self) {
        // What was recorded while the page was drawn or left alone counts as one change.
        tokio::time::sleep_until(self.drawn + self.pause).await;
        let recorded = async {
            match self.events.recv().await {
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                // The ledger is closing; the clock alone goes on.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        };
        let idle_until = self.drawn + IDLE.max(self.pause);
        if tokio::time::timeout_at(idle_until, recorded).await.is_ok() {
            tokio::time::sleep(SETTLING).await;
        }
        // Empties what came meanwhile, so that a burst is drawn once.
        while !matches!(
            self.events.try_recv(),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
        ) {}
    }

    fn changed(&mut self, parts: Vec<Part>) -> HashMap<&'static str, String> {
        let mut changed = HashMap::new();
        for part in parts {
            let markup = part.html.into_string();
            if self.shown.get(part.id) != Some(&markup) {
                self.shown.insert(part.id, markup.clone());
                changed.insert(part.id, markup);
            }
        }
        changed
    }
}
