use super::{Interval, IntervalMethod, critical};

/// Wilson's score interval of a proportion; `None` when nothing was counted.
pub fn wilson(successes: usize, n: usize, confidence: f64) -> Option<Interval> {
    if n == 0 || successes > n {
        return None;
    }
    let (n_rows, z) = (n as f64, critical(confidence));
    let share = successes as f64 / n_rows;
    let scale = 1.0 + z * z / n_rows;
    let centre = (share + z * z / (2.0 * n_rows)) / scale;
    let half =
        z / scale * (share * (1.0 - share) / n_rows + z * z / (4.0 * n_rows * n_rows)).sqrt();
    Some(Interval {
        // At the ends the bound is the end itself; rounding would leave it a hair off.
        low: if successes == 0 { 0.0 } else { centre - half },
        high: if successes == n { 1.0 } else { centre + half },
        confidence,
        method: IntervalMethod::Wilson,
    })
}
