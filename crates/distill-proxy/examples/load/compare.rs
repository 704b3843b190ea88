//! Gateways side by side, in alternating rounds.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Options,
    client::{Connection, chat, quantile, request},
    peer::{self, Peer},
    process::{cpu_milliseconds, resident_megabytes},
};

/// Figures of a gateway by what was measured, one a round.
type Figures = BTreeMap<(usize, &'static str), Vec<f64>>;

const IDLE: &str = "idle RSS after the start, MB";
const LOADED: &str = "RSS after the load, MB";
const P50: &str = "1 KB at 20/s, p50 ms";
const P99: &str = "1 KB at 20/s, p99 ms";
const FIRST: &str = "stream, first token p50 ms";
const WHOLE: &str = "stream, whole p50 ms";
const CPU: &str = "CPU-ms a request, saturated";
const RATE: &str = "requests/s, saturated";
const STREAM_CPU: &str = "CPU-ms a 20-chunk stream";
const LONG_CPU: &str = "CPU-ms, 200 KB prompt";
const FALLBACK: &str = "first vendor answers 500: ms to the answer, p50";
const ORDER: [&str; 11] = [
    P50, P99, FIRST, WHOLE, CPU, RATE, STREAM_CPU, LONG_CPU, IDLE, LOADED, FALLBACK,
];

pub(crate) async fn run(options: &Options) {
    let folder = std::env::temp_dir().join(format!("distill-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    println!("configurations and logs: {}", folder.display());
    let (_upstream, port) = peer::start_upstream(&folder, 0.0).await;
    let mut peers = vec![peer::direct(&folder).await];
    peers.extend(peer::distill(options, &folder, port).await);
    if let Some(python) = options.text("tensorzero-python") {
        peers.extend(peer::tensorzero(python, &folder, port).await);
    }
    if let Some(script) = options.text("portkey") {
        peers.extend(peer::portkey(script, &folder, port).await);
    }
    if let Some(program) = options.text("litellm") {
        peers.extend(peer::litellm(program, &folder, port).await);
    }
    let rounds = options.number("rounds", 3.0) as usize;
    let seconds = options.number("seconds", 10.0);
    let mut figures = Figures::new();
    for (at, peer) in peers.iter().enumerate() {
        warm_up(peer).await;
        note(
            &mut figures,
            at,
            IDLE,
            resident_megabytes(peer.process.id()),
        );
    }
    for round in 1..=rounds {
        for (at, peer) in peers.iter().enumerate() {
            eprintln!("round {round}: {}", peer.name);
            measure(&mut figures, at, peer, seconds).await;
        }
    }
    show(&peers, &mut figures);
}

fn note(figures: &mut Figures, at: usize, what: &'static str, value: f64) {
    figures.entry((at, what)).or_default().push(value);
}

fn prepared(peer: &Peer, bytes: usize, stream: bool) -> Vec<u8> {
    request(peer.path, &peer.headers, &chat(peer.model, bytes, stream))
}

/// A gateway that answers nothing is not measured.
async fn warm_up(peer: &Peer) {
    let mut connection = Connection::new(&peer.address);
    let asked = prepared(peer, 1000, false);
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        match connection.exchange(&asked).await {
            Ok(exchange) if exchange.status == 200 => return,
            other if Instant::now() > until => panic!("{} does not answer: {other:?}", peer.name),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

async fn measure(figures: &mut Figures, at: usize, peer: &Peer, seconds: f64) {
    let small = prepared(peer, 1000, false);
    let (p50, p99) = paced(peer, &small, 20.0, seconds).await;
    note(figures, at, P50, p50);
    note(figures, at, P99, p99);

    let stream = prepared(peer, 1000, true);
    let mut connection = Connection::new(&peer.address);
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let exchange = connection.exchange(&stream).await.unwrap();
        assert!(exchange.done, "{}: a stream did not end well", peer.name);
        first.push(exchange.first.as_secs_f64() * 1e3);
        whole.push(exchange.whole.as_secs_f64() * 1e3);
    }
    note(figures, at, FIRST, quantile(&mut first, 0.5));
    note(figures, at, WHOLE, quantile(&mut whole, 0.5));

    let (cpu, rate) = saturated(peer, &small, 32, seconds).await;
    note(figures, at, CPU, cpu);
    note(figures, at, RATE, rate);
    note(
        figures,
        at,
        STREAM_CPU,
        saturated(peer, &stream, 16, seconds).await.0,
    );
    let long = prepared(peer, 200_000, false);
    note(
        figures,
        at,
        LONG_CPU,
        saturated(peer, &long, 4, seconds).await.0,
    );
    note(figures, at, LOADED, resident_megabytes(peer.process.id()));

    if peer.name != "direct" {
        let body = chat(peer.fallback_model, 1000, false);
        let asked = request(peer.path, &peer.fallback_headers, &body);
        let mut times = Vec::new();
        // The last one may have been closed by the gateway while it was idle.
        let mut connection = Connection::new(&peer.address);
        for _ in 0..5 {
            let exchange = connection.exchange(&asked).await.unwrap();
            if exchange.status == 200 {
                times.push(exchange.whole.as_secs_f64() * 1e3);
            }
        }
        note(figures, at, FALLBACK, quantile(&mut times, 0.5));
    }
}

/// Open loop: requests leave on the clock, whether the last one is back or not.
async fn paced(peer: &Peer, asked: &[u8], rate: f64, seconds: f64) -> (f64, f64) {
    let start = tokio::time::Instant::now();
    let count = (rate * seconds) as usize;
    let mut free: Vec<Connection> = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut times = Vec::new();
    for number in 0..count {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due).await;
        while let Some(ended) = tasks.try_join_next() {
            let (connection, time) = ended.unwrap();
            free.push(connection);
            times.push(time);
        }
        let mut connection = free.pop().unwrap_or_else(|| Connection::new(&peer.address));
        let asked = asked.to_vec();
        tasks.spawn(async move {
            let exchange = connection.exchange(&asked).await.unwrap();
            assert_eq!(exchange.status, 200);
            (connection, exchange.whole.as_secs_f64() * 1e3)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        times.push(ended.unwrap().1);
    }
    (quantile(&mut times, 0.5), quantile(&mut times, 0.99))
}

/// Closed loop: processor time of the gateway a request, and requests a second.
async fn saturated(peer: &Peer, asked: &[u8], connections: usize, seconds: f64) -> (f64, f64) {
    let before = cpu_milliseconds(peer.process.id());
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(seconds / 2.0);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::new(&peer.address);
        let asked = asked.to_vec();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                let exchange = connection.exchange(&asked).await.unwrap();
                assert_eq!(exchange.status, 200);
                count += 1;
            }
            count
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.unwrap();
    }
    let cpu = cpu_milliseconds(peer.process.id()) - before;
    (
        cpu / total as f64,
        total as f64 / start.elapsed().as_secs_f64(),
    )
}

fn show(peers: &[Peer], figures: &mut Figures) {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    println!("\nmedians over the rounds\n\n| | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(peers.len()));
    for what in ORDER {
        let cells: Vec<String> = (0..peers.len())
            .map(|at| match figures.get_mut(&(at, what)) {
                Some(values) => {
                    let median = quantile(values, 0.5);
                    let digits = if median < 10.0 { 3 } else { 0 };
                    format!("{median:.digits$}")
                }
                None => "-".to_owned(),
            })
            .collect();
        println!("| {what} | {} |", cells.join(" | "));
    }
}
