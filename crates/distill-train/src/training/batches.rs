//! Which rows make which step. The plan is a function of the rows' lengths and the seed, so the
//! number of steps done is the whole position in the data.
//!
//! Rows are packed without padding, so grouping them by length saves little and makes batches less
//! alike the data: unless asked for, they are packed in the order of the shuffle.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::TrainSettings;

/// Of one epoch, per step, per batch: the indices of its rows.
type Epoch = Vec<Vec<Vec<usize>>>;

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchSize {
    /// A longer row makes a batch of its own.
    Tokens(usize),
    Rows(usize),
}

/// Which rows make which step. One epoch is laid out at a time, when its first step comes.
pub(crate) struct Batches {
    /// Tokens of each row.
    lengths: Vec<usize>,
    size: BatchSize,
    group_by_length: bool,
    accumulation: usize,
    seed: u64,
    /// Steps done at the end of each epoch.
    ends: Vec<usize>,
    steps: usize,
    /// The epoch that was laid out last, with its number.
    current: Option<(usize, Epoch)>,
}

impl Batches {
    pub(crate) fn new(lengths: Vec<usize>, size: BatchSize, settings: &TrainSettings) -> Self {
        let mut batches = Self {
            lengths,
            size,
            group_by_length: settings.group_by_length,
            accumulation: settings.accumulation,
            seed: settings.seed,
            ends: Vec::new(),
            steps: 0,
            current: None,
        };
        let limit = settings.max_steps.unwrap_or(usize::MAX);
        for epoch in 0..settings.epochs {
            if batches.steps >= limit {
                break;
            }
            batches.steps += batches.steps_of(epoch);
            batches.ends.push(batches.steps);
        }
        batches.steps = batches.steps.min(limit);
        batches
    }

    fn steps_of(&self, epoch: usize) -> usize {
        match self.size {
            // However the rows are shuffled.
            BatchSize::Rows(rows) => {
                let batches = self.lengths.len().div_ceil(rows);
                batches.div_ceil(self.accumulation)
            }
            BatchSize::Tokens(_) => self.lay_out(epoch).len(),
        }
    }

    fn lay_out(&self, epoch: usize) -> Epoch {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(epoch as u64 + 1);
        order.shuffle(&mut random);
        let mut batches: Vec<Vec<usize>> = match self.size {
            BatchSize::Rows(rows) => order.chunks(rows).map(<[_]>::to_vec).collect(),
            BatchSize::Tokens(limit) => {
                if self.group_by_length {
                    group(&mut order, &self.lengths, limit);
                }
                let lengths = order.iter().map(|i| self.lengths[*i]);
                let packed = pack(lengths, limit).into_iter();
                packed
                    .map(|batch| batch.map(|at| order[at]).collect())
                    .collect()
            }
        };
        if self.group_by_length {
            batches.shuffle(&mut random);
        }
        batches
            .chunks(self.accumulation)
            .map(<[_]>::to_vec)
            .collect()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Whether an epoch is complete after this many steps.
    pub(crate) fn ends_epoch(&self, steps: usize) -> bool {
        self.ends.binary_search(&steps).is_ok()
    }

    /// The batches of a step, counted from 0.
    pub(crate) fn window<'a, R>(&mut self, rows: &'a [R], step: usize) -> Vec<Vec<&'a R>> {
        let epoch = self.ends.partition_point(|end| *end <= step);
        let start = if epoch == 0 { 0 } else { self.ends[epoch - 1] };
        let laid_out = match self.current.take() {
            Some((number, laid_out)) if number == epoch => laid_out,
            _ => self.lay_out(epoch),
        };
        let window = laid_out[step - start]
            .iter()
            .map(|batch| batch.iter().map(|i| &rows[*i]).collect())
            .collect();
        self.current = Some((epoch, laid_out));
        window
    }
}

/// Batches whose rows are sorted by length together.
const GROUPED_BATCHES: usize = 50;

/// Sorts shuffled rows by length within stretches of many batches, so that neighbours are of like
/// length and the order as a whole stays random.
fn group(order: &mut [usize], lengths: &[usize], batch_tokens: usize) {
    let tokens: usize = lengths.iter().sum();
    let rows_of_a_batch = (batch_tokens * lengths.len() / tokens.max(1)).max(1);
    for stretch in order.chunks_mut(rows_of_a_batch * GROUPED_BATCHES) {
        stretch.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
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

/// All rows of these lengths, in their order, in runs of at most so many tokens.
pub(crate) fn in_order<R>(
    rows: &[R],
    length: impl Fn(&R) -> usize,
    batch_tokens: usize,
) -> Vec<Vec<&R>> {
    pack(rows.iter().map(length), batch_tokens)
        .into_iter()
        .map(|batch| rows[batch].iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainExample;

    fn batches(rows: &[TrainExample], settings: &TrainSettings) -> Batches {
        let lengths = rows.iter().map(|row| row.tokens.len()).collect();
        Batches::new(lengths, BatchSize::Tokens(settings.batch_tokens), settings)
    }

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
            let mut batches = batches(&rows, &settings);
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
        let mut batches = batches(&rows, settings);
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
        assert_eq!(batches(&rows(40), &limited).steps(), 4);
    }

    #[test]
    fn batches_of_rows_have_as_many_whatever_their_lengths() {
        let rows = rows(11);
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let mut batches = Batches::new(lengths, BatchSize::Rows(4), &settings());
        // Three batches an epoch, two for each step.
        assert_eq!(batches.steps(), 6);
        let mut seen = 0;
        for step in 0..batches.steps() {
            let window = batches.window(&rows, step);
            assert!(window.iter().all(|batch| (1..=4).contains(&batch.len())));
            seen += window.iter().map(Vec::len).sum::<usize>();
            assert_eq!(batches.ends_epoch(step + 1), step % 2 == 1);
        }
        assert_eq!(seen, 33);
        // A step of an earlier epoch is what it was.
        let again = |batches: &mut Batches| batches.window(&rows, 0);
        let first = again(&mut batches);
        batches.window(&rows, 5);
        assert_eq!(again(&mut batches), first);
    }

    #[test]
    fn epochs_without_end_are_not_laid_out() {
        let settings = TrainSettings {
            epochs: usize::MAX,
            max_steps: Some(7),
            ..settings()
        };
        let batches = Batches::new(vec![3; 8], BatchSize::Rows(2), &settings);
        assert_eq!((batches.steps(), batches.ends.len()), (7, 4));
    }

    #[test]
    fn a_row_beyond_the_limit_makes_its_own_batch() {
        assert_eq!(pack([3, 40, 3, 3].into_iter(), 10), [0..1, 1..2, 2..4]);
    }
}
