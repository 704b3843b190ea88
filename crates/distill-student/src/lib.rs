//! The students: models small enough for their owner to run.
//!
//! Owns: student classes, decoder architectures, the low-rank projection, weights, tokenizer and chat
//! template, bundles, generation.
//!
//! Must not know: optimizers, training loops, HTTP, YAML.
//!
//! Start reading at [`decoder::Decoder`]: one definition, used to train and to serve.
//!
//! Shapes, everywhere in this crate and in `distill-train`: **B** batch, **T** tokens, **D** model
//! width, **H** query heads, **K** key/value heads, **E** head width, **V** vocabulary, **R** the
//! rank of an adapter. Rows of different lengths are laid end to end (packed), so most tensors open with T.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod answer;
pub mod base;
pub mod bundle;
pub mod decoder;
pub mod device;
pub mod embedded;
pub mod encoder;
pub mod generate;
pub mod linear;
pub mod lora;
pub mod ops;
pub mod regular_file;
pub mod splitmix;
pub mod template;
pub mod tokenizer;
pub mod weights;
