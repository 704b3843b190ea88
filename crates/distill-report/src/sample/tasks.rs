//! Reports of an extraction that takes the student, and of a generation that a judge scores.

use distill_eval::{
    Aggregate, Comparison, DecisionInput, FieldScores, PairedTable, Reference, Unit, recommend,
    stats::{cohen_kappa_of_counts, wilson},
};

use super::{
    evidence::{around, load},
    share, speed, table,
};
use crate::*;

fn field(name: &str, gold: usize, correct: usize) -> FieldScores {
    let predicted = gold + 4;
    let (precision, recall) = (
        correct as f64 / predicted as f64,
        correct as f64 / gold as f64,
    );
    let f1 = 2.0 * precision * recall / (precision + recall);
    FieldScores {
        field: name.to_owned(),
        gold,
        predicted,
        correct,
        precision: Some(precision),
        recall: Some(recall),
        f1: Some(f1),
        f1_interval: Some(around(f1, 0.02)),
    }
}

fn extraction_arm(name: &str, role: Role, right: usize, ms: f64, usd: f64) -> Arm {
    let names = ["date", "time", "people", "first_name", "last_name"];
    Arm {
        name: name.to_owned(),
        role,
        description: format!("{name}, asked once a row"),
        scores: vec![
            share("json_exact_object", right, 598),
            share("json_parses", 598, 598),
        ],
        speed: Some(speed(ms, Some(1000.0 / ms), None)),
        usd_per_1000: Some(usd),
        fields: names
            .iter()
            .enumerate()
            .map(|(place, name)| field(name, 200 + 20 * place, right / 4 + 18 * place))
            .collect(),
        slices: [
            "requested_slot = date",
            "requested_slot = time",
            "no slot asked",
        ]
        .iter()
        .enumerate()
        .map(|(place, name)| Slice {
            name: (*name).to_owned(),
            score: share("json_exact_object", right / 6 - 3 * place, 110),
        })
        .collect(),
        ..Arm::default()
    }
}

/// A student that may take over.
pub(crate) fn extraction() -> RunReport {
    let comparison = Comparison::of(table(531, 22, 17), 0, 0.95);
    let recommendation = recommend(&[distill_eval::Candidate {
        input: DecisionInput {
            candidate: "qwen-lora",
            comparison: Some(&comparison),
            margin: 0.03,
            confidence: 0.95,
            ..DecisionInput::default()
        },
        bytes: 9_000_000,
        ..distill_eval::Candidate::default()
    }]);
    RunReport {
        name: "restaurant-slots".to_owned(),
        task: TaskFacts {
            kind: "extract".to_owned(),
            metric: "json_exact_object".to_owned(),
            eval_rows: 598,
            eval_source: "restaurant8k, split test".to_owned(),
            confidence: 0.95,
            expected_by: vec![Counted {
                what: "gold".to_owned(),
                count: 598,
            }],
            ..TaskFacts::default()
        },
        recommendation,
        accept: AcceptFacts {
            margin: 0.03,
            confidence: 0.95,
            max_p95_ms: Some(900.0),
            max_usd_per_1000: Some(0.4),
            required_rows: Some(560),
            assumed_discordance: Some(0.1),
            risk: None,
        },
        arms: vec![
            extraction_arm("always {}", Role::Constant, 61, 0.001, 0.24),
            extraction_arm("qwen few-shot", Role::FewShot, 190, 510.0, 0.31),
            extraction_arm("qwen-lora", Role::Student, 553, 240.0, 0.24),
            extraction_arm("vendor/small", Role::CheaperApi, 530, 380.0, 0.11),
            extraction_arm("teacher", Role::Teacher, 548, 812.0, 1.94),
        ],
        differences: vec![Difference::from_comparison(
            "qwen-lora",
            "teacher",
            "json_exact_object",
            false,
            &comparison,
        )],
        regressions: Some(Regressions {
            candidate: "qwen-lora".to_owned(),
            baseline: "teacher".to_owned(),
            total: 2,
            rows: vec![Regression {
                id: "test-00042".to_owned(),
                text: "[asked for: people, time]\nmake that 4 of us, at half past 7 please".into(),
                gold: Some(r#"{"people":"4","time":"half past 7"}"#.to_owned()),
                baseline_answer: Some(r#"{"people":"4","time":"half past 7"}"#.to_owned()),
                candidate_answer: Some(r#"{"people":"4 of us","time":"half past 7"}"#.to_owned()),
                candidate_confidence: Some(0.71),
                ..Regression::default()
            }],
            simulated: false,
        }),
        load: vec![
            load("qwen-lora", 1, 240.0, false),
            load("teacher", 1, 812.0, false),
        ],
        lineage: super::lineage(),
        ..RunReport::default()
    }
}

fn text_arm(name: &str, role: Role, rouge: f64, ms: f64, usd: f64) -> Arm {
    let mean = |metric: &str, unit: Unit, value: f64, half: f64| Aggregate {
        metric: metric.to_owned(),
        unit,
        n: 300,
        value: Some(value),
        interval: Some(around(value, half)),
        ..Aggregate::default()
    };
    Arm {
        name: name.to_owned(),
        role,
        description: format!("{name}, greedy"),
        scores: vec![
            mean("rouge_l", Unit::Score0To1, rouge, 0.021),
            mean("chrf", Unit::Score0To100, rouge * 104.0, 1.9),
        ],
        speed: Some(speed(ms, None, None)),
        usd_per_1000: Some(usd),
        ..Arm::default()
    }
}

fn judge(calibrated: bool) -> JudgeFacts {
    let score = |arm: &str, value: f64| JudgeScore {
        arm: arm.to_owned(),
        score: Aggregate {
            metric: "judge".to_owned(),
            n: 298,
            unscored: 2,
            value: Some(value),
            interval: Some(around(value, 0.03)),
            ..Aggregate::default()
        },
        corrected: calibrated.then(|| Corrected {
            value: Some(value - 0.041),
            interval: Some(around(value - 0.041, 0.05)),
            labelled: 60,
            judged: 238,
        }),
    };
    JudgeFacts {
        models: vec!["other/judge-large".to_owned()],
        mode: "pairwise".to_owned(),
        rubric: "Is the reply polite, right and no longer than needed?".to_owned(),
        calibrated,
        kappa: calibrated
            .then(|| cohen_kappa_of_counts(&[vec![31, 6], vec![5, 18]], 0.95))
            .flatten(),
        same_family: false,
        scores: vec![score("smol-lora", 0.71), score("teacher", 0.78)],
        pairs: vec![JudgePair {
            candidate: "smol-lora".to_owned(),
            baseline: "teacher".to_owned(),
            wins: 61,
            ties: 143,
            losses: 94,
            unscored: 2,
            value: Some((61.0 + 71.5) / 298.0),
            interval: wilson(132, 298, 0.95),
            corrected: None,
        }],
        disagreements: 71,
        asked_both_ways: 298,
        usd: Some(0.83),
        budget_usd: Some(1.0),
        simulated: false,
        notes: vec!["2 rows have no verdict: the judge gave none of the two letters".into()],
    }
}

/// Free text that only the teacher's answers and a judge without human verdicts speak for.
pub(crate) fn generation(calibrated: bool) -> RunReport {
    let comparison = Comparison::of(
        PairedTable {
            both: 171,
            only_candidate: 0,
            only_baseline: 129,
            neither: 0,
        },
        0,
        0.95,
    );
    let recommendation = recommend(&[distill_eval::Candidate {
        input: DecisionInput {
            candidate: "smol-lora",
            comparison: Some(&comparison),
            margin: 0.02,
            confidence: 0.95,
            reference: Reference::TeacherLabels,
            ..DecisionInput::default()
        },
        bytes: 9_000_000,
        ..distill_eval::Candidate::default()
    }]);
    let mut report = RunReport {
        recommendation,
        differences: vec![Difference::from_comparison(
            "smol-lora",
            "teacher",
            "rouge_l",
            false,
            &comparison,
        )],
        name: "reply-drafts".to_owned(),
        task: TaskFacts {
            kind: "generate".to_owned(),
            metric: "rouge_l".to_owned(),
            eval_rows: 300,
            eval_source: "drafts.jsonl".to_owned(),
            reference: Reference::TeacherLabels,
            confidence: 0.95,
            expected_by: vec![Counted {
                what: "teacher".to_owned(),
                count: 300,
            }],
        },
        accept: AcceptFacts {
            margin: 0.02,
            confidence: 0.95,
            ..AcceptFacts::default()
        },
        arms: vec![
            text_arm("smol untuned", Role::Untuned, 0.21, 900.0, 0.4),
            text_arm("smol-lora", Role::Student, 0.532, 880.0, 0.4),
            text_arm("teacher", Role::Teacher, 1.0, 2210.0, 4.1),
        ],
        judge: Some(judge(calibrated)),
        noise_floor: Some(NoiseFloorFacts {
            n: 0,
            left_out: 4,
            ..NoiseFloorFacts::default()
        }),
        lineage: super::lineage(),
        ..RunReport::default()
    };
    report.lineage.next_command = None;
    report
}
