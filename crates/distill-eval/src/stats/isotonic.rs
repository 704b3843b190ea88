//! Isotonic regression by pooling adjacent violators.
//!
//! R. E. Barlow, D. J. Bartholomew, J. M. Bremner, H. D. Brunk, "Statistical Inference under Order
//! Restrictions", Wiley 1972; as used for calibration by B. Zadrozny, C. Elkan, "Transforming
//! classifier scores into accurate multiclass probability estimates", KDD 2002, 694-699.

/// One observation: where, what, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighted {
    pub place: f64,
    pub value: f64,
    pub weight: f64,
}

/// The rising step function with the least weighted squares, as its ends of steps (place, value),
/// by place. Observations at one place are averaged first.
///
/// Observations that are not finite or weigh nothing are left out; none left gives an empty result.
pub fn isotonic(observations: &[Weighted]) -> Vec<(f64, f64)> {
    let places = merged(observations);
    // Each block holds its first and last place, its mean and its weight.
    let mut blocks: Vec<(f64, f64, f64, f64)> = Vec::new();
    for Weighted {
        place,
        value,
        weight,
    } in places
    {
        let mut block = (place, place, value, weight);
        while let Some(before) = blocks.last() {
            if before.2 < block.2 {
                break;
            }
            let weight = before.3 + block.3;
            block = (
                before.0,
                block.1,
                (before.2 * before.3 + block.2 * block.3) / weight,
                weight,
            );
            blocks.pop();
        }
        blocks.push(block);
    }
    let mut ends = Vec::new();
    for (first, last, value, _) in blocks {
        ends.push((first, value));
        if last > first {
            ends.push((last, value));
        }
    }
    ends
}

/// One observation a place, in rising order.
fn merged(observations: &[Weighted]) -> Vec<Weighted> {
    let mut sorted: Vec<Weighted> = observations
        .iter()
        .filter(|one| one.place.is_finite() && one.value.is_finite() && one.weight > 0.0)
        .copied()
        .collect();
    // By value, too, so that the sums do not depend on the order of the rows.
    sorted.sort_by(|first, second| {
        first
            .place
            .total_cmp(&second.place)
            .then(first.value.total_cmp(&second.value))
            .then(first.weight.total_cmp(&second.weight))
    });
    let mut merged: Vec<Weighted> = Vec::new();
    for one in sorted {
        match merged.last_mut() {
            Some(last) if last.place >= one.place => {
                let weight = last.weight + one.weight;
                last.value = (last.value * last.weight + one.value * one.weight) / weight;
                last.weight = weight;
            }
            _ => merged.push(one),
        }
    }
    merged
}
