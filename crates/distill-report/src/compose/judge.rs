//! The judge's figures, each with what they are worth; and the noise floor.

use super::{cell, score, text};
use crate::{
    Corrected, JudgeFacts, RunReport,
    document::{Block, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

/// Stands beside every figure of a judge that no human verdict was held beside.
const UNCALIBRATED: &str = "uncalibrated judge";

pub(super) fn section(report: &RunReport) -> Option<Section> {
    let judge = report.judge.as_ref()?;
    let mut blocks = vec![
        Block::Text(Line::marked(asked(judge), judge.simulated)),
        Block::Text(Line::marked(calibration(judge), judge.simulated)),
    ];
    if judge.same_family {
        blocks.push(text(
            "A judge is of the teacher's family: models favour answers like their own.",
        ));
    }
    if !judge.scores.is_empty() {
        blocks.push(Block::Table(scores(judge)));
    }
    if !judge.pairs.is_empty() {
        blocks.push(Block::Table(pairs(judge)));
    }
    if !judge.rubric.is_empty() {
        blocks.push(Block::Fold {
            summary: "The rubric".to_owned(),
            blocks: vec![Block::Text(Line::quoted(&judge.rubric))],
        });
    }
    if !judge.notes.is_empty() {
        blocks.push(Block::Items(judge.notes.iter().map(cell).collect()));
    }
    Some(super::section("judge", "Judge", blocks))
}

fn asked(judge: &JudgeFacts) -> String {
    let who = match judge.models.as_slice() {
        [] => MISSING.to_owned(),
        [one] => one.clone(),
        several => format!("a panel of {}: {}", several.len(), several.join(", ")),
    };
    let budget = judge
        .budget_usd
        .map(|usd| format!(" of a budget of {}", number::usd(usd)))
        .unwrap_or_default();
    let orders = if judge.asked_both_ways > 0 {
        format!(
            " {} pairs were asked in both orders; on {} the two orders contradict each other, which counts as a tie ({UNCALIBRATED_OR}).",
            number::count(judge.asked_both_ways),
            number::count(judge.disagreements),
            UNCALIBRATED_OR = if judge.calibrated {
                "the judge's own doubt"
            } else {
                UNCALIBRATED
            },
        )
    } else {
        String::new()
    };
    format!(
        "Judge, {}, at temperature 0: {who}. It cost {}{budget}.{orders}",
        judge.mode,
        or_missing(judge.usd, number::usd)
    )
}

fn calibration(judge: &JudgeFacts) -> String {
    if !judge.calibrated {
        return "No human verdict was held beside the judge's: nobody knows how often it is right. Each figure of it is marked \"uncalibrated judge\" and none of them can yield REPLACE.".to_owned();
    }
    match &judge.kappa {
        Some(kappa) if kappa.n > 0 => format!(
            "Against human verdicts on {} rows it agrees on {}; Cohen's kappa is {}{}.",
            number::count(kappa.n),
            number::percent(kappa.agreement),
            or_missing(kappa.value, |value| format!("{value:.2}")),
            kappa
                .interval
                .map(|interval| format!(
                    " ({:.0}% interval {:.2} to {:.2})",
                    interval.confidence * 100.0,
                    interval.low,
                    interval.high
                ))
                .unwrap_or_default()
        ),
        _ => format!("Cohen's kappa with human verdicts: {MISSING} (n = 0)."),
    }
}

/// The figure with its caveat.
fn judged(judge: &JudgeFacts, figure: String) -> Line {
    let missing = figure == MISSING;
    Line::marked(
        if judge.calibrated || missing {
            figure
        } else {
            format!("{figure}, {UNCALIBRATED}")
        },
        judge.simulated,
    )
}

fn corrected(corrected: Option<&Corrected>) -> String {
    let Some((value, facts)) = corrected.and_then(|facts| Some((facts.value?, facts))) else {
        return MISSING.to_owned();
    };
    let interval = facts
        .interval
        .map(|interval| format!(" ({})", number::percent_interval(&interval)))
        .unwrap_or_default();
    format!(
        "{}{interval}, from {} human and {} judged rows",
        number::percent(value),
        number::count(facts.labelled),
        number::count(facts.judged)
    )
}

fn scores(judge: &JudgeFacts) -> Table {
    let mut table = Table::new(
        "The judge's score of each model",
        &[
            "model",
            ">judge's score",
            ">n",
            ">unscored",
            ">corrected with human verdicts",
        ],
    );
    for row in &judge.scores {
        table.row(vec![
            cell(&row.arm),
            judged(judge, score(Some(&row.score))),
            cell(number::count(row.score.n)),
            cell(number::count(row.score.unscored)),
            Line::marked(corrected(row.corrected.as_ref()), judge.simulated),
        ]);
    }
    table
}

fn pairs(judge: &JudgeFacts) -> Table {
    let mut table = Table::new(
        "Which of two answers the judge likes better; a share of wins counts a tie as half",
        &[
            "first against second",
            ">first wins",
            ">ties",
            ">second wins",
            ">unscored",
            ">share of wins",
            ">corrected with human verdicts",
        ],
    );
    for pair in &judge.pairs {
        let share = or_missing(pair.value, |value| {
            let interval = pair
                .interval
                .map(|interval| format!(" ({})", number::percent_interval(&interval)))
                .unwrap_or_default();
            format!("{}{interval}", number::percent(value))
        });
        table.row(vec![
            cell(format!("{} against {}", pair.candidate, pair.baseline)),
            judged(judge, number::count(pair.wins)),
            judged(judge, number::count(pair.ties)),
            judged(judge, number::count(pair.losses)),
            cell(number::count(pair.unscored)),
            judged(judge, share),
            Line::marked(corrected(pair.corrected.as_ref()), judge.simulated),
        ]);
    }
    table
}

pub(super) fn noise_floor(report: &RunReport) -> Option<Section> {
    let floor = report.noise_floor.as_ref()?;
    let mark = |text: String| Block::Text(Line::marked(text, floor.simulated));
    let left_out = if floor.left_out > 0 {
        format!(
            " {} more were asked twice and lack a usable answer.",
            number::count(floor.left_out)
        )
    } else {
        String::new()
    };
    let how = if floor.how.is_empty() {
        String::new()
    } else {
        format!(" How: {}.", floor.how.trim_end_matches('.'))
    };
    let mut blocks = vec![match floor.agreement.filter(|_| floor.n > 0) {
        None => mark(format!(
            "The teacher's agreement with itself: {MISSING} (n = 0).{left_out}{how}"
        )),
        Some(agreement) => mark(format!(
            "Asked twice, the teacher gives the same answer on {} of {} rows{}. A student trained on its labels cannot be expected to agree with it more often than that.{left_out}{how}",
            number::percent(agreement),
            number::count(floor.n),
            floor
                .interval
                .map(|interval| format!(
                    " ({:.0}% interval {})",
                    interval.confidence * 100.0,
                    number::percent_interval(&interval)
                ))
                .unwrap_or_default()
        )),
    }];
    if let Some(repeat) = &floor.student_repeat {
        blocks.push(text(format!(
            "{} at temperature 0, asked twice: the same answer on {} of {} rows.",
            repeat.arm,
            number::count(repeat.same),
            number::count(repeat.n)
        )));
    }
    Some(super::section("noise-floor", "Noise floor", blocks))
}
