//! Checks of `evals` and `measure`: what answers are judged by, and against whom.

use distill_chat::TaskKind;

use super::{ARRIVALS, POSITIVE, Resolver};
use crate::spec::{
    MetricName,
    finding::Code,
    nearest::nearest,
    read::At,
    resolved::{EvalsSpec, JudgeSpec, MeasureSpec, ScorerSpec},
    written::{EvalsSection, JudgeSection, MeasureSection, Spec, WrittenModel, WrittenScorer},
};

/// What a judge looks for where the spec does not say.
const USUAL_RUBRIC: &str =
    "The answer is right and complete, by the input and by the reference where there is one.";

impl Resolver<'_> {
    pub(super) fn evals(
        &mut self,
        evals: &EvalsSection,
        kind: Option<TaskKind>,
    ) -> Option<EvalsSpec> {
        let gold = self.column(evals.gold.as_ref(), "evals.gold");
        let limit = self.count(
            evals.limit.as_ref(),
            "evals.limit",
            "leave the key out to take every row",
        );
        let metric = evals.metric.as_ref();
        if let Some(at) = metric {
            self.metric(at, "evals.metric", kind, true);
        }
        let scorers = self.scorers(evals, kind);
        let slices = self.columns(evals.slices.as_ref(), "evals.slices");
        let group = self.column(evals.group.as_ref(), "evals.group");
        let human = self.table(evals.human.as_ref(), "evals.human");
        let judge = evals
            .judge
            .as_ref()
            .map(|judge| self.judge(&judge.value, "evals.judge"));
        let noise_floor = self
            .integer(
                evals.noise_floor.as_ref(),
                "evals.noise_floor",
                0,
                u64::from(u32::MAX),
                "100 rows show how often the teacher agrees with itself",
            )
            .unwrap_or(0);
        let cheaper = match &evals.cheaper {
            Some(models) if models.value.is_empty() => Some(Vec::new()),
            Some(models) => self.models(models, "evals.cheaper"),
            None => Some(Vec::new()),
        };
        let judge = match judge {
            Some(judge) => Some(judge?),
            None => None,
        };
        Some(EvalsSpec {
            test: self.source(evals.test.as_ref()?, "evals.test"),
            gold,
            limit,
            controls: Vec::new(),
            metric: metric.map(|at| at.value.clone()),
            scorers,
            slices,
            group,
            human,
            judge,
            noise_floor,
            cheaper: cheaper?,
        })
    }

    pub(super) fn measure(&mut self, measure: &MeasureSection) -> MeasureSpec {
        let usual = MeasureSpec::default();
        let written = measure.concurrency.as_ref();
        if let Some(empty) = written.filter(|list| list.value.is_empty()) {
            self.report(
                Code::Missing,
                &empty.span,
                "`measure.concurrency` is an empty list",
                "nothing to measure",
                "leave the key out for one request at a time",
            );
        }
        let mut concurrency: Vec<usize> = written
            .iter()
            .flat_map(|list| &list.value)
            .filter_map(|at| {
                self.integer(
                    Some(at),
                    "measure.concurrency",
                    1,
                    1024,
                    "1 is one request at a time",
                )
            })
            .collect();
        concurrency.sort_unstable();
        concurrency.dedup();
        MeasureSpec {
            concurrency: if concurrency.is_empty() {
                usual.concurrency
            } else {
                concurrency
            },
            requests: self
                .integer(
                    measure.requests.as_ref(),
                    "measure.requests",
                    1,
                    1_000_000,
                    "100 gives a 95th percentile, 1000 a 99th",
                )
                .unwrap_or(usual.requests),
            arrivals_per_second: self.optional(
                measure.arrivals_per_second.as_ref(),
                "measure.arrivals_per_second",
                &ARRIVALS,
                "leave the key out for a closed loop only",
            ),
        }
    }

    /// The name of a metric that fits the task.
    fn metric(&mut self, name: &At<String>, path: &str, kind: Option<TaskKind>, decides: bool) {
        let known = self.vocabulary.metrics;
        let fits = |metric: &&MetricName<'_>| {
            kind.is_none_or(|kind| metric.kinds.contains(&kind)) && (metric.decides || !decides)
        };
        let fitting: Vec<&str> = known
            .iter()
            .filter(fits)
            .map(|metric| metric.name)
            .collect();
        let Some(metric) = known.iter().find(|metric| metric.name == name.value) else {
            let hint = nearest(&name.value, fitting.iter().copied()).map_or_else(
                || format!("the metrics of this task: {}", fitting.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            self.report(
                Code::UnknownName,
                &name.span,
                format!("`{path}`: there is no metric `{}`", name.value),
                "not a metric of this program",
                hint,
            );
            return;
        };
        if let Some(kind) = kind.filter(|kind| !metric.kinds.contains(kind)) {
            self.report(
                Code::Conflict,
                &name.span,
                format!(
                    "`{path}`: metric `{}` has no meaning for a task of kind `{}`",
                    name.value,
                    kind.name()
                ),
                "does not fit the task",
                format!("the metrics of this task: {}", fitting.join(", ")),
            );
        } else if decides && !metric.decides {
            self.report(
                Code::Conflict,
                &name.span,
                format!("`{path}`: a verdict cannot rest on `{}`", name.value),
                "two models cannot be compared by it",
                format!(
                    "show it under `scorers`, and decide by one of: {}",
                    fitting.join(", ")
                ),
            );
        }
    }

    fn scorers(&mut self, evals: &EvalsSection, kind: Option<TaskKind>) -> Vec<ScorerSpec> {
        let written = evals.scorers.iter().flat_map(|list| &list.value);
        let mut scorers: Vec<ScorerSpec> = Vec::new();
        for at in written {
            let WrittenScorer { name, settings } = &at.value;
            self.scorer(&at.value, "evals.scorers", kind);
            let scorer = ScorerSpec {
                name: name.value.clone(),
                settings: settings.clone(),
            };
            if scorers.contains(&scorer) {
                self.twice(&name.value, "evals.scorers", &name.span);
                continue;
            }
            scorers.push(scorer);
        }
        scorers
    }

    /// A scorer's name, and the settings under it.
    pub(super) fn scorer(&mut self, written: &WrittenScorer, path: &str, kind: Option<TaskKind>) {
        let WrittenScorer { name, settings } = written;
        self.metric(name, path, kind, false);
        let metrics = self.vocabulary.metrics;
        if metrics.iter().any(|metric| metric.name == name.value)
            && let Err(problem) = (self.vocabulary.check_scorer)(&name.value, settings)
        {
            self.report(
                Code::Invalid,
                &name.span,
                format!(
                    "the settings of scorer `{}` do not hold: {problem}",
                    name.value
                ),
                "has wrong settings",
                "write `name` alone for the usual settings, or `{name: {setting: value}}`",
            );
        }
    }

    /// The columns of the list under `path`, each once.
    pub(super) fn columns(
        &mut self,
        written: Option<&At<Vec<At<String>>>>,
        path: &str,
    ) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for at in written.iter().flat_map(|list| &list.value) {
            let Some(column) = self.column(Some(at), path) else {
                continue;
            };
            if columns.contains(&column) {
                self.twice(&column, path, &at.span);
                continue;
            }
            columns.push(column);
        }
        columns
    }

    pub(super) fn twice(&mut self, name: &str, path: &str, span: &std::ops::Range<usize>) {
        self.report(
            Code::Invalid,
            span,
            format!("`{name}` is in `{path}` twice"),
            "a second time",
            "remove one of the two",
        );
    }

    /// A file with human answers.
    fn table(&mut self, path: Option<&At<String>>, key: &str) -> Option<String> {
        let at = path?;
        let ending = at
            .value
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_lowercase());
        if ending.as_deref() != Some("csv") {
            self.report(
                Code::Invalid,
                &at.span,
                format!("`{key}` names `{}`, which is no table", at.value),
                "must end in .csv",
                "give a CSV file with a head line, as `distill eval label` writes it",
            );
        }
        Some(at.value.clone())
    }

    /// The judge under `path`.
    pub(super) fn judge(&mut self, judge: &JudgeSection, path: &str) -> Option<JudgeSpec> {
        let models = judge
            .models
            .as_ref()
            .and_then(|models| self.models(models, &format!("{path}.models")));
        if let Some(rubric) = judge
            .rubric
            .as_ref()
            .filter(|at| at.value.trim().is_empty())
        {
            self.report(
                Code::Invalid,
                &rubric.span,
                format!("`{path}.rubric` is empty"),
                "nothing to judge by",
                "say what a good answer is, or leave the key out",
            );
        }
        let budget = self.optional(
            judge.budget_usd.as_ref(),
            &format!("{path}.budget_usd"),
            &POSITIVE,
            "give the most that judging may cost in US dollars",
        );
        let calibration = self.table(judge.calibration.as_ref(), &format!("{path}.calibration"));
        Some(JudgeSpec {
            models: models?,
            mode: judge.mode.as_ref().map(|at| at.value).unwrap_or_default(),
            rubric: judge
                .rubric
                .as_ref()
                .map_or_else(|| USUAL_RUBRIC.to_owned(), |at| at.value.clone()),
            budget_usd: budget?,
            calibration,
            same_family: judge.same_family.as_ref().is_some_and(|at| at.value),
        })
    }

    /// A cascade, a noise floor and a cheaper model are held against the teacher.
    pub(super) fn comparisons_have_a_teacher(&mut self, spec: &Spec) {
        let evals = spec.evals.as_ref().map(|evals| &evals.value);
        let risk = spec
            .accept
            .as_ref()
            .and_then(|accept| accept.value.risk.as_ref())
            .map(|at| {
                (
                    &at.span,
                    "accept.risk",
                    "a cascade hands hard rows to the teacher",
                )
            });
        let floor = evals
            .and_then(|evals| evals.noise_floor.as_ref())
            .filter(|at| at.value > 0)
            .map(|at| {
                (
                    &at.span,
                    "evals.noise_floor",
                    "it asks the teacher a second time",
                )
            });
        let cheaper = evals
            .and_then(|evals| evals.cheaper.as_ref())
            .filter(|at| !at.value.is_empty())
            .map(|at| (&at.span, "evals.cheaper", "it is held against the teacher"));
        let needs: Vec<_> = [risk, floor, cheaper].into_iter().flatten().collect();
        let Some(teacher) = &spec.teacher else {
            for (span, path, why) in needs {
                self.report(
                    Code::Conflict,
                    span,
                    format!("`{path}` is set, and there is no teacher: {why}"),
                    "needs a teacher",
                    "add a `teacher:` section, or remove the key",
                );
            }
            return;
        };
        let asked: Vec<&WrittenModel> = teacher
            .value
            .models
            .iter()
            .flat_map(|models| &models.value)
            .map(|at| &at.value)
            .collect();
        for model in evals
            .and_then(|evals| evals.cheaper.as_ref())
            .iter()
            .flat_map(|models| &models.value)
        {
            if asked.contains(&&model.value) {
                self.report(
                    Code::Conflict,
                    &model.span,
                    "a model of `evals.cheaper` is the teacher's own",
                    "stands in `teacher.models` too",
                    "name a model that the teacher's chain does not have",
                );
            }
        }
    }
}
