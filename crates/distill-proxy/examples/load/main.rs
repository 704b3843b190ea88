//! Puts the proxy under load: beside other gateways (`compare`), or for long (`soak`).
//!
//! ```text
//! cargo build --release
//! cargo run --release -p distill-proxy --example load -- compare --help
//! cargo run --release -p distill-proxy --example load -- soak --help
//! ```
//!
//! Everything runs on this machine: a vendor that answers at once (`upstream`, a process of its
//! own), the gateways one after the other in alternating rounds, and the client in here. What a
//! gateway costs is read from `/proc`: processor time of its processes and their resident memory.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program to be run by hand; it stops at the first thing that goes wrong"
)]

mod client;
mod compare;
mod peer;
mod process;
mod soak;
mod upstream;

use std::collections::BTreeMap;

/// Options as `--name value`.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read(arguments: &[String]) -> Self {
        let mut options = BTreeMap::new();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let name = name
                .strip_prefix("--")
                .unwrap_or_else(|| panic!("`{name}` is not an option"));
            let value = rest
                .next()
                .unwrap_or_else(|| panic!("--{name} needs a value"));
            options.insert(name.to_owned(), value.clone());
        }
        Self(options)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.text(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("--{name}: `{text}` is no number"))
        })
    }
}

const HELP: &str = "\
load compare   [--distill PATH] [--litellm PATH] [--tensorzero-python PATH] [--portkey PATH]
               [--rounds 3] [--seconds 10]
    Measures each gateway that is given: latency at 20 requests a second, streams, processor time
    a request, memory, and the way to a second vendor when the first answers 500.
    --distill            the release binary [default: target/release/distill]
    --litellm            the program `litellm` of the package litellm[proxy]
    --tensorzero-python  a Python that has the package tensorzero
    --portkey            start-server.js of the package @portkey-ai/gateway (needs node)
load soak      [--distill PATH] [--minutes 30] [--faults 0.05] [--share 0.5] [--kill-after MINUTES]
    Half of the proxy's own maximum rate with faulty vendors; watches memory, file handles and
    threads, then compares the ledger with the vendors' bill. With --kill-after the proxy is killed
    (SIGKILL) in the middle and started again.
load upstream  [--port 0] [--faults 0]
    The vendor alone; prints its port.";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let asks_help = arguments.iter().any(|argument| argument == "--help");
    match arguments.first().map(String::as_str) {
        Some("upstream") if !asks_help => {
            runtime.block_on(upstream::serve(&Options::read(&arguments[1..])));
        }
        Some("compare") if !asks_help => {
            runtime.block_on(compare::run(&Options::read(&arguments[1..])));
        }
        Some("soak") if !asks_help => {
            runtime.block_on(soak::run(&Options::read(&arguments[1..])));
        }
        _ => println!("{HELP}"),
    }
}
