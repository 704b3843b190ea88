//! Checks of `train.decoder`.

use super::{ALPHA, BELOW_ONE, MOST_EPOCHS, OPEN_SHARE, POSITIVE, Resolver, SHARE, WEIGHT_DECAY};
use crate::spec::{
    finding::Code,
    read::At,
    resolved::{DecoderSpec, LearningRate, ScheduleKind, TuningSpec},
    written::{DecoderSection, WrittenRate},
};

impl Resolver<'_> {
    pub(super) fn decoder(&mut self, decoder: &DecoderSection) -> DecoderSpec {
        let usual = DecoderSpec::default();
        let path = |key: &str| format!("train.decoder.{key}");
        DecoderSpec {
            rank: self
                .integer(decoder.rank.as_ref(), &path("rank"), 1, 1024, "16 is usual")
                .unwrap_or(usual.rank),
            alpha: self.number(
                decoder.alpha.as_ref(),
                &path("alpha"),
                usual.alpha,
                &ALPHA,
                "twice the rank is usual",
            ),
            epochs: self
                .integer(
                    decoder.epochs.as_ref(),
                    &path("epochs"),
                    1,
                    MOST_EPOCHS,
                    "4 is usual",
                )
                .unwrap_or(usual.epochs),
            learning_rate: self.learning_rate(decoder),
            batch_tokens: self
                .integer(
                    decoder.batch_tokens.as_ref(),
                    &path("batch_tokens"),
                    1,
                    1 << 24,
                    "4096 suits the embedded decoder",
                )
                .unwrap_or(usual.batch_tokens),
            accumulation: self
                .count(
                    decoder.accumulation.as_ref(),
                    &path("accumulation"),
                    "1 takes a step with each batch",
                )
                .unwrap_or(usual.accumulation),
            warmup: self.number(
                decoder.warmup.as_ref(),
                &path("warmup"),
                usual.warmup,
                &BELOW_ONE,
                "0.05 warms up in the first twentieth of the steps",
            ),
            max_steps: self.count(
                decoder.max_steps.as_ref(),
                &path("max_steps"),
                "leave the key out for no limit",
            ),
            patience: self
                .count(decoder.patience.as_ref(), &path("patience"), "2 is usual")
                .or(usual.patience),
            weight_decay: self.number(
                decoder.weight_decay.as_ref(),
                &path("weight_decay"),
                usual.weight_decay,
                &WEIGHT_DECAY,
                "0 is usual for adapters",
            ),
            clip: self.number(
                decoder.clip.as_ref(),
                &path("clip"),
                usual.clip,
                &POSITIVE,
                "1 is usual",
            ),
            tuning: self.tuning(decoder),
        }
    }

    fn learning_rate(&mut self, decoder: &DecoderSection) -> LearningRate {
        let Some(written) = &decoder.learning_rate else {
            return LearningRate::default();
        };
        match written.value {
            WrittenRate::Width => LearningRate::Width,
            WrittenRate::Auto => LearningRate::Auto,
            WrittenRate::Number(value) => {
                let number = At {
                    value,
                    span: written.span.clone(),
                };
                LearningRate::Given(self.number(
                    Some(&number),
                    "train.decoder.learning_rate",
                    value,
                    &OPEN_SHARE,
                    "leave the key out for a usual one by the model's width",
                ))
            }
        }
    }

    fn tuning(&mut self, decoder: &DecoderSection) -> TuningSpec {
        let usual = TuningSpec::default();
        let path = |key: &str| format!("train.decoder.{key}");
        let schedule = decoder
            .schedule
            .as_ref()
            .map_or(usual.schedule, |at| at.value);
        if let Some(decay) = decoder
            .decay
            .as_ref()
            .filter(|_| schedule != ScheduleKind::Wsd)
        {
            self.report(
                Code::Conflict,
                &decay.span,
                "`train.decoder.decay` belongs to the schedule `wsd`",
                "changes nothing here",
                "write `schedule: wsd`, or leave the key out",
            );
        }
        let on = |written: &Option<At<bool>>| written.as_ref().is_some_and(|at| at.value);
        TuningSpec {
            variant: decoder
                .variant
                .as_ref()
                .map_or(usual.variant, |at| at.value),
            targets: self.targets("train.decoder", decoder.targets.as_ref()),
            dropout: self.number(
                decoder.dropout.as_ref(),
                &path("dropout"),
                usual.dropout,
                &BELOW_ONE,
                "0.05 is usual where it is used at all",
            ),
            embeddings: on(&decoder.embeddings),
            head: on(&decoder.head),
            base: decoder.base.as_ref().map_or(usual.base, |at| at.value),
            device: decoder.device.as_ref().map_or(usual.device, |at| at.value),
            schedule,
            decay: self.number(
                decoder.decay.as_ref(),
                &path("decay"),
                usual.decay,
                &OPEN_SHARE,
                "0.2 decays in the last fifth of the steps",
            ),
            final_learning_rate: self.number(
                decoder.final_learning_rate.as_ref(),
                &path("final_learning_rate"),
                usual.final_learning_rate,
                &SHARE,
                "0.1 ends at a tenth of the highest rate",
            ),
            group_by_length: on(&decoder.group_by_length),
            gradient_checkpointing: on(&decoder.gradient_checkpointing),
            validate_every: self.count(
                decoder.validate_every.as_ref(),
                &path("validate_every"),
                "leave the key out to validate at the end of each epoch",
            ),
        }
    }

    /// Ends of modules' names, under the key of this section.
    pub(super) fn targets(
        &mut self,
        section: &str,
        written: Option<&At<Vec<At<String>>>>,
    ) -> Vec<String> {
        let Some(written) = written else {
            return Vec::new();
        };
        if written.value.is_empty() {
            self.report(
                Code::Missing,
                &written.span,
                format!("`{section}.targets` is an empty list"),
                "nothing to adapt",
                "leave the key out for every linear layer",
            );
        }
        written.value.iter().map(|at| at.value.clone()).collect()
    }
}
