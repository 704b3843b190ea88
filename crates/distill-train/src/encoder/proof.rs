//! What is shown to hold before the first step: cheap, and each failure has its own message.

use candle_core::D;
use distill_student::decoder::DecoderError;
use distill_student::encoder::EncoderRows;

use super::{EncoderExample, EncoderLearner, entropy, loss};
use crate::decoder::optimizer::AdamW;
use crate::training::rehearsal::rehearse;
use crate::{Proof, TrainError, TrainEvent};

/// The update begins at zero, so the logits are those of the base but for the order of sums.
const LARGEST_DIFFERENCE: f32 = 1e-3;

impl EncoderLearner<'_> {
    pub(super) fn show(
        &self,
        optimizer: &mut AdamW,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(), TrainError> {
        on_event(TrainEvent::Proved(self.label_coverage()));
        if self.request.initial.is_none() && self.parameters.is_adapter() {
            on_event(TrainEvent::Proved(self.starts_at_base()?));
        }
        if self.settings.proofs.overfit_rows > 0 {
            on_event(TrainEvent::Proved(self.overfit(optimizer)?));
        }
        Ok(())
    }

    /// A label counts as covered by a row that gives it more than any other.
    fn label_coverage(&self) -> Proof {
        let labels = self.request.weights.config().labels.len();
        let mut covered = vec![false; labels];
        for row in self.request.train {
            let largest = row.target.iter().copied().fold(0.0f32, f32::max);
            if let Some(label) = row.target.iter().position(|share| *share >= largest) {
                covered[label] = true;
            }
        }
        Proof::LabelCoverage {
            rows: self.request.train.len(),
            labels,
            missing: (0..labels).filter(|label| !covered[*label]).collect(),
        }
    }

    fn starts_at_base(&self) -> Result<Proof, TrainError> {
        let row = &self.request.train[0].text;
        let tokens = row.tokens.len();
        let rows = EncoderRows::new([row]);
        let base = self.parameters.base_encoder()?.logits(&rows)?;
        if !base.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(DecoderError::LogitNotFinite { row: 0, tokens }.into());
        }
        let adapted = self.frozen.logits(&rows)?;
        let difference = (base - adapted)?.abs()?.max(D::Minus1)?;
        let difference = difference.max_all()?.to_scalar::<f32>()?;
        if difference.is_nan() || difference > LARGEST_DIFFERENCE {
            return Err(TrainError::NotAtBase { difference });
        }
        Ok(Proof::StartsAtBase { tokens, difference })
    }

    /// Learns the shortest rows by heart at the peak rate, then puts everything back.
    fn overfit(&self, optimizer: &mut AdamW) -> Result<Proof, TrainError> {
        let settings = &self.settings;
        let mut rows: Vec<&EncoderExample> = self.request.train.iter().collect();
        rows.retain(|row| row.weight > 0.0);
        rows.sort_by_key(|row| row.text.tokens.len());
        rows.truncate(settings.proofs.overfit_rows);
        let weight: f64 = rows.iter().map(|row| f64::from(row.weight)).sum();
        if let Some(dropout) = &self.parameters.dropout {
            dropout.begin(settings.seed, u64::MAX, 0);
        }
        // Nothing fits shares of labels better than those shares themselves.
        let floor: f64 = rows.iter().map(|row| entropy(row)).sum::<f64>() / weight;
        rehearse(
            settings,
            (&self.parameters.variables, optimizer),
            (rows.len(), floor),
            || loss(&self.encoder, &rows, 1.0 / weight),
            self.request.cancelled,
        )
    }
}
