//! Binomial probabilities that keep their digits at any number of trials. The continued fraction
//! that is common for tails stops short of its limit when there are some ten thousand trials.
//!
//! C. Loader, "Fast and accurate computation of binomial probabilities" (2000).

/// P(X = successes) for X binomial of `n` trials with that chance each.
pub(crate) fn point(successes: usize, n: usize, chance: f64) -> f64 {
    if successes > n {
        return 0.0;
    }
    let (x, trials) = (successes as f64, n as f64);
    if chance <= 0.0 {
        return f64::from(u8::from(successes == 0));
    }
    if chance >= 1.0 {
        return f64::from(u8::from(successes == n));
    }
    if successes == 0 {
        return (trials * (-chance).ln_1p()).exp();
    }
    if successes == n {
        return (trials * chance.ln()).exp();
    }
    let rest = trials - x;
    let exponent = stirling_error(n)
        - stirling_error(successes)
        - stirling_error(n - successes)
        - deviance(x, trials * chance)
        - deviance(rest, trials * (1.0 - chance));
    (trials / (2.0 * std::f64::consts::PI * x * rest)).sqrt() * exponent.exp()
}

/// P(X <= successes), summed from the nearer end of the distribution.
pub(crate) fn at_most(successes: usize, n: usize, chance: f64) -> f64 {
    if successes >= n || chance <= 0.0 {
        return 1.0;
    }
    if chance >= 1.0 {
        return 0.0;
    }
    if (successes as f64) < n as f64 * chance {
        lower_tail(successes, n, chance)
    } else {
        1.0 - lower_tail(n - successes - 1, n, 1.0 - chance)
    }
}

/// P(X <= successes) where terms fall from `successes` downwards.
fn lower_tail(successes: usize, n: usize, chance: f64) -> f64 {
    let odds = (1.0 - chance) / chance;
    let mut term = point(successes, n, chance);
    let mut sum = term;
    for below in (0..successes).rev() {
        term *= (below + 1) as f64 / (n - below) as f64 * odds;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum.min(1.0)
}

/// ln n! minus Stirling's approximation of it.
fn stirling_error(n: usize) -> f64 {
    let x = n as f64;
    if n < 16 {
        let factorial: f64 = (1..=n).map(|factor| factor as f64).product();
        let half_log = 0.5 * (2.0 * std::f64::consts::PI * x).ln();
        return factorial.ln() - half_log - x * x.ln() + x;
    }
    let square = x * x;
    (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square)
            / square)
        / x
}

/// x ln(x / mean) + mean − x without losing the digits of a small difference.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    let ratio = difference / (x + mean);
    let mut sum = difference * ratio;
    let mut power = 2.0 * x * ratio;
    for order in 1..1000 {
        power *= ratio * ratio;
        let next = sum + power / f64::from(2 * order + 1);
        if next.to_bits() == sum.to_bits() {
            break;
        }
        sum = next;
    }
    sum
}
