//! How fast this machine multiplies by frozen matrices, beside the plain f32 product of the `gemm`
//! crate: billions of floating-point operations a second of processor time, all threads together.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p distill-student --example products
//! ```
//!
//! The peers take turns, so that a change of the machine's load falls on all of them.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use distill_student::ops::{FrozenWeight, Storage, linear};

/// (rows, inner, outer): training, decoding, and a large head.
const SHAPES: [(usize, usize, usize); 7] = [
    (1024, 768, 2048),
    (640, 1024, 3072),
    (256, 3072, 1024),
    (256, 1024, 1024),
    (256, 768, 32_000),
    (8, 1024, 3072),
    (1, 1024, 3072),
];
const ROUNDS: usize = 3;
/// Operations of a round, of each peer.
const WORK: f64 = 2e10;

/// Processor time of this process in seconds, where the system tells it; else the time of day.
fn clock(started: Instant) -> f64 {
    const TICKS: f64 = 100.0;
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|line| {
            let (_, fields) = line.rsplit_once(") ")?;
            let mut fields = fields.split(' ').skip(11);
            let (user, system): (f64, f64) =
                (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((user + system) / TICKS)
        })
        .unwrap_or_else(|| started.elapsed().as_secs_f64())
}

/// Values between -1 and 1 without a pattern that matters.
fn matrix(rows: usize, columns: usize) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| ((i * 7919 + i / 13) % 2003) as f32 / 1001.5 - 1.0)
        .collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    println!(
        "{:>22} {:>8} {:>8} {:>8} {:>8}   (10^9 operations a CPU-second, {} thread(s))",
        "rows x inner -> outer",
        "gemm",
        "f32",
        "bf16",
        "nf4",
        rayon::current_num_threads()
    );
    for (rows, inner, outer) in SHAPES {
        let (x, weight) = (matrix(rows, inner)?, matrix(outer, inner)?);
        let frozen = [Storage::F32, Storage::Bf16, Storage::Nf4]
            .map(|storage| FrozenWeight::new(&weight, storage));
        let operations = 2.0 * (rows * inner * outer) as f64;
        let calls = (WORK / operations).ceil() as usize;
        let mut best = [f64::INFINITY; 4];
        for _ in 0..ROUNDS {
            for (peer, best) in best.iter_mut().enumerate() {
                let before = clock(started);
                for _ in 0..calls {
                    let out = match peer {
                        0 => linear(&x, &weight)?,
                        _ => linear(&x, frozen[peer - 1].as_ref().map_err(ToString::to_string)?)?,
                    };
                    black_box(out);
                }
                *best = best.min((clock(started) - before) / calls as f64);
            }
        }
        let figures = best.map(|seconds| format!("{:8.1}", operations / seconds / 1e9));
        println!(
            "{:>22} {}",
            format!("{rows} x {inner} -> {outer}"),
            figures.join(" ")
        );
    }
    Ok(())
}
