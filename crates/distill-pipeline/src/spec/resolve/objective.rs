//! Checks of `train.objective`.

use std::ops::Range;

use distill_chat::TaskKind;

use super::Resolver;
use crate::spec::{
    bounds::Bounds,
    finding::Code,
    read::At,
    resolved::{
        DivergenceKind, EstimateKind, ObjectiveKind, ObjectiveSpec, RestKind, StudentTarget,
    },
    written::ObjectiveSection,
};

/// A share that may be all but not nothing.
const WHOLE_SHARE: Bounds = Bounds {
    holds: |value| value > 0.0 && value <= 1.0,
    words: "above 0 and at most 1",
};

/// Logits are divided by it: beyond these nothing is left of them in single precision.
const TEMPERATURE: Bounds = Bounds {
    holds: |value| (0.01..=1000.0).contains(&value),
    words: "between 0.01 and 1000",
};

const WEIGHT: Bounds = Bounds {
    holds: |value| value > 0.0 && value <= 1000.0,
    words: "above 0 and at most 1000",
};

/// The most top tokens that vendors tell.
const VENDORS_MOST: u64 = 20;

/// Where a key stands, if it was written.
type Written = Option<Range<usize>>;

impl Resolver<'_> {
    /// None for cross-entropy, and where a finding says what is wrong.
    pub(super) fn objective(
        &mut self,
        written: &At<ObjectiveSection>,
        kind: Option<TaskKind>,
    ) -> Option<ObjectiveSpec> {
        let section = &written.value;
        let asked = section.kind.as_ref()?.value;
        self.misplaced(section, asked);
        let temperature = self.number(
            section.temperature.as_ref(),
            "train.objective.temperature",
            1.0,
            &TEMPERATURE,
            "1 is usual, 2 softens",
        );
        let share = self.number(
            section.share.as_ref(),
            "train.objective.share",
            1.0,
            &WHOLE_SHARE,
            "1 learns from the teacher alone",
        );
        let divergence = section.divergence.as_ref().map(|at| at.value);
        match asked {
            ObjectiveKind::CrossEntropy => None,
            ObjectiveKind::SoftLabels => {
                if let Some(kind) = kind.filter(|kind| *kind != TaskKind::Classify) {
                    self.report(
                        Code::Conflict,
                        &written.span,
                        format!(
                            "`soft_labels` needs a set of labels, and the task is to {}",
                            kind.name()
                        ),
                        "no labels to give probabilities",
                        "take `top_k`, which compares token by token",
                    );
                }
                Some(ObjectiveSpec::SoftLabels {
                    teacher: self.local_teacher(section, asked, &written.span)?,
                    temperature,
                    share,
                })
            }
            ObjectiveKind::TopK => self.top_tokens(section, temperature, share),
            ObjectiveKind::OnPolicy => Some(ObjectiveSpec::OnPolicy {
                teacher: self.local_teacher(section, asked, &written.span)?,
                estimate: self.estimate(section),
                divergence: divergence.unwrap_or(DivergenceKind::Reverse),
                temperature,
                share,
                student_share: self.number(
                    section.student_share.as_ref(),
                    "train.objective.student_share",
                    1.0,
                    &WHOLE_SHARE,
                    "1 lets the student answer every row",
                ),
            }),
            ObjectiveKind::Rationale => self.rationale(section, &written.span),
        }
    }

    /// Without a local teacher, the vendor's log-probabilities are asked for with the labels.
    fn top_tokens(
        &mut self,
        section: &ObjectiveSection,
        temperature: f64,
        share: f64,
    ) -> Option<ObjectiveSpec> {
        let rest = section
            .rest
            .as_ref()
            .map_or(RestKind::Bucket, |at| at.value);
        let teacher = match &section.teacher {
            Some(name) => Some(self.named_teacher(name)?),
            None => None,
        };
        if teacher.is_none()
            && rest == RestKind::Bucket
            && let Some(at) = &section.temperature
            && (at.value - 1.0).abs() > 0.0
        {
            self.report(
                Code::Conflict,
                &at.span,
                "a vendor tells its top tokens at temperature 1, and what lies outside them is not known at another",
                "needs all of the teacher's probabilities",
                "leave it out, take `rest: renormalised`, or a local `teacher`",
            );
        }
        let most = if teacher.is_some() {
            1024
        } else {
            VENDORS_MOST
        };
        Some(ObjectiveSpec::TopK {
            top: self
                .integer(
                    section.top.as_ref(),
                    "train.objective.top",
                    1,
                    most,
                    "20 is usual",
                )
                .unwrap_or(20),
            rest,
            divergence: section
                .divergence
                .as_ref()
                .map_or(DivergenceKind::Forward, |at| at.value),
            temperature,
            share,
            teacher,
        })
    }

    /// The estimate from drawn tokens is of the reverse divergence at temperature 1.
    fn estimate(&mut self, section: &ObjectiveSection) -> EstimateKind {
        let estimate = section.estimate.as_ref().map(|at| at.value);
        if estimate == Some(EstimateKind::Drawn) {
            let forward = section
                .divergence
                .as_ref()
                .filter(|at| at.value == DivergenceKind::Forward)
                .map(|at| ("divergence", at.span.clone()));
            let softened = section
                .temperature
                .as_ref()
                .filter(|at| (at.value - 1.0).abs() > 0.0)
                .map(|at| ("temperature", at.span.clone()));
            for (key, at) in forward.into_iter().chain(softened) {
                self.report(
                    Code::Conflict,
                    &at,
                    format!("`train.objective.{key}` cannot be kept by the estimate `drawn`"),
                    "drawn tokens estimate the reverse divergence at temperature 1",
                    "leave it out, or take `estimate: whole`",
                );
            }
        }
        estimate.unwrap_or_default()
    }

    fn rationale(
        &mut self,
        section: &ObjectiveSection,
        span: &Range<usize>,
    ) -> Option<ObjectiveSpec> {
        let weight = self.number(
            section.weight.as_ref(),
            "train.objective.weight",
            0.5,
            &WEIGHT,
            "0.5 counts reasoning half",
        );
        let Some(column) = &section.column else {
            self.report(
                Code::Missing,
                span,
                "`train.objective.column` is missing",
                "which column has the reasoning?",
                "name the column of the training data: `column: reasoning`",
            );
            return None;
        };
        Some(ObjectiveSpec::Rationale {
            column: column.value.clone(),
            weight,
        })
    }

    fn local_teacher(
        &mut self,
        section: &ObjectiveSection,
        asked: ObjectiveKind,
        span: &Range<usize>,
    ) -> Option<StudentTarget> {
        let Some(name) = &section.teacher else {
            self.report(
                Code::Missing,
                span,
                format!("`{}` needs a local teacher", asked.name()),
                "whose probabilities?",
                "add `teacher:` with the directory of a model that has the student's tokenizer (`./my-model`)",
            );
            return None;
        };
        self.named_teacher(name)
    }

    fn named_teacher(&mut self, name: &At<String>) -> Option<StudentTarget> {
        let text = name.value.as_str();
        if text == "nano" || text.contains('/') {
            return Some(StudentTarget::from(text.to_owned()));
        }
        self.report(
            Code::UnknownName,
            &name.span,
            format!("there is no local teacher `{text}`"),
            "not a decoder of this program",
            "give `nano`, the directory of a model with a `/` in it (`./my-model`), or a model of the hub (`org/name`)",
        );
        None
    }

    /// Reports keys that the kind does not look at: nothing that is written is passed over in silence.
    fn misplaced(&mut self, section: &ObjectiveSection, asked: ObjectiveKind) {
        use ObjectiveKind::{OnPolicy, Rationale, SoftLabels, TopK};
        let taught = [SoftLabels, TopK, OnPolicy];
        let keys: [(&str, Written, &[ObjectiveKind]); 10] = [
            ("teacher", span(section.teacher.as_ref()), &taught),
            ("temperature", span(section.temperature.as_ref()), &taught),
            ("share", span(section.share.as_ref()), &taught),
            (
                "divergence",
                span(section.divergence.as_ref()),
                &[TopK, OnPolicy],
            ),
            ("top", span(section.top.as_ref()), &[TopK]),
            ("rest", span(section.rest.as_ref()), &[TopK]),
            (
                "student_share",
                span(section.student_share.as_ref()),
                &[OnPolicy],
            ),
            ("estimate", span(section.estimate.as_ref()), &[OnPolicy]),
            ("column", span(section.column.as_ref()), &[Rationale]),
            ("weight", span(section.weight.as_ref()), &[Rationale]),
        ];
        for (key, at, kinds) in keys {
            let Some(at) = at.filter(|_| !kinds.contains(&asked)) else {
                continue;
            };
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            self.report(
                Code::Conflict,
                &at,
                format!(
                    "`train.objective.{key}` means nothing to `{}`",
                    asked.name()
                ),
                "not looked at",
                format!("it belongs to {}: leave it out", names.join(", ")),
            );
        }
    }
}

fn span<T>(at: Option<&At<T>>) -> Option<Range<usize>> {
    at.map(|at| at.span.clone())
}
