//! An answer that was kept, and the forms in which it is given again.

use std::sync::OnceLock;

use axum::body::Bytes;
use distill_chat::Usage;
use distill_gateway::Usd;
use distill_wire::{
    Dialect, Event, Finish, Gatherer, Reply, ReplyContext,
    envelope::Envelope,
    replay,
    sse::{Decoder, Frame},
};

use super::key;
use crate::forward::{Done, Endpoint};

/// The longest event of a stream that was passed on.
const LONGEST_EVENT: usize = 64 << 20;

/// An answer as its first caller got it.
#[derive(Debug)]
pub struct Stored {
    /// The target that answered.
    pub target: String,
    /// The model that answered, as it named itself.
    pub model: Option<String>,
    /// What the answer cost; `None`: not known.
    pub usd: Option<Usd>,
    pub simulated: bool,
    /// What the answer took; a stream whose caller did not ask for it does not say it.
    usage: Usage,
    dialect: Option<Dialect>,
    form: Form,
    /// Read where the other form is asked for.
    reply: OnceLock<Option<Reply>>,
}

#[derive(Debug)]
enum Form {
    Whole(Bytes),
    /// As server-sent events, with usage at the end or without.
    Streamed {
        bytes: Bytes,
        usage: bool,
    },
}

impl Stored {
    /// An answer that is fit to be kept; `None` for any other.
    pub(super) fn of(
        done: &Done,
        endpoint: Endpoint,
        streamed: bool,
        stream_usage: bool,
    ) -> Option<Self> {
        if !done.valid || !(200..300).contains(&done.status) || done.outcome != "answered" {
            return None;
        }
        let bytes = done.body.clone()?;
        let dialect = key::dialect(endpoint);
        let stored = Self {
            target: done.target.clone()?,
            model: done.model.clone(),
            usd: done.usd,
            simulated: done.simulated,
            usage: done.usage,
            dialect,
            form: if streamed && dialect.is_some() {
                Form::Streamed {
                    bytes,
                    usage: stream_usage,
                }
            } else {
                Form::Whole(bytes)
            },
            reply: OnceLock::new(),
        };
        let fit = match dialect {
            None => true,
            // What the vendor withheld or broke off says nothing about the question.
            Some(_) => stored.reply().is_some_and(|reply| {
                matches!(
                    reply.finish,
                    Finish::Stop | Finish::Length | Finish::ToolCalls
                )
            }),
        };
        fit.then_some(stored)
    }

    /// The answer as a reply; `None` where it is none.
    fn reply(&self) -> Option<&Reply> {
        let dialect = self.dialect?;
        self.reply
            .get_or_init(|| {
                let mut reply = match &self.form {
                    Form::Whole(bytes) => dialect.read_reply(bytes).ok(),
                    Form::Streamed { bytes, .. } => gather(dialect, bytes),
                }?;
                if reply.usage == Usage::default() {
                    reply.usage = self.usage;
                }
                Some(reply)
            })
            .as_ref()
    }

    pub(super) fn can_stream(&self) -> bool {
        self.dialect.is_some()
    }

    /// Bytes that it holds; the reply that may be read of it counts as much again.
    pub(super) fn bytes(&self) -> u64 {
        let (Form::Whole(bytes) | Form::Streamed { bytes, .. }) = &self.form;
        2 * bytes.len() as u64 + self.target.len() as u64
    }

    /// The answer in the form that a request asks for.
    pub(super) fn body(&self, envelope: &Envelope) -> Bytes {
        match (&self.form, envelope.stream && self.can_stream()) {
            (Form::Whole(bytes), false) => bytes.clone(),
            (Form::Streamed { bytes, usage }, true) if *usage == envelope.stream_usage => {
                bytes.clone()
            }
            (Form::Whole(bytes) | Form::Streamed { bytes, .. }, streams) => {
                match (self.dialect, self.reply()) {
                    (Some(dialect), Some(reply)) => rewritten(dialect, reply, envelope, streams),
                    // Only what could be read was kept.
                    _ => bytes.clone(),
                }
            }
        }
    }

    /// The answer in the form that a request asks for, after a change to the whole of it.
    pub(super) fn mended(&self, envelope: &Envelope, mend: &dyn Fn(&Bytes) -> Bytes) -> Bytes {
        let whole = Envelope {
            stream: false,
            ..envelope.clone()
        };
        let mended = mend(&self.body(&whole));
        let Some(dialect) = self.dialect.filter(|_| envelope.stream) else {
            return mended;
        };
        match dialect.read_reply(&mended) {
            Ok(reply) => rewritten(dialect, &reply, envelope, true),
            // What was put back cannot make an answer unreadable; without it nothing is lost.
            Err(_) => self.body(envelope),
        }
    }
}

/// A stream as a reply; `None` where it is not whole.
pub(crate) fn gather(dialect: Dialect, bytes: &[u8]) -> Option<Reply> {
    let mut frames: Vec<Frame> = Vec::new();
    Decoder::new(LONGEST_EVENT).push(bytes, &mut frames).ok()?;
    let mut reader = dialect.stream_reader();
    let mut events: Vec<Event> = Vec::new();
    for frame in &frames {
        reader.read(frame, &mut events).ok()?;
    }
    reader.finish(&mut events);
    let mut gatherer = Gatherer::new(dialect);
    for event in &events {
        gatherer.take(event);
    }
    gatherer.into_reply()
}

/// The reply in the form that it does not have yet. What it proves is in its caller's own form
/// already, so the dialect is its own source.
fn rewritten(dialect: Dialect, reply: &Reply, envelope: &Envelope, streams: bool) -> Bytes {
    let context = ReplyContext {
        source: Some(dialect),
        model: envelope.model.clone().unwrap_or_default(),
        id: reply.id.clone().unwrap_or_default(),
        created: reply.created.unwrap_or_default(),
        stream_usage: envelope.stream_usage,
        request: None,
    };
    if !streams {
        return dialect.write_reply(reply, &context).into();
    }
    let mut writer = dialect.stream_writer(&context);
    let mut bytes = Vec::new();
    for event in replay(reply) {
        writer.write(&event, &mut bytes);
    }
    bytes.into()
}
