//! Checks of `train.decoder`.

use super::{BELOW_ONE, MOST_EPOCHS, OPEN_SHARE, POSITIVE, Resolver, SHARE, WEIGHT_DECAY};
use crate::spec::{
    bounds::Bounds,
    finding::Code,
    read::At,
    resolved::{DecoderSpec, RateKind, ScheduleKind, TuningSpec},
    written::{DecoderSection, WrittenRate},
};

/// What single precision tells apart from 0 and from infinity, with room for what it is multiplied by.
const ALPHA: Bounds = Bounds {
    holds: |value| (1e-6..=1e6).contains(&value),
    words: "between 0.000001 and 1000000",
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
            learning_rate: self.number(
                rate_of(decoder).as_ref(),
                &path("learning_rate"),
                usual.learning_rate,
                &OPEN_SHARE,
                "0.002 suits the embedded decoder, 0.0002 a larger one; `width` takes a usual one",
            ),
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
            targets: self.targets(decoder),
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
            rate: match decoder.learning_rate.as_ref().map(|at| at.value) {
                None | Some(WrittenRate::Number(_)) => RateKind::Given,
                Some(WrittenRate::Width) => RateKind::Width,
                Some(WrittenRate::Auto) => RateKind::Auto,
            },
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

    fn targets(&mut self, decoder: &DecoderSection) -> Vec<String> {
        let Some(written) = &decoder.targets else {
            return Vec::new();
        };
        if written.value.is_empty() {
            self.report(
                Code::Missing,
                &written.span,
                "`train.decoder.targets` is an empty list",
                "nothing to adapt",
                "leave the key out for every linear layer",
            );
        }
        written.value.iter().map(|at| at.value.clone()).collect()
    }
}

/// The learning rate where it is a number.
fn rate_of(decoder: &DecoderSection) -> Option<At<f64>> {
    let written = decoder.learning_rate.as_ref()?;
    match written.value {
        WrittenRate::Number(value) => Some(At {
            value,
            span: written.span.clone(),
        }),
        WrittenRate::Width | WrittenRate::Auto => None,
    }
}
