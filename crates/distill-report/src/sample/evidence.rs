//! What stands beside the scores, made with the functions that a run makes it with.

use distill_eval::{
    Interval,
    cascade::{Calibration, DeferralRow, choose_threshold, deferral_curve},
    stats::wilson,
};

use super::HOSTILE;
use crate::*;

/// Numbers in 0 to 1, the same on every machine.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Raw confidences with whether the answer was right, too sure of itself by a little.
fn answers(rows: usize, seed: u64) -> Vec<(f64, bool)> {
    let mut draws = Draws::new(seed);
    (0..rows)
        .map(|_| {
            let confidence = draws.next().powf(0.25);
            (confidence, draws.next() < confidence.powf(1.4))
        })
        .collect()
}

pub(crate) fn cascade() -> CascadeFacts {
    let (calibration_rows, eval_rows) = (answers(400, 3), answers(598, 5));
    let calibration = Calibration::fit(&calibration_rows).unwrap();
    let threshold = choose_threshold(&calibration_rows, 0.08, 0.95);
    let mut draws = Draws::new(9);
    let rows: Vec<DeferralRow> = eval_rows
        .iter()
        .map(|(confidence, right)| DeferralRow {
            confidence: *confidence,
            student: f64::from(u8::from(*right)),
            teacher: f64::from(u8::from(draws.next() < 0.91)),
            student_usd: Some(0.000_024),
            teacher_usd: Some(0.000_412),
            student_ms: Some(9.3),
            teacher_ms: Some(412.0),
        })
        .collect();
    let least = threshold.as_ref().unwrap().raw;
    let own: Vec<&DeferralRow> = rows.iter().filter(|row| row.confidence >= least).collect();
    let deferred = 1.0 - own.len() as f64 / rows.len() as f64;
    let wrong = own.iter().filter(|row| row.student < 0.5).count();
    let right = rows
        .iter()
        .map(|row| {
            if row.confidence >= least {
                row.student
            } else {
                row.teacher
            }
        })
        .fold(0.0, |sum, value| sum + value);
    let stated: Vec<(f64, bool)> = eval_rows
        .iter()
        .map(|(raw, right)| (calibration.probability(*raw), *right))
        .collect();
    CascadeFacts {
        student: "nano".to_owned(),
        arm: Some("nano + teacher".to_owned()),
        confidence_is: "label probability".to_owned(),
        calibration_rows: 400,
        calibration,
        threshold,
        curve: deferral_curve(&rows, 20),
        accuracy: Some(right / rows.len() as f64),
        accuracy_interval: wilson(right as usize, rows.len(), 0.95),
        deferred_share: Some(deferred),
        observed_risk: Some(wrong as f64 / own.len() as f64),
        observed_risk_interval: wilson(wrong, own.len(), 0.95),
        usd_per_1000: Some(0.024 + 0.412 * deferred),
        mean_ms: Some(9.3 + 412.0 * deferred),
        reliability: ReliabilityBin::of(&stated, 8, 0.95),
        simulated: true,
    }
}

pub(crate) fn curves() -> Vec<CurveFacts> {
    let point = |train_rows: usize, right: usize| CurveFactsPoint {
        train_rows,
        value: Some(right as f64 / 400.0),
        interval: wilson(right, 400, 0.95),
        n: 400,
    };
    let curve = |student: &str, points: Vec<CurveFactsPoint>| CurveFacts {
        student: student.to_owned(),
        scored_on: "validation rows".to_owned(),
        metric: "accuracy".to_owned(),
        points,
        simulated: false,
    };
    vec![
        curve(
            "linear",
            vec![point(142, 281), point(284, 318), point(569, 344)],
        ),
        curve(
            "nano",
            vec![point(142, 262), point(284, 329), point(569, 352)],
        ),
    ]
}

pub(crate) fn noise_floor() -> NoiseFloorFacts {
    NoiseFloorFacts {
        n: 97,
        left_out: 3,
        agreement: Some(93.0 / 97.0),
        interval: wilson(93, 97, 0.95),
        how: "the same request past the journal, at the teacher's own temperature".to_owned(),
        student_repeat: Some(RepeatFacts {
            arm: "nano".to_owned(),
            n: 100,
            same: 100,
        }),
        simulated: true,
    }
}

pub(crate) fn label_noise() -> LabelNoiseFacts {
    let suspect = |place: usize| LabelSuspect {
        id: format!("{place:06}"),
        given: "lost_card".to_owned(),
        likely: "card_arrival".to_owned(),
        probability: 0.01 * place as f64,
        text: if place == 1 {
            HOSTILE.to_owned()
        } else {
            "where is the card that you sent me, it was due last week".to_owned()
        },
    };
    LabelNoiseFacts {
        method: "confident learning over 5-fold out-of-fold probabilities of the linear student"
            .to_owned(),
        n: 633,
        estimated_share: Some(0.031),
        upper_share: Some(0.074),
        suspected: 20,
        suspects: (1..=7).map(suspect).collect(),
        simulated: true,
    }
}

pub(crate) fn conflicts() -> Vec<LabelConflict> {
    vec![LabelConflict {
        text: "yes please".to_owned(),
        ids: vec!["000101".to_owned(), "000377".to_owned()],
        labels: vec!["affirm".to_owned(), "card_arrival".to_owned()],
    }]
}

pub(crate) fn duplicates() -> Vec<EvalDuplicate> {
    vec![EvalDuplicate {
        id: "000512".to_owned(),
        of: "000033".to_owned(),
        text: "My card has not arrived!".to_owned(),
        how: "near, Jaccard 0.92".to_owned(),
    }]
}

/// A confusion whose rows sum to `support`, most of it on the diagonal.
pub(crate) fn confusion(labels: &[&str], support: usize, share: f64, seed: u64) -> ConfusionFacts {
    let mut draws = Draws::new(seed);
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let mut answers = labels.clone();
    answers.push("(no valid answer)".to_owned());
    let counts = (0..labels.len())
        .map(|place| {
            let mut row = vec![0; answers.len()];
            for _ in 0..support {
                let at = if draws.next() < share {
                    place
                } else if draws.next() < 0.6 {
                    (place + 1) % labels.len()
                } else {
                    (draws.next() * answers.len() as f64) as usize
                };
                row[at] += 1;
            }
            row
        })
        .collect();
    ConfusionFacts {
        labels,
        answers,
        counts,
    }
}

pub(crate) fn load(arm: &str, concurrency: usize, ms: f64, simulated: bool) -> LoadFacts {
    LoadFacts {
        arm: arm.to_owned(),
        simulated,
        engine: "in process, 2 threads".to_owned(),
        arrival: Arrival::ClosedLoop,
        warm_up: 20,
        num_prompts: 100,
        max_concurrency: Some(concurrency),
        request_rate: None,
        duration: Some(ms * 0.1),
        completed: 100,
        failed: 0,
        total_input_tokens: Some(4100),
        total_output_tokens: Some(412),
        request_throughput: Some(1000.0 / ms * concurrency as f64),
        output_throughput: Some(4120.0 / ms * concurrency as f64),
        total_token_throughput: Some(45_120.0 / ms * concurrency as f64),
        max_concurrent_requests: Some(concurrency),
        mean_ttft_ms: Some(ms * 0.7),
        median_ttft_ms: Some(ms * 0.65),
        std_ttft_ms: Some(ms * 0.1),
        p95_ttft_ms: Some(ms * 1.1),
        p99_ttft_ms: Some(ms * 1.3),
        mean_tpot_ms: Some(ms * 0.08),
        median_tpot_ms: Some(ms * 0.07),
        std_tpot_ms: Some(ms * 0.01),
        p95_tpot_ms: Some(ms * 0.1),
        p99_tpot_ms: Some(ms * 0.12),
        mean_itl_ms: None,
        median_itl_ms: None,
        std_itl_ms: None,
        p95_itl_ms: None,
        p99_itl_ms: None,
        mean_e2el_ms: Some(ms),
        median_e2el_ms: Some(ms * 0.95),
        std_e2el_ms: Some(ms * 0.2),
        p95_e2el_ms: Some(ms * 1.6),
        p99_e2el_ms: Some(ms * 2.1),
        notes: vec!["no inter-token times: answers came whole".to_owned()],
    }
}

pub(crate) fn energy() -> Vec<EnergyFacts> {
    let facts = |arm: &str, source, hours| EnergyFacts {
        arm: arm.to_owned(),
        source,
        watt_hours_per_1000: hours,
        watts: hours.map(|_| 15.0),
        method: "15 watts stated for the machine".to_owned(),
    };
    vec![
        facts("nano", EnergySource::StatedWatts, Some(0.038)),
        facts("teacher", EnergySource::NotMeasured, None),
    ]
}

pub(crate) fn price_age() -> Vec<PriceAge> {
    vec![PriceAge {
        model: "simulated/frontier".to_owned(),
        source: "table".to_owned(),
        as_of: Some("2026-01-15".to_owned()),
        age_days: Some(41),
        input_usd_per_million: 3.0,
        output_usd_per_million: 15.0,
        cached_input_usd_per_million: Some(0.3),
        note: None,
    }]
}

/// The interval of a mean that a bootstrap might give.
pub(crate) fn around(value: f64, half: f64) -> Interval {
    Interval {
        low: value - half,
        high: value + half,
        confidence: 0.95,
        method: distill_eval::IntervalMethod::BootstrapBca,
    }
}
