//! The dialects by name, and the one place that knows which module speaks which.

use crate::{
    ErrorReply, Event, Malformed, Reply, Request, RequestError, Unsupported, Written, chat, cohere,
    gemini, messages, quirks::Writing, responses, sse::Frame,
};

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// `POST /v1/chat/completions`, as `OpenAI` and the compatible servers speak it.
    ChatCompletions,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/messages`, as Anthropic speaks it.
    Messages,
    /// `generateContent` and `streamGenerateContent` of Gemini.
    Gemini,
    /// `POST /v2/chat` of Cohere.
    Cohere,
}

/// What a writer of replies must know of the request that it answers.
#[derive(Debug, Clone, Default)]
pub struct ReplyContext {
    /// The dialect that the target speaks. Where it is another than the caller's, proofs of thinking
    /// are sealed with its name, so that they never reach a vendor that did not make them.
    pub source: Option<Dialect>,
    /// The model as the caller named it; shown in the reply where `None` was reported.
    pub model: String,
    /// The reply's name where the vendor gave none or gave it in another dialect's form.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Whether the caller asked for usage at the end of a stream.
    pub stream_usage: bool,
    /// The caller's own request, where the dialect's reply echoes parts of it (responses: tools,
    /// instructions, ...) or where a tool was translated and its calls must be translated back.
    pub request: Option<std::sync::Arc<Request>>,
}

/// Turns a vendor's stream into events, one server-sent event at a time.
pub trait ReadStream: Send {
    /// Appends what this frame says.
    ///
    /// # Errors
    /// [`Malformed`] where the frame cannot be read; the stream is then to be given up.
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed>;

    /// Whether the vendor has said that the stream is whole: a connection that ends before was cut.
    /// Where only the end of the connection says it, this is true after [`Self::finish`].
    fn is_whole(&self) -> bool;

    /// The connection ended in order: appends what only that tells (the `End` of a dialect that does
    /// not mark it). Where the stream was cut, nothing.
    fn finish(&mut self, _events: &mut Vec<Event>) {}
}

/// Turns events into a caller's stream.
pub trait WriteStream: Send {
    /// Appends the bytes of the server-sent events that say this. Events of the life cycle may be
    /// written with the next content; nothing is written after `End` or `Error`.
    fn write(&mut self, event: &Event, bytes: &mut Vec<u8>);
}

impl Dialect {
    pub const ALL: [Self; 5] = [
        Self::ChatCompletions,
        Self::Responses,
        Self::Messages,
        Self::Gemini,
        Self::Cohere,
    ];

    /// The name that enters request hashes, the ledger and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "openai.chat_completions",
            Self::Responses => "openai.responses",
            Self::Messages => "anthropic.messages",
            Self::Gemini => "gemini.generate_content",
            Self::Cohere => "cohere.chat",
        }
    }

    /// Reads a caller's request.
    ///
    /// # Errors
    /// [`RequestError`] names the field.
    pub fn read_request(self, body: &[u8]) -> Result<Request, RequestError> {
        match self {
            Self::ChatCompletions => chat::read_request(body),
            Self::Responses => responses::read_request(body),
            Self::Messages => messages::read_request(body),
            Self::Gemini => gemini::read_request(body),
            Self::Cohere => cohere::read_request(body),
        }
    }

    /// Writes the body for a target, and lists what it leaves out.
    ///
    /// # Errors
    /// [`Unsupported`] where leaving something out would change what the request means.
    pub fn write_request(
        self,
        request: &Request,
        writing: &Writing<'_>,
    ) -> Result<Written, Unsupported> {
        match self {
            Self::ChatCompletions => chat::write_request(request, writing),
            Self::Responses => responses::write_request(request, writing),
            Self::Messages => messages::write_request(request, writing),
            Self::Gemini => gemini::write_request(request, writing),
            Self::Cohere => cohere::write_request(request, writing),
        }
    }

    /// Reads the body of a successful answer.
    ///
    /// # Errors
    /// [`Malformed`] where it is none.
    pub fn read_reply(self, body: &[u8]) -> Result<Reply, Malformed> {
        match self {
            Self::ChatCompletions => chat::read_reply(body),
            Self::Responses => responses::read_reply(body),
            Self::Messages => messages::read_reply(body),
            Self::Gemini => gemini::read_reply(body),
            Self::Cohere => cohere::read_reply(body),
        }
    }

    /// Writes a reply for a caller.
    pub fn write_reply(self, reply: &Reply, context: &ReplyContext) -> Vec<u8> {
        match self {
            Self::ChatCompletions => chat::write_reply(reply, context),
            Self::Responses => responses::write_reply(reply, context),
            Self::Messages => messages::write_reply(reply, context),
            Self::Gemini => gemini::write_reply(reply, context),
            Self::Cohere => cohere::write_reply(reply, context),
        }
    }

    /// Writes the body of an error answer in this dialect's shape.
    pub fn write_error(self, error: &ErrorReply) -> Vec<u8> {
        match self {
            Self::ChatCompletions => chat::write_error(error),
            Self::Responses => responses::write_error(error),
            Self::Messages => messages::write_error(error),
            Self::Gemini => gemini::write_error(error),
            Self::Cohere => cohere::write_error(error),
        }
    }

    /// A reader for one stream.
    pub fn stream_reader(self) -> Box<dyn ReadStream> {
        match self {
            Self::ChatCompletions => chat::stream_reader(),
            Self::Responses => responses::stream_reader(),
            Self::Messages => messages::stream_reader(),
            Self::Gemini => gemini::stream_reader(),
            Self::Cohere => cohere::stream_reader(),
        }
    }

    /// A writer for one stream.
    pub fn stream_writer(self, context: &ReplyContext) -> Box<dyn WriteStream> {
        match self {
            Self::ChatCompletions => chat::stream_writer(context),
            Self::Responses => responses::stream_writer(context),
            Self::Messages => messages::stream_writer(context),
            Self::Gemini => gemini::stream_writer(context),
            Self::Cohere => cohere::stream_writer(context),
        }
    }
}
