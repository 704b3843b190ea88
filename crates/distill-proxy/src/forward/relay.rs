//! A streamed answer: held back until content comes, then passed on event by event.
//!
//! A caller of the target's dialect gets the target's bytes; every other gets the same events in its
//! own dialect. Until the first content nothing was sent, so that a failure can still move on to
//! another target; after it, a failure ends the stream in an error that the caller's client
//! understands, never in the mark of a whole answer.

use std::{fmt, sync::Arc};

use axum::body::Bytes;
use distill_gateway::{
    Failure,
    failover::{VendorError, of_status},
};
use distill_ledger::RequestEnd;
use distill_wire::{
    Dropped, ErrorKind, ErrorReply, Event, ReadStream, ReplyContext, WriteStream,
    sse::{Decoder, Frame},
};
use futures_util::{FutureExt, Stream, stream};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{
    Context, Done,
    body::Prepared,
    booked::{Booked, Broken, Facts},
    send::{late, of_transport},
    splitter::Splitter,
    whole::{reply_context, stream_breaks_schema},
};
use crate::problem::status_of;

/// The most bytes of one event.
const LARGEST_EVENT: usize = 16 * 1024 * 1024;
/// How long a vendor's connection is given to end in order after the last event, so that it can be
/// used again.
const LEAVING: Duration = Duration::from_secs(1);

/// A stream on its way from a target to a caller.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub(super) struct Relay {
    context: Arc<Context>,
    response: Option<reqwest::Response>,
    splitter: Splitter,
    decoder: Decoder,
    reader: Box<dyn ReadStream>,
    /// `None`: the target's own bytes are passed on.
    writer: Option<Box<dyn WriteStream>>,
    hides_usage: bool,
    frames: Vec<Frame>,
    events: Vec<Event>,
    /// Bytes for the caller.
    out: Vec<u8>,
    booked: Option<Booked>,
    facts: Facts,
    /// Whether the caller may see what came so far, so that no other target may take over.
    content: bool,
    whole: bool,
    any_frame: bool,
    /// An error that the vendor sent in mid-stream and that stands in `out` already.
    error_told: bool,
    ended: bool,
    collected: Option<Vec<u8>>,
    done: Option<oneshot::Sender<Done>>,
    pub(super) dropped: Vec<Dropped>,
    attempts: u32,
    first_token: Option<Duration>,
    target: String,
    simulated: bool,
}

impl fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Relay")
            .field("target", &self.target)
            .field("content", &self.content)
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Reads until content comes. A failure before is booked and returned.
    pub(super) async fn open(
        context: &Arc<Context>,
        prepared: &Prepared<'_>,
        response: reqwest::Response,
        booked: Booked,
        until: Instant,
    ) -> Result<Self, Broken> {
        let caller = context.endpoint.dialect();
        let live = Arc::clone(booked.live());
        let mut relay = Self {
            context: Arc::clone(context),
            response: Some(response),
            splitter: Splitter::default(),
            decoder: Decoder::new(LARGEST_EVENT),
            reader: prepared.dialect.stream_reader(),
            writer: (!prepared.passes)
                .then(|| caller.stream_writer(&reply_context(context, prepared))),
            hides_usage: prepared.hides_usage,
            frames: Vec::new(),
            events: Vec::new(),
            out: Vec::new(),
            booked: Some(booked),
            facts: Facts::default(),
            content: false,
            whole: false,
            any_frame: false,
            error_told: false,
            ended: false,
            collected: context.collect.then(Vec::new),
            done: None,
            dropped: prepared.dropped.clone(),
            attempts: 0,
            first_token: None,
            target: live.name().to_owned(),
            simulated: live.target.simulated(),
        };
        while !relay.content && !relay.whole {
            if let Err(mut broken) = relay.pull(until, until).await {
                broken.status = Some(200);
                if let Some(booked) = relay.booked.take() {
                    booked.failed(&mut broken, std::mem::take(&mut relay.facts));
                }
                return Err(broken);
            }
        }
        relay.first_token = Some(context.started.elapsed());
        Ok(relay)
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn simulated(&self) -> bool {
        self.simulated
    }

    /// The stream for the caller, and how it will have ended.
    pub(super) fn start(
        mut self,
        attempts: u32,
    ) -> (
        impl Stream<Item = Bytes> + Send + use<>,
        oneshot::Receiver<Done>,
    ) {
        let (sender, receiver) = oneshot::channel();
        self.done = Some(sender);
        self.attempts = attempts;
        let stream = stream::unfold(self, |mut relay| async move {
            let bytes = relay.next().await?;
            Some((bytes, relay))
        });
        (stream, receiver)
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.whole && !self.ended {
                self.finish();
            }
            if !self.out.is_empty() {
                if let Some(collected) = &mut self.collected {
                    collected.extend_from_slice(&self.out);
                }
                return Some(std::mem::take(&mut self.out).into());
            }
            if self.ended {
                self.leave();
                return None;
            }
            let stall = Instant::now() + self.context.route.config.timeouts.between_tokens;
            if let Err(broken) = self.pull(stall, self.context.deadline).await {
                self.break_off(broken);
            }
        }
    }

    /// Reads one piece and takes in what it says. `stall`: when a piece must have come.
    async fn pull(&mut self, stall: Instant, until: Instant) -> Result<(), Broken> {
        let Some(response) = &mut self.response else {
            return Err(Broken::new(Failure::ConnectionLost, "the stream is over"));
        };
        match timeout_at(stall.min(until), response.chunk()).await {
            Err(_) if stall < until || self.any_frame => {
                Err(Broken::new(Failure::Stalled, "the stream stalled"))
            }
            Err(_) => Err(late(&self.context, until)),
            Ok(Err(error)) => Err(of_transport(&error)),
            Ok(Ok(Some(bytes))) => {
                let mut splitter = std::mem::take(&mut self.splitter);
                splitter.push(&bytes);
                if splitter.held() > LARGEST_EVENT {
                    return Err(Broken::new(
                        Failure::Malformed,
                        format!("an event is longer than {LARGEST_EVENT} bytes"),
                    ));
                }
                while !self.whole
                    && let Some(event) = splitter.next()
                {
                    self.take(event)?;
                }
                self.splitter = splitter;
                Ok(())
            }
            Ok(Ok(None)) => self.end_of_stream(),
        }
    }

    /// The connection ended in order.
    fn end_of_stream(&mut self) -> Result<(), Broken> {
        self.response = None;
        self.events.clear();
        self.reader.finish(&mut self.events);
        self.heed()?;
        self.whole |= self.reader.is_whole();
        if self.whole {
            return Ok(());
        }
        Err(if self.any_frame {
            Broken::new(
                Failure::ConnectionLost,
                "the stream ended before it was whole",
            )
        } else {
            Broken::new(Failure::Malformed, "the answer is no stream of events")
        })
    }

    /// Takes in one whole event as it came.
    fn take(&mut self, raw: &[u8]) -> Result<(), Broken> {
        let malformed = |problem: String| Broken::new(Failure::Malformed, problem);
        self.frames.clear();
        self.decoder
            .push(raw, &mut self.frames)
            .map_err(|error| malformed(error.to_string()))?;
        self.events.clear();
        for frame in &self.frames {
            self.any_frame = true;
            self.reader
                .read(frame, &mut self.events)
                .map_err(|error| malformed(error.to_string()))?;
        }
        let error_before = self.error_told;
        let result = self.heed();
        if self.writer.is_none() {
            let only_usage = !self.events.is_empty()
                && self
                    .events
                    .iter()
                    .all(|event| matches!(event, Event::Usage(_) | Event::Ping));
            let shown = !(self.hides_usage && only_usage);
            let is_error = self
                .events
                .iter()
                .any(|event| matches!(event, Event::Error(_)));
            if shown && (!is_error || self.content) {
                self.out.extend_from_slice(raw);
                self.error_told = error_before || is_error;
            }
        }
        result
    }

    /// Learns from the events that were read, and writes them for a caller of another dialect.
    fn heed(&mut self) -> Result<(), Broken> {
        let mut error = None;
        for event in &self.events {
            match event {
                Event::Start {
                    id,
                    model,
                    fingerprint,
                    ..
                } => {
                    for (known, new) in [
                        (&mut self.facts.id, id),
                        (&mut self.facts.model, model),
                        (&mut self.facts.fingerprint, fingerprint),
                    ] {
                        if new.is_some() {
                            known.clone_from(new);
                        }
                    }
                }
                Event::Usage(usage) => self.facts.count(*usage),
                Event::Error(reply) => error = Some(reply),
                Event::End => self.whole = true,
                _ => {}
            }
            // A reply may end without a word; that it ended is then what it says.
            if event.is_content() || matches!(event, Event::Finish { .. }) {
                self.content = true;
                if let Some(booked) = &mut self.booked {
                    booked.note_first_token();
                }
            }
            if let Some(writer) = &mut self.writer {
                let told = matches!(event, Event::Error(_));
                if !told || self.content {
                    writer.write(event, &mut self.out);
                    self.error_told |= told;
                }
            }
        }
        match error {
            Some(reply) => Err(of_reply(reply)),
            None => Ok(()),
        }
    }

    /// Books a stream that is whole.
    fn finish(&mut self) {
        self.ended = true;
        let facts = std::mem::take(&mut self.facts);
        let (usage, model) = (facts.usage, facts.model.clone());
        let usd = self.booked.take().and_then(|booked| {
            let usd = booked.price(facts.usage);
            booked.answered(facts, usd, "answered")
        });
        self.close(Done {
            outcome: "answered",
            usage,
            model,
            usd,
            valid: true,
            ..Done::default()
        });
    }

    /// Ends a stream that broke after content was sent.
    fn break_off(&mut self, mut broken: Broken) {
        self.ended = true;
        self.response = None;
        if !self.error_told {
            let error = Event::Error(ErrorReply {
                kind: match broken.failure {
                    Failure::Stalled | Failure::Timeout => ErrorKind::Timeout,
                    _ => ErrorKind::Server,
                },
                message: format!(
                    "the answer of `{}` broke off ({}): what came is not whole; ask again",
                    self.target,
                    broken.failure.rule().name
                ),
                code: Some("stream_broken".to_owned()),
                param: None,
            });
            if let Some(writer) = &mut self.writer {
                writer.write(&error, &mut self.out);
            } else {
                let dialect = self.context.endpoint.dialect();
                dialect
                    .stream_writer(&ReplyContext::default())
                    .write(&error, &mut self.out);
            }
        }
        broken.status = Some(200);
        let facts = std::mem::take(&mut self.facts);
        let (usage, model) = (facts.usage, facts.model.clone());
        if let Some(booked) = self.booked.take() {
            booked.failed(&mut broken, facts);
        }
        self.close(Done {
            outcome: "broken",
            usage,
            model,
            ..Done::default()
        });
    }

    fn close(&mut self, done: Done) {
        self.context.open.finish(RequestEnd {
            status: 200,
            outcome: done.outcome,
            answered_by: Some(self.target.clone()),
            cache: None,
        });
        let body: Option<Bytes> = self.collected.take().map(|mut collected| {
            collected.extend_from_slice(&self.out);
            collected.into()
        });
        let valid = done.valid
            && body
                .as_ref()
                .is_none_or(|sent| !stream_breaks_schema(&self.context, sent));
        if let Some(sender) = self.done.take() {
            // Nobody has to listen.
            drop(sender.send(Done {
                status: 200,
                target: Some(self.target.clone()),
                first_token: self.first_token,
                attempts: self.attempts,
                simulated: self.simulated,
                body,
                valid,
                ..done
            }));
        }
    }

    /// Lets the vendor's connection end in order.
    fn leave(&mut self) {
        let Some(mut response) = self.response.take() else {
            return;
        };
        if let Some(Ok(None)) = response.chunk().now_or_never() {
            return;
        }
        tokio::spawn(timeout(LEAVING, async move {
            while let Ok(Some(_)) = response.chunk().await {}
        }));
    }
}

impl Drop for Relay {
    /// Whoever drops a stream before its end calls the vendor back; dropping the response closes the
    /// connection.
    fn drop(&mut self) {
        if let Some(booked) = self.booked.take() {
            let handed_over = self.done.is_some();
            let outcome = if handed_over { "cancelled" } else { "outrun" };
            booked.called_back(std::mem::take(&mut self.facts), outcome);
            if handed_over {
                self.context.open.finish(RequestEnd {
                    status: 499,
                    outcome: "cancelled",
                    answered_by: Some(self.target.clone()),
                    cache: None,
                });
            }
        }
    }
}

/// What a vendor's error in a stream means for the walk.
fn of_reply(reply: &ErrorReply) -> Broken {
    let error = VendorError {
        message: reply.message.clone(),
        code: reply.code.clone().unwrap_or_default(),
    };
    let failure = of_status(status_of(reply.kind).as_u16(), &error);
    Broken::new(failure, reply.message.clone())
}
