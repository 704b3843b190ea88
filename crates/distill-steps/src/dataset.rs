//! Data sets: where their files are, what their cards say, and how a file becomes rows.
//!
//! A spec names data by path or by `{dataset, split}`. [`resolve`] finds the file and, where a card
//! describes it, holds it to the card's size and sha256; [`read_rows`] reads it. Every error names
//! the file, the line where there is one, and the next step.

mod card;
pub mod embedded;
mod error;
mod locate;
mod parquet;
mod pull;
mod rows;
pub mod scaffold;
mod span_slots;
mod table;

#[cfg(test)]
mod tests;

pub use card::{Card, Format, Split, cards, find_card};
pub use error::DatasetError;
pub use locate::{Places, Resolved, resolve};
pub use pull::{PullProgress, Pulled, PulledFrom, pull};
pub(crate) use rows::answer_text;
pub use rows::{check_columns, check_labels, distinct_labels, read_rows};
pub(crate) use table::MOST_BYTES;
pub use table::{Record, Table, read_table};
