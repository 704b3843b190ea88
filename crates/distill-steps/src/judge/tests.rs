use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use distill_chat::{TaskDefinition, TaskKind};
use distill_eval::{Score, Settings, judge::JudgeMode};
use distill_gateway::simulate::{JudgeSettings, LatencySettings, SimulatorSettings};
use distill_pipeline::record::RunId;
use distill_runner::{FailureKind, StepContext};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Figures, HumanVerdict, Judge, Judged, JudgedArm, facts, read_verdicts};
use crate::{
    Arm,
    rows::Row,
    teacher::{ModelReference, Teachers},
};

const ROWS: usize = 40;

fn model(name: &str) -> ModelReference {
    let (vendor, model) = name.split_once('/').unwrap();
    ModelReference {
        vendor: vendor.into(),
        model: model.into(),
        base_url: None,
        api_key_env: None,
        input_usd_per_million: None,
        output_usd_per_million: None,
    }
}

fn judge(mode: JudgeMode, settings: JudgeSettings) -> Judge {
    Judge {
        task: TaskDefinition {
            kind: TaskKind::Generate,
            system: Some("Answer in a few words.".into()),
            prompt: "{{ text }}".into(),
            labels: vec![],
            schema: None,
        },
        panel: vec![model("simulated/judge")],
        mode,
        rubric: "Right and short.".into(),
        budget_usd: 1.0,
        concurrency: 8,
        pipeline: "p".into(),
        simulator: Some(SimulatorSettings {
            judge: settings,
            latency: LatencySettings {
                median: Duration::ZERO,
                p95: Duration::ZERO,
            },
            ..SimulatorSettings::default()
        }),
        same_family: false,
        arms: vec![Arm::Student("nano".into()), Arm::Teacher],
    }
}

fn perfect() -> JudgeSettings {
    JudgeSettings {
        accuracy: 1.0,
        position_bias: 0.0,
        unreadable: 0.0,
    }
}

fn rows() -> Vec<Row> {
    (0..ROWS)
        .map(|number| Row {
            id: format!("r{number}"),
            fields: json!({"text": format!("what is number {number} of the list")})
                .as_object()
                .unwrap()
                .clone(),
            gold: Some(format!(
                "the word {}",
                ["apple", "pear", "plum"][number % 3]
            )),
        })
        .collect()
}

/// Right on every row, on every other row, or silent on the first.
fn arm(name: &str, says: impl Fn(usize, &str) -> Result<String, String>) -> JudgedArm {
    JudgedArm {
        name: name.into(),
        answers: rows()
            .iter()
            .enumerate()
            .map(|(place, row)| (row.id.clone(), says(place, row.gold.as_deref().unwrap())))
            .collect(),
    }
}

fn half_right() -> JudgedArm {
    arm("nano", |place, gold| {
        Ok(if place % 2 == 0 {
            gold.to_owned()
        } else {
            "nothing like it".to_owned()
        })
    })
}

fn right() -> JudgedArm {
    arm("teacher", |_, gold| Ok(gold.to_owned()))
}

async fn run(
    judge: &Judge,
    home: &Path,
    arms: &[JudgedArm],
    baseline: Option<&JudgedArm>,
) -> Judged {
    try_run(judge, home, arms, baseline).await.unwrap()
}

async fn try_run(
    judge: &Judge,
    home: &Path,
    arms: &[JudgedArm],
    baseline: Option<&JudgedArm>,
) -> Result<Judged, distill_runner::StepFailure> {
    let teachers = Teachers::new(home, Arc::new(|_| None));
    let run: RunId = "20260131-090507-1a2b".parse().unwrap();
    let context = StepContext::new(run, "judge", CancellationToken::new(), Arc::new(|_| {}));
    let rows = rows();
    judge
        .run(&teachers, &rows, &rows, arms, baseline, &context)
        .await
}

fn scores(judged: &Judged, arm: &str) -> Vec<Option<f64>> {
    judged
        .rows
        .iter()
        .filter(|row| row.arm == arm)
        .map(|row| row.score.value())
        .collect()
}

#[tokio::test]
async fn answers_are_scored_and_asked_only_once() {
    let home = tempfile::tempdir().unwrap();
    let judge = judge(JudgeMode::Pointwise, perfect());
    let arms = [half_right(), right()];
    let judged = run(&judge, home.path(), &arms, None).await;
    let expected: Vec<Option<f64>> = (0..ROWS)
        .map(|place| Some(if place % 2 == 0 { 1.0 } else { 0.0 }))
        .collect();
    assert_eq!(scores(&judged, "nano"), expected);
    assert_eq!(scores(&judged, "teacher"), vec![Some(1.0); ROWS]);
    assert!(judged.usage.simulated && judged.usage.usd.unwrap() > 0.0);
    // Both said the same on every other row: one question, one price.
    assert_eq!(
        (judged.usage.asked, judged.usage.from_journal),
        (2 * ROWS, ROWS / 2)
    );
    let again = run(&judge, home.path(), &arms, None).await;
    assert_eq!(again.rows, judged.rows);
    assert_eq!(again.usage.from_journal, again.usage.asked);
    assert_eq!(again.usage.usd, judged.usage.usd, "nothing is paid twice");
}

#[tokio::test]
async fn pairs_are_judged_in_both_orders_and_a_biased_judge_says_tie() {
    let home = tempfile::tempdir().unwrap();
    let teacher = right();
    let fair = judge(JudgeMode::Pairwise, perfect());
    let judged = run(&fair, home.path(), &[half_right()], Some(&teacher)).await;
    for (place, row) in judged.rows.iter().enumerate() {
        if place % 2 == 0 {
            assert_eq!(row.score, Score::Value(0.5));
            assert_eq!(
                row.tie.as_deref(),
                Some("the two answers are the same text")
            );
            assert!(row.judged.is_empty(), "nobody had to be asked");
        } else {
            assert_eq!(row.score, Score::Value(0.0));
            assert_eq!(row.judged["simulated/judge"].orders_disagree, Some(false));
        }
    }
    assert_eq!(judged.usage.asked, ROWS);
    let biased = judge(
        JudgeMode::Pairwise,
        JudgeSettings {
            position_bias: 1.0,
            ..perfect()
        },
    );
    let judged = run(&biased, home.path(), &[half_right()], Some(&teacher)).await;
    for row in judged.rows.iter().skip(1).step_by(2) {
        assert_eq!(row.score, Score::Value(0.5));
        assert_eq!(row.judged["simulated/judge"].orders_disagree, Some(true));
        assert!(row.tie.as_ref().unwrap().contains("contradicted"));
    }
    let failure = try_run(&fair, home.path(), &[half_right()], None)
        .await
        .unwrap_err();
    assert!(
        failure.message.contains("there is no teacher"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn what_is_no_verdict_is_unscored_and_never_zero() {
    let home = tempfile::tempdir().unwrap();
    let chatty = judge(
        JudgeMode::Pointwise,
        JudgeSettings {
            unreadable: 1.0,
            ..perfect()
        },
    );
    let judged = run(&chatty, home.path(), &[right()], None).await;
    assert_eq!(scores(&judged, "teacher"), vec![None; ROWS]);
    assert_eq!(judged.usage.unreadable, ROWS);
    let silent = arm("nano", |place, gold| {
        if place == 0 {
            Err("it timed out".into())
        } else {
            Ok(gold.into())
        }
    });
    let fair = judge(JudgeMode::Pointwise, perfect());
    let judged = run(&fair, home.path(), &[silent], None).await;
    assert_eq!(judged.rows[0].score, Score::unscored("it timed out"));
    assert_eq!(judged.usage.asked, ROWS - 1);
}

#[tokio::test]
async fn a_judge_that_would_cost_too_much_is_not_asked() {
    let home = tempfile::tempdir().unwrap();
    let poor = Judge {
        budget_usd: 0.0001,
        ..judge(JudgeMode::Pointwise, perfect())
    };
    let failure = try_run(&poor, home.path(), &[right()], None)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Budget);
    assert!(failure.hint.unwrap().contains("evals.judge.budget_usd"));
    let rich = judge(JudgeMode::Pointwise, perfect());
    let judged = run(&rich, home.path(), &[right()], None).await;
    assert_eq!(judged.usage.from_journal, 0, "nothing had been asked");
}

#[test]
fn a_judge_of_the_teachers_family_is_refused_unless_allowed() {
    let mut openai = judge(JudgeMode::Pointwise, perfect());
    openai.panel = vec![
        model("anthropic/claude-haiku-4-5"),
        model("groq/openai/gpt-oss-120b"),
    ];
    let failure = openai
        .check_family(&[model("openai/gpt-5-mini")])
        .unwrap_err();
    assert!(
        failure.message.contains("groq/openai/gpt-oss-120b")
            && failure.message.contains("`openai`"),
        "{}",
        failure.message
    );
    assert!(failure.hint.unwrap().contains("same_family: true"));
    openai
        .check_family(&[model("mistral/mistral-large-latest")])
        .unwrap();
    openai.same_family = true;
    openai.check_family(&[model("openai/gpt-5-mini")]).unwrap();
    let simulated = judge(JudgeMode::Pointwise, perfect());
    simulated
        .check_family(&[model("simulated/frontier")])
        .unwrap();
}

fn figures<'a>(
    judged: &'a Judged,
    human: Option<&'a [HumanVerdict]>,
    groups: &'a BTreeMap<String, String>,
    settings: &'a Settings,
) -> Figures<'a> {
    Figures {
        mode: JudgeMode::Pointwise,
        models: &[],
        rubric: "Right and short.",
        same_family: false,
        rows: &judged.rows,
        human,
        baseline: "teacher",
        groups,
        settings,
        usd: judged.usage.usd,
        budget_usd: Some(1.0),
        simulated: true,
    }
}

#[tokio::test]
async fn figures_say_whether_people_stand_behind_them() {
    let home = tempfile::tempdir().unwrap();
    let judge = judge(JudgeMode::Pointwise, perfect());
    let judged = run(&judge, home.path(), &[half_right(), right()], None).await;
    let (groups, settings) = (BTreeMap::new(), Settings::default());
    let alone = facts(&figures(&judged, None, &groups, &settings));
    assert!(!alone.calibrated && alone.kappa.is_none());
    assert_eq!(alone.scores.len(), 2);
    assert_eq!(alone.scores[0].score.value, Some(0.5));
    assert!(alone.scores.iter().all(|score| score.corrected.is_none()));
    // People find the student a quarter worse wherever they looked.
    let human: Vec<HumanVerdict> = (0..20)
        .map(|place| HumanVerdict {
            arm: "nano".into(),
            id: format!("r{place}"),
            score: if place % 2 == 0 { 0.75 } else { 0.0 },
        })
        .collect();
    let calibrated = facts(&figures(&judged, Some(&human), &groups, &settings));
    assert!(calibrated.calibrated);
    let kappa = calibrated.kappa.as_ref().unwrap();
    assert_eq!((kappa.n, kappa.agreement), (20, 0.5));
    let corrected = calibrated.scores[0].corrected.as_ref().unwrap();
    assert_eq!((corrected.labelled, corrected.judged), (20, 20));
    assert!(
        (corrected.value.unwrap() - 0.375).abs() < 1e-9,
        "{corrected:?}"
    );
    assert!(
        calibrated.scores[1].corrected.is_none(),
        "nobody judged the teacher"
    );
    let strangers = facts(&figures(&judged, Some(&[]), &groups, &settings));
    assert!(!strangers.calibrated && strangers.notes[0].contains("stays uncalibrated"));
}

fn verdicts(text: &str, mode: JudgeMode) -> Result<(Vec<HumanVerdict>, usize), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judged.csv");
    std::fs::write(&path, text).unwrap();
    let arms = [half_right(), right()];
    let ids: BTreeSet<&str> = arms[0].answers.keys().map(String::as_str).collect();
    read_verdicts(&path, mode, &arms, &ids).map_err(|failure| failure.message)
}

#[test]
fn human_verdicts_name_whose_answer_they_are_about() {
    let text = "id,arm,answer,verdict\n\
        r0,nano,,5\n\
        r1,,nothing like it,1\n\
        r0,,the word apple,5\n\
        r2,nano,something it no longer says,3\n\
        r3,nano,,\n";
    let (read, stale) = verdicts(text, JudgeMode::Pointwise).unwrap();
    let brief: Vec<(&str, &str, f64)> = read
        .iter()
        .map(|verdict| (verdict.arm.as_str(), verdict.id.as_str(), verdict.score))
        .collect();
    assert_eq!(
        brief,
        [
            ("nano", "r0", 1.0),
            ("nano", "r1", 0.0),
            ("teacher", "r0", 1.0)
        ]
    );
    assert_eq!(stale, 1);
}

#[test]
fn a_calibration_file_is_refused_with_its_line() {
    for (text, part) in [
        ("id,score\nr0,5\n", "there is no column `verdict`"),
        (
            "id,verdict\nr0,5\n",
            "line 2: the line does not say whose answer",
        ),
        (
            "id,arm,verdict\nr0,nano,5\nr99,nano,4\n",
            "line 3: row `r99` is not one",
        ),
        (
            "id,arm,verdict\nr0,nano,great\n",
            "line 2: the verdict `great` is not a whole number",
        ),
        (
            "id,arm,verdict\nr0,other,5\n",
            "line 2: there is no arm `other`",
        ),
        (
            "id,arm,verdict\nr0,nano,5\nr0,nano,4\n",
            "line 3: row `r0` has two different verdicts",
        ),
    ] {
        let message = verdicts(text, JudgeMode::Pointwise).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
    let message = verdicts("id,arm,verdict\nr0,nano,5\n", JudgeMode::Pairwise).unwrap_err();
    assert!(message.contains("`win`, `tie` or `loss`"), "{message}");
}
