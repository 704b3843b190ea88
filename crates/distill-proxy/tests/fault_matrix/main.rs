//! Every row of the failover list against a vendor that fails so: what the caller sees, who
//! answered, what the ledger says, and whether it agrees with the vendors' own bills.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;
mod passing;
mod rows;
mod sharing;
mod vendor;
