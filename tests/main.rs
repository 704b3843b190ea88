//! The workspace's one test binary: the repository's own rules, the command line as a user meets
//! it, and the whole pipeline under kill and fault.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod architecture;
mod bad_input;
mod cache;
mod commands;
mod deploy;
mod encoder;
mod eval;
mod evidence;
mod export;
mod faults;
mod fixture;
mod hostile;
mod hub;
mod kill;
mod proxy_tasks;
mod proxy_terminal;
mod repository;
