//! `split`: keeps a share of the examples for choosing settings and stopping early, and, where there
//! is to be a cascade, another one that nothing but its calibration sees.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::rows::Example;

/// The generator's stream that draws calibration rows; the first one draws validation rows.
const CALIBRATION_STREAM: u64 = 1;

/// Cuts off `share` of the examples (at least one of each part where there are two), drawn without
/// replacement from a seeded shuffle. Both parts keep the order of the file.
///
/// Returns `(train, validation)`.
pub(crate) fn split(examples: Vec<Example>, share: f64, seed: u64) -> (Vec<Example>, Vec<Example>) {
    divide(examples, share, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn divide(
    examples: Vec<Example>,
    share: f64,
    random: &mut ChaCha8Rng,
) -> (Vec<Example>, Vec<Example>) {
    let count = examples.len();
    if count < 2 || share <= 0.0 {
        return (examples, Vec::new());
    }
    let wanted = ((count as f64 * share).round() as usize).clamp(1, count - 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(random);
    let mut chosen = vec![false; count];
    for index in &order[..wanted] {
        chosen[*index] = true;
    }
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (example, chosen) in examples.into_iter().zip(chosen) {
        if chosen {
            validation.push(example);
        } else {
            train.push(example);
        }
    }
    (train, validation)
}

/// Sets a share of the examples apart for the calibration of a cascade, by a draw of its own: the
/// rest is split as if the others had never been there.
///
/// Returns `(rest, calibration)`.
pub(crate) fn set_apart(
    examples: Vec<Example>,
    share: f64,
    seed: u64,
) -> (Vec<Example>, Vec<Example>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(CALIBRATION_STREAM);
    divide(examples, share, &mut random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| Example {
                id: index.to_string(),
                fields: distill_chat::Fields::new(),
                answer: String::new(),
                token_logprobs: None,
            })
            .collect()
    }

    #[test]
    fn the_parts_are_disjoint_complete_and_of_the_asked_size() {
        let (train, validation) = split(examples(100), 0.1, 3);
        assert_eq!((train.len(), validation.len()), (90, 10));
        let mut ids: Vec<usize> = train
            .iter()
            .chain(&validation)
            .map(|example| example.id.parse().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides_and_neither_part_is_ever_empty() {
        assert_eq!(split(examples(50), 0.2, 1), split(examples(50), 0.2, 1));
        assert_ne!(split(examples(50), 0.2, 1).1, split(examples(50), 0.2, 2).1);
        assert_eq!(split(examples(2), 0.01, 1).1.len(), 1);
        assert_eq!(split(examples(1), 0.5, 1).1.len(), 0);
    }

    #[test]
    fn calibration_rows_are_drawn_apart_from_the_validation_rows() {
        let ids =
            |rows: &[Example]| -> Vec<String> { rows.iter().map(|row| row.id.clone()).collect() };
        let (rest, calibration) = set_apart(examples(200), 0.1, 3);
        assert_eq!((rest.len(), calibration.len()), (180, 20));
        assert!(ids(&calibration).iter().all(|id| !ids(&rest).contains(id)));
        assert_ne!(ids(&calibration), ids(&split(examples(200), 0.1, 3).1));
        assert_eq!(set_apart(examples(200), 0.1, 3).1, calibration);
        assert_ne!(set_apart(examples(200), 0.1, 4).1, calibration);
        assert!(set_apart(examples(200), 0.0, 3).1.is_empty());
    }

    #[test]
    fn the_validation_rows_of_a_seed_stay_the_same_from_version_to_version() {
        let (_, validation) = split(examples(40), 0.1, 17);
        let ids: Vec<&str> = validation.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["4", "7", "16", "30"]);
    }
}
