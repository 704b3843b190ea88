//! Checks what the types of the spec cannot hold, and fills in the defaults.

use std::ops::Range;

use distill_chat::TaskKind;

use super::{
    Vocabulary,
    bounds::{Bounds, NOT_NEGATIVE, OPEN_SHARE, POSITIVE, SHARE},
    finding::{Code, Finding, SourceText},
    nearest::nearest,
    read::At,
    resolved::{
        AcceptSpec, Control, CostSpec, CurateSpec, EvalsSpec, ResolvedSpec, StudentTarget, Students,
    },
    written::{AcceptSection, CostSection, CurateSection, Spec, StudentSection, WrittenTargets},
};

mod data;
mod decoder;
mod encoder;
mod evals;
mod objective;
mod suite;
mod task;
mod teacher;
mod train;

pub(super) use suite::suite;

/// Collects findings of one spec.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    source: &'a SourceText,
    vocabulary: &'a Vocabulary<'a>,
    findings: Vec<Finding>,
}

/// What single precision tells apart from 0 and from infinity, with room for what it is multiplied by.
const ALPHA: Bounds = Bounds {
    holds: |value| (1e-6..=1e6).contains(&value),
    words: "between 0.000001 and 1000000",
};

/// Far more passes than any training takes: the order of every pass is laid out before the first step.
const MOST_EPOCHS: u64 = 1000;
const BELOW_ONE: Bounds = Bounds {
    holds: |value| (0.0..1.0).contains(&value),
    words: "0 or more and below 1",
};
/// What the trainer takes.
const WEIGHT_DECAY: Bounds = Bounds {
    holds: |value| (0.0..=1000.0).contains(&value),
    words: "between 0 and 1000",
};
const SECONDS: Bounds = Bounds {
    holds: |value| value > 0.0 && value <= 86_400.0,
    words: "above 0 and at most a day, 86400",
};
const MILLISECONDS: Bounds = Bounds {
    holds: |value| value > 0.0 && value <= 86_400_000.0,
    words: "above 0 and at most a day, 86400000",
};
/// One request in some twenty minutes: rarer ones would wait for days.
const ARRIVALS: Bounds = Bounds {
    holds: |value| value >= 0.001,
    words: "0.001 or more",
};

/// Resolves a spec as far as it could be read. Findings empty: the spec is there.
pub(super) fn resolve(
    spec: &Spec,
    source: &SourceText,
    vocabulary: &Vocabulary<'_>,
) -> (Option<ResolvedSpec>, Vec<Finding>) {
    let mut resolver = Resolver {
        source,
        vocabulary,
        findings: Vec::new(),
    };
    let resolved = resolver.spec(spec);
    (resolved, resolver.findings)
}

impl Resolver<'_> {
    /// Every section is looked at before any missing one ends the work: all findings at once.
    fn spec(&mut self, spec: &Spec) -> Option<ResolvedSpec> {
        let name = self.name(spec);
        let kind = kind(spec);
        let task = spec.task.as_ref().and_then(|task| self.task(&task.value));
        let teacher = spec
            .teacher
            .as_ref()
            .map(|teacher| self.teacher(&teacher.value, kind));
        let data = spec
            .data
            .as_ref()
            .and_then(|data| self.data(&data.value, spec));
        let evals = spec
            .evals
            .as_ref()
            .map(|evals| self.evals(&evals.value, kind));
        let students = spec
            .student
            .as_ref()
            .and_then(|student| self.students(&student.value, kind));
        let train = spec
            .train
            .as_ref()
            .map(|train| self.train(&train.value, kind))
            .unwrap_or_default();
        let curate = spec
            .curate
            .as_ref()
            .map(|curate| self.curate(&curate.value));
        let accept = self.accept(spec.accept.as_ref().map(|accept| &accept.value));
        let cost = self.cost(spec.cost.as_ref().map(|cost| &cost.value));
        let measure = spec
            .measure
            .as_ref()
            .map(|measure| self.measure(&measure.value))
            .unwrap_or_default();
        self.labels_have_a_source(spec);
        self.answers_have_a_source(spec);
        self.comparisons_have_a_teacher(spec);
        let controls = self.controls(spec, students.as_ref());
        let teacher = match teacher {
            Some(teacher) => Some(teacher?),
            None => None,
        };
        Some(ResolvedSpec {
            name: name?,
            task: task?,
            data: data?,
            teacher,
            evals: EvalsSpec {
                controls,
                ..evals??
            },
            students: students?,
            class: spec
                .student
                .as_ref()
                .and_then(|student| student.value.class.as_ref())
                .map(|class| class.value),
            train,
            curate: match curate {
                Some(curate) => Some(curate?),
                None => None,
            },
            accept,
            cost,
            measure,
            seed: spec.seed.as_ref().map_or(17, |seed| seed.value),
        })
    }

    fn name(&mut self, spec: &Spec) -> Option<String> {
        let name = spec.name.as_ref()?;
        if name.value.trim().is_empty() {
            self.report(
                Code::Invalid,
                &name.span,
                "`name` is empty",
                "nothing to show in runs and reports",
                "give the pipeline a name, for instance that of the job",
            );
        }
        Some(name.value.clone())
    }

    fn students(&mut self, student: &StudentSection, kind: Option<TaskKind>) -> Option<Students> {
        let target = student.target.as_ref()?;
        let names = match &target.value {
            WrittenTargets::One(name) if name == "auto" => return Some(Students::Auto),
            WrittenTargets::One(name) => &vec![At {
                value: name.clone(),
                span: target.span.clone(),
            }],
            WrittenTargets::Several(names) => names,
        };
        if names.is_empty() {
            self.report(
                Code::Missing,
                &target.span,
                "`student.target` is an empty list",
                "nothing to train",
                "name a student: linear, nano, the directory of a model, a model of the hub (org/name), or auto",
            );
        }
        let mut targets: Vec<StudentTarget> = Vec::new();
        for name in names {
            let Some(student) = self.student(name, kind) else {
                continue;
            };
            if targets.contains(&student) {
                self.report(
                    Code::Invalid,
                    &name.span,
                    format!("student `{}` is named twice", name.value),
                    "a second time",
                    "remove one of the two",
                );
                continue;
            }
            targets.push(student);
        }
        Some(Students::Named(targets))
    }

    fn student(&mut self, name: &At<String>, kind: Option<TaskKind>) -> Option<StudentTarget> {
        let text = name.value.as_str();
        let directory = text.contains(['/', '\\']) || text.starts_with('.');
        match text {
            "linear" if kind.is_some_and(|kind| kind != TaskKind::Classify) => self.report(
                Code::Conflict,
                &name.span,
                format!(
                    "student `linear` chooses one label of a set and cannot {}",
                    kind.map_or("write", TaskKind::name)
                ),
                "cannot write text",
                "use a decoder: `nano`, the directory of a model, or a model of the hub",
            ),
            "linear" | "nano" => return Some(StudentTarget::from(text.to_owned())),
            "auto" => self.report(
                Code::Invalid,
                &name.span,
                "`auto` cannot stand in a list",
                "means every candidate that fits",
                "write `target: auto`, or name the students",
            ),
            _ if directory => return Some(StudentTarget::from(text.to_owned())),
            _ => {
                let hint = nearest(text, ["linear", "nano", "auto"]).map_or_else(
                    || "give linear, nano, auto, the directory of a model with a `/` in it (`./my-model`), or a model of the hub (`org/name`)".to_owned(),
                    |name| format!("did you mean `{name}`?"),
                );
                self.report(
                    Code::UnknownName,
                    &name.span,
                    format!("there is no student `{text}`"),
                    "not a student of this program",
                    hint,
                );
            }
        }
        None
    }

    /// Controls are arms of a decoder. Left out, the untuned base is one where there is a decoder.
    fn controls(&mut self, spec: &Spec, students: Option<&Students>) -> Vec<Control> {
        let decoder = match students {
            Some(Students::Named(targets)) => targets.iter().any(StudentTarget::is_decoder),
            Some(Students::Auto) | None => true,
        };
        let written = spec
            .evals
            .as_ref()
            .and_then(|evals| evals.value.controls.as_ref());
        let Some(written) = written else {
            return if decoder {
                vec![Control::Untuned]
            } else {
                Vec::new()
            };
        };
        if let (false, Some(first)) = (decoder, written.value.first()) {
            self.report(
                Code::Conflict,
                &first.span,
                format!(
                    "control `{}` compares with a decoder, and no decoder is trained",
                    first.value.name()
                ),
                "`student.target` names no decoder",
                "add `nano` to `student.target`, or remove `controls`",
            );
        }
        let mut controls: Vec<Control> = written.value.iter().map(|at| at.value).collect();
        controls.sort();
        controls.dedup();
        controls
    }

    fn curate(&mut self, curate: &CurateSection) -> Option<CurateSpec> {
        let command = curate.command.as_ref()?;
        if command
            .value
            .first()
            .is_none_or(|program| program.value.is_empty())
        {
            self.report(
                Code::Invalid,
                &command.span,
                "`curate.command` names no program",
                "nothing to run",
                "give the program and its arguments: `[python3, clean.py]`",
            );
        }
        Some(CurateSpec {
            command: command.value.iter().map(|at| at.value.clone()).collect(),
        })
    }

    fn accept(&mut self, accept: Option<&AcceptSection>) -> AcceptSpec {
        AcceptSpec {
            margin: self.number(
                accept.and_then(|accept| accept.margin.as_ref()),
                "accept.margin",
                0.03,
                &OPEN_SHARE,
                "0.03 lets the student be 3 points worse",
            ),
            confidence: self.number(
                accept.and_then(|accept| accept.confidence.as_ref()),
                "accept.confidence",
                0.95,
                &OPEN_SHARE,
                "0.95 is usual",
            ),
            max_p95_ms: self.optional(
                accept.and_then(|accept| accept.max_p95_ms.as_ref()),
                "accept.max_p95_ms",
                &POSITIVE,
                "leave the key out for no limit",
            ),
            max_usd_per_1000: self.optional(
                accept.and_then(|accept| accept.max_usd_per_1000.as_ref()),
                "accept.max_usd_per_1000",
                &POSITIVE,
                "leave the key out for no limit",
            ),
            risk: self.optional(
                accept.and_then(|accept| accept.risk.as_ref()),
                "accept.risk",
                &OPEN_SHARE,
                "0.05 lets one in twenty of the student's own answers be wrong; leave the key out for no cascade",
            ),
        }
    }

    fn cost(&mut self, cost: Option<&CostSection>) -> CostSpec {
        let hour = cost.and_then(|cost| cost.usd_per_hour.as_ref());
        let day = cost.and_then(|cost| cost.requests_per_day.as_ref());
        CostSpec {
            usd_per_hour: self.number(
                hour,
                "cost.usd_per_hour",
                0.10,
                &NOT_NEGATIVE,
                "give what the machine costs, 0 if it is there anyway",
            ),
            requests_per_day: self.number(
                day,
                "cost.requests_per_day",
                10_000.0,
                &POSITIVE,
                "give the requests a day that will be served",
            ),
            assumed: hour.is_none() || day.is_none(),
            watts: self.optional(
                cost.and_then(|cost| cost.watts.as_ref()),
                "cost.watts",
                &POSITIVE,
                "15 is a small computer, 300 a server; leave the key out where energy can be measured",
            ),
        }
    }

    fn number(
        &mut self,
        value: Option<&At<f64>>,
        path: &str,
        default: f64,
        bounds: &Bounds,
        hint: &str,
    ) -> f64 {
        self.optional(value, path, bounds, hint).unwrap_or(default)
    }

    /// A number within its bounds; one outside them is reported and passed on.
    fn optional(
        &mut self,
        value: Option<&At<f64>>,
        path: &str,
        bounds: &Bounds,
        hint: &str,
    ) -> Option<f64> {
        let at = value?;
        self.findings
            .extend(bounds.finding(self.source, at, path, hint));
        Some(at.value)
    }

    /// A whole number of at least 1.
    fn count(&mut self, value: Option<&At<u64>>, path: &str, hint: &str) -> Option<usize> {
        self.integer(value, path, 1, usize::MAX as u64, hint)
    }

    fn integer(
        &mut self,
        value: Option<&At<u64>>,
        path: &str,
        low: u64,
        high: u64,
        hint: &str,
    ) -> Option<usize> {
        let at = value?;
        if !(low..=high).contains(&at.value) {
            let words = if at.value < low {
                format!("at least {low}")
            } else {
                format!("at most {high}")
            };
            self.report(
                Code::OutOfRange,
                &at.span,
                format!("`{path}` is {}, and must be {words}", at.value),
                format!("not {words}"),
                hint,
            );
        }
        usize::try_from(at.value).ok()
    }

    fn report(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = self
            .source
            .finding(code, span.clone(), message)
            .label(label)
            .hint(hint);
        self.findings.push(finding);
    }
}

fn kind(spec: &Spec) -> Option<TaskKind> {
    Some(spec.task.as_ref()?.value.kind.as_ref()?.value)
}

fn join(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(" and ")
}
