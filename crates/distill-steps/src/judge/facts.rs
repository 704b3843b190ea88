//! The judge's figures for the report, from judged rows and human verdicts alone.

use std::collections::BTreeMap;

use distill_eval::{
    Direction, Interval, Score, ScoredRow, Settings, Unit, aggregate_scores,
    judge::{self, JudgeMode},
    stats::PredictionPowered,
};
use distill_report::{Corrected, JudgeFacts, JudgePair, JudgeScore};

use super::{HumanVerdict, JudgedRow};

/// All that the figures are taken from.
#[derive(Debug, Clone, Copy)]
pub struct Figures<'a> {
    pub mode: JudgeMode,
    pub models: &'a [String],
    pub rubric: &'a str,
    pub same_family: bool,
    pub rows: &'a [JudgedRow],
    /// `None`: no calibration file was named, so the judge is uncalibrated.
    pub human: Option<&'a [HumanVerdict]>,
    /// The arm that a pairwise judge held the others against.
    pub baseline: &'a str,
    /// The group of each row that has one, by id.
    pub groups: &'a BTreeMap<String, String>,
    pub settings: &'a Settings,
    pub usd: Option<f64>,
    pub budget_usd: Option<f64>,
    pub simulated: bool,
}

/// The judge's figures, each arm's with its interval and, where people judged some of the rows, with
/// what they make of it.
pub fn facts(figures: &Figures<'_>) -> JudgeFacts {
    let mut pairs = Vec::new();
    let mut facts = JudgeFacts {
        models: figures.models.to_vec(),
        mode: figures.mode.name().to_owned(),
        rubric: figures.rubric.to_owned(),
        same_family: figures.same_family,
        usd: figures.usd,
        budget_usd: figures.budget_usd,
        simulated: figures.simulated,
        ..JudgeFacts::default()
    };
    for (arm, rows) in by_arm(figures.rows) {
        let human: BTreeMap<String, f64> = figures
            .human
            .unwrap_or_default()
            .iter()
            .filter(|verdict| verdict.arm == arm)
            .map(|verdict| (verdict.id.clone(), verdict.score))
            .collect();
        let scored: Vec<ScoredRow> = rows
            .iter()
            .map(|row| ScoredRow {
                id: row.id.clone(),
                score: row.score.clone(),
            })
            .collect();
        let calibration = judge::calibrate(&scored, &human, figures.settings.confidence);
        pairs.extend(calibration.pairs);
        let corrected = calibration.corrected.map(corrected);
        let score = aggregate_scores(
            figures.mode.metric(),
            Unit::Score0To1,
            Direction::Higher,
            &scored,
            figures.groups,
            figures.settings,
        );
        match figures.mode {
            JudgeMode::Pointwise => facts.scores.push(JudgeScore {
                arm: arm.to_owned(),
                score,
                corrected,
            }),
            JudgeMode::Pairwise => {
                facts.pairs.push(pair(
                    arm,
                    figures.baseline,
                    &scored,
                    score.value,
                    score.interval,
                    corrected,
                ));
            }
        }
        for judgement in rows.iter().flat_map(|row| row.judged.values()) {
            if let Some(disagree) = judgement.orders_disagree {
                facts.asked_both_ways += 1;
                facts.disagreements += usize::from(disagree);
            }
        }
    }
    facts.kappa = judge::agreement(figures.mode, &pairs, figures.settings.confidence);
    facts.calibrated = facts.kappa.is_some();
    facts.notes = notes(figures, &facts);
    facts
}

fn notes(figures: &Figures<'_>, facts: &JudgeFacts) -> Vec<String> {
    let mut notes = Vec::new();
    if figures.human.is_some() && !facts.calibrated {
        notes.push("the calibration file holds no verdict on a row that the judge scored, so the judge stays uncalibrated".to_owned());
    }
    if facts.calibrated {
        notes.push("corrected figures hold when the rows with a human verdict are a random part of the test rows".to_owned());
    }
    notes
}

fn by_arm(rows: &[JudgedRow]) -> Vec<(&str, Vec<&JudgedRow>)> {
    let mut arms: Vec<(&str, Vec<&JudgedRow>)> = Vec::new();
    for row in rows {
        match arms.iter_mut().find(|(arm, _)| *arm == row.arm) {
            Some((_, rows)) => rows.push(row),
            None => arms.push((&row.arm, vec![row])),
        }
    }
    arms
}

fn pair(
    candidate: &str,
    baseline: &str,
    scored: &[ScoredRow],
    value: Option<f64>,
    interval: Option<Interval>,
    corrected: Option<Corrected>,
) -> JudgePair {
    let count = |value: f64| {
        let is = |row: &&ScoredRow| row.score == Score::Value(value);
        scored.iter().filter(is).count()
    };
    let (wins, ties, losses) = (count(1.0), count(0.5), count(0.0));
    JudgePair {
        candidate: candidate.to_owned(),
        baseline: baseline.to_owned(),
        wins,
        ties,
        losses,
        unscored: scored.len() - wins - ties - losses,
        value,
        interval,
        corrected,
    }
}

fn corrected(powered: PredictionPowered) -> Corrected {
    Corrected {
        value: Some(powered.value),
        interval: Some(powered.interval),
        labelled: powered.labelled,
        judged: powered.unlabelled,
    }
}
