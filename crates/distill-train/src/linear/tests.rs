use std::path::PathBuf;

use rand::Rng;

use super::*;

type Rows = Vec<(String, String)>;

const WORDS: [(&str, &[&str]); 3] = [
    ("refund", &["money", "back", "refund", "charged", "repay"]),
    (
        "delivery",
        &["parcel", "courier", "late", "address", "parcels"],
    ),
    (
        "account",
        &["password", "login", "email", "locked", "profile"],
    ),
];

/// Rows of five words, three of them from the label's own list.
fn synthetic(rows: usize, seed: u64) -> (Rows, Vec<String>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let filler = ["please", "my", "the", "today", "again", "hello", "why"];
    let rows = (0..rows)
        .map(|_| {
            let (label, own) = WORDS[random.random_range(0..WORDS.len())];
            let mut words: Vec<&str> = (0..3)
                .map(|_| own[random.random_range(0..own.len())])
                .collect();
            words.extend((0..2).map(|_| filler[random.random_range(0..filler.len())]));
            words.shuffle(&mut random);
            (words.join(" "), label.to_owned())
        })
        .collect();
    (rows, WORDS.map(|(label, _)| label.to_owned()).to_vec())
}

fn accuracy(student: &LinearStudent, rows: &Rows) -> f64 {
    let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let answers = student.predict_batch(&texts);
    let right = rows
        .iter()
        .zip(answers)
        .filter(|((_, label), answer)| student.labels()[answer.label] == *label);
    right.count() as f64 / rows.len() as f64
}

#[test]
fn it_learns_what_tells_labels_apart() {
    let (train, labels) = synthetic(200, 1);
    let (test, _) = synthetic(200, 2);
    let (student, report) = train_linear(&train, &labels, &LinearConfig::default()).unwrap();
    assert!(accuracy(&student, &test) > 0.98);
    assert_eq!(report.validation_rows, 200);
    assert_eq!(report.features, student.feature_count());
    let chosen = report
        .grid
        .iter()
        .find(|row| row.cost.total_cmp(&report.chosen_cost).is_eq());
    let best = report.grid.iter().map(|row| row.correct).max();
    assert_eq!(chosen.map(|row| row.correct), best);
}

#[test]
fn the_bytes_depend_on_rows_settings_and_seed_but_not_on_the_number_of_cores() {
    let (train, labels) = synthetic(80, 3);
    let bytes_on = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let config = LinearConfig {
            seed,
            ..LinearConfig::default()
        };
        let (student, report) = pool
            .install(|| train_linear(&train, &labels, &config))
            .unwrap();
        (student.to_safetensors(), report.sharpness.to_bits())
    };
    assert_eq!(bytes_on(1, 0), bytes_on(4, 0));
    assert_ne!(bytes_on(1, 0), bytes_on(1, 1));
}

#[test]
fn probabilities_are_as_right_as_they_say() {
    let (mut train, labels) = synthetic(900, 4);
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for (_, label) in &mut train {
        if random.random_bool(0.3) {
            label.clone_from(&labels[random.random_range(0..labels.len())]);
        }
    }
    let (test, train) = (train.split_off(600), train);
    let (student, _) = train_linear(&train, &labels, &LinearConfig::default()).unwrap();
    let texts: Vec<&str> = test.iter().map(|(text, _)| text.as_str()).collect();
    let answers = student.predict_batch(&texts);
    let claimed = answers.iter().map(|answer| answer.probability).sum::<f64>() / 300.0;
    let reached = accuracy(&student, &test);
    assert!(
        (claimed - reached).abs() < 0.06,
        "{claimed} against {reached}"
    );
}

#[test]
fn the_solver_stops_where_the_objective_has_no_slope() {
    let (train, labels) = synthetic(60, 7);
    let texts: Vec<&str> = train.iter().map(|(text, _)| text.as_str()).collect();
    let targets = targets(&train, &labels).unwrap();
    let all: Vec<usize> = (0..texts.len()).collect();
    let features = FeatureSettings::default();
    let problem = Problem::new(features, &texts, &targets, &all, &labels).unwrap();
    let cost = 0.7;
    for class in 0..labels.len() {
        let machine = problem.machine(class, cost, 1);
        // ½‖w‖² + C Σ max(0, 1 − y w·x)² has the slope w − 2 C Σ max(0, 1 − y w·x) y x.
        let mut slope: Vec<f32> = machine.weights.clone();
        for (row, target) in problem.rows.iter().zip(&targets) {
            let sign = if *target == class { 1.0 } else { -1.0 };
            let short = (1.0 - sign * machine.score(row)).max(0.0);
            for (feature, x) in row.entries() {
                slope[*feature as usize] -= 2.0 * cost as f32 * short * sign * x;
            }
        }
        let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
        let slope = length(&slope) / length(&machine.weights);
        assert!(slope < 0.15, "{slope}");
    }
}

#[test]
fn every_part_of_the_held_out_rows_has_its_share_of_every_label() {
    let targets: Vec<usize> = (0..103).map(|row| row % 3).collect();
    let folds = folds(&targets, 3, 9);
    assert_eq!(folds.tested, FOLDS);
    for part in 0..FOLDS {
        let (learn, test) = folds.split(part);
        assert_eq!(learn.len() + test.len(), targets.len());
        for class in 0..3 {
            let share = test.iter().filter(|row| targets[**row] == class).count();
            assert!((6..=7).contains(&share), "{share}");
        }
    }
}

#[test]
fn rows_that_cannot_be_learnt_from_are_named() {
    let (train, labels) = synthetic(20, 6);
    let config = LinearConfig::default();
    let problem = |train: &Rows, config: &LinearConfig| {
        train_linear(train, &labels, config)
            .unwrap_err()
            .to_string()
    };
    let mut unknown = train.clone();
    unknown[7].1 = "other".into();
    assert_eq!(
        problem(&unknown, &config),
        "row 7 carries the label `other`, which is not one of the 3 labels"
    );
    let one = vec![("a".to_owned(), "refund".to_owned()); 9];
    assert_eq!(
        problem(&one, &config),
        "training the linear student needs rows of at least two labels, found 1"
    );
    let costs = LinearConfig {
        costs: vec![1.0, 0.0],
        ..config.clone()
    };
    assert!(problem(&train, &costs).starts_with("the costs to try"));
    let mut empty = train;
    for (text, _) in &mut empty {
        text.clear();
    }
    assert!(problem(&empty, &config).starts_with("no n-gram occurs in 2 rows"));
}

/// The official split of banking77, or why the test cannot run.
fn banking77(test: &str) -> Option<(Rows, Rows, Vec<String>)> {
    let Some(root) = std::env::var_os("DISTILL_DATA_DIR") else {
        skipped(test);
        return None;
    };
    let directory = PathBuf::from(root).join("banking77");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let labels = serde_json::from_str(&read("categories.json")).unwrap();
    let train = rows_of_csv(&read("train.csv"));
    let test = rows_of_csv(&read("test.csv"));
    assert_eq!((train.len(), test.len()), (10_003, 3_080));
    Some((train, test, labels))
}

#[expect(
    clippy::print_stdout,
    reason = "the runner counts skipped tests by this line"
)]
fn skipped(test: &str) {
    println!("skipped: {test}: DISTILL_DATA_DIR is not set");
}

/// Two columns, the first perhaps quoted, after a header.
fn rows_of_csv(text: &str) -> Rows {
    let mut rows = Vec::new();
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let cell = cells.last_mut().unwrap();
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            '\n' if !quoted => {
                rows.push((cells[0].clone(), cells[1].trim_end().to_owned()));
                cells = vec![String::new()];
            }
            other => cell.push(other),
        }
    }
    rows.remove(0);
    rows
}

#[test]
fn banking77_from_gold_labels_reaches_0_905() {
    let Some((train, test, labels)) = banking77("banking77_from_gold_labels_reaches_0_905") else {
        return;
    };
    let (student, report) = train_linear(&train, &labels, &LinearConfig::default()).unwrap();
    let reached = accuracy(&student, &test);
    assert!(reached >= 0.905, "{reached}: {report:?}");
    assert!(student.to_safetensors().len() < 2_000_000);
}

#[test]
fn nine_wrong_labels_in_a_hundred_cost_banking77_few_points() {
    let name = "nine_wrong_labels_in_a_hundred_cost_banking77_few_points";
    let Some((mut train, test, labels)) = banking77(name) else {
        return;
    };
    // A wrong label is one that a student of the gold labels finds second best.
    let one_cost = LinearConfig {
        costs: vec![0.4],
        ..LinearConfig::default()
    };
    let (gold, _) = train_linear(&train, &labels, &one_cost).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for (text, label) in &mut train {
        if random.random_bool(0.09) {
            let scores = gold.scores(text);
            let second = (0..labels.len())
                .filter(|index| labels[*index] != *label)
                .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
                .unwrap();
            label.clone_from(&labels[second]);
        }
    }
    let few_costs = LinearConfig {
        costs: vec![0.1, 0.2, 0.4],
        ..LinearConfig::default()
    };
    let (student, report) = train_linear(&train, &labels, &few_costs).unwrap();
    let reached = accuracy(&student, &test);
    assert!((0.87..0.91).contains(&reached), "{reached}: {report:?}");
}
