//! What the verdict does when the truth is known.

use std::collections::BTreeMap;

use distill_eval::{
    Candidate, CandidateRole, Comparison, Decision, DecisionInput, JudgedSide, PairedTable,
    Recommendation, Scale, Score, ScoredRow, Settings, compare, compare_judged, compare_values,
    recommend,
    stats::{PowerPlan, noninferiority_p, required_n},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    coverage::{BOOTSTRAP_DRAWS, CONFIDENCE},
    model::paired_table,
    study::{Limit, Study, Table},
};

const MARGIN: f64 = 0.03;
const FALSE_CLAIM: Limit = Limit::AtMost(0.05);

fn input(comparison: &Comparison, margin: f64) -> DecisionInput<'_> {
    DecisionInput {
        candidate: "student",
        comparison: Some(comparison),
        margin,
        confidence: CONFIDENCE,
        usd_per_1000: Some(0.1),
        teacher_usd_per_1000: Some(1.0),
        ..DecisionInput::default()
    }
}

fn judge(comparisons: &[(Comparison, CandidateRole)], margin: f64) -> Recommendation {
    let candidates: Vec<Candidate<'_>> = comparisons
        .iter()
        .map(|(comparison, role)| Candidate {
            input: input(comparison, margin),
            role: *role,
            ..Candidate::default()
        })
        .collect();
    recommend(&candidates)
}

fn judge_by_table(candidate: &[ScoredRow], baseline: &[ScoredRow]) -> Decision {
    compare(candidate, baseline, CONFIDENCE).map_or(Decision::KeepTeacher, judge_alone)
}

fn judge_alone(comparison: Comparison) -> Decision {
    judge(&[(comparison, CandidateRole::Student)], MARGIN)
        .verdict
        .decision
}

fn alone(table: PairedTable, margin: f64) -> Decision {
    let comparison = Comparison::of(table, 0, CONFIDENCE);
    judge(&[(comparison, CandidateRole::Student)], margin)
        .verdict
        .decision
}

/// Right and wrong of a teacher and of several students on the same rows: each student is right
/// where the teacher is but for its losses, and now and then where the teacher is not.
struct World {
    teacher: f64,
    /// P(student wrong | teacher right) and P(student right | teacher wrong).
    lost: f64,
    gained: f64,
}

impl World {
    /// Students whose true difference is exactly −`margin`.
    fn at_margin(teacher: f64, gained: f64, margin: f64) -> Self {
        Self {
            teacher,
            lost: (margin + (1.0 - teacher) * gained) / teacher,
            gained,
        }
    }

    /// How many rows go to each cell, student by student.
    fn tables(&self, generator: &mut ChaCha8Rng, n: usize, students: usize) -> Vec<PairedTable> {
        let mut tables = vec![PairedTable::default(); students];
        for _ in 0..n {
            let teacher = generator.random_bool(self.teacher);
            for table in &mut tables {
                let right = if teacher {
                    !generator.random_bool(self.lost)
                } else {
                    generator.random_bool(self.gained)
                };
                match (right, teacher) {
                    (true, true) => table.both += 1,
                    (true, false) => table.only_candidate += 1,
                    (false, true) => table.only_baseline += 1,
                    (false, false) => table.neither += 1,
                }
            }
        }
        tables
    }
}

fn accuracy(table: &PairedTable) -> f64 {
    (table.both + table.only_candidate) as f64 / table.pairs() as f64
}

pub(crate) fn false_claims_table(study: &Study) -> Table {
    let mut table = Table::new(
        "False claims: candidates whose true loss is exactly the margin",
        "claimed",
        format!(
            "Margin {MARGIN}, 95% two-sided intervals, so that one candidate alone is to pass on 2.5% of draws. A claim is any of REPLACE, CASCADE and CHEAPER_API."
        ),
    );
    for n in [300, 1000, 3000] {
        for discordance in [0.06, 0.15, 0.3] {
            let cell = format!("one student, n {n}, discordance {discordance}");
            let observed = study.share(&format!("false {cell}"), |generator, _| {
                alone(paired_table(generator, n, discordance, -MARGIN), MARGIN).is_met()
            });
            table.add(study, &cell, observed, FALSE_CLAIM, "");
        }
    }
    for (n, roles) in [
        (300, vec![CandidateRole::Student; 3]),
        (1000, vec![CandidateRole::Student; 5]),
        (
            1000,
            vec![
                CandidateRole::Floor,
                CandidateRole::Student,
                CandidateRole::Cascade { deferred: 0.4 },
                CandidateRole::CheaperApi,
            ],
        ),
    ] {
        let world = World::at_margin(0.9, 0.3, MARGIN);
        let kinds = if roles.contains(&CandidateRole::CheaperApi) {
            "floor, student, cascade and cheaper model"
        } else {
            "students"
        };
        let cell = format!("any of {} {kinds}, Holm, n {n}", roles.len());
        let observed = study.share(&format!("false {cell}"), |generator, _| {
            let comparisons: Vec<(Comparison, CandidateRole)> = world
                .tables(generator, n, roles.len())
                .into_iter()
                .zip(&roles)
                .map(|(table, role)| (Comparison::of(table, 0, CONFIDENCE), *role))
                .collect();
            judge(&comparisons, MARGIN).verdict.decision.is_met()
        });
        table.add(study, &cell, observed, FALSE_CLAIM, "");
    }
    stopped_sweeps(study, &mut table);
    scores(study, &mut table);
    judged(study, &mut table);
    table
}

/// A sweep trains students one after the other and stops when validation looks good; the verdict
/// is about the one that validation chose.
fn stopped_sweeps(study: &Study, table: &mut Table) {
    let (validation, n, most) = (200, 1000, 10);
    let world = World::at_margin(0.9, 0.3, MARGIN);
    let sweep = |generator: &mut ChaCha8Rng, on_test: bool| {
        let mut best: Option<(f64, PairedTable)> = None;
        for _ in 0..most {
            let seen = world.tables(generator, validation, 1)[0];
            let judged = world.tables(generator, n, 1)[0];
            let looked_at = if on_test { &judged } else { &seen };
            let score = looked_at.difference().unwrap_or(-1.0);
            if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                best = Some((score, judged));
            }
            // It looks better than the teacher by as much as was asked for.
            if score >= 0.01 {
                break;
            }
        }
        best.is_some_and(|(_, judged)| alone(judged, MARGIN).is_met())
    };
    let observed = study.share("sweep by validation", |generator, _| {
        sweep(generator, false)
    });
    let cell = format!(
        "sweep of up to {most} students, stopped and chosen on {validation} validation rows, judged on {n}"
    );
    table.add(study, &cell, observed, FALSE_CLAIM, "");
    let observed = study.share("sweep by test", |generator, _| sweep(generator, true));
    let cell = "the same chosen on the judged rows, which is not done here";
    table.add(
        study,
        cell,
        observed,
        Limit::Shown,
        "what sealed rows guard against",
    );
}

/// A primary metric that is more than right and wrong, and rows in groups: the paired bootstrap.
fn scores(study: &Study, table: &mut Table) {
    let n = 300;
    let settings = |seed| Settings {
        confidence: CONFIDENCE,
        draws: BOOTSTRAP_DRAWS,
        seed,
    };
    let row = |index: usize, score: f64| ScoredRow {
        id: format!("{index:05}"),
        score: Score::Value(score),
    };
    let cell = format!("one student by a score from 0 to 1, n {n}");
    let observed = study.share(&format!("false {cell}"), |generator, draw| {
        let mut sides = (Vec::new(), Vec::new());
        for index in 0..n {
            let teacher = generator.random::<f64>();
            // Loses twice the margin on half of the rows, on average, and errs about it.
            let kept = if generator.random_bool(0.5) {
                teacher
            } else {
                teacher - 2.0 * MARGIN + 0.4 * (generator.random::<f64>() - 0.5)
            };
            sides.0.push(row(index, kept));
            sides.1.push(row(index, teacher));
        }
        claimed(&sides.0, &sides.1, &BTreeMap::new(), &settings(draw))
    });
    table.add(study, &cell, observed, FALSE_CLAIM, "paired BCa bootstrap");
    let cell = format!("one student by a score that it misses in full on few rows, n {n}");
    let observed = study.share(&format!("false {cell}"), |generator, draw| {
        let mut sides = (Vec::new(), Vec::new());
        for index in 0..n {
            let missed = generator.random_bool(MARGIN);
            sides.0.push(row(index, f64::from(u8::from(!missed))));
            sides.1.push(row(index, 1.0));
        }
        claimed(&sides.0, &sides.1, &BTreeMap::new(), &settings(draw))
    });
    table.add(study, &cell, observed, FALSE_CLAIM, "paired BCa bootstrap");
    let cell = "one student by right and wrong, 100 groups of 3 rows";
    let world = World::at_margin(0.85, 0.3, MARGIN);
    let groups: BTreeMap<String, String> = (0..n)
        .map(|index| (format!("{index:05}"), (index / 3).to_string()))
        .collect();
    let observed = study.share(&format!("false {cell}"), |generator, draw| {
        let mut sides = (Vec::new(), Vec::new());
        for group in 0..n / 3 {
            // Two of the three rows of a group fare alike.
            let first = world.tables(generator, 1, 1)[0];
            let third = world.tables(generator, 1, 1)[0];
            for (place, table) in [first, first, third].iter().enumerate() {
                let teacher = (table.both + table.only_baseline) as f64;
                sides.0.push(row(group * 3 + place, accuracy(table)));
                sides.1.push(row(group * 3 + place, teacher));
            }
        }
        claimed(&sides.0, &sides.1, &groups, &settings(draw))
    });
    table.add(
        study,
        cell,
        observed,
        FALSE_CLAIM,
        "clustered BCa bootstrap",
    );
}

/// A judge that takes more of the student's wrong answers for right than of the teacher's.
fn judged(study: &Study, table: &mut Table) {
    let (n, labelled) = (1000, 200);
    let world = World::at_margin(0.9, 0.3, MARGIN);
    let settings = Settings {
        confidence: CONFIDENCE,
        ..Settings::default()
    };
    for corrected in [true, false] {
        let cell = format!("judge {corrected}");
        let observed = study.share(&cell, |generator, _| {
            let mut judge = (Vec::new(), Vec::new());
            let mut human = (BTreeMap::new(), BTreeMap::new());
            for index in 0..n {
                let table = world.tables(generator, 1, 1)[0];
                let right = [accuracy(&table), (table.both + table.only_baseline) as f64];
                let id = format!("{index:05}");
                let scores = [0.6, 0.2].map(|lenient| generator.random_bool(lenient));
                let verdict = |side: usize| right[side].max(f64::from(u8::from(scores[side])));
                for (rows, side) in [(&mut judge.0, 0), (&mut judge.1, 1)] {
                    rows.push(ScoredRow {
                        id: id.clone(),
                        score: Score::Value(verdict(side)),
                    });
                }
                if index < labelled {
                    human.0.insert(id.clone(), right[0]);
                    human.1.insert(id, right[1]);
                }
            }
            if !corrected {
                return judge_by_table(&judge.0, &judge.1).is_met();
            }
            let side = |judge, human| JudgedSide { judge, human };
            compare_judged(
                side(&judge.0, &human.0),
                side(&judge.1, &human.1),
                Scale::default(),
                &settings,
            )
            .is_ok_and(|comparison| judge_alone(comparison).is_met())
        });
        let (cell, limit) = if corrected {
            (
                "one student by a judge that favours it, corrected on 200 of 1000 rows",
                FALSE_CLAIM,
            )
        } else {
            (
                "the same by the judge's scores as they are, taken for gold",
                Limit::Shown,
            )
        };
        table.add(study, cell, observed, limit, "");
    }
}

fn claimed(
    candidate: &[ScoredRow],
    baseline: &[ScoredRow],
    groups: &BTreeMap<String, String>,
    settings: &Settings,
) -> bool {
    compare_values(candidate, baseline, Scale::default(), groups, settings)
        .is_ok_and(|comparison| judge_alone(comparison).is_met())
}

pub(crate) fn power_table(study: &Study) -> Table {
    let mut table = Table::new(
        "Power at the printed number of rows",
        "settled",
        "The number is printed before any money is spent, for a power of 80% (and, last, in an UNDECIDED, for fresh rows).",
    );
    let promised = Limit::Within(0.77, 0.83);
    for (margin, discordance, difference) in [
        (0.03, 0.15, 0.0),
        (0.05, 0.1, 0.0),
        (0.1, 0.3, 0.0),
        (0.02, 0.1, 0.01),
        (0.05, 0.2, -0.1),
    ] {
        let plan = PowerPlan {
            difference,
            ..PowerPlan::noninferiority(margin, CONFIDENCE, discordance)
        };
        let Some(n) = required_n(&plan) else {
            continue;
        };
        let cell =
            format!("margin {margin}, discordance {discordance}, true difference {difference}");
        let level = (1.0 - CONFIDENCE) / 2.0;
        let observed = study.share(&format!("power {cell}"), |generator, _| {
            let drawn = paired_table(generator, n, discordance, difference);
            noninferiority_p(&drawn, margin).is_some_and(|p| {
                if difference > -margin {
                    p < level
                } else {
                    p > 1.0 - level
                }
            })
        });
        table.add(study, &cell, observed, promised, format!("printed n {n}"));
    }
    undecided(study, &mut table);
    table
}

/// Any difference is as likely as another; of the runs that end undecided, how many does the
/// printed number of fresh rows settle?
fn undecided(study: &Study, table: &mut Table) {
    let (n, margin, discordance) = (400, MARGIN, 0.2);
    let [undecided, settled, rows] = study.means("undecided", |generator, _| {
        // Beyond this, 400 rows always settle it.
        let truth = -margin + 0.2 * (2.0 * generator.random::<f64>() - 1.0);
        let truth = truth.clamp(-discordance, discordance);
        let first = alone(paired_table(generator, n, discordance, truth), margin);
        let Decision::Undecided {
            eval_rows: Some(rows),
        } = first
        else {
            return [0.0; 3];
        };
        let again = alone(paired_table(generator, rows, discordance, truth), margin);
        let settled = !matches!(again, Decision::Undecided { .. });
        [1.0, f64::from(u8::from(settled)), rows as f64]
    });
    let cell = format!(
        "UNDECIDED(n) after {n} rows, margin {margin}, discordance {discordance}, any true difference"
    );
    let note = format!("mean n {:.0}, of the undecided draws", rows / undecided);
    table.add(
        study,
        &cell,
        settled / undecided,
        Limit::Within(0.77, 0.83),
        note,
    );
    if let Some(line) = table.lines.last_mut() {
        line.draws = (undecided * study.draws as f64) as usize;
    }
}
