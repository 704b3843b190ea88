//! The steps that ask about the test rows beyond the arms' own answers: the noise floor and judges.

use std::{collections::BTreeMap, path::Path, time::Instant};

use distill_eval::Settings;
use distill_pipeline::record::Level;
use distill_report::{JudgeFacts, RepeatFacts};
use distill_runner::{Outcome, StepContext, StepFailure, Work};
use serde_json::json;

use super::{known_rows, outcome, task_of};
use crate::{
    Action, Arm,
    compare::{JudgeStudy, Judging, column_text},
    judge::{
        Figures, HumanVerdict, Judge, JudgeStep, JudgeUsage, Judged, JudgedArm, facts,
        read_verdicts,
    },
    label,
    noise::{self, NoiseFloor, Repeat},
    rows::{AnswerRow, Prediction, Row, read_json, read_lines, write_json, write_lines},
    student::StudentAnswerer,
    teacher::Teachers,
    write_report::Additions,
};

/// Asks the teacher again and holds the two answers against each other.
pub(super) async fn run_noise_floor(
    teachers: &Teachers,
    floor: &NoiseFloor,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let task = task_of(&floor.ask.task)?;
    let rows: Vec<Row> = read_lines(work.input("asked"))?;
    let gateway = teachers
        .connect(&floor.ask.teacher, &task, &known_rows(work)?, context)
        .await?;
    let started = Instant::now();
    let drawn = noise::draw(&rows, floor.rows, floor.seed);
    let asked = label::ask_again(
        &gateway,
        &floor.ask.teacher,
        &task,
        &drawn,
        noise::SECOND,
        context,
    )
    .await?;
    let usage = label::usage(&gateway, &asked, started.elapsed().as_secs_f64())?;
    write_json(work.output("usage"), &usage)?;
    let second = asked.answers;
    let first: Vec<AnswerRow> = read_lines(work.input("answers"))?;
    let simulated =
        floor.ask.teacher.chain.iter().any(|model| {
            distill_gateway::vendor(&model.vendor).is_some_and(|vendor| vendor.simulated)
        });
    let facts = noise::facts(floor, &task, &first, &second, simulated);
    let found = json!({ "rows": facts.n, "agreement": facts.agreement });
    let repeats = work
        .inputs
        .iter()
        .filter(|(port, _)| port.starts_with("repeat:"))
        .map(|(_, path)| read_json(path))
        .collect::<Result<Vec<RepeatFacts>, _>>()?;
    write_lines(work.output("answers"), &second)?;
    let addition = Additions {
        noise_floor: Some(noise::with_repeats(facts, &repeats)),
        ..Additions::default()
    };
    write_json(work.output("addition"), &addition)?;
    Ok(outcome(found))
}

/// Asks a student again.
pub(super) fn run_repeat(
    repeat: &Repeat,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let rows: Vec<Row> = read_lines(work.input("rows"))?;
    let predictions: Vec<Prediction> = read_lines(work.input("predictions"))?;
    let student = StudentAnswerer::open(work.input("student"))?;
    let facts = noise::repeat(repeat, &student, &rows, &predictions, context)?;
    if facts.same < facts.n {
        context.note(
            Level::Warning,
            format!(
                "`{}` said something else on {} of {} rows when it was asked again",
                facts.arm,
                facts.n - facts.same,
                facts.n
            ),
        );
    }
    write_json(work.output("repeat"), &facts)?;
    Ok(outcome(json!({ "rows": facts.n, "same": facts.same })))
}

/// Judges the arms' answers and reads what people said of them.
pub(super) async fn run_judge(
    teachers: &Teachers,
    step: &JudgeStep,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let judge = &step.judge;
    let rows: Vec<Row> = read_lines(work.input("asked"))?;
    let arms = judged_arms(judge, work)?;
    let (arms, baseline) = judge.sides(arms);
    let judged = judge
        .run(
            teachers,
            &rows,
            &known_rows(work)?,
            &arms,
            baseline.as_ref(),
            context,
        )
        .await?;
    let mut verdicts = Vec::new();
    if let Some(path) = work.inputs.get("calibration") {
        let ids = rows.iter().map(|row| row.id.as_str()).collect();
        let (read, stale) = read_verdicts(path, judge.mode, &arms, &ids)?;
        if stale > 0 {
            context.note(
                Level::Warning,
                format!("{stale} human verdicts are about answers that no arm gives any more: they were left out"),
            );
        }
        verdicts = read;
    }
    let addition = Additions {
        judge: Some(figures(step, &rows, &judged, &verdicts, work)),
        ..Additions::default()
    };
    write_json(work.output("addition"), &addition)?;
    write_lines(work.output("judged"), &judged.rows)?;
    write_lines(work.output("verdicts"), &verdicts)?;
    write_json(work.output("usage"), &judged.usage)?;
    Ok(outcome(json!({
        "judgements": judged.usage.asked,
        "from_journal": judged.usage.from_journal,
        "unreadable": judged.usage.unreadable,
        "human_verdicts": verdicts.len(),
    })))
}

/// The judge's figures for the report.
fn figures(
    step: &JudgeStep,
    rows: &[Row],
    judged: &Judged,
    verdicts: &[HumanVerdict],
    work: &Work<Action>,
) -> JudgeFacts {
    let groups = rows
        .iter()
        .filter_map(|row| {
            let column = step.group.as_ref()?;
            Some((row.id.clone(), column_text(row, column)?))
        })
        .collect();
    facts(&Figures {
        mode: step.judge.mode,
        models: &step.judge.models(),
        rubric: &step.judge.rubric,
        same_family: step.judge.same_family,
        rows: &judged.rows,
        human: work.inputs.contains_key("calibration").then_some(verdicts),
        baseline: &Arm::Teacher.name(),
        groups: &groups,
        settings: &Settings {
            confidence: step.confidence,
            seed: step.seed,
            ..Settings::default()
        },
        usd: judged.usage.usd,
        budget_usd: Some(step.judge.budget_usd),
        simulated: judged.usage.simulated,
    })
}

/// The answers of every arm that is an input, by the names of the inputs.
fn judged_arms(judge: &Judge, work: &Work<Action>) -> Result<Vec<JudgedArm>, StepFailure> {
    let mut arms = Vec::new();
    for arm in &judge.arms {
        let name = crate::compile::step_name(arm);
        let answers = if arm.is_hosted() {
            let rows: Vec<AnswerRow> = read_lines(work.input(&format!("answers:{name}")))?;
            rows.into_iter()
                .map(|row| (row.id, text(row.reply.or(row.answer), row.reason)))
                .collect()
        } else {
            let rows: Vec<Prediction> = read_lines(work.input(&format!("predictions:{name}")))?;
            rows.into_iter()
                .map(|row| (row.id, text(row.reply, row.reason)))
                .collect::<BTreeMap<_, _>>()
        };
        arms.push(JudgedArm {
            name: arm.name(),
            answers,
        });
    }
    Ok(arms)
}

fn text(reply: Option<String>, reason: Option<String>) -> Result<String, String> {
    reply
        .filter(|reply| !reply.trim().is_empty())
        .ok_or_else(|| reason.unwrap_or_else(|| "no reply".to_owned()))
}

/// What a judging step left for the comparison.
pub(super) fn evidence(
    rows: &Path,
    verdicts: &Path,
    usage: &Path,
) -> Result<Option<Judging>, StepFailure> {
    let usage: JudgeUsage = read_json(usage)?;
    let (rows, verdicts) = (read_lines(rows)?, read_lines(verdicts)?);
    Ok(usage.mode.map(|mode| Judging {
        study: JudgeStudy {
            mode,
            verdicts,
            usd: usage.usd,
        },
        rows,
    }))
}
