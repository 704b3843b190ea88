use serde::{Deserialize, Serialize};

/// One row answered by both, and how sure the student was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DeferralRow {
    /// As the student states it; higher is surer.
    pub confidence: f64,
    /// The student's score.
    pub student: f64,
    /// The teacher's score.
    pub teacher: f64,
    pub student_usd: Option<f64>,
    pub teacher_usd: Option<f64>,
    pub student_ms: Option<f64>,
    pub teacher_ms: Option<f64>,
}

/// What a cascade would do that asks the teacher on a share of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeferralPoint {
    /// Share of rows that the teacher answers, 0 to 1.
    pub deferred: f64,
    /// Mean score when the rows that the student is least sure of are deferred.
    pub value: f64,
    /// Mean score when the same share is drawn at random: what confidence has to beat.
    pub random: f64,
    /// Mean score when the rows that gain most are deferred: what no confidence can beat.
    pub oracle: f64,
    /// The student is asked on every row, the teacher on those deferred.
    pub usd_per_1000: Option<f64>,
    pub mean_ms: Option<f64>,
}

/// Score, cost and latency at deferred shares of 0, 1/`points`, ... 1; empty without a row.
///
/// Between two rows, and within rows of equal confidence, it is the mean over which of them is
/// deferred. Cost and latency are those of the rows where they are known (a teacher's row from a
/// cache has no latency); `None` where no row has one. Rows whose confidence is not a number are
/// deferred first.
pub fn deferral_curve(rows: &[DeferralRow], points: usize) -> Vec<DeferralPoint> {
    let n = rows.len();
    if n == 0 || points == 0 {
        return Vec::new();
    }
    let mut by_confidence: Vec<&DeferralRow> = rows.iter().collect();
    let confidence = |row: &DeferralRow| {
        if row.confidence.is_nan() {
            f64::NEG_INFINITY
        } else {
            row.confidence
        }
    };
    by_confidence.sort_by(|first, second| confidence(first).total_cmp(&confidence(second)));
    let mut by_gain: Vec<f64> = rows.iter().map(gain).collect();
    by_gain.sort_by(|first, second| second.total_cmp(first));
    let student = rows.iter().map(|row| row.student).sum::<f64>() / n as f64;
    let teacher = rows.iter().map(|row| row.teacher).sum::<f64>() / n as f64;
    let groups: Vec<&[&DeferralRow]> = by_confidence
        .chunk_by(|first, second| confidence(first) >= confidence(second))
        .collect();
    (0..=points)
        .map(|point| {
            let deferred = point as f64 / points as f64;
            let weights = weights(&groups, deferred * n as f64);
            let gained: f64 = weights
                .iter()
                .map(|(weight, group)| weight * group.iter().map(|row| gain(row)).sum::<f64>())
                .sum();
            DeferralPoint {
                deferred,
                value: student + gained / n as f64,
                random: (1.0 - deferred) * student + deferred * teacher,
                oracle: student + leading_sum(&by_gain, deferred * n as f64) / n as f64,
                usd_per_1000: spent(
                    rows,
                    &weights,
                    |row| row.student_usd,
                    |row| row.teacher_usd,
                    deferred,
                )
                .map(|usd| usd * 1000.0),
                mean_ms: spent(
                    rows,
                    &weights,
                    |row| row.student_ms,
                    |row| row.teacher_ms,
                    deferred,
                ),
            }
        })
        .collect()
}

fn gain(row: &DeferralRow) -> f64 {
    row.teacher - row.student
}

/// How much of each group of equal confidence is deferred when `rows` are, the least sure first.
fn weights<'a>(groups: &[&'a [&'a DeferralRow]], rows: f64) -> Vec<(f64, &'a [&'a DeferralRow])> {
    let mut left = rows;
    groups
        .iter()
        .map(|group| {
            let taken = left.clamp(0.0, group.len() as f64);
            left -= taken;
            (taken / group.len() as f64, *group)
        })
        .collect()
}

/// The sum of the first `count` values, the last of them in part.
fn leading_sum(values: &[f64], count: f64) -> f64 {
    let whole = (count.floor() as usize).min(values.len());
    let rest = values
        .get(whole)
        .map_or(0.0, |value| value * (count - whole as f64));
    values[..whole].iter().sum::<f64>() + rest
}

/// The mean per row: the student's on every row and the teacher's on the deferred share.
fn spent(
    rows: &[DeferralRow],
    weights: &[(f64, &[&DeferralRow])],
    student: fn(&DeferralRow) -> Option<f64>,
    teacher: fn(&DeferralRow) -> Option<f64>,
    deferred: f64,
) -> Option<f64> {
    let own: Vec<f64> = rows.iter().filter_map(student).collect();
    if own.is_empty() {
        return None;
    }
    let own = own.iter().sum::<f64>() / own.len() as f64;
    if deferred <= 0.0 {
        return Some(own);
    }
    let (mut sum, mut count) = (0.0, 0.0);
    for (weight, group) in weights {
        for value in group.iter().filter_map(|row| teacher(row)) {
            sum += weight * value;
            count += weight;
        }
    }
    (count > 0.0).then(|| own + deferred * sum / count)
}
