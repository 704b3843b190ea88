//! Checks of an eval suite.

use std::collections::BTreeSet;

use distill_chat::{TaskDefinition, TaskKind};

use super::{OPEN_SHARE, POSITIVE, Resolver, teacher::TEMPERATURE};
use crate::spec::{
    Vocabulary,
    finding::{Code, Finding, SourceText},
    read::At,
    resolved::{DataSource, ModelSpec, ScorerSpec},
    suite::{
        AnswersSection, CommandSection, CommandSpec, RecordedAnswers, Suite, SuiteScorer,
        SuiteSpec, WrittenSuiteScorer, usual_max_tokens,
    },
};

/// Resolves a suite as far as it could be read. Findings empty: the suite is there.
pub(in crate::spec) fn suite(
    suite: &Suite,
    source: &SourceText,
    vocabulary: &Vocabulary<'_>,
) -> (Option<SuiteSpec>, Vec<Finding>) {
    let mut resolver = Resolver {
        source,
        vocabulary,
        findings: Vec::new(),
    };
    let resolved = resolver.suite(suite);
    (resolved, resolver.findings)
}

const NO_TASK: TaskDefinition = TaskDefinition {
    kind: TaskKind::Generate,
    system: None,
    prompt: String::new(),
    labels: Vec::new(),
    schema: None,
};

impl Resolver<'_> {
    /// Every section is looked at before any missing one ends the work: all findings at once.
    fn suite(&mut self, suite: &Suite) -> Option<SuiteSpec> {
        let kind = suite
            .task
            .as_ref()
            .and_then(|task| task.value.kind.as_ref())
            .map(|kind| kind.value);
        let name = suite.name.as_ref();
        if let Some(name) = name.filter(|name| name.value.trim().is_empty()) {
            self.report(
                Code::Invalid,
                &name.span,
                "`name` is empty",
                "nothing to show in results",
                "give the suite a name, for instance that of the job",
            );
        }
        let task = suite.task.as_ref().and_then(|task| self.task(&task.value));
        self.suite_labels_have_a_source(suite);
        let scorers = self.suite_scorers(suite, kind);
        let models = self.suite_models(suite);
        let answers = self.recorded(suite);
        let judge = suite
            .judge
            .as_ref()
            .map(|judge| self.judge(&judge.value, "judge"));
        let simulate = self.simulate(suite.simulate.as_ref().map(|at| &at.value), "simulate");
        let rows = suite.rows.as_ref().map(|rows| self.source(rows, "rows"));
        // Whatever may be missing is asked for last, so that every key was looked at before.
        let rest = SuiteSpec {
            name: name.map_or_else(String::new, |at| at.value.clone()),
            description: suite.description.as_ref().map(|at| at.value.clone()),
            rows: DataSource::Path(String::new()),
            task: NO_TASK,
            id: self.column(suite.id.as_ref(), "id"),
            gold: self.column(suite.gold.as_ref(), "gold"),
            limit: self.count(
                suite.limit.as_ref(),
                "limit",
                "leave the key out to take every row",
            ),
            scorers,
            slices: self.columns(suite.slices.as_ref(), "slices"),
            group: self.column(suite.group.as_ref(), "group"),
            answers,
            models: Vec::new(),
            budget_usd: self.optional(
                suite.budget_usd.as_ref(),
                "budget_usd",
                &POSITIVE,
                "give the most that the models may cost in US dollars",
            ),
            concurrency: self
                .integer(
                    suite.concurrency.as_ref(),
                    "concurrency",
                    1,
                    1024,
                    "8 suits most vendors",
                )
                .unwrap_or(8),
            temperature: self.number(
                suite.temperature.as_ref(),
                "temperature",
                0.0,
                &TEMPERATURE,
                "0 gives the steadiest answers",
            ),
            max_tokens: self
                .integer(
                    suite.max_tokens.as_ref(),
                    "max_tokens",
                    1,
                    1 << 20,
                    "give room for the longest answer",
                )
                .map_or(usual_max_tokens(kind), |tokens| tokens)
                .try_into()
                .unwrap_or(u32::MAX),
            simulate,
            judge: None,
            confidence: self.number(
                suite.confidence.as_ref(),
                "confidence",
                0.95,
                &OPEN_SHARE,
                "0.95 is usual",
            ),
            seed: suite.seed.as_ref().map_or(17, |seed| seed.value),
        };
        name.is_some().then_some(())?;
        Some(SuiteSpec {
            rows: rows?,
            task: task?,
            models: models?,
            judge: match judge {
                Some(judge) => Some(judge?),
                None => None,
            },
            ..rest
        })
    }

    fn suite_labels_have_a_source(&mut self, suite: &Suite) {
        let Some(task) = &suite.task else { return };
        let classify = task
            .value
            .kind
            .as_ref()
            .is_some_and(|kind| kind.value == TaskKind::Classify);
        if classify && task.value.labels.is_none() && suite.gold.is_none() {
            self.report(
                Code::Missing,
                &task.span,
                "the label set is not known",
                "no `labels` here, and no gold column to take them from",
                "list them: `labels: [refund, delivery, ...]`, or name the column: `gold: COLUMN`",
            );
        }
    }

    fn suite_models(&mut self, suite: &Suite) -> Option<Vec<ModelSpec>> {
        let Some(models) = suite.models.as_ref().filter(|list| !list.value.is_empty()) else {
            return Some(Vec::new());
        };
        if suite.budget_usd.is_none() {
            self.report(
                Code::Missing,
                &models.span,
                "models are asked, and `budget_usd` is missing",
                "may cost without end",
                "add `budget_usd:` with the most that all of them may cost together, in US dollars",
            );
        }
        self.models(models, "models")
    }

    fn suite_scorers(&mut self, suite: &Suite, kind: Option<TaskKind>) -> Vec<SuiteScorer> {
        let mut scorers: Vec<SuiteScorer> = Vec::new();
        let mut names = BTreeSet::new();
        for at in suite.scorers.iter().flat_map(|list| &list.value) {
            let scorer = match &at.value {
                WrittenSuiteScorer::Named(scorer) => {
                    self.scorer(scorer, "scorers", kind);
                    SuiteScorer::Named(ScorerSpec {
                        name: scorer.name.value.clone(),
                        settings: scorer.settings.clone(),
                    })
                }
                WrittenSuiteScorer::Command(section) => {
                    let Some(command) = self.command(section) else {
                        continue;
                    };
                    let known = self.vocabulary.metrics;
                    let taken = known.iter().any(|metric| metric.name == command.name);
                    if taken || !names.insert(command.name.clone()) {
                        let span = section.name.as_ref().map_or(&at.span, |name| &name.span);
                        self.report(
                            Code::Conflict,
                            span,
                            format!("a scorer is called `{}` already", command.name),
                            "a second one of this name",
                            "give it another name: results are shown by it",
                        );
                    }
                    SuiteScorer::Command(command)
                }
            };
            if scorers.contains(&scorer) {
                self.twice("a scorer", "scorers", &at.span);
                continue;
            }
            scorers.push(scorer);
        }
        scorers
    }

    fn command(&mut self, section: &CommandSection) -> Option<CommandSpec> {
        if let Some(name) = &section.name {
            self.file_name(name, "scorers.command.name");
        }
        let run = section.run.as_ref();
        if let Some(run) = run
            && run
                .value
                .first()
                .is_none_or(|program| program.value.is_empty())
        {
            self.report(
                Code::Invalid,
                &run.span,
                "`scorers.command.run` names no program",
                "nothing to run",
                "give the program and its arguments: `[python3, score.py]`",
            );
        }
        let timeout_seconds = self.number(
            section.timeout_seconds.as_ref(),
            "scorers.command.timeout_seconds",
            600.0,
            &super::SECONDS,
            "600 gives it ten minutes",
        );
        Some(CommandSpec {
            name: section.name.as_ref()?.value.clone(),
            run: run?.value.iter().map(|at| at.value.clone()).collect(),
            unit: section.unit.as_ref().map(|at| at.value).unwrap_or_default(),
            direction: section
                .direction
                .as_ref()
                .map(|at| at.value)
                .unwrap_or_default(),
            timeout_seconds,
        })
    }

    fn recorded(&mut self, suite: &Suite) -> Vec<RecordedAnswers> {
        let mut recorded: Vec<RecordedAnswers> = Vec::new();
        for at in suite.answers.iter().flat_map(|list| &list.value) {
            let AnswersSection {
                name,
                column,
                file,
                check,
            } = &at.value;
            if let Some(file) = file {
                self.data_file(&file.value, &file.span, "answers.file");
            }
            let column = self.column(column.as_ref(), "answers.column");
            let check = self.column(check.as_ref(), "answers.check");
            let Some(name) = name else { continue };
            self.file_name(name, "answers.name");
            if recorded.iter().any(|earlier| earlier.name == name.value) {
                self.report(
                    Code::Conflict,
                    &name.span,
                    format!("two answerers are called `{}`", name.value),
                    "a second one of this name",
                    "give it another name: results are shown by it",
                );
            }
            recorded.extend(column.map(|column| RecordedAnswers {
                name: name.value.clone(),
                column,
                file: file.as_ref().map(|at| at.value.clone()),
                check,
            }));
        }
        recorded
    }

    /// A name that can be a file's.
    fn file_name(&mut self, name: &At<String>, path: &str) {
        let fits = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if name.value.is_empty() || !name.value.chars().all(fits) || name.value.starts_with('.') {
            self.report(
                Code::Invalid,
                &name.span,
                format!("`{path}` is `{}`, which cannot name a file", name.value),
                "becomes part of a file's name",
                "use letters, digits, `_`, `-` and `.`, and do not begin with a `.`",
            );
        }
    }
}
