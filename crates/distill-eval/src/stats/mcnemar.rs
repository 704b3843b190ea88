use super::binomial::{at_most, point};

/// The exact two-sided p of `McNemar`'s test, from the two discordant counts. Without a discordant
/// pair it is 1.
pub fn mcnemar_exact(only_first: usize, only_second: usize) -> f64 {
    let (tail, _) = tail(only_first, only_second);
    (2.0 * tail).min(1.0)
}

/// `McNemar`'s test with half the weight on the observed table (mid-p): less conservative than the
/// exact test, no longer exact.
pub fn mcnemar_mid_p(only_first: usize, only_second: usize) -> f64 {
    let (tail, point) = tail(only_first, only_second);
    (2.0 * tail - point).min(1.0)
}

/// P(X <= smaller count) and P(X = smaller count) for X binomial with share one half.
fn tail(only_first: usize, only_second: usize) -> (f64, f64) {
    let discordant = only_first + only_second;
    let smaller = only_first.min(only_second);
    (
        at_most(smaller, discordant, 0.5),
        point(smaller, discordant, 0.5),
    )
}
