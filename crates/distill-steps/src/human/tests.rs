use std::collections::{BTreeMap, BTreeSet};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_eval::{Score, compare};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Answered, Design, Labels, Sheet, Signals, Stratum, draw, read_labels, read_sheet, write_labels,
    write_sheet,
};

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("r{number:04}")).collect()
}

fn signals(differ: &[usize], doubt: &[usize]) -> Signals {
    let named = |places: &[usize]| {
        places
            .iter()
            .map(|place| ids(*place + 1)[*place].clone())
            .collect()
    };
    Signals {
        differ: named(differ),
        doubt: named(doubt),
        answers: BTreeMap::new(),
    }
}

fn task() -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec!["refund".into(), "delivery".into()],
        schema: None,
    })
    .unwrap()
}

#[test]
fn a_draw_prefers_differences_and_leaves_every_stratum_a_part() {
    let ids = ids(1000);
    let differ: Vec<usize> = (0..60).collect();
    let doubt: Vec<usize> = (60..160).collect();
    let placed = draw(&ids, &signals(&differ, &doubt), &BTreeSet::new(), 100, 1);
    let count = |stratum| {
        let is = |row: &&super::Placed| row.stratum == stratum && row.order.is_some();
        placed.iter().filter(is).count()
    };
    assert_eq!(count(Stratum::Differ), 60, "all of them");
    assert_eq!(
        count(Stratum::Rest),
        26,
        "the even part: 0.3 of 100, by size"
    );
    assert_eq!(count(Stratum::Doubt), 14, "what is left");
    let mut orders: Vec<usize> = placed.iter().filter_map(|row| row.order).collect();
    orders.sort_unstable();
    assert_eq!(orders, (0..100).collect::<Vec<_>>());
    let again = draw(&ids, &signals(&differ, &doubt), &BTreeSet::new(), 100, 1);
    assert_eq!(again, placed);
    assert_ne!(
        draw(&ids, &signals(&differ, &doubt), &BTreeSet::new(), 100, 2),
        placed
    );
}

#[test]
fn a_draw_is_never_more_than_there_is_and_may_be_tiny() {
    let rows = ids(5);
    for count in [0, 1, 2, 5, 50] {
        let placed = draw(&rows, &signals(&[0], &[1]), &BTreeSet::new(), count, 3);
        let drawn = placed.iter().filter(|row| row.order.is_some()).count();
        assert_eq!(drawn, count.min(5));
    }
    let known: BTreeSet<String> = [rows[0].clone()].into();
    let placed = draw(&rows, &signals(&[0], &[]), &known, 5, 3);
    assert_eq!((placed[0].stratum, placed[0].order), (Stratum::Known, None));
}

#[test]
fn inclusion_follows_what_was_answered() {
    let placed = draw(
        &ids(100),
        &signals(&(0..10).collect::<Vec<_>>(), &[]),
        &BTreeSet::new(),
        20,
        1,
    );
    let mut labels = Labels::of_draw(placed, &BTreeMap::new());
    assert_eq!(labels.open().len(), 20);
    let first: Vec<String> = labels.open()[..5]
        .iter()
        .map(|row| row.id.clone())
        .collect();
    let sheet: Sheet = first
        .iter()
        .map(|id| (id.clone(), "refund".to_owned()))
        .collect();
    labels.take(&sheet);
    assert_eq!((labels.open().len(), labels.answers().len()), (15, 5));
    let design = labels.design(&ids(100));
    // The chances of a stratum add up to its answered rows.
    let sum: f64 = design.inclusion.values().sum();
    assert!((sum - 5.0).abs() < 1e-9, "{sum}");
    // An answer to a row that was not drawn is in for certain.
    let other = labels
        .rows
        .iter()
        .find(|row| row.order.is_none())
        .unwrap()
        .id
        .clone();
    labels.take(&Sheet::from([(other.clone(), "delivery".to_owned())]));
    assert!(labels.design(&ids(100)).inclusion[&other] > 0.999);
}

#[test]
fn a_file_of_the_users_own_is_an_even_draw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    std::fs::write(&path, "id,answer\nr0000,Refund\nr0001,\nr0002,delivery\n").unwrap();
    let labels = read_labels(&path, &task()).unwrap();
    assert_eq!(labels.answers()["r0000"], "refund");
    let design = labels.design(&ids(10));
    assert_eq!(design.labelled.len(), 2);
    assert!(
        design
            .inclusion
            .values()
            .all(|chance| (chance - 0.2).abs() < 1e-12)
    );
    assert_eq!(design.even_rows(1), design.labelled);
}

#[test]
fn labels_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    let placed = draw(
        &ids(30),
        &signals(&[1, 2, 3], &[4]),
        &BTreeSet::new(),
        10,
        5,
    );
    let mut labels = Labels::of_draw(placed, &BTreeMap::new());
    let id = labels.open()[0].id.clone();
    labels.take(&Sheet::from([(id, "refund".to_owned())]));
    write_labels(&path, &labels).unwrap();
    assert_eq!(read_labels(&path, &task()).unwrap(), labels);
}

#[test]
fn a_sheet_goes_out_and_comes_back_with_any_text_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sheet.csv");
    let hostile = "=HYPERLINK(\"http://x\",\"y\"), \"quoted\"\nnext line; and; more\u{0}\tend";
    let rows = [
        ("a,1".to_owned(), hostile.to_owned()),
        ("r2".to_owned(), "-1+2".to_owned()),
    ];
    write_sheet(&path, &rows).unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains("\"'=HYPERLINK"), "{written}");
    assert!(written.contains("'-1+2"));
    let known: BTreeSet<&str> = ["a,1", "r2"].into();
    assert!(
        read_sheet(&path, &known, &task()).unwrap().is_empty(),
        "nothing is filled in"
    );
    let filled = written
        .replace("end\",", "end\",refund")
        .replace("'-1+2,", "'-1+2, DELIVERY ");
    std::fs::write(&path, filled).unwrap();
    let sheet = read_sheet(&path, &known, &task()).unwrap();
    assert_eq!(sheet["a,1"], "refund");
    assert_eq!(sheet["r2"], "delivery");
}

#[test]
fn every_mistake_of_a_sheet_is_named_with_its_line_and_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sheet.csv");
    let known: BTreeSet<&str> = ["r1", "r2"].into();
    std::fs::write(
        &path,
        "\u{feff}id,answer\nr1,refund\nr9,refund\nr2,money back\nr1,delivery\n,refund\n",
    )
    .unwrap();
    let failure = read_sheet(&path, &known, &task()).unwrap_err();
    for part in [
        "line 3: row `r9` is not one of the test rows",
        "line 4: the answer \"money back\" to row `r2` does not fit the task",
        "line 5: row `r1` has two different answers",
        "line 6: row `` is not one of the test rows",
    ] {
        assert!(
            failure.message.contains(part),
            "{part}\n{}",
            failure.message
        );
    }
    for (text, part) in [
        ("answer\nrefund\n", "no column `id`"),
        ("id,answer\nr1\n", "columns"),
        ("id,answer\n", "no rows"),
    ] {
        std::fs::write(&path, text).unwrap();
        let failure = read_sheet(&path, &known, &task()).unwrap_err();
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    std::fs::write(&path, b"id,answer\nr1,\xff\xfe\n").unwrap();
    let failure = read_sheet(&path, &known, &task()).unwrap_err();
    assert!(failure.message.contains("line 2"), "{}", failure.message);
    let file = folder.path().join("labels.csv");
    std::fs::write(
        &file,
        "id,answer,inclusion,stratum\nr1,refund,1.5,differ\nr2,,0.5,odd\nr1,,,\n",
    )
    .unwrap();
    let failure = read_labels(&file, &task()).unwrap_err();
    for part in [
        "line 2: inclusion `1.5`",
        "line 3: there is no stratum `odd`",
        "line 4: row `r1` stands in the file twice",
    ] {
        assert!(
            failure.message.contains(part),
            "{part}\n{}",
            failure.message
        );
    }
}

/// A population of rows: what is right, and what two models say of them.
struct World {
    right: Vec<bool>,
    candidate: Vec<bool>,
    baseline: Vec<bool>,
}

impl World {
    /// Two models that are right with these chances and differ on `differ` of the rows.
    fn draw(rows: usize, better: f64, worse: f64, random: &mut ChaCha8Rng) -> Self {
        let mut world = Self {
            right: Vec::new(),
            candidate: Vec::new(),
            baseline: Vec::new(),
        };
        for _ in 0..rows {
            let right = random.random_bool(0.5);
            let chance: f64 = random.random();
            // Only the candidate is right, only the baseline is, both are, none is.
            let (mine, theirs) = if chance < better {
                (true, false)
            } else if chance < better + worse {
                (false, true)
            } else {
                let both = random.random_bool(0.85);
                (both, both)
            };
            world.right.push(right);
            world.candidate.push(right == mine);
            world.baseline.push(right == theirs);
        }
        world
    }

    fn arm<'a>(&self, ids: &'a [String], says: &[bool], design: &Design) -> Vec<Answered<'a>> {
        ids.iter()
            .enumerate()
            .map(|(row, id)| Answered {
                id,
                answer: Some(if says[row] { "yes" } else { "no" }),
                score: if design.labelled.contains(id) {
                    Score::Value(f64::from(u8::from(says[row] == self.right[row])))
                } else {
                    Score::unscored("nobody answered it")
                },
            })
            .collect()
    }
}

/// Labels of the rows that a draw of `count` gives.
fn labelled(world: &World, ids: &[String], count: usize, seed: u64) -> Design {
    let differ: Vec<usize> = (0..ids.len())
        .filter(|row| world.candidate[*row] != world.baseline[*row])
        .collect();
    // Some doubt that has to do with being wrong.
    let doubt: Vec<usize> = (0..ids.len())
        .filter(|row| row % 7 == 0 || (world.candidate[*row] != world.right[*row] && row % 2 == 0))
        .collect();
    let placed = draw(
        ids,
        &signals_of(ids, &differ, &doubt),
        &BTreeSet::new(),
        count,
        seed,
    );
    let mut labels = Labels::of_draw(placed, &BTreeMap::new());
    let sheet: Sheet = labels
        .open()
        .iter()
        .map(|row| (row.id.clone(), "x".to_owned()))
        .collect();
    labels.take(&sheet);
    labels.design(ids)
}

fn signals_of(ids: &[String], differ: &[usize], doubt: &[usize]) -> Signals {
    let named = |places: &[usize]| places.iter().map(|place| ids[*place].clone()).collect();
    Signals {
        differ: named(differ),
        doubt: named(doubt),
        answers: BTreeMap::new(),
    }
}

/// The soundness of a verdict on rows that were chosen for being doubtful, at the margin where a
/// false REPLACE is likeliest: balanced rows hold the level and cover the true difference; the
/// labelled rows taken as they are do not.
#[test]
fn a_verdict_on_chosen_rows_keeps_its_level_and_its_coverage() {
    const WORLDS: usize = 1000;
    const ROWS: usize = 700;
    let ids = ids(ROWS);
    let margin = 0.03;
    // On 13% of rows the two differ; the candidate is worse by exactly the margin.
    let (better, worse) = (0.05, 0.08);
    for count in [60, 140, ROWS] {
        let mut random = ChaCha8Rng::seed_from_u64(20 + count as u64);
        let (mut replaced, mut covered, mut decided, mut naive_covered) = (0, 0, 0, 0);
        for world in 0..WORLDS {
            let seed = world as u64;
            let world = World::draw(ROWS, better, worse, &mut random);
            let design = labelled(&world, &ids, count, seed);
            let candidate = world.arm(&ids, &world.candidate, &design);
            let baseline = world.arm(&ids, &world.baseline, &design);
            let covers = |interval: Option<distill_eval::Interval>| {
                interval.is_some_and(|interval| (interval.low..=interval.high).contains(&-margin))
            };
            let naive = |arm: &[Answered<'_>]| -> Vec<distill_eval::ScoredRow> {
                arm.iter()
                    .map(|row| distill_eval::ScoredRow {
                        id: row.id.to_owned(),
                        score: row.score.clone(),
                    })
                    .collect()
            };
            let unweighted = compare(&naive(&candidate), &naive(&baseline), 0.95).unwrap();
            naive_covered += usize::from(covers(unweighted.interval));
            let Some(balanced) = design.balance(&candidate, &baseline, seed) else {
                continue;
            };
            decided += 1;
            let compared = compare(&balanced.candidate, &balanced.baseline, 0.95).unwrap();
            covered += usize::from(covers(compared.interval));
            replaced += usize::from(
                compared
                    .interval
                    .is_some_and(|interval| interval.low > -margin),
            );
        }
        let share = |count: usize| count as f64 / WORLDS as f64;
        // Two Monte Carlo errors of 1,000 worlds: 1.4 points around 95%, 1 point around 2.5%.
        assert!(share(decided) > 0.99, "{count}: {decided} decided");
        assert!(
            share(replaced) <= 0.035,
            "{count}: {replaced} false REPLACE"
        );
        assert!(share(covered) >= 0.936, "{count}: {covered} covered");
        if count < ROWS {
            assert!(
                share(naive_covered) < 0.9,
                "{count}: {naive_covered} covered unweighted"
            );
        }
    }
}

/// Labelling the rows on which two models differ settles as much as labelling all of them.
#[test]
fn the_rows_that_differ_are_worth_all_the_others() {
    let ids = ids(600);
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let world = World::draw(600, 0.05, 0.05, &mut random);
    let differ = (0..600)
        .filter(|row| world.candidate[*row] != world.baseline[*row])
        .count();
    let whole = labelled(&world, &ids, 600, 1);
    assert!(whole.is_whole());
    // A third of the draw is even; the rest reaches every row that differs.
    let few = labelled(&world, &ids, differ * 3 / 2, 1);
    let pair = |design: &Design| {
        let candidate = world.arm(&ids, &world.candidate, design);
        let baseline = world.arm(&ids, &world.baseline, design);
        let balanced = design.balance(&candidate, &baseline, 1).unwrap();
        let compared = compare(&balanced.candidate, &balanced.baseline, 0.95).unwrap();
        let table = compared.table.unwrap();
        (table.only_candidate, table.only_baseline, compared.n)
    };
    assert_eq!(pair(&few), pair(&whole));
    assert!(few.labelled.len() < 110, "{}", few.labelled.len());
}

#[test]
fn without_a_chance_for_a_row_that_differs_there_is_no_verdict() {
    let ids = ids(10);
    let mut design = Design::even(&ids, ids[..5].iter().cloned().collect());
    let says = |answer: &'static str| -> Vec<Answered<'_>> {
        ids.iter()
            .map(|id| Answered {
                id,
                answer: Some(answer),
                score: Score::Value(1.0),
            })
            .collect()
    };
    assert!(design.balance(&says("a"), &says("b"), 1).is_some());
    design.inclusion.insert(ids[9].clone(), 0.0);
    assert!(design.balance(&says("a"), &says("b"), 1).is_none());
    // Where they never differ, no label is needed.
    let equal = design.balance(&says("a"), &says("a"), 1).unwrap();
    assert_eq!((equal.candidate.len(), equal.rate), (10, 1.0));
}
