//! Posts messages for people to a webhook: apart from every request, within a bounded time, and a
//! bounded number of times.

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Tell;
use crate::{
    config::WebhookConfig,
    http::{Reach, client},
};

/// Posts that may wait or be under way at once. Beyond that something is wrong that more messages
/// would not mend.
const MOST: usize = 64;
/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Posts messages. Clones share what is under way.
#[derive(Clone)]
pub struct Poster {
    tell: Tell,
    places: Arc<Semaphore>,
    posts: TaskTracker,
    /// The first wait between two attempts; it doubles.
    pause: Duration,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Poster").finish_non_exhaustive()
    }
}

impl Poster {
    /// `tell` writes the log where a message cannot be posted.
    pub fn new(tell: Tell) -> Self {
        Self::pausing(tell, Duration::from_secs(1))
    }

    /// The same with another first wait between attempts.
    pub fn pausing(tell: Tell, pause: Duration) -> Self {
        Self {
            tell,
            places: Arc::new(Semaphore::new(MOST)),
            posts: TaskTracker::new(),
            pause,
        }
    }

    /// Posts a message and returns at once.
    pub fn post(&self, what: &'static str, to: WebhookConfig, message: Value) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            (self.tell)(
                "webhook",
                format!("{what} is not posted: too many wait already"),
            );
            return;
        };
        let (tell, pause) = (self.tell.clone(), self.pause);
        self.posts.spawn(async move {
            let _place = place;
            if let Err(problem) = attempts(&to, &message, pause).await {
                tell("webhook", format!("{what} could not be posted: {problem}"));
            }
        });
    }

    /// Waits until everything is posted or given up.
    pub async fn settled(&self) {
        self.posts.close();
        self.posts.wait().await;
        self.posts.reopen();
    }
}

/// Posts until it is taken. The address is in no message: whoever has it can post.
async fn attempts(to: &WebhookConfig, message: &Value, pause: Duration) -> Result<(), String> {
    let client = client(Reach::of(to.url.expose()))
        .map_err(|error| format!("no connection can be made ({})", error.without_url()))?;
    let mut pause = pause;
    let mut attempt = 1;
    loop {
        let sent = client
            .post(to.url.expose())
            .timeout(to.timeout)
            .json(message)
            .send()
            .await;
        let (problem, wait) = match sent {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => {
                let status = response.status();
                let wait = response
                    .headers()
                    .get(reqwest::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                let problem = format!("the receiver answers {status}");
                let ours = status.is_client_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && status != StatusCode::REQUEST_TIMEOUT;
                if ours || status.is_redirection() {
                    return Err(problem);
                }
                (problem, wait)
            }
            Err(error) => (error.without_url().to_string(), None),
        };
        if attempt == to.attempts {
            return Err(format!("{problem}, {attempt} times"));
        }
        tokio::time::sleep(wait.unwrap_or(pause).min(LONGEST_WAIT)).await;
        pause *= 2;
        attempt += 1;
    }
}

/// Text in which the receiver finds no markup of its own.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, extract::State, http::StatusCode, routing::post};
    use distill_gateway::Secret;
    use serde_json::json;

    use super::*;

    type Received = Arc<Mutex<(Vec<StatusCode>, Vec<String>)>>;

    /// A receiver that answers with these statuses, one after the other, then 200.
    async fn receiver(statuses: &[u16]) -> (String, Received) {
        let statuses = statuses.iter().rev();
        let statuses = statuses.map(|status| StatusCode::from_u16(*status).unwrap());
        let received: Received = Arc::new(Mutex::new((statuses.collect(), Vec::new())));
        let take = |State(received): State<Received>, body: String| async move {
            let mut received = received.lock().unwrap();
            received.1.push(body);
            received.0.pop().unwrap_or(StatusCode::OK)
        };
        let app = Router::new()
            .route("/planted", post(take))
            .with_state(received.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/planted", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, received)
    }

    fn poster() -> (Poster, Arc<Mutex<Vec<String>>>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let tell: Tell = Arc::new(move |_, line| lines.lock().unwrap().push(line));
        (Poster::pausing(tell, Duration::from_millis(1)), log)
    }

    fn to(url: &str) -> WebhookConfig {
        WebhookConfig {
            url: Secret::new(url),
            timeout: Duration::from_secs(20),
            attempts: 3,
        }
    }

    #[tokio::test]
    async fn a_message_is_posted_again_until_it_is_taken() {
        let (url, received) = receiver(&[500, 429]).await;
        let (poster, log) = poster();
        poster.post("a test", to(&url), json!({"text": "hello"}));
        poster.settled().await;
        assert_eq!(received.lock().unwrap().1, vec![r#"{"text":"hello"}"#; 3]);
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_posted_is_given_up_and_logged_without_the_address() {
        for (statuses, times) in [(&[500, 500, 500, 500][..], 3), (&[404], 1), (&[302], 1)] {
            let (url, received) = receiver(statuses).await;
            let (poster, log) = poster();
            poster.post("a test", to(&url), json!({}));
            poster.settled().await;
            assert_eq!(received.lock().unwrap().1.len(), times, "{statuses:?}");
            let log = log.lock().unwrap().join("\n");
            assert!(
                log.contains("could not be posted") && !log.contains("planted"),
                "{log}"
            );
        }
        let (poster, log) = poster();
        // A port that nothing listens at: it was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/planted", listener.local_addr().unwrap());
        drop(listener);
        poster.post("a test", to(&url), json!({}));
        poster.settled().await;
        let log = log.lock().unwrap().join("\n");
        assert!(log.contains("3 times") && !log.contains("planted"), "{log}");
    }
}
