//! What is shown to hold before the first step: cheap, and each failure has its own message.

use distill_student::decoder::{DecoderError, PackedTokens};

use super::{AdamW, DecoderLearner, Proof, TrainError, TrainEvent, TrainExample, packed_loss};
use crate::training::rehearsal::rehearse;

/// Tokens of the row on which the adapted model is compared with its base.
const COMPARED_TOKENS: usize = 64;
/// The update begins at zero, so the logits are those of the base but for the order of sums.
const LARGEST_DIFFERENCE: f32 = 1e-3;
/// A head held in bf16 rounds what it is given to 8 bits and one that is trained, in f32, does not:
/// they differ by less than this share of the largest logit.
const ROUNDED: f32 = 1.0 / 128.0;

impl DecoderLearner<'_> {
    pub(super) fn show(
        &self,
        optimizer: &mut AdamW,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(), TrainError> {
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
            on_event(TrainEvent::Proved(self.overfit(optimizer)?));
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
        let allowed = if self.parameters.trains_a_finer_head()? {
            LARGEST_DIFFERENCE + ROUNDED * base.abs()?.max_all()?.to_scalar::<f32>()?
        } else {
            LARGEST_DIFFERENCE
        };
        let adapted = self.frozen.logits(&packed)?;
        let difference = (base - adapted)?.abs()?.max_all()?.to_scalar::<f32>()?;
        if difference.is_nan() || difference > allowed {
            return Err(TrainError::NotAtBase { difference });
        }
        Ok(Proof::StartsAtBase {
            tokens: row.len(),
            difference,
        })
    }

    /// Learns the shortest rows by heart at the peak rate, then puts everything back.
    fn overfit(&self, optimizer: &mut AdamW) -> Result<Proof, TrainError> {
        let settings = self.request.settings;
        let mut rows: Vec<&TrainExample> = self.request.train.iter().collect();
        rows.sort_by_key(|row| row.tokens.len());
        rows.truncate(settings.proofs.overfit_rows);
        let weight = 1.0 / rows.iter().map(|row| row.targets()).sum::<usize>() as f64;
        if let Some(dropout) = self.parameters.dropout() {
            dropout.begin(settings.seed, u64::MAX, 0);
        }
        rehearse(
            settings,
            (self.parameters.variables(), optimizer),
            (rows.len(), 0.0),
            || Ok(packed_loss(&self.decoder, &rows, weight)?),
            self.request.cancelled,
        )
    }
}
