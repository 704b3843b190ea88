//! Half of the maximum rate for long, with faulty vendors; then the books are compared.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Options,
    client::{Connection, chat, request},
    peer::{self, Peer},
    process::{handles, resident_megabytes, threads},
};

/// What the callers saw.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    answered: AtomicU64,
    /// An error answer, or a stream that said that it failed.
    failed: AtomicU64,
    /// No answer at all: the proxy was gone.
    broken: AtomicU64,
    /// A stream that ended without `[DONE]` and without an error.
    silent: AtomicU64,
}

pub(crate) async fn run(options: &Options) {
    let folder = std::env::temp_dir().join(format!("distill-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    println!("configuration, ledger and logs: {}", folder.display());
    let faults = options.number("faults", 0.05);
    let (_upstream, port) = peer::start_upstream(&folder, faults).await;
    let mut proxy = peer::distill(options, &folder, port).await.unwrap();
    let calm = request(proxy.path, &proxy.headers, &chat("soak", 1000, false));
    let rate = maximum(&proxy, &calm).await * options.number("share", 0.5);
    let minutes = options.number("minutes", 30.0);
    println!("{rate:.0} requests/s for {minutes} minutes, a fifth of them streams");
    let before = bill(port).await;
    let seen = Arc::new(Seen::default());
    let callers = 16;
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let tasks: Vec<_> = (0..callers)
        .map(|number| {
            let pace = Duration::from_secs_f64(f64::from(callers) / rate);
            tokio::spawn(caller(
                proxy.address.clone(),
                pace,
                number,
                end,
                Arc::clone(&seen),
            ))
        })
        .collect();
    let mut kill_at = options.text("kill-after").map(|_| {
        Instant::now() + Duration::from_secs_f64(60.0 * options.number("kill-after", 0.0))
    });
    println!("minute, RSS MB, handles, threads, asked");
    let start = Instant::now();
    let mut samples = Vec::new();
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            kill_at = None;
            proxy = restart(options, &folder, port, proxy).await;
        }
        let id = proxy.process.id();
        let sample = (
            start.elapsed().as_secs_f64() / 60.0,
            resident_megabytes(id),
            handles(id),
            threads(id),
        );
        println!(
            "{:.1}, {:.1}, {}, {}, {}",
            sample.0,
            sample.1,
            sample.2,
            sample.3,
            seen.asked.load(Ordering::Relaxed)
        );
        samples.push(sample);
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(
        proxy.process.stop(Duration::from_secs(30)),
        "the proxy does not end when asked to"
    );
    settle_up(
        options,
        &folder,
        &seen,
        [&before, &bill(port).await],
        &samples,
    );
}

/// The rate that the proxy reaches when asked as fast as it answers, faults and all.
async fn maximum(proxy: &Peer, asked: &[u8]) -> f64 {
    let start = Instant::now();
    let until = start + Duration::from_secs(6);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let mut connection = Connection::new(&proxy.address);
        let asked = asked.to_vec();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                drop(connection.exchange(&asked).await);
                count += 1;
            }
            count
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.unwrap();
    }
    total as f64 / start.elapsed().as_secs_f64()
}

async fn caller(address: String, pace: Duration, number: i32, end: Instant, seen: Arc<Seen>) {
    let headers = [("authorization".to_owned(), "Bearer unused".to_owned())];
    let path = "/v1/chat/completions";
    let whole = request(path, &headers, &chat("soak", 1000, false));
    let stream = request(path, &headers, &chat("soak", 1000, true));
    let mut connection = Connection::new(&address);
    let mut due = tokio::time::Instant::now();
    let mut turn = number as u64;
    while Instant::now() < end {
        tokio::time::sleep_until(due).await;
        due += pace;
        turn += 1;
        let streamed = turn.is_multiple_of(5);
        seen.asked.fetch_add(1, Ordering::Relaxed);
        let counter = match connection
            .exchange(if streamed { &stream } else { &whole })
            .await
        {
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                due = tokio::time::Instant::now();
                &seen.broken
            }
            Ok(exchange) if exchange.status != 200 || exchange.error => &seen.failed,
            Ok(exchange) if streamed && !exchange.done => &seen.silent,
            Ok(_) => &seen.answered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

async fn restart(options: &Options, folder: &Path, upstream: u16, mut proxy: Peer) -> Peer {
    println!("SIGKILL");
    let port = proxy.address.rsplit_once(':').unwrap().1.parse().unwrap();
    proxy.process.kill();
    drop(proxy);
    let program = options.text("distill").unwrap_or("target/release/distill");
    peer::start_distill(program, folder, upstream, port)
        .await
        .expect("the proxy starts again on its own ledger")
}

async fn bill(port: u16) -> Value {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let asked = b"GET /bill HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What the ledger says, as its user reads it.
fn ledger(options: &Options, folder: &Path) -> Value {
    let program = options.text("distill").unwrap_or("target/release/distill");
    let output = Command::new(program)
        .args(["usage", "--format", "json", "--by", "route", "--ledger"])
        .arg(folder.join("ledger.db"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "distill usage: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn settle_up(
    options: &Options,
    folder: &Path,
    seen: &Seen,
    [before, after]: [&Value; 2],
    samples: &[(f64, f64, usize, usize)],
) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "callers: asked {}, answered {}, failed {}, no answer {}, ended in silence {}",
        count(&seen.asked),
        count(&seen.answered),
        count(&seen.failed),
        count(&seen.broken),
        count(&seen.silent)
    );
    println!("vendors' bill before the soak: {before}\nafter it: {after}");
    let number = |value: &Value, name: &str| value[name].as_f64().unwrap_or(f64::NAN);
    let usd = number(after, "input_tokens") * 2.5e-6 + number(after, "output_tokens") * 10e-6;
    println!("charged for whole answers: ${usd:.9}");
    println!("ledger: {}", ledger(options, folder));
    let settled: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.0 > 2.0)
        .map(|sample| sample.1)
        .collect();
    if let (Some(first), Some(last)) = (settled.first(), settled.last()) {
        let largest = settled.iter().copied().fold(f64::MIN, f64::max);
        println!(
            "RSS from minute 2: {first:.1} MB at first, {last:.1} at last ({:+.1}%), {largest:.1} at most",
            100.0 * (last - first) / first
        );
    }
    println!("the ledger stays in {}", folder.join("ledger.db").display());
}
