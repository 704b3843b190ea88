//! Errors of reading and writing, and errors as a reply.

/// Whose fault a refusal is, in words that every dialect can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 400: the request itself is wrong.
    InvalidRequest,
    /// 401.
    Authentication,
    /// 402: no money or credit left.
    Billing,
    /// 403.
    Permission,
    /// 404.
    NotFound,
    /// 413.
    TooLarge,
    /// 429.
    RateLimit,
    /// 500.
    Server,
    /// 503, 529.
    Overloaded,
    /// 504: nobody answered in time.
    Timeout,
}

/// An error as a caller is to read it, free of any dialect's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub kind: ErrorKind,
    /// What happened and what to do next; holds no key and no prompt.
    pub message: String,
    /// A machine-readable word such as `context_length_exceeded`.
    pub code: Option<String>,
    /// The field of the request that is meant.
    pub param: Option<String>,
}

/// Why the body of an answer or an event of a stream cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the body is not JSON ({0})")]
    NotJson(String),
    #[error("the body has no {0}")]
    Missing(&'static str),
    /// Some vendors send an error with status 200.
    #[error("the body is an error: {0}")]
    Error(String),
    #[error("an event is out of place: {0}")]
    OutOfOrder(&'static str),
}

/// Why the body of a caller's request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the body is not JSON ({0})")]
    NotJson(String),
    #[error("`{field}` is missing")]
    Missing { field: String },
    #[error("`{field}` {problem}")]
    Invalid { field: String, problem: String },
}

/// What a target cannot express and what must not be dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` cannot be sent to this model: {reason}")]
pub struct Unsupported {
    pub field: String,
    pub reason: String,
}

impl Unsupported {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}
