//! Open models by their hub name: fetched once, checked, kept in the cache that Python shares.
//!
//! **Owns** names (`org/name@revision`), the hub's HTTP interface, downloads that go on where they
//! were cut, the cache's layout, and the registry of models that the program lists.
//!
//! **Must not know** training, tensors, pipelines, or that a terminal exists. It reads no
//! environment: [`HubSettings::new`] is handed a reader of it.
//!
//! **Start reading** at [`Hub::fetch`], then `download.rs`.
//!
//! # Why the client is not `hf-hub`
//!
//! What a run needs of the hub is small, and where it is exact it differs: a file's SHA-256 is
//! compared with what the hub promised, the token never follows a redirect to another host, one
//! switch keeps it off the network, a cut transfer goes on with a range, and an error says what to do
//! next. Measured against the 331 packages of this program on Linux:
//!
//! | | packages more | CPU-seconds of a cold build more | what keeps it out |
//! |---|---|---|---|
//! | `hf-hub` 1.0, defaults | 84 | not measured | a second TLS library with a long C build (`aws-lc-sys`, which `.deny.toml` refuses); does not read `HF_HUB_OFFLINE` |
//! | `hf-hub` 0.5, `tokio` and `rustls-tls` | 10 | 14 | a second `reqwest` (0.12 beside 0.13); no check of a file's hash, no offline mode |
//! | `hf-hub` 0.5, `ureq` and `native-tls` | 24 | not measured | OpenSSL of the system |
//! | `hf-hub` 0.5, no features | 4 | 2 | names and paths of the cache only; `option-ext` has a licence (MPL-2.0) that `.deny.toml` does not accept |
//! | this crate | 0 | | |
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod cache;
mod download;
mod error;
mod fetch;
mod files;
mod http;
mod name;
mod registry;
mod settings;

pub use cache::Cache;
pub use error::HubError;
pub use fetch::{Hub, Progress, Snapshot};
pub use name::{ModelName, NameError};
pub use registry::{ModelRow, Registry, RegistryError};
pub use settings::{HubSettings, Token};
