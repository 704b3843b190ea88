//! Checks of `data`, and of where rows and answers come from.

use std::ops::Range;

use distill_chat::TaskKind;

use super::{BELOW_ONE, OPEN_SHARE, Resolver, join, kind, teacher};
use crate::spec::{
    finding::Code,
    read::At,
    resolved::{DataSource, DataSpec, Labels},
    written::{DataSection, Spec, WrittenSource},
};

impl Resolver<'_> {
    pub(super) fn data(&mut self, data: &DataSection, spec: &Spec) -> Option<DataSpec> {
        let labels = data.labels.as_ref().map_or(
            if spec.teacher.is_some() {
                Labels::Teacher
            } else {
                Labels::Gold
            },
            |labels| labels.value,
        );
        let validation = self.number(
            data.validation.as_ref(),
            "data.validation",
            0.1,
            &OPEN_SHARE,
            "0.1 keeps one row in ten apart",
        );
        let calibration = self.calibration(data, spec, validation);
        let limit = self.count(
            data.limit.as_ref(),
            "data.limit",
            "leave the key out to take every row",
        );
        let gold = self.column(data.gold.as_ref(), "data.gold");
        Some(DataSpec {
            train: self.source(data.train.as_ref()?, "data.train"),
            gold,
            labels,
            validation,
            calibration,
            limit,
        })
    }

    /// Rows for the calibration of a cascade: none are needed where there is none.
    fn calibration(&mut self, data: &DataSection, spec: &Spec, validation: f64) -> f64 {
        let cascade = spec
            .accept
            .as_ref()
            .is_some_and(|accept| accept.value.risk.is_some());
        let usual = if cascade { 0.1 } else { 0.0 };
        let written = data.calibration.as_ref();
        let share = self.number(
            written,
            "data.calibration",
            usual,
            &BELOW_ONE,
            "0.1 keeps one row in ten apart",
        );
        let at = written.or(data.validation.as_ref());
        if let (Some(at), true) = (at, share > 0.0 && share + validation >= 1.0) {
            self.report(
                Code::Conflict,
                &at.span,
                format!(
                    "`data.validation` ({validation}) and `data.calibration` ({share}) leave no row to train on"
                ),
                "together at least 1",
                "lower one of the two: 0.1 each is usual",
            );
        }
        if let (Some(at), true, true) = (written, cascade, share == 0.0) {
            self.report(
                Code::Conflict,
                &at.span,
                "`accept.risk` asks for a cascade, and `data.calibration` is 0",
                "no row to calibrate it on",
                "leave the key out for 0.1, or remove `accept.risk`",
            );
        }
        share
    }

    pub(super) fn column(&mut self, column: Option<&At<String>>, path: &str) -> Option<String> {
        let column = column?;
        if column.value.trim().is_empty() {
            self.report(
                Code::Invalid,
                &column.span,
                format!("`{path}` is empty"),
                "not the name of a column",
                "name the column, or leave the key out when there is none",
            );
        }
        Some(column.value.clone())
    }

    pub(super) fn source(&mut self, source: &At<WrittenSource>, path: &str) -> DataSource {
        match &source.value {
            WrittenSource::Path(file) => {
                self.data_file(file, &source.span, path);
                DataSource::Path(file.clone())
            }
            WrittenSource::Dataset(section) => {
                let text = |field: &Option<At<String>>| {
                    field
                        .as_ref()
                        .map_or_else(String::new, |at| at.value.clone())
                };
                DataSource::Dataset {
                    dataset: text(&section.dataset),
                    split: text(&section.split),
                }
            }
        }
    }

    /// Whether a file's name tells a format that can be read.
    pub(super) fn data_file(&mut self, file: &str, span: &Range<usize>, path: &str) {
        let known = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet"];
        let ending = file
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_lowercase());
        if !ending.is_some_and(|ending| known.contains(&ending.as_str())) {
            self.report(
                Code::Invalid,
                span,
                format!("`{path}` names `{file}`, and its format is not known"),
                "must end in .csv, .jsonl, .json or .parquet",
                "convert the file, or name a data set: `{dataset: NAME, split: NAME}`",
            );
        }
    }

    /// Training labels come from someone: the teacher or the gold column.
    pub(super) fn labels_have_a_source(&mut self, spec: &Spec) {
        let Some(data) = &spec.data else { return };
        let chosen = data.value.labels.as_ref();
        match chosen.map(|labels| labels.value) {
            Some(Labels::Teacher) if spec.teacher.is_none() => self.report(
                Code::Conflict,
                &chosen.expect("matched as present").span,
                "`data.labels` is `teacher`, but there is no teacher",
                "nobody to ask",
                "add a `teacher:` section, or use the gold column: `labels: gold`",
            ),
            Some(Labels::Gold) if data.value.gold.is_none() => self.report(
                Code::Conflict,
                &chosen.expect("matched as present").span,
                "`data.labels` is `gold`, but no gold column is named",
                "no column to take them from",
                "name the column that holds the answer: `gold: COLUMN`",
            ),
            None if spec.teacher.is_none() && data.value.gold.is_none() => self.report(
                Code::Missing,
                &data.span,
                "nobody labels the training rows",
                "neither a teacher nor a gold column",
                "add a `teacher:` section, or name the column that holds the answer: `gold: COLUMN`",
            ),
            _ => {}
        }
        let classify = kind(spec) == Some(TaskKind::Classify);
        let listed = spec
            .task
            .as_ref()
            .is_some_and(|task| task.value.labels.is_some());
        if classify
            && !listed
            && data.value.gold.is_none()
            && let Some(task) = &spec.task
        {
            self.report(
                Code::Missing,
                &task.span,
                "the label set is not known",
                "no `labels` here, and no gold column to take them from",
                "list them: `labels: [refund, delivery, ...]`, or name the column: `data.gold`",
            );
        }
    }

    /// The verdict needs a reference, and the simulated provider needs answers to give.
    pub(super) fn answers_have_a_source(&mut self, spec: &Spec) {
        let Some(evals) = &spec.evals else { return };
        let evals_gold = evals.value.gold.is_some();
        if !evals_gold && evals.value.human.is_none() && spec.teacher.is_none() {
            self.report(
                Code::Missing,
                &evals.span,
                "nothing says what the right answers of `evals.test` are",
                "neither a gold column nor a teacher",
                "name the column that holds the answer: `gold: COLUMN`",
            );
            return;
        }
        let Some(simulated) = spec
            .teacher
            .as_ref()
            .and_then(|at| teacher::embedded(&at.value))
        else {
            return;
        };
        let without: Vec<&str> = [
            (
                spec.data
                    .as_ref()
                    .is_some_and(|data| data.value.gold.is_none()),
                "data.gold",
            ),
            (!evals_gold, "evals.gold"),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        if !without.is_empty() {
            let span = simulated.clone();
            self.report(
                Code::Conflict,
                &span,
                "the simulated teacher has no answers to give",
                format!(
                    "it answers from the gold column, and {} is not given",
                    join(&without)
                ),
                format!("name the column: {}, or ask a real vendor", join(&without)),
            );
        }
    }
}
