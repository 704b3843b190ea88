//! The HTTP server: connections, endpoints, who is asking, and the way of a request through the rest.

mod authenticate;
mod body;
mod connection;
mod paths;

pub use connection::{ConnectionLimits, Drained};
