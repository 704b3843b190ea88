//! A suite's judge: models that score every answer, pointwise, or hold each answerer against the
//! first one, pairwise.

use std::collections::{BTreeMap, BTreeSet};

use distill_eval::{Direction, Score, Unit, judge::JudgeMode};
use distill_pipeline::spec::{self, JudgeSpec};
use distill_report::JudgeFacts;
use distill_runner::{StepContext, StepFailure};

use super::{
    Answerer, Answers, ScorerFigures, Suite,
    score::{Pooling, groups_of},
};
use crate::{
    compile::{model_reference, simulator_of},
    judge::{Figures, HumanVerdict, Judge, Judged, JudgedArm, JudgedRow, facts, read_verdicts},
    rows::Row,
    teacher::{ModelReference, Teachers},
};

/// What is said beside each figure of a judge that nobody held against people.
pub(super) const UNCALIBRATED: &str = "uncalibrated judge";

impl Suite {
    /// Refuses a judge of the family of a model that answers, before anything is asked.
    ///
    /// # Errors
    /// A [`StepFailure`] that names both, or says that a pairwise judge has nothing to compare.
    pub fn check_judge(&self, answerers: &[Answerer]) -> Result<(), StepFailure> {
        let Some(spec) = &self.spec.judge else {
            return Ok(());
        };
        let judge = self.panel(spec);
        let models: Vec<ModelReference> = answerers
            .iter()
            .filter_map(|answerer| match answerer {
                Answerer::Model(model) => Some(model_reference(model)),
                Answerer::Recorded(_) | Answerer::Bundle { .. } => None,
            })
            .collect();
        judge.check_family(&models)?;
        if judge.mode == JudgeMode::Pairwise && answerers.len() < 2 {
            return Err(StepFailure::bad_input(
                "a pairwise judge holds answerers against the first one, and there is only one",
            )
            .hint("name a second answerer, or set `judge.mode: pointwise`"));
        }
        Ok(())
    }

    /// Has every answer judged, and keeps the judgements in the records.
    pub(super) async fn judged(
        &self,
        spec: &JudgeSpec,
        answers: &mut [Answers],
        teachers: &Teachers,
        context: &StepContext,
    ) -> Result<(JudgeFacts, Option<ScorerFigures>), StepFailure> {
        let judge = self.panel(spec);
        let rows: Vec<Row> = self.rows.iter().map(|row| row.row.clone()).collect();
        let arms: Vec<JudgedArm> = answers.iter().map(judged_arm).collect();
        let (baseline, judged_arms) = match judge.mode {
            JudgeMode::Pointwise => (None, arms.as_slice()),
            JudgeMode::Pairwise => (arms.first(), &arms[1..]),
        };
        let Judged { rows: found, usage } = judge
            .run(teachers, &rows, &rows, judged_arms, baseline, context)
            .await?;
        let human = self.human_verdicts(spec, judge.mode, judged_arms)?;
        let groups = answers
            .first()
            .map(|one| groups_of(&one.records))
            .unwrap_or_default();
        let facts = facts(&Figures {
            mode: judge.mode,
            models: &judge.models(),
            rubric: &spec.rubric,
            same_family: spec.same_family,
            rows: &found,
            human: human.as_deref(),
            baseline: baseline.map_or("", |arm| arm.name.as_str()),
            groups: &groups,
            settings: &self.settings(),
            usd: usage.usd,
            budget_usd: Some(spec.budget_usd),
            simulated: usage.simulated,
        });
        let mut by_row: BTreeMap<(String, String), JudgedRow> = found
            .into_iter()
            .map(|row| ((row.arm.clone(), row.id.clone()), row))
            .collect();
        let metric = judge.mode.metric();
        let mut scored = Vec::new();
        for one in &mut *answers {
            let name = one.answerer.name();
            let mut scores = Vec::with_capacity(one.records.len());
            for record in &mut one.records {
                let Some(row) = by_row.remove(&(name.clone(), record.id.clone())) else {
                    scores.push(Score::unscored("the judge holds the others against it"));
                    continue;
                };
                record.judged = row.judged;
                record.scores.insert(metric.to_owned(), row.score.clone());
                scores.push(row.score);
            }
            scored.push(scores);
        }
        // A share of wins belongs to a pair already: only scores of single answers are compared.
        if judge.mode == JudgeMode::Pairwise {
            return Ok((facts, None));
        }
        let pooling = Pooling {
            unit: Unit::Score0To1,
            direction: Direction::Higher,
            right_or_wrong: false,
        };
        let about = format!("by the judge {}", judge.models().join(", "));
        let mut figures = self.row_figures(metric, pooling, Some(about), answers, scored)?;
        figures.remark = (!facts.calibrated).then(|| UNCALIBRATED.to_owned());
        Ok((facts, Some(figures)))
    }

    fn panel(&self, spec: &JudgeSpec) -> Judge {
        let panel: Vec<ModelReference> = spec.models.iter().map(model_reference).collect();
        Judge {
            task: self.task.definition().clone(),
            mode: match spec.mode {
                spec::JudgeMode::Pointwise => JudgeMode::Pointwise,
                spec::JudgeMode::Pairwise => JudgeMode::Pairwise,
            },
            rubric: spec.rubric.clone(),
            budget_usd: spec.budget_usd,
            concurrency: self.spec.concurrency,
            pipeline: format!("eval:{}", self.spec.name),
            simulator: panel
                .iter()
                .any(ModelReference::is_embedded)
                .then(|| simulator_of(&self.spec.simulate)),
            same_family: spec.same_family,
            arms: Vec::new(),
            panel,
        }
    }

    fn human_verdicts(
        &self,
        spec: &JudgeSpec,
        mode: JudgeMode,
        arms: &[JudgedArm],
    ) -> Result<Option<Vec<HumanVerdict>>, StepFailure> {
        let Some(file) = &spec.calibration else {
            return Ok(None);
        };
        let ids: BTreeSet<&str> = self.rows.iter().map(|row| row.row.id.as_str()).collect();
        let (verdicts, _stale) = read_verdicts(&self.folder.join(file), mode, arms, &ids)?;
        Ok(Some(verdicts))
    }
}

fn judged_arm(answers: &Answers) -> JudgedArm {
    JudgedArm {
        name: answers.answerer.name(),
        answers: answers
            .records
            .iter()
            .map(|record| {
                let said = record.output.clone().ok_or_else(|| {
                    let problem = record.problem.clone();
                    problem.unwrap_or_else(|| "there is no answer".to_owned())
                });
                (record.id.clone(), said)
            })
            .collect(),
    }
}
