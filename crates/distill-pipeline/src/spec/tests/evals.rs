//! Settings of the evaluation, the cascade and the measurements.

use super::*;

#[test]
fn every_setting_is_read() {
    let spec = load("p.yaml", include_str!("full.yaml"), &VOCABULARY).unwrap();
    let evals = &spec.evals;
    assert_eq!(evals.metric.as_deref(), Some("numeric"));
    assert_eq!(
        serde_json::to_value(&evals.scorers).unwrap(),
        json!([{"name": "macro_f1"}, {"name": "numeric", "settings": {"tolerance": 0.01}}])
    );
    assert_eq!(evals.slices, ["channel", "language"]);
    assert_eq!(evals.group.as_deref(), Some("conversation"));
    assert_eq!(evals.human.as_deref(), Some("labels.csv"));
    let judge = evals.judge.as_ref().unwrap();
    assert_eq!(judge.models[0].name(), "openai/judge");
    assert_eq!(judge.mode, JudgeMode::Pairwise);
    assert_eq!(judge.calibration.as_deref(), Some("judged.csv"));
    assert_eq!(evals.noise_floor, 100);
    assert_eq!(evals.cheaper[1].name(), "anthropic/y");
    assert_eq!(spec.data.calibration.to_string(), "0.15");
    assert_eq!(spec.train.learning_curve, [0.25, 0.5]);
    assert_eq!(spec.accept.risk, Some(0.05));
    assert_eq!(spec.cost.watts, Some(15.0));
    assert_eq!(spec.measure.concurrency, [1, 4]);
    assert_eq!(spec.measure.requests, 200);
    assert_eq!(spec.measure.arrivals_per_second, Some(5.0));
    let json = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<ResolvedSpec>(json).unwrap(), spec);
}

#[test]
fn what_is_left_out_changes_nothing_that_is_written() {
    let spec = load("p.yaml", QUICKSTART, &VOCABULARY).unwrap();
    assert_eq!(spec.measure, MeasureSpec::default());
    let json = serde_json::to_value(&spec).unwrap();
    let keys = |section: &str| -> Vec<String> {
        let map = json[section].as_object().unwrap();
        map.keys().cloned().collect()
    };
    assert_eq!(
        keys("data"),
        ["train", "gold", "labels", "validation", "limit"]
    );
    assert_eq!(keys("evals"), ["test", "gold", "limit", "controls"]);
    assert_eq!(keys("train"), ["linear", "decoder"]);
    assert_eq!(
        keys("accept"),
        ["margin", "confidence", "max_p95_ms", "max_usd_per_1000"]
    );
    assert_eq!(
        keys("cost"),
        ["usd_per_hour", "requests_per_day", "assumed"]
    );
    assert!(json.get("measure").is_none());
}

#[test]
fn a_risk_keeps_rows_for_the_calibration_and_none_are_kept_without() {
    let calibration = |accept: &str| {
        let text = format!("{QUICKSTART}{accept}");
        load("p.yaml", &text, &VOCABULARY).unwrap().data.calibration
    };
    assert_eq!(calibration("").to_string(), "0");
    assert_eq!(calibration("accept: {risk: 0.05}\n").to_string(), "0.1");
}

#[test]
fn a_judge_has_defaults_but_for_its_models_and_its_budget() {
    let text = with(
        "gold: label}\nstudent",
        "gold: label, judge: {models: [openai/judge], budget_usd: 1}}\nstudent",
    );
    let spec = load("p.yaml", &text, &VOCABULARY).unwrap();
    let judge = spec.evals.judge.unwrap();
    assert_eq!(judge.mode, JudgeMode::Pointwise);
    assert!(!judge.same_family && judge.calibration.is_none() && !judge.rubric.is_empty());
    let text = with(
        "gold: label}\nstudent",
        "gold: label, judge: {rubrik: x}}\nstudent",
    );
    assert_snapshot!(brief(&text), @"
    spec::missing 11:38 `evals.judge.models` is missing
    spec::missing 11:38 `evals.judge.budget_usd` is missing
    spec::unknown_key 11:46 `evals.judge` has no key `rubrik`
    ");
}

/// The quickstart with more settings under `evals`.
fn evals(settings: &str) -> String {
    with(
        "evals: {test: test.csv, gold: label}",
        &format!("evals: {{test: test.csv, gold: label, {settings}}}"),
    )
}

#[test]
fn a_metric_has_to_exist_to_fit_and_to_decide() {
    assert_snapshot!(check(&evals("metric: acuracy")), @"
    error[spec::unknown_name]: `evals.metric`: there is no metric `acuracy`
      --> p.yaml:11:46
       |
    11 | evals: {test: test.csv, gold: label, metric: acuracy}
       |                                              ^^^^^^^ not a metric of this program
       = help: did you mean `accuracy`?
    ");
    assert_snapshot!(brief(&evals("metric: json_parses")), @"spec::conflict 11:46 `evals.metric`: metric `json_parses` has no meaning for a task of kind `classify`");
    assert_snapshot!(brief(&evals("metric: macro_f1")), @"spec::conflict 11:46 `evals.metric`: a verdict cannot rest on `macro_f1`");
    assert!(load("p.yaml", &evals("scorers: [macro_f1]"), &VOCABULARY).is_ok());
}

#[test]
fn a_scorer_has_to_exist_and_its_settings_too() {
    assert_snapshot!(brief(&evals("scorers: [numeric, numeric, rouge_9]")), @"
    spec::invalid 11:57 `numeric` is in `evals.scorers` twice
    spec::unknown_name 11:66 `evals.scorers`: there is no metric `rouge_9`
    ");
    assert_snapshot!(check(&evals("scorers: [{numeric: {tolerence: 1}}]")), @"
    error[spec::invalid]: the settings of scorer `numeric` do not hold: `numeric` has no setting `tolerence`
      --> p.yaml:11:49
       |
    11 | evals: {test: test.csv, gold: label, scorers: [{numeric: {tolerence: 1}}]}
       |                                                 ^^^^^^^ has wrong settings
       = help: write `name` alone for the usual settings, or `{name: {setting: value}}`
    ");
    assert_snapshot!(brief(&evals("scorers: [{a: {}, b: {}}, 3]")), @"
    spec::wrong_type 11:48 `evals.scorers[0]` takes the name of a metric, or `{name: {setting: value}}`
    spec::wrong_type 11:64 `evals.scorers[1]` takes the name of a metric, or `{name: {setting: value}}`
    ");
}

#[test]
fn shares_counts_and_files_are_checked() {
    assert_snapshot!(
        brief(&evals("slices: [a, a, \"\"], group: \"\", human: labels.xlsx, noise_floor: -1")),
        @"
        spec::invalid 11:50 `a` is in `evals.slices` twice
        spec::invalid 11:53 `evals.slices` is empty
        spec::invalid 11:65 `evals.group` is empty
        spec::invalid 11:76 `evals.human` names `labels.xlsx`, which is no table
        spec::wrong_type 11:102 `evals.noise_floor` takes a whole number, 0 or more
        "
    );
    let text = format!(
        "{QUICKSTART}train: {{learning_curve: [0.5, 1]}}\naccept: {{risk: 1}}\ncost: {{watts: 0}}\n\
         measure: {{concurrency: [0], requests: 0, arrivals_per_second: 0}}\n"
    );
    assert_snapshot!(brief(&text), @"
    spec::out_of_range 13:31 `train.learning_curve` is 1, and must be above 0 and below 1
    spec::out_of_range 14:16 `accept.risk` is 1, and must be above 0 and below 1
    spec::out_of_range 15:15 `cost.watts` is 0, and must be above 0
    spec::out_of_range 16:25 `measure.concurrency` is 0, and must be at least 1
    spec::out_of_range 16:39 `measure.requests` is 0, and must be at least 1
    spec::out_of_range 16:63 `measure.arrivals_per_second` is 0, and must be 0.001 or more
    ");
    let text = format!("{QUICKSTART}measure: {{concurrency: []}}\n");
    assert_snapshot!(brief(&text), @"spec::missing 13:11 `measure.concurrency` is an empty list");
}

#[test]
fn a_split_that_leaves_nothing_is_named() {
    let data = |settings: &str| {
        with(
            "data: {train: train.csv, gold: label}",
            &format!("data: {{train: train.csv, gold: label, {settings}}}"),
        )
    };
    assert_snapshot!(brief(&data("validation: 0.5, calibration: 0.5")), @"spec::conflict 7:69 `data.validation` (0.5) and `data.calibration` (0.5) leave no row to train on");
    let text = data("calibration: 0") + "accept: {risk: 0.05}\n";
    assert_snapshot!(brief(&text), @"spec::conflict 7:52 `accept.risk` asks for a cascade, and `data.calibration` is 0");
}

#[test]
fn what_is_held_against_the_teacher_needs_one() {
    let alone = r#"name: p
task: {kind: classify, prompt: "{{ text }}", labels: [a, b]}
data: {train: train.csv, gold: label}
evals: {test: test.csv, gold: label, noise_floor: 10, cheaper: [openai/small]}
student: {target: linear}
accept: {risk: 0.05}
"#;
    assert_snapshot!(brief(alone), @"
    spec::conflict 4:51 `evals.noise_floor` is set, and there is no teacher: it asks the teacher a second time
    spec::conflict 4:55 `evals.cheaper` is set, and there is no teacher: it is held against the teacher
    spec::conflict 6:16 `accept.risk` is set, and there is no teacher: a cascade hands hard rows to the teacher
    ");
    assert_snapshot!(check(&evals("cheaper: [simulated/backup]")), @"
    error[spec::conflict]: a model of `evals.cheaper` is the teacher's own
      --> p.yaml:11:48
       |
    11 | evals: {test: test.csv, gold: label, cheaper: [simulated/backup]}
       |                                                ^^^^^^^^^^^^^^^^ stands in `teacher.models` too
       = help: name a model that the teacher's chain does not have
    ");
}

#[test]
fn human_answers_alone_are_a_reference() {
    let text = r#"name: p
task: {kind: classify, prompt: "{{ text }}", labels: [a, b]}
data: {train: train.csv, gold: label}
evals: {test: test.csv, human: labels.csv}
student: {target: linear}
"#;
    assert!(load("p.yaml", text, &VOCABULARY).is_ok());
}

#[test]
fn the_reference_names_the_new_sections() {
    let text = reference();
    for section in ["evals.judge", "evals.cheaper", "measure"] {
        assert!(text.contains(&format!("## `{section}`")), "{section}");
    }
}
