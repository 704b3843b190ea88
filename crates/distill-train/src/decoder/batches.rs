//! Which rows make which step. The plan is a function of the rows' lengths and the seed, so the
//! number of steps done is the whole position in the data.
//!
//! Rows are packed without padding, so grouping them by length saves little and makes batches less
//! alike the data: unless asked for, they are packed in the order of the shuffle.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{TrainExample, TrainSettings};

/// Per epoch, per step, per batch: the indices of its rows.
type Epoch = Vec<Vec<Vec<usize>>>;

pub(super) struct Batches {
    epochs: Vec<Epoch>,
    /// Steps done at the end of each epoch.
    ends: Vec<usize>,
    steps: usize,
}

impl Batches {
    pub(super) fn new(rows: &[TrainExample], settings: &TrainSettings) -> Self {
        let (mut epochs, mut ends, mut steps) = (Vec::new(), Vec::new(), 0);
        let limit = settings.max_steps.unwrap_or(usize::MAX);
        for epoch in 0..settings.epochs {
            if steps >= limit {
                break;
            }
            let mut order: Vec<usize> = (0..rows.len()).collect();
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            random.set_stream(epoch as u64 + 1);
            order.shuffle(&mut random);
            if settings.group_by_length {
                group(&mut order, rows, settings.batch_tokens);
            }
            let lengths = order.iter().map(|i| rows[*i].tokens.len());
            let mut batches = pack(lengths, settings.batch_tokens)
                .into_iter()
                .map(|batch| batch.map(|at| order[at]).collect::<Vec<_>>())
                .collect::<Vec<_>>();
            if settings.group_by_length {
                batches.shuffle(&mut random);
            }
            let windows: Epoch = batches
                .chunks(settings.accumulation)
                .map(<[_]>::to_vec)
                .collect();
            steps += windows.len();
            ends.push(steps);
            epochs.push(windows);
        }
        Self {
            epochs,
            ends,
            steps: steps.min(limit),
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Whether an epoch is complete after this many steps.
    pub(super) fn ends_epoch(&self, steps: usize) -> bool {
        self.ends.contains(&steps)
    }

    /// The batches of a step, counted from 0.
    pub(super) fn window<'a>(
        &self,
        rows: &'a [TrainExample],
        step: usize,
    ) -> Vec<Vec<&'a TrainExample>> {
        let epoch = self.ends.partition_point(|end| *end <= step);
        let start = if epoch == 0 { 0 } else { self.ends[epoch - 1] };
        self.epochs[epoch][step - start]
            .iter()
            .map(|batch| batch.iter().map(|i| &rows[*i]).collect())
            .collect()
    }
}

/// Batches whose rows are sorted by length together.
const GROUPED_BATCHES: usize = 50;

/// Sorts shuffled rows by length within stretches of many batches, so that neighbours are of like
/// length and the order as a whole stays random.
fn group(order: &mut [usize], rows: &[TrainExample], batch_tokens: usize) {
    let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
    let rows_of_a_batch = (batch_tokens * rows.len() / tokens.max(1)).max(1);
    for stretch in order.chunks_mut(rows_of_a_batch * GROUPED_BATCHES) {
        stretch.sort_by_key(|i| std::cmp::Reverse(rows[*i].tokens.len()));
    }
}

/// Cuts a sequence of rows into runs of at most `limit` tokens.
fn pack(lengths: impl Iterator<Item = usize>, limit: usize) -> Vec<std::ops::Range<usize>> {
    let (mut batches, mut start, mut tokens, mut end) = (Vec::new(), 0, 0, 0);
    for length in lengths {
        if end > start && tokens + length > limit {
            batches.push(start..end);
            start = end;
            tokens = 0;
        }
        tokens += length;
        end += 1;
    }
    if end > start {
        batches.push(start..end);
    }
    batches
}

/// All rows, in their order.
pub(crate) fn in_order(rows: &[TrainExample], batch_tokens: usize) -> Vec<Vec<&TrainExample>> {
    pack(rows.iter().map(|row| row.tokens.len()), batch_tokens)
        .into_iter()
        .map(|batch| rows[batch].iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<TrainExample> {
        (0..count)
            .map(|i| TrainExample::new(vec![i as u32; 2 + i % 7], 1))
            .collect()
    }

    fn settings() -> TrainSettings {
        TrainSettings {
            epochs: 3,
            batch_tokens: 16,
            accumulation: 2,
            ..TrainSettings::default()
        }
    }

    #[test]
    fn each_epoch_takes_each_row_once_within_the_limit() {
        for group_by_length in [false, true] {
            takes_each_row_once(&TrainSettings {
                group_by_length,
                ..settings()
            });
        }
    }

    #[test]
    fn grouped_batches_hold_rows_of_like_length() {
        let rows = rows(200);
        let spread = |group_by_length| {
            let settings = TrainSettings {
                group_by_length,
                ..settings()
            };
            let batches = Batches::new(&rows, &settings);
            let all = (0..batches.steps()).flat_map(|step| batches.window(&rows, step));
            let spread = |batch: &Vec<&TrainExample>| {
                let lengths = batch.iter().map(|row| row.tokens.len());
                lengths.clone().max().unwrap() - lengths.min().unwrap()
            };
            all.map(|batch| spread(&batch)).sum::<usize>()
        };
        assert!(
            spread(true) * 4 < spread(false),
            "{}, {}",
            spread(true),
            spread(false)
        );
    }

    fn takes_each_row_once(settings: &TrainSettings) {
        let rows = rows(40);
        let batches = Batches::new(&rows, settings);
        let mut seen = Vec::new();
        let mut orders = Vec::new();
        for step in 0..batches.steps() {
            for batch in batches.window(&rows, step) {
                let tokens: usize = batch.iter().map(|row| row.tokens.len()).sum();
                assert!(tokens <= 16 && !batch.is_empty());
                seen.extend(batch.iter().map(|row| row.tokens[0]));
            }
            if batches.ends_epoch(step + 1) {
                orders.push(std::mem::take(&mut seen));
            }
        }
        assert_eq!(orders.len(), 3);
        assert_ne!(orders[0], orders[1]);
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, (0..40).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_limit_on_steps_ends_the_plan() {
        let limited = TrainSettings {
            max_steps: Some(4),
            ..settings()
        };
        assert_eq!(Batches::new(&rows(40), &limited).steps(), 4);
    }

    #[test]
    fn a_row_beyond_the_limit_makes_its_own_batch() {
        assert_eq!(pack([3, 40, 3, 3].into_iter(), 10), [0..1, 1..2, 2..4]);
    }
}
