//! What `check` and `plan` say of a pipeline without spending anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use distill_chat::{Task, TaskKind};
use distill_eval::stats;
use distill_gateway::simulate::{GoldEntry, SimulatorSettings};
use distill_pipeline::graph::Source;
use distill_runner::StepFailure;
use serde::Serialize;

use crate::{
    Action,
    base::BaseReference,
    compile::Compiled,
    human::read_labels,
    judge::{Judge, JudgedArm, read_verdicts},
    rows::Row,
    teacher::{Environment, gold_entries},
    train::{Recipe, Train, memory::foreseen},
    write_report::ASSUMED_DISCORDANCE,
};

mod spend;

pub use spend::{SpendAccount, SpendEstimate, SpendLine};

/// Facts of a pipeline's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    pub train_rows: usize,
    pub test_rows: usize,
    /// Whether the test rows have human answers.
    pub gold: bool,
    /// Size of a classification's label set.
    pub labels: Option<usize>,
    pub arms: Vec<String>,
    /// Pairs of answers that the margin needs, at 80% power.
    pub required_rows: Option<usize>,
    pub advice: Vec<String>,
}

impl Compiled {
    /// Reads and checks the data.
    ///
    /// # Errors
    /// A [`StepFailure`] for the first thing that is wrong with it.
    pub fn inspect(&self) -> Result<Inspection, StepFailure> {
        let train = self.train.read(&self.train_path)?;
        let test = self.test.read(&self.test_path)?;
        let plan = stats::PowerPlan::noninferiority(
            self.accept.margin,
            self.accept.confidence,
            ASSUMED_DISCORDANCE,
        );
        let required_rows = stats::required_n(&plan);
        let gold = self.test.gold.is_some();
        let mut advice = Vec::new();
        if let Some(needed) = required_rows {
            let judged = if needed <= test.len() {
                "is enough for"
            } else {
                "may leave undecided"
            };
            advice.push(format!(
                "a margin of {} at {:.0}% confidence needs about {needed} test rows (80% power, if student and teacher differ on {:.0}% of rows); {} {judged} that",
                self.accept.margin,
                self.accept.confidence * 100.0,
                ASSUMED_DISCORDANCE * 100.0,
                test.len(),
            ));
        }
        if !gold {
            advice.push("the test rows have no human answers: the run can measure agreement with the teacher only, and cannot say REPLACE".to_owned());
        }
        if let Some(teacher) = &self.teacher {
            for model in &teacher.chain {
                if let Some(terms) =
                    distill_gateway::vendor(&model.vendor).and_then(|vendor| vendor.terms)
                {
                    advice.push(format!("{}: {terms}", model.name()));
                }
            }
        }
        advice.extend(self.memory_of_trainings());
        for name in self.missing_models() {
            advice.push(format!("the model `{name}` is not on this machine: `distill run` fetches it first, nothing is downloaded here"));
        }
        advice.extend(self.models_of_unknown_class());
        Ok(Inspection {
            train_rows: train.len(),
            test_rows: test.len(),
            gold,
            labels: (self.task.kind == TaskKind::Classify).then_some(self.task.labels.len()),
            arms: self.arms.iter().map(crate::Arm::name).collect(),
            required_rows,
            advice,
        })
    }

    /// Models of the hub that nobody knows the class of yet, each line once.
    fn models_of_unknown_class(&self) -> BTreeSet<String> {
        let steps = self.graph.steps();
        let taken = steps.filter_map(|step| match &step.action {
            Action::Train(Train {
                recipe: Recipe::Decoder { base, .. },
                ..
            }) => base.is_of_unknown_class().then(|| base.name()),
            _ => None,
        });
        taken
            .map(|name| format!("the model `{name}` is taken for a decoder until it is fetched; if it is an encoder, write `class: encoder` under `student`"))
            .collect()
    }

    /// What each training takes of the memory, each line once.
    fn memory_of_trainings(&self) -> BTreeSet<String> {
        let steps = self.graph.steps();
        let trainings = steps.filter_map(|step| match &step.action {
            Action::Train(train) => Some(train),
            _ => None,
        });
        trainings.filter_map(foreseen).collect()
    }

    /// Reads what people answered and judged, as far as the pipeline names files of it: a mistake in
    /// one must not come to light after everything else was paid for.
    ///
    /// # Errors
    /// A [`StepFailure`] with the file and the line.
    pub fn check_people(&self) -> Result<(), StepFailure> {
        for step in self.graph.steps() {
            for input in &step.inputs {
                let Source::File { path } = &input.from else {
                    continue;
                };
                match (input.port.as_str(), &step.action) {
                    ("human", _) => drop(
                        read_labels(path, &self.made_task()?)
                            .map_err(|failure| of_key(failure, "evals.human"))?,
                    ),
                    ("calibration", Action::Judge(step)) => self
                        .check_verdicts(&step.judge, path)
                        .map_err(|failure| of_key(failure, "evals.judge.calibration"))?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn check_verdicts(&self, judge: &Judge, path: &Path) -> Result<(), StepFailure> {
        let rows = self.test.read(&self.test_path)?;
        let ids = rows.iter().map(|row| row.id.as_str()).collect();
        // What an arm will say is not known yet, who will speak is.
        let silent = |arm: &crate::Arm| JudgedArm {
            name: arm.name(),
            answers: BTreeMap::new(),
        };
        let (arms, _) = judge.sides(judge.arms.iter().map(silent).collect());
        read_verdicts(path, judge.mode, &arms, &ids).map(drop)
    }

    /// Looks whether the price table that the user names holds, whoever is asked.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the file and what of it does not hold.
    pub fn check_prices(&self, environment: &Environment) -> Result<(), StepFailure> {
        crate::prices::table(environment).map(drop)
    }

    /// Looks whether every model of the pipeline can be asked or loaded, without asking any: vendors,
    /// addresses, keys, prices, and the folders of base models.
    ///
    /// # Errors
    /// A [`StepFailure`] for the first one that cannot.
    pub fn check_models(&self, environment: &Environment) -> Result<(), StepFailure> {
        self.check_prices(environment)?;
        let mut bases: Vec<&BaseReference> = Vec::new();
        for step in self.graph.steps() {
            match &step.action {
                Action::Label(ask) | Action::Smoke(ask) => ask.teacher.check(environment)?,
                Action::Judge(step) => step.judge.check_models(environment)?,
                Action::Train(train) => bases.extend(train.bases()),
                Action::Evaluate(evaluate) => bases.extend(&evaluate.base),
                _ => {}
            }
        }
        bases.dedup();
        self.check_trainings()?;
        for base in bases.into_iter().filter(|base| base.missing().is_none()) {
            base.check(self.task.kind)?;
        }
        Ok(())
    }

    /// Looks whether this build and machine have the devices that students are to be trained on, and
    /// their models what adapters are to go on: nothing is paid for before a training that cannot be.
    ///
    /// # Errors
    /// A [`StepFailure`] for the first one that cannot.
    pub fn check_trainings(&self) -> Result<(), StepFailure> {
        for step in self.graph.steps() {
            if let Action::Train(train) = &step.action {
                train.check_targets()?;
                train.device().open().map_err(|error| {
                    StepFailure::bad_input("`train.decoder.device` cannot be used here")
                        .caused_by(error)
                })?;
            }
        }
        Ok(())
    }

    /// The models of the hub that are not on this machine yet.
    pub fn missing_models(&self) -> Vec<String> {
        let bases = self.graph.steps().flat_map(|step| match &step.action {
            Action::Train(train) => train.bases().collect::<Vec<_>>(),
            Action::Evaluate(evaluate) => evaluate.base.iter().collect(),
            _ => Vec::new(),
        });
        let mut missing: Vec<String> = bases
            .filter_map(|base| base.missing().map(str::to_owned))
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }

    /// The gold table and settings of this pipeline's simulated provider.
    ///
    /// # Errors
    /// A [`StepFailure`] when a row has no gold answer.
    pub fn simulated(&self) -> Result<(Vec<GoldEntry>, SimulatorSettings), StepFailure> {
        let settings = self
            .teacher
            .as_ref()
            .and_then(|teacher| teacher.simulator.clone())
            .unwrap_or_default();
        Ok((
            gold_entries(&self.made_task()?, &self.all_rows()?)?,
            settings,
        ))
    }

    fn made_task(&self) -> Result<Task, StepFailure> {
        Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))
    }

    fn all_rows(&self) -> Result<Vec<Row>, StepFailure> {
        let mut rows = self.train.read(&self.train_path)?;
        rows.extend(self.test.read(&self.test_path)?);
        Ok(rows)
    }
}

/// Says which key of the pipeline names the file.
fn of_key(failure: StepFailure, key: &str) -> StepFailure {
    StepFailure {
        message: format!("`{key}`: {}", failure.message),
        ..failure
    }
}
