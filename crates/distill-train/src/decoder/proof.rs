//! What is shown to hold before the first step: cheap, and each failure has its own message.

use distill_student::decoder::{DecoderError, PackedTokens};

use super::{AdamW, Proof, TrainError, TrainEvent, TrainExample, Trainer, optimizer, packed_loss};

/// Tokens of the row on which the adapted model is compared with its base.
const COMPARED_TOKENS: usize = 64;
/// The update begins at zero, so the logits are those of the base but for the order of sums.
const LARGEST_DIFFERENCE: f32 = 1e-3;
/// Rows count as learnt by heart once their loss has fallen to this share of what it was.
const LEARNT: f64 = 0.5;
/// Rows that a loss below this was found on need no learning.
const KNOWN: f64 = 0.05;
/// A loss that stays above this share of what it was shows that nothing is learnt.
const NOTHING_LEARNT: f64 = 0.9;

impl Trainer<'_> {
    pub(super) fn prove(&mut self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        let row = &self.request.train[0];
        on_event(TrainEvent::Proved(Proof::Mask {
            tokens: row.tokens.clone(),
            loss_from: row.first_target(),
        }));
        if !self.request.settings.proofs.stop_tokens.is_empty() {
            on_event(TrainEvent::Proved(self.stop_tokens()?));
        }
        if self.request.initial.is_none() && self.parameters.is_adapter() {
            on_event(TrainEvent::Proved(self.starts_at_base()?));
        }
        if self.request.settings.proofs.overfit_rows > 0 {
            on_event(TrainEvent::Proved(self.overfit()?));
        }
        Ok(())
    }

    fn stop_tokens(&self) -> Result<Proof, TrainError> {
        let stops = &self.request.settings.proofs.stop_tokens;
        for (example, row) in self.request.train.iter().enumerate() {
            let token = row.tokens.last().copied().unwrap_or_default();
            if !stops.contains(&token) {
                return Err(TrainError::StopToken { example, token });
            }
        }
        Ok(Proof::StopTokens {
            rows: self.request.train.len(),
        })
    }

    fn starts_at_base(&self) -> Result<Proof, TrainError> {
        let row = &self.request.train[0].tokens;
        let row = &row[..row.len().min(COMPARED_TOKENS)];
        let packed = PackedTokens::new([row]);
        let base = self.parameters.base_decoder()?.logits(&packed)?;
        if !base.sum_all()?.to_scalar::<f32>()?.is_finite() {
            let tokens = row.len();
            return Err(DecoderError::LogitNotFinite { row: 0, tokens }.into());
        }
        let adapted = self.frozen.logits(&packed)?;
        let difference = (base - adapted)?.abs()?.max_all()?.to_scalar::<f32>()?;
        if difference.is_nan() || difference > LARGEST_DIFFERENCE {
            return Err(TrainError::NotAtBase { difference });
        }
        Ok(Proof::StartsAtBase {
            tokens: row.len(),
            difference,
        })
    }

    /// Learns the shortest rows by heart at the peak rate, then puts everything back.
    fn overfit(&mut self) -> Result<Proof, TrainError> {
        let settings = self.request.settings;
        let mut rows: Vec<&TrainExample> = self.request.train.iter().collect();
        rows.sort_by_key(|row| row.tokens.len());
        rows.truncate(settings.proofs.overfit_rows);
        let weight = 1.0 / rows.iter().map(|row| row.targets()).sum::<usize>() as f64;
        let start = self.parameters.values()?;
        if let Some(dropout) = self.parameters.dropout() {
            dropout.begin(settings.seed, u64::MAX, 0);
        }
        let (mut first, mut last, mut steps) = (None, f64::INFINITY, 0);
        loop {
            let loss = packed_loss(&self.decoder, &rows, weight)?;
            last = f64::from(loss.to_scalar::<f32>()?).min(last);
            let begun = *first.get_or_insert(last);
            let learnt = last <= KNOWN || last <= begun * LEARNT;
            if learnt || steps >= settings.proofs.overfit_steps || (self.request.cancelled)() {
                break;
            }
            let gradients = loss.backward()?;
            let mut sums = Vec::new();
            self.parameters.add_gradients(&gradients, &mut sums)?;
            optimizer::clip(&mut sums, settings.clip);
            self.optimizer
                .step(&self.parameters, &sums, settings.learning_rate)?;
            steps += 1;
        }
        self.parameters.set(&start)?;
        self.optimizer = AdamW::new(settings, &self.parameters);
        let first = first.unwrap_or(last);
        let cut_off = (self.request.cancelled)();
        let nothing = last > first * NOTHING_LEARNT && last > KNOWN;
        if !first.is_finite() || (nothing && !cut_off) {
            return Err(TrainError::NotLearnt {
                rows: rows.len(),
                steps,
                first,
                last,
                learning_rate: settings.learning_rate,
            });
        }
        Ok(Proof::Overfit {
            rows: rows.len(),
            steps,
            first_loss: first,
            last_loss: last,
        })
    }
}
