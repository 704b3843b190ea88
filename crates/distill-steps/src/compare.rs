//! `compare`: scores every arm on the same rows, tests the differences, and decides.

use std::collections::{BTreeMap, HashMap};

use distill_chat::{Task, TaskKind};
use distill_eval::{
    Candidate, Comparison, Confusion, DecisionInput, Metric, Reference, Sample, ScoredRow,
    Scorer, Settings, aggregate, compare as compare_scores, compare_corpus, metric, per_field,
    primary_metric, recommend,
};
use distill_report::{
    Arm as ArmFigures, ConfusionFacts, CostModel, Difference, Regression, Regressions, Slice,
};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};

use crate::{
    Arm,
    action::Compare,
    arm::ControlKind,
    evaluate::Timing,
    label::LabelUsage,
    rows::{AnswerRow, Prediction, Row},
    train::Training,
};

mod figures;

use figures::{cost_model, description, limits, notes, role, shown_text, speed, usd_per_1000};

/// Worst regressions that the report shows.
const SHOWN_REGRESSIONS: usize = 20;
/// Confused pairs that the report shows.
const SHOWN_PAIRS: usize = 12;

/// What was found: the report's figures and the verdict.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub arms: Vec<ArmFigures>,
    pub differences: Vec<Difference>,
    pub regressions: Option<Regressions>,
    pub recommendation: distill_eval::Recommendation,
    pub cost: CostModel,
    pub reference: Reference,
    pub eval_rows: usize,
    pub notes: Vec<String>,
}

/// All that the comparison reads.
pub(crate) struct Evidence {
    pub rows: Vec<Row>,
    pub predictions: BTreeMap<String, (Vec<Prediction>, Timing)>,
    pub teacher: Option<(Vec<AnswerRow>, LabelUsage)>,
    pub training: BTreeMap<String, Training>,
}

/// One arm with its samples and scores.
struct Contestant {
    arm: Arm,
    name: String,
    samples: Vec<Sample>,
    scores: Vec<ScoredRow>,
}

/// Scores, compares, decides.
///
/// # Errors
/// A [`StepFailure`] when there is nothing to compare with, or the arms answered other rows.
pub(crate) fn compare(settings: &Compare, evidence: &Evidence) -> Result<Findings, StepFailure> {
    let task = Task::new(settings.task.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
    let reference = if settings.gold {
        Reference::Gold
    } else {
        Reference::TeacherLabels
    };
    let references = references(settings, evidence)?;
    let primary = primary_metric(settings.task.kind);
    let options = Settings {
        confidence: settings.accept.confidence,
        seed: settings.seed,
        ..Settings::default()
    };
    let contestants = contestants(settings, evidence, &task, &references, primary)?;
    let costs = cost_model(&settings.cost, evidence, &settings.arms);
    let simulated = evidence
        .teacher
        .as_ref()
        .is_some_and(|(_, usage)| usage.simulated);
    let judged = Judged {
        settings,
        task: &task,
        primary,
        contestants: &contestants,
        simulated,
        options: &options,
    };
    let recommendation = judged.recommend(&costs, evidence, reference)?;
    Ok(Findings {
        arms: contestants
            .iter()
            .map(|contestant| judged.figures(contestant, evidence, &costs))
            .collect(),
        differences: judged.differences()?,
        regressions: judged.regressions(evidence, recommendation.choice.as_deref()),
        recommendation,
        cost: costs,
        reference,
        eval_rows: evidence.rows.len(),
        notes: notes(settings, evidence),
    })
}

/// The answer that counts as right, by row: the human's, or the teacher's where there is none.
fn references(
    settings: &Compare,
    evidence: &Evidence,
) -> Result<HashMap<String, Option<String>>, StepFailure> {
    if settings.gold {
        return Ok(evidence
            .rows
            .iter()
            .map(|row| (row.id.clone(), row.gold.clone()))
            .collect());
    }
    let (answers, _) = evidence.teacher.as_ref().ok_or_else(|| {
        StepFailure::bad_input("there is nothing to judge the answers by: the test rows have no gold column and there is no teacher")
            .hint("name the column with the right answers in `evals.gold`, or give a `teacher`")
    })?;
    Ok(answers
        .iter()
        .map(|answer| (answer.id.clone(), answer.answer.clone()))
        .collect())
}

fn contestants(
    settings: &Compare,
    evidence: &Evidence,
    task: &Task,
    references: &HashMap<String, Option<String>>,
    primary: &Metric,
) -> Result<Vec<Contestant>, StepFailure> {
    let mut contestants = Vec::new();
    for arm in &settings.arms {
        let name = arm.name();
        let replies = replies(arm, evidence)?;
        let samples: Vec<Sample> = evidence
            .rows
            .iter()
            .map(|row| {
                let reply = replies
                    .get(row.id.as_str())
                    .copied()
                    .unwrap_or(Err("no answer was recorded for this row"));
                let gold = references.get(&row.id).and_then(Option::as_deref);
                Sample::read(row.id.clone(), task, reply, gold)
            })
            .collect();
        let scores = Scorer::plain(primary)
            .score_all(&samples, task)
            .expect("the primary metric scores row by row");
        contestants.push(Contestant {
            arm: arm.clone(),
            name,
            samples,
            scores,
        });
    }
    Ok(contestants)
}

/// An arm's replies by row id.
fn replies<'a>(
    arm: &Arm,
    evidence: &'a Evidence,
) -> Result<HashMap<&'a str, Result<&'a str, &'a str>>, StepFailure> {
    if *arm == Arm::Teacher {
        let (answers, _) = evidence
            .teacher
            .as_ref()
            .ok_or_else(|| StepFailure::bug("the teacher's answers are not an input"))?;
        return Ok(answers
            .iter()
            .map(|answer| {
                let reply = match (&answer.answer, &answer.reply) {
                    (Some(text), _) | (None, Some(text)) => Ok(text.as_str()),
                    (None, None) => Err(answer.reason.as_deref().unwrap_or("no reply")),
                };
                (answer.id.as_str(), reply)
            })
            .collect());
    }
    let (predictions, _) = evidence
        .predictions
        .get(&crate::compile::step_name(arm))
        .ok_or_else(|| {
            StepFailure::bug(format!("the answers of `{}` are not an input", arm.name()))
        })?;
    Ok(predictions
        .iter()
        .map(|prediction| {
            let reply = prediction
                .reply
                .as_deref()
                .ok_or(prediction.reason.as_deref().unwrap_or("no reply"));
            (prediction.id.as_str(), reply)
        })
        .collect())
}

/// Everything that the figures are taken from.
struct Judged<'a> {
    settings: &'a Compare,
    task: &'a Task,
    primary: &'static Metric,
    contestants: &'a [Contestant],
    simulated: bool,
    options: &'a Settings,
}

impl Judged<'_> {
    fn find(&self, arm: &Arm) -> Option<&Contestant> {
        self.contestants
            .iter()
            .find(|contestant| contestant.arm == *arm)
    }

    fn students(&self) -> impl Iterator<Item = &Contestant> {
        self.contestants
            .iter()
            .filter(|contestant| matches!(contestant.arm, Arm::Student(_)))
    }

    fn compare(
        &self,
        candidate: &Contestant,
        baseline: &Contestant,
    ) -> Result<Comparison, StepFailure> {
        compare_scores(&candidate.scores, &baseline.scores, self.options.confidence).map_err(
            |error| {
                StepFailure::bug(format!(
                    "`{}` and `{}` cannot be paired",
                    candidate.name, baseline.name
                ))
                .caused_by(error)
            },
        )
    }

    /// The pairs that a reader asks about: each student against the teacher, the floor, the
    /// constant, the untuned base and every control; then the gold-label control.
    fn differences(&self) -> Result<Vec<Difference>, StepFailure> {
        let mut differences = Vec::new();
        for student in self.students() {
            for baseline in self.contestants {
                let related = match &baseline.arm {
                    Arm::Teacher | Arm::Constant => true,
                    Arm::Control(ControlKind::LinearGold) => student.name == "linear",
                    Arm::Untuned | Arm::FewShot | Arm::Control(_) => student.name != "linear",
                    Arm::Student(name) => name == "linear" && student.name != "linear",
                };
                if !related {
                    continue;
                }
                let simulated = self.simulated && baseline.arm == Arm::Teacher;
                let comparison = self.compare(student, baseline)?;
                differences.push(Difference::from_comparison(
                    &student.name,
                    &baseline.name,
                    self.primary.name,
                    simulated,
                    &comparison,
                ));
                if let (Arm::Teacher, Some(corpus)) = (&baseline.arm, self.corpus_metric()) {
                    let comparison = compare_corpus(
                        &Scorer::plain(corpus),
                        &student.samples,
                        &baseline.samples,
                        self.task,
                        self.options,
                    )
                    .map_err(|error| {
                        StepFailure::bug("two arms cannot be paired").caused_by(error)
                    })?;
                    differences.push(Difference::from_corpus(
                        &student.name,
                        &baseline.name,
                        simulated,
                        &comparison,
                    ));
                }
            }
        }
        Ok(differences)
    }

    /// The metric over the whole set that goes beside the primary one.
    fn corpus_metric(&self) -> Option<&'static Metric> {
        metric(match self.settings.task.kind {
            TaskKind::Classify => "macro_f1",
            TaskKind::Extract => "field_f1",
            TaskKind::Generate => "token_f1",
        })
    }

    fn figures(
        &self,
        contestant: &Contestant,
        evidence: &Evidence,
        costs: &CostModel,
    ) -> ArmFigures {
        let names: &[&str] = match self.settings.task.kind {
            TaskKind::Classify => &["accuracy", "macro_f1"],
            TaskKind::Extract => &[
                "json_exact_object",
                "field_f1",
                "field_precision",
                "field_recall",
                "json_parses",
                "json_matches_schema",
            ],
            TaskKind::Generate => &["normalised_match", "exact_match", "token_f1", "rouge_l"],
        };
        let scores = names
            .iter()
            .filter_map(|name| metric(name))
            .map(|metric| aggregate(&Scorer::plain(metric), &contestant.samples, self.task, self.options))
            .collect();
        let classify = self.settings.task.kind == TaskKind::Classify;
        let confusion = classify.then(|| Confusion::count(&contestant.samples, self.task));
        ArmFigures {
            name: contestant.name.clone(),
            role: role(&contestant.arm),
            description: description(&contestant.arm, self.settings.task.kind),
            simulated: self.simulated && contestant.arm == Arm::Teacher,
            scores,
            speed: speed(&contestant.arm, evidence),
            usd_per_1000: usd_per_1000(&contestant.name, &contestant.arm, costs),
            labels: confusion
                .as_ref()
                .map(Confusion::per_label)
                .unwrap_or_default(),
            fields: if classify {
                Vec::new()
            } else {
                per_field(&contestant.samples, self.task, self.options)
            },
            confused: confusion
                .as_ref()
                .map(|confusion| confusion.top_pairs(SHOWN_PAIRS))
                .unwrap_or_default(),
            confusion: confusion.as_ref().and_then(ConfusionFacts::of),
            slices: self.slices(contestant),
        }
    }

    /// For an extraction, the rows whose right answer is not the empty object: on the others the
    /// constant is right for free.
    fn slices(&self, contestant: &Contestant) -> Vec<Slice> {
        if self.settings.task.kind != TaskKind::Extract {
            return Vec::new();
        }
        let filled: Vec<Sample> = contestant
            .samples
            .iter()
            .filter(|sample| {
                sample
                    .gold
                    .as_deref()
                    .is_some_and(|gold| gold.trim() != "{}")
            })
            .cloned()
            .collect();
        vec![Slice {
            name: "rows whose right answer is not {}".to_owned(),
            score: aggregate(&Scorer::plain(self.primary), &filled, self.task, self.options),
        }]
    }

    fn recommend(
        &self,
        costs: &CostModel,
        evidence: &Evidence,
        reference: Reference,
    ) -> Result<distill_eval::Recommendation, StepFailure> {
        let teacher = self.find(&Arm::Teacher);
        let floor = self.find(&Arm::Student("linear".to_owned()));
        let mut judged = Vec::new();
        for student in self.students() {
            let against_teacher = teacher
                .map(|teacher| self.compare(student, teacher))
                .transpose()?;
            let against_floor = floor
                .filter(|floor| floor.name != student.name)
                .map(|floor| self.compare(student, floor))
                .transpose()?;
            judged.push((student, against_teacher, against_floor));
        }
        let accept = &self.settings.accept;
        let candidates: Vec<Candidate<'_>> = judged
            .iter()
            .map(|(student, against_teacher, against_floor)| Candidate {
                input: DecisionInput {
                    candidate: &student.name,
                    comparison: against_teacher.as_ref(),
                    margin: accept.margin,
                    confidence: accept.confidence,
                    reference,
                    limits: limits(accept),
                    p95_ms: speed(&student.arm, evidence).map(|speed| speed.per_answer_ms.p95),
                    usd_per_1000: usd_per_1000(&student.name, &student.arm, costs),
                    learning_curve: None,
                },
                bytes: evidence
                    .training
                    .get(&crate::compile::step_name(&student.arm))
                    .map_or(0, |training| training.bytes),
                floor: student.name == "linear",
                against_floor: against_floor.as_ref(),
            })
            .collect();
        Ok(recommend(&candidates))
    }

    /// Rows that the teacher had right and the student wrong, most confident mistakes first.
    fn regressions(&self, evidence: &Evidence, choice: Option<&str>) -> Option<Regressions> {
        let teacher = self.find(&Arm::Teacher)?;
        let student = self
            .students()
            .find(|student| Some(student.name.as_str()) == choice)
            .or_else(|| self.students().last())?;
        let (predictions, _) = evidence
            .predictions
            .get(&crate::compile::step_name(&student.arm))?;
        let right = |scores: &[ScoredRow], index: usize| matches!(scores[index].score, distill_eval::Score::Value(value) if value >= 1.0);
        let wrong = |scores: &[ScoredRow], index: usize| matches!(scores[index].score, distill_eval::Score::Value(value) if value < 1.0);
        let mut lost: Vec<usize> = (0..evidence.rows.len())
            .filter(|index| right(&teacher.scores, *index) && wrong(&student.scores, *index))
            .collect();
        let total = lost.len();
        let confidence = |index: usize| {
            predictions
                .get(index)
                .and_then(|prediction| prediction.logprob)
                .map(f64::exp)
        };
        lost.sort_by(|one, other| {
            confidence(*other)
                .unwrap_or(0.0)
                .total_cmp(&confidence(*one).unwrap_or(0.0))
                .then(one.cmp(other))
        });
        lost.truncate(SHOWN_REGRESSIONS);
        let rows = lost
            .into_iter()
            .map(|index| Regression {
                id: evidence.rows[index].id.clone(),
                text: shown_text(self.task, &evidence.rows[index]),
                gold: student.samples[index].gold.clone(),
                baseline_answer: teacher.samples[index].reply().map(str::to_owned),
                candidate_answer: student.samples[index].reply().map(str::to_owned),
                candidate_confidence: confidence(index),
                ..Regression::default()
            })
            .collect();
        Some(Regressions {
            candidate: student.name.clone(),
            baseline: teacher.name.clone(),
            total,
            rows,
            simulated: self.simulated,
        })
    }
}
