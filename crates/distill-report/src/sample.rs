//! Reports for tests: one with everything in it, one with almost nothing.

use std::collections::BTreeMap;

use distill_eval::{
    Aggregate, Candidate, CandidateRole, Comparison, ConfusedPair, DecisionInput, FieldScores,
    LabelScores, PairedTable, Quantiles, Reference, recommend, stats::wilson,
};

use crate::*;

mod evidence;
mod tasks;

pub(crate) use tasks::{extraction, generation};

/// What a hostile row may hold.
pub(crate) const HOSTILE: &str = "<script>alert(\"1\")</script> | `x` *y* _z_ \u{1b}[31m 'q' & [a](b)\nsecond line \u{202e}txet \u{2066}@all https://example.com $x$ \u{5e9}\u{5dc}\u{5d5}\u{5dd} aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn share(metric: &str, right: usize, n: usize) -> Aggregate {
    Aggregate {
        metric: metric.to_owned(),
        n,
        value: Some(right as f64 / n as f64),
        interval: wilson(right, n, 0.95),
        ..Aggregate::default()
    }
}

fn speed(p50: f64, answers_per_second: Option<f64>, left_out: Option<&str>) -> Speed {
    Speed {
        per_answer_ms: Quantiles {
            n: 300,
            mean: p50 * 1.1,
            p50,
            p95: p50 * 2.1,
            p99: p50 * 3.3,
        },
        answers_per_second,
        measured_on: "2 threads, one request at a time, after 20 answers of warm-up".to_owned(),
        left_out: left_out.map(str::to_owned),
    }
}

fn arm(name: &str, role: Role, right: usize, p50: f64) -> Arm {
    let label = |label: &str, correct: usize| LabelScores {
        label: label.to_owned(),
        support: 40,
        predicted: 42,
        correct,
        precision: Some(correct as f64 / 42.0),
        recall: Some(correct as f64 / 40.0),
        f1: Some(correct as f64 / 41.0),
    };
    let answered = ConfusedPair {
        gold: "card_arrival".to_owned(),
        answered: "lost_card".to_owned(),
        count: 7,
    };
    Arm {
        name: name.to_owned(),
        role,
        description: format!("the {name} of this test"),
        scores: vec![
            share("accuracy", right, 600),
            share("macro_f1", right - 4, 600),
        ],
        speed: Some(speed(p50, Some(1000.0 / p50), None)),
        usd_per_1000: Some(0.24),
        labels: vec![label("card_arrival", right / 20), label("lost_card", 38)],
        confusion: Some(evidence::confusion(&LABELS, 50, right as f64 / 600.0, 7)),
        confused: vec![answered],
        slices: [
            ("two intents at once", 41, 60),
            ("channel = chat", right / 3, 240),
            ("channel = e-mail", right / 2, 300),
            ("language = en", right / 2 - 10, 290),
            ("language = de", right / 40, 17),
        ]
        .iter()
        .map(|(name, right, n)| Slice {
            name: (*name).to_owned(),
            score: share("accuracy", *right, *n),
        })
        .collect(),
        ..Arm::default()
    }
}

pub(crate) fn table(both: usize, only_candidate: usize, only_baseline: usize) -> PairedTable {
    PairedTable {
        both,
        only_candidate,
        only_baseline,
        neither: 598 - both - only_candidate - only_baseline,
    }
}

const LABELS: [&str; 12] = [
    "card_arrival",
    "lost_card",
    "card_not_working",
    "top_up_failed",
    "transfer_fee",
    "exchange_rate",
    "close_account",
    "verify_identity",
    "pin_blocked",
    "cash_withdrawal_charge_that_was_not_expected",
    "refund",
    "other",
];

fn arms() -> Vec<Arm> {
    let mut teacher = Arm {
        simulated: true,
        usd_per_1000: Some(0.412),
        speed: Some(speed(31.0, None, Some("120 answers from the journal"))),
        ..arm("teacher", Role::Teacher, 546, 31.0)
    };
    teacher.scores[0] = Aggregate {
        unscored: 2,
        unscored_reasons: BTreeMap::from([("the reply was cut off".to_owned(), 2)]),
        ..share("accuracy", 545, 598)
    };
    let constant = Arm {
        speed: None,
        usd_per_1000: None,
        ..arm("always the commonest", Role::Constant, 80, 1.0)
    };
    vec![
        arm("linear", Role::Floor, 523, 0.06),
        constant,
        arm("nano untuned", Role::Untuned, 71, 9.1),
        arm("nano few-shot", Role::FewShot, 96, 24.0),
        arm("nano from random weights", Role::Control, 361, 9.2),
        arm("nano", Role::Student, 529, 9.3),
        Arm {
            simulated: true,
            usd_per_1000: Some(0.178),
            ..arm("nano + teacher", Role::Cascade, 541, 17.0)
        },
        Arm {
            usd_per_1000: Some(0.09),
            ..arm("vendor/small", Role::CheaperApi, 520, 210.0)
        },
        teacher,
    ]
}

fn recommendation() -> distill_eval::Recommendation {
    let against_floor = Comparison::of(table(500, 28, 22), 0, 0.95);
    let comparisons = [
        table(500, 22, 45),
        table(505, 23, 40),
        table(522, 14, 18),
        table(489, 31, 56),
    ]
    .map(|table| Comparison::of(table, 2, 0.95));
    let roles = [
        ("linear", CandidateRole::Floor),
        ("nano", CandidateRole::Student),
        ("nano + teacher", CandidateRole::Cascade { deferred: 0.27 }),
        ("vendor/small", CandidateRole::CheaperApi),
    ];
    let candidates: Vec<Candidate<'_>> = roles
        .into_iter()
        .zip(&comparisons)
        .map(|((name, role), comparison)| Candidate {
            input: DecisionInput {
                candidate: name,
                comparison: Some(comparison),
                margin: 0.03,
                confidence: 0.95,
                p95_ms: Some(19.5),
                usd_per_1000: Some(0.24),
                teacher_usd_per_1000: Some(0.412),
                ..DecisionInput::default()
            },
            bytes: 700_000,
            role,
            against_floor: (name == "nano").then_some(&against_floor),
        })
        .collect();
    recommend(&candidates)
}

fn difference(candidate: &str, baseline: &str, simulated: bool, table: PairedTable) -> Difference {
    let comparison = Comparison::of(table, 2, 0.95);
    Difference::from_comparison(candidate, baseline, "accuracy", simulated, &comparison)
}

fn label_facts() -> LabelFacts {
    let counted = |what: &str, count| Counted {
        what: what.to_owned(),
        count,
    };
    LabelFacts {
        source: LabelSource::Teacher,
        simulated: true,
        asked: 640,
        labelled: 633,
        unlabelled: vec![counted("the reply is not one of the 12 labels", 7)],
        teachers: vec![
            counted("simulated/frontier", 598),
            counted("simulated/backup", 35),
        ],
        agreement: Some(Agreement {
            right: 571,
            n: 633,
            interval: wilson(571, 633, 0.95),
        }),
        errors_cost: vec![difference(
            "linear",
            "linear on gold",
            true,
            table(500, 12, 30),
        )],
        alias_changes: vec!["frontier answered as frontier-2 from row 400 on.".to_owned()],
    }
}

fn spend() -> Spend {
    Spend {
        simulated: true,
        budget_usd: Some(2.0),
        settled_usd: 0.263_4,
        requests: 1240,
        journal_hits: 120,
        attempts: 1187,
        failed_attempts: vec![Counted {
            what: "429".to_owned(),
            count: 13,
        }],
        unsettled: vec![Unsettled {
            model: "simulated/frontier".to_owned(),
            row_id: Some("000017".to_owned()),
            why: "the stream stalled".to_owned(),
            reserved_usd: 0.001_2,
        }],
        input_tokens: Some(81_234),
        output_tokens: Some(4321),
        beside: vec![crate::OtherSpend {
            what: "answers of simulated/cheap".to_owned(),
            settled_usd: Some(0.004_9),
            simulated: true,
        }],
    }
}

fn lineage() -> Lineage {
    let source = |role: &str, rows| DataSource {
        role: role.to_owned(),
        name: format!("datasets/support-intents/{role}.csv"),
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        rows,
    };
    Lineage {
        run_id: "20260102-030405-abcd".to_owned(),
        pipeline_hash: "5e884898da28".to_owned(),
        data: vec![source("train", 720), source("test", 600)],
        models: vec![ModelSource {
            role: "base".to_owned(),
            name: "nano".to_owned(),
            identity: "sha256 2c26b46b68ff".to_owned(),
        }],
        seed: 17,
        code_version: "0.1.0".to_owned(),
        rerun_command: "distill run pipelines/quickstart.yaml".to_owned(),
        next_command: Some("distill init your.csv".to_owned()),
    }
}

fn training() -> Vec<TrainingFacts> {
    vec![
        TrainingFacts {
            student: "linear".to_owned(),
            method: "hashed n-grams and a softmax".to_owned(),
            examples: 569,
            seconds: Some(0.8),
            ..TrainingFacts::default()
        },
        TrainingFacts {
            student: "nano".to_owned(),
            method: "LoRA rank 16, alpha 32".to_owned(),
            steps: Some(120),
            examples: 569,
            seconds: Some(41.3),
            best_validation_loss: Some(0.1234),
            trainable_parameters: Some(196_608),
            total_parameters: Some(3_700_000),
            artifact_bytes: Some(787_000),
            gradient_census: Some("56 adapter tensors have a gradient, 48 frozen ones none".into()),
            stop_token_trained: Some(true),
            notes: vec!["stopped early after 3 validations without a better loss".to_owned()],
        },
    ]
}

fn data() -> DataFacts {
    DataFacts {
        train_rows_read: 720,
        train_rows_used: 569,
        validation_rows: 64,
        removed: vec![Removal {
            reason: "duplicate of an earlier row".to_owned(),
            rows: 5,
            ids: vec!["000004".to_owned(), "000231".to_owned()],
        }],
        leaked: vec![LeakedRow {
            train_id: "000009".to_owned(),
            eval_id: "000112".to_owned(),
            text: HOSTILE.to_owned(),
            how: "equal after folding case and white space".to_owned(),
        }],
        shared_texts: vec![SharedText {
            eval_id: "000033".to_owned(),
            text: "yes please".to_owned(),
            context: "asked people".to_owned(),
            how: "equal but for case and white space".to_owned(),
            removed: 0,
            kept: 2,
            why: "kept: the training rows with this text stand in another context".to_owned(),
        }],
        calibration_rows: 66,
        rules: vec![
            "near duplicates: 5-grams of letters, Jaccard at least 0.8; texts under 20 letters only when equal".to_owned(),
        ],
    }
}

fn regressions() -> Regressions {
    let row = |place: usize| Regression {
        id: format!("{place:06}"),
        text: if place == 0 {
            HOSTILE.to_owned()
        } else {
            "my new card still has not come and the app says it was sent two weeks ago, what now"
                .to_owned()
        },
        gold: Some("card_arrival".to_owned()),
        baseline_answer: Some("card_arrival".to_owned()),
        candidate_answer: Some("lost_card".to_owned()),
        candidate_confidence: (place != 1).then_some(0.97 - 0.02 * place as f64),
        ..Regression::default()
    };
    Regressions {
        candidate: "nano".to_owned(),
        baseline: "teacher".to_owned(),
        total: 40,
        rows: (0..21).map(row).collect(),
        simulated: true,
    }
}

/// Everything there is to say, said.
pub(crate) fn full() -> RunReport {
    let rate = |name: &str, answers_per_second| CandidateCost {
        name: name.to_owned(),
        answers_per_second: Some(answers_per_second),
        training_seconds: Some(41.3),
        accuracy: Some(0.83),
        ..CandidateCost::default()
    };
    let cost = CostModel::compute(&CostInputs {
        teacher_usd_per_1000: Some(0.412),
        teacher_simulated: true,
        usd_per_hour: Some(0.1),
        requests_per_day: Some(10_000.0),
        candidates: vec![rate("linear", 16_000.0), rate("nano", 107.0)],
        labels_usd: Some(0.2634),
        failed_attempts_usd: Some(0.0031),
        judge_usd: Some(0.0),
        cheaper_usd: Some(0.0),
        teacher_accuracy: Some(0.94),
        teacher_tokens_per_answer: Some(240.0),
        controls_training_seconds: Some(82.6),
    });
    RunReport {
        schema: SCHEMA,
        name: "quickstart <b>".to_owned(),
        task: TaskFacts {
            kind: "classify".to_owned(),
            metric: "accuracy".to_owned(),
            eval_rows: 600,
            eval_source: "datasets/support-intents/test.csv".to_owned(),
            reference: Reference::Gold,
            confidence: 0.95,
            expected_by: vec![
                Counted {
                    what: "gold".to_owned(),
                    count: 560,
                },
                Counted {
                    what: "human".to_owned(),
                    count: 40,
                },
            ],
        },
        recommendation: recommendation(),
        accept: AcceptFacts {
            margin: 0.03,
            confidence: 0.95,
            max_p95_ms: Some(200.0),
            max_usd_per_1000: Some(0.5),
            required_rows: Some(1330),
            assumed_discordance: Some(0.15),
            risk: Some(0.08),
        },
        simulated: vec![
            "teacher answers and labels".to_owned(),
            "prices and latency".to_owned(),
        ],
        arms: arms(),
        differences: vec![
            difference("nano", "teacher", true, table(505, 23, 40)),
            difference("linear", "teacher", true, table(500, 22, 45)),
            difference("nano + teacher", "teacher", true, table(522, 14, 18)),
            difference("vendor/small", "teacher", true, table(489, 31, 56)),
            difference("nano", "nano untuned", false, table(60, 468, 11)),
            difference(
                "nano",
                "nano from random weights",
                false,
                table(340, 188, 21),
            ),
            Difference {
                mcnemar_p: None,
                table: None,
                metric: "macro_f1".to_owned(),
                ..difference("nano", "linear", false, table(500, 28, 22))
            },
        ],
        regressions: Some(regressions()),
        data: data(),
        labels: Some(label_facts()),
        spend: Some(spend()),
        sensitivity: cost.sensitivity(),
        cost,
        training: training(),
        lineage: lineage(),
        notes: vec!["The eval has fewer rows than was planned for.".to_owned()],
        cascade: vec![evidence::cascade()],
        learning_curves: evidence::curves(),
        noise_floor: Some(evidence::noise_floor()),
        judge: None,
        label_noise: Some(evidence::label_noise()),
        label_conflicts: evidence::conflicts(),
        eval_duplicates: evidence::duplicates(),
        load: vec![
            evidence::load("nano", 1, 9.3, false),
            evidence::load("nano", 4, 21.0, false),
            evidence::load("teacher", 1, 31.0, true),
        ],
        energy: evidence::energy(),
        price_age: evidence::price_age(),
    }
}

/// A report of an extraction without a teacher, a measurement or a row.
pub(crate) fn bare() -> RunReport {
    let field = FieldScores {
        field: "people".to_owned(),
        gold: 0,
        predicted: 0,
        correct: 0,
        precision: None,
        recall: None,
        f1: None,
        f1_interval: None,
    };
    RunReport {
        schema: SCHEMA,
        name: "bare".to_owned(),
        task: TaskFacts {
            kind: "extract".to_owned(),
            metric: "json_exact_object".to_owned(),
            confidence: 0.95,
            reference: Reference::TeacherLabels,
            ..TaskFacts::default()
        },
        recommendation: recommend(&[]),
        accept: AcceptFacts::default(),
        simulated: Vec::new(),
        arms: vec![Arm {
            name: "nano".to_owned(),
            scores: vec![Aggregate {
                metric: "json_exact_object".to_owned(),
                ..Aggregate::default()
            }],
            fields: vec![field],
            ..Arm::default()
        }],
        differences: Vec::new(),
        regressions: None,
        data: DataFacts::default(),
        labels: None,
        spend: None,
        cost: CostModel::default(),
        training: Vec::new(),
        ..RunReport::default()
    }
}
