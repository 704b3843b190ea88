//! What a pipeline is, before anything runs.
//!
//! Owns: the spec with its source spans, the graph of steps and its type check, cache keys, the
//! plan, and the types of the records that runs leave behind.
//!
//! Must not know: tokio, the file system, the clock, the network, any concrete kind of step.
//!
//! Start reading at [`spec::load`] and [`graph::Graph`], then [`plan::plan`] and the rule at the top of [`hash`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod graph;
pub mod hash;
pub mod plan;
pub mod record;
pub mod spec;
