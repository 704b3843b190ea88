//! Checks of `train.encoder`.

use std::ops::Range;

use super::{ALPHA, BELOW_ONE, MOST_EPOCHS, OPEN_SHARE, POSITIVE, Resolver, WEIGHT_DECAY};
use crate::spec::{finding::Code, resolved::EncoderSpec, written::EncoderSection};

/// Low-rank updates learn best about so many times as fast as all weights do, which decoders'
/// default rates say too (Schulman et al. 2025, thinkingmachines.ai/blog/lora).
const ADAPTER_RATE: f64 = 10.0;

impl Resolver<'_> {
    pub(super) fn encoder(&mut self, encoder: &EncoderSection) -> EncoderSpec {
        let mut usual = EncoderSpec::default();
        let adapter = encoder.adapter.as_ref().map(|at| at.value);
        if adapter.is_some() {
            usual.learning_rate *= ADAPTER_RATE;
        } else {
            self.refuse_adapter_keys(encoder);
        }
        let path = |key: &str| format!("train.encoder.{key}");
        EncoderSpec {
            adapter,
            rank: self
                .integer(encoder.rank.as_ref(), &path("rank"), 1, 1024, "16 is usual")
                .unwrap_or(usual.rank),
            alpha: self.number(
                encoder.alpha.as_ref(),
                &path("alpha"),
                usual.alpha,
                &ALPHA,
                "twice the rank is usual",
            ),
            targets: self.targets("train.encoder", encoder.targets.as_ref()),
            adapter_dropout: self.number(
                encoder.adapter_dropout.as_ref(),
                &path("adapter_dropout"),
                usual.adapter_dropout,
                &BELOW_ONE,
                "0.05 is usual where it is used at all",
            ),
            dropout: encoder
                .dropout
                .as_ref()
                .map_or(usual.dropout, |at| at.value),
            learning_rate: self.number(
                encoder.learning_rate.as_ref(),
                &path("learning_rate"),
                usual.learning_rate,
                &OPEN_SHARE,
                "0.00002 to 0.00005 suit BERT, ten times as much an adapter",
            ),
            weight_decay: self.number(
                encoder.weight_decay.as_ref(),
                &path("weight_decay"),
                usual.weight_decay,
                &WEIGHT_DECAY,
                "0.01 is usual",
            ),
            clip: self.number(
                encoder.clip.as_ref(),
                &path("clip"),
                usual.clip,
                &POSITIVE,
                "1 is usual",
            ),
            warmup: self.number(
                encoder.warmup.as_ref(),
                &path("warmup"),
                usual.warmup,
                &BELOW_ONE,
                "0.1 warms up in the first tenth of the steps",
            ),
            ..self.encoder_counts(encoder, usual)
        }
    }

    /// How many rows, steps and passes.
    fn encoder_counts(&mut self, encoder: &EncoderSection, usual: EncoderSpec) -> EncoderSpec {
        let path = |key: &str| format!("train.encoder.{key}");
        EncoderSpec {
            epochs: self
                .integer(
                    encoder.epochs.as_ref(),
                    &path("epochs"),
                    1,
                    MOST_EPOCHS,
                    "4 is usual",
                )
                .unwrap_or(usual.epochs),
            batch_rows: self
                .integer(
                    encoder.batch_rows.as_ref(),
                    &path("batch_rows"),
                    1,
                    1 << 16,
                    "16 and 32 are usual",
                )
                .unwrap_or(usual.batch_rows),
            accumulation: self
                .count(
                    encoder.accumulation.as_ref(),
                    &path("accumulation"),
                    "1 takes a step with each batch",
                )
                .unwrap_or(usual.accumulation),
            max_steps: self.count(
                encoder.max_steps.as_ref(),
                &path("max_steps"),
                "leave the key out for no limit",
            ),
            validate_every: self.count(
                encoder.validate_every.as_ref(),
                &path("validate_every"),
                "leave the key out to validate at the end of each epoch",
            ),
            patience: self
                .count(encoder.patience.as_ref(), &path("patience"), "2 is usual")
                .or(usual.patience),
            ..usual
        }
    }

    /// Keys that shape an adapter, where none is trained.
    fn refuse_adapter_keys(&mut self, encoder: &EncoderSection) {
        let written: [(&str, Option<&Range<usize>>); 4] = [
            ("rank", encoder.rank.as_ref().map(|at| &at.span)),
            ("alpha", encoder.alpha.as_ref().map(|at| &at.span)),
            ("targets", encoder.targets.as_ref().map(|at| &at.span)),
            (
                "adapter_dropout",
                encoder.adapter_dropout.as_ref().map(|at| &at.span),
            ),
        ];
        for (key, span) in written {
            let Some(span) = span else { continue };
            self.report(
                Code::Conflict,
                span,
                format!("`train.encoder.{key}` shapes an adapter, and every weight is trained"),
                "changes nothing here",
                "write `adapter: lora`, or leave the key out",
            );
        }
    }
}
