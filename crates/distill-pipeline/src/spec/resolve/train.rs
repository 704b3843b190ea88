//! Checks of `train`.

use distill_chat::TaskKind;

use super::{OPEN_SHARE, POSITIVE, Resolver};
use crate::spec::{
    finding::Code,
    resolved::{LinearSpec, TrainSpec},
    written::{LinearSection, TrainSection},
};

impl Resolver<'_> {
    pub(super) fn train(&mut self, train: &TrainSection, kind: Option<TaskKind>) -> TrainSpec {
        TrainSpec {
            linear: train
                .linear
                .as_ref()
                .map(|linear| self.linear(&linear.value))
                .unwrap_or_default(),
            encoder: train
                .encoder
                .as_ref()
                .map(|encoder| self.encoder(&encoder.value))
                .unwrap_or_default(),
            decoder: train
                .decoder
                .as_ref()
                .map(|decoder| self.decoder(&decoder.value))
                .unwrap_or_default(),
            objective: train
                .objective
                .as_ref()
                .and_then(|objective| self.objective(objective, kind)),
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
}
