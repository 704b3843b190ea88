//! Checks of `train`.

use super::{BELOW_ONE, NOT_NEGATIVE, OPEN_SHARE, POSITIVE, Resolver};
use crate::spec::{
    finding::Code,
    resolved::{DecoderSpec, LinearSpec, TrainSpec},
    written::{DecoderSection, LinearSection, TrainSection},
};

impl Resolver<'_> {
    pub(super) fn train(&mut self, train: &TrainSection) -> TrainSpec {
        TrainSpec {
            linear: train
                .linear
                .as_ref()
                .map(|linear| self.linear(&linear.value))
                .unwrap_or_default(),
            decoder: train
                .decoder
                .as_ref()
                .map(|decoder| self.decoder(&decoder.value))
                .unwrap_or_default(),
            learning_curve: self.learning_curve(train),
        }
    }

    /// In rising order and without repeats, whatever order they were written in.
    fn learning_curve(&mut self, train: &TrainSection) -> Vec<f64> {
        let written = train
            .learning_curve
            .as_ref()
            .map_or(&[] as &[_], |list| &list.value);
        let mut shares: Vec<f64> = Vec::new();
        for at in written {
            let share = self.number(
                Some(at),
                "train.learning_curve",
                0.5,
                &OPEN_SHARE,
                "0.5 trains on every other row too; the whole is trained on anyway",
            );
            shares.push(share);
        }
        shares.sort_by(f64::total_cmp);
        shares.dedup();
        shares
    }

    fn linear(&mut self, linear: &LinearSection) -> LinearSpec {
        let path = |key: &str| format!("train.linear.{key}");
        let penalties = linear.penalties.as_ref();
        if let Some(empty) = penalties.filter(|list| list.value.is_empty()) {
            self.report(
                Code::Missing,
                &empty.span,
                "`train.linear.penalties` is an empty list",
                "nothing to choose from",
                "leave the key out for the usual grid",
            );
        }
        for value in penalties.iter().flat_map(|list| &list.value) {
            self.optional(
                Some(value),
                "train.linear.penalties",
                &POSITIVE,
                "1 is usual",
            );
        }
        let linear_words = self.integer(
            linear.word_ngrams.as_ref(),
            &path("word_ngrams"),
            0,
            5,
            "2 is usual",
        );
        let characters = self.integer(
            linear.character_ngrams.as_ref(),
            &path("character_ngrams"),
            0,
            8,
            "5 is usual",
        );
        if let (Some(0), Some(0), Some(at)) = (linear_words, characters, &linear.character_ngrams) {
            self.report(
                Code::Conflict,
                &at.span,
                "the linear student has neither word nor character n-grams",
                "nothing to read a text by",
                "give one of the two a length",
            );
        }
        LinearSpec {
            word_ngrams: linear_words,
            character_ngrams: characters,
            penalties: penalties.map(|list| list.value.iter().map(|at| at.value).collect()),
        }
    }

    fn decoder(&mut self, decoder: &DecoderSection) -> DecoderSpec {
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
                &POSITIVE,
                "twice the rank is usual",
            ),
            epochs: self
                .count(decoder.epochs.as_ref(), &path("epochs"), "4 is usual")
                .unwrap_or(usual.epochs),
            learning_rate: self.number(
                decoder.learning_rate.as_ref(),
                &path("learning_rate"),
                usual.learning_rate,
                &OPEN_SHARE,
                "0.002 suits the embedded decoder, 0.0002 a larger one",
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
                &NOT_NEGATIVE,
                "0 is usual for adapters",
            ),
            clip: self.number(
                decoder.clip.as_ref(),
                &path("clip"),
                usual.clip,
                &POSITIVE,
                "1 is usual",
            ),
        }
    }
}
