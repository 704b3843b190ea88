//! What can go wrong between a configuration file and an answer.

use std::path::PathBuf;

/// A failure of a decoder, its weights, its adapter or its generation.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    #[error("cannot read the model configuration: {reason}")]
    Config { reason: String },
    #[error("the model configuration sets `{field}` to {value}, which is not supported: {reason}")]
    Unsupported {
        field: String,
        value: String,
        reason: &'static str,
    },
    #[error("the weights have no tensor `{name}` of shape {expected:?}")]
    MissingTensor { name: String, expected: Vec<usize> },
    #[error("tensor `{name}` has shape {got:?}, the configuration asks for {expected:?}")]
    TensorShape {
        name: String,
        got: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("tensor `{name}` is stored as {dtype}; f32, f16 and bf16 are read")]
    TensorType { name: String, dtype: String },
    #[error("the weights hold tensors that the configuration has no place for: {names:?}")]
    UnknownTensors { names: Vec<String> },
    #[error(
        "`{name}` is held in four bits, not as it is stored: load the model without a four-bit base \
         for this"
    )]
    HeldInFourBits { name: String },
    #[error("tensor `{name}` holds a value that is not finite, element {at}")]
    NotFinite { name: String, at: usize },
    #[error(
        "`{file}` is a pickle, which can run any code when it is read: save the model as \
         safetensors (`model.save_pretrained(directory)` in transformers) and use that"
    )]
    Pickle { file: String },
    #[error("cannot read {what}: {reason}")]
    Format { what: String, reason: String },
    #[error("the adapter does not fit the model: {reason}")]
    Adapter { reason: String },
    #[error("row {row} has {tokens} tokens, the model takes {limit}")]
    TooLong {
        row: usize,
        tokens: usize,
        limit: usize,
    },
    #[error("row {row} is empty")]
    EmptyRow { row: usize },
    #[error("row {row} holds token {token}, the vocabulary has {vocabulary}")]
    UnknownToken {
        row: usize,
        token: u32,
        vocabulary: usize,
    },
    #[error(
        "the model gives a logit that is not finite after {tokens} tokens of row {row}: its weights \
         or its adapter are broken, or too large for the precision that it runs in"
    )]
    LogitNotFinite { row: usize, tokens: usize },
    #[error("cannot read or write `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}
