//! What the user reads when a spec is wrong.

use super::*;

#[test]
fn all_mistakes_are_shown_at_once_with_their_places() {
    let text = r#"name: p
task:
  kind: clasify
  promt: "{{ text }}"
  labels: [a, 3]
data: {train: rows.xlsx, gold: label}
teacher:
  models: [opnai/gpt-5-mini]
  budget: 2
evals: {test: test.csv}
student: {target: nanno}
accept: {margin: 3}
"#;
    assert_snapshot!(check(text), @r#"
    error[spec::missing]: `task.prompt` is missing
     --> p.yaml:2:1
      |
    2 | task:
      | ^^^^ belongs in here
      = help: add `prompt:` with text: User message: a minijinja template over the row's columns

    error[spec::unknown_name]: `task.kind` cannot be `clasify`
     --> p.yaml:3:9
      |
    3 |   kind: clasify
      |         ^^^^^^^ not one of: classify, extract, generate
      = help: did you mean `classify`?

    error[spec::unknown_key]: `task` has no key `promt`
     --> p.yaml:4:3
      |
    4 |   promt: "{{ text }}"
      |   ^^^^^ not a key of this section
      = help: did you mean `prompt`?

    error[spec::wrong_type]: `task.labels[1]` takes text
     --> p.yaml:5:15
      |
    5 |   labels: [a, 3]
      |               ^ this is a number
      = help: put it in quotes

    error[spec::invalid]: `data.train` names `rows.xlsx`, and its format is not known
     --> p.yaml:6:15
      |
    6 | data: {train: rows.xlsx, gold: label}
      |               ^^^^^^^^^ must end in .csv, .jsonl, .json or .parquet
      = help: convert the file, or name a data set: `{dataset: NAME, split: NAME}`

    error[spec::missing]: `teacher.budget_usd` is missing
     --> p.yaml:7:1
      |
    7 | teacher:
      | ^^^^^^^ belongs in here
      = help: add `budget_usd:` with a number: Hard cap on what labelling may cost, in US dollars

    error[spec::unknown_name]: there is no vendor `opnai`
     --> p.yaml:8:12
      |
    8 |   models: [opnai/gpt-5-mini]
      |            ^^^^^^^^^^^^^^^^ not in the vendor table
      = help: did you mean `openai`?

    error[spec::unknown_key]: `teacher` has no key `budget`
     --> p.yaml:9:3
      |
    9 |   budget: 2
      |   ^^^^^^ not a key of this section
      = help: did you mean `budget_usd`?

    error[spec::unknown_name]: there is no student `nanno`
      --> p.yaml:11:19
       |
    11 | student: {target: nanno}
       |                   ^^^^^ not a student of this program
       = help: did you mean `nano`?

    error[spec::out_of_range]: `accept.margin` is 3, and must be above 0 and below 1
      --> p.yaml:12:18
       |
    12 | accept: {margin: 3}
       |                  ^ not above 0 and below 1
       = help: 0.03 lets the student be 3 points worse
    "#);
}

#[test]
fn a_budget_of_zero_is_explained() {
    assert_snapshot!(check(&with("2.00", "0")), @"
    error[spec::out_of_range]: `teacher.budget_usd` is 0, and must be above 0
      --> p.yaml:10:15
       |
    10 |   budget_usd: 0
       |               ^ a budget of 0 asks for no label
       = help: give the most that labelling may cost in US dollars; `distill plan` estimates it. Without a teacher, use `data.labels: gold` and remove this section
    ");
}

#[test]
fn text_that_is_no_yaml_points_at_its_line() {
    assert_snapshot!(check("name: p\ntask:\n  prompt: \"{{ text }}\n  kind: classify\n"), @"
    error[spec::syntax]: this is not YAML: invalid indentation in multiline quoted scalar
     --> p.yaml:4:3
      |
    4 |   kind: classify
      |   ^ reading stopped here
      = help: look at the indentation and the quotes of this line and the one above; text with `: ` or `{{` in it needs quotes
    ");
    assert_snapshot!(check("name: p\ntask: {\n"), @"
    error[spec::syntax]: this is not YAML: unclosed bracket '{'
     --> p.yaml:2:7
      |
    2 | task: {
      |       ^ reading stopped here
      = help: look at the indentation and the quotes of this line and the one above; text with `: ` or `{{` in it needs quotes
    ");
    assert_snapshot!(check("name: p\nname: q\n"), @"
    error[spec::duplicate_key]: a key stands twice in one section
     --> p.yaml:2:1
      |
    2 | name: q
      | ^^^^ given a second time
      = help: keep one of the two
    ");
    assert_snapshot!(check(""), @"
    error[spec::wrong_type]: a pipeline is a map of keys
     --> p.yaml:1:1
      |
    1 | 
      | ^ this is nothing
      = help: begin with `name:` and `task:`; `distill init your.csv` writes a pipeline for data
    ");
    assert_snapshot!(check("- name\n"), @"
    error[spec::wrong_type]: a pipeline is a map of keys
     --> p.yaml:1:1
      |
    1 | - name
      | ^ this is a list
      = help: begin with `name:` and `task:`; `distill init your.csv` writes a pipeline for data
    ");
}

#[test]
fn templates_and_schemas_are_compiled() {
    assert_snapshot!(brief(&with("{{ text }}", "{{ text }")), @"spec::template 5:11 template `task.prompt` does not compile: unexpected `}`, expected end of variable block (line 1)");
    assert_snapshot!(brief(&with("join(', ')", "no_such_filter")), @"spec::template 4:11 template `task.system` does not compile: unknown filter: filter no_such_filter is unknown (line 1)");
    assert_snapshot!(check(&EXTRACT.replace("people: {type: string}", "people: {type: string, pattern: x}")), @"
    error[spec::schema]: `task.schema` cannot be held: schema at `properties.people`: keyword `pattern` is not supported
     --> p.yaml:8:30
      |
    8 |       people: {type: string, pattern: x}
      |                              ^^^^^^^ not in the supported part of JSON schema
      = help: use one flat object: `type: object`, `properties` with string, number, integer, boolean or enum, `required`, `additionalProperties`
    ");
    assert_snapshot!(brief(&EXTRACT.replace("type: object", "type: array")), @"spec::schema 6:5 `task.schema` cannot be held: schema at `type`: must be `object`");
}

#[test]
fn parts_that_do_not_go_together_are_named() {
    assert_snapshot!(brief(&EXTRACT.replace("target: auto", "target: [linear, nano, nano]")), @"
    spec::conflict 12:20 student `linear` chooses one label of a set and cannot extract
    spec::invalid 12:34 student `nano` is named twice
    ");
    assert_snapshot!(brief(&with("labels: [refund, delivery]", "labels: [refund, refund, ' a', '']")), @"
    spec::invalid 6:20 label `refund` is listed twice
    spec::invalid 6:28 label ` a` begins or ends with white space
    spec::invalid 6:34 a label is empty
    ");
    assert_snapshot!(brief(&with("labels: [refund, delivery]", "schema: {type: object}")), @"spec::conflict 6:3 `task.schema` belongs to `kind: extract`, and this task classifies");
    assert_snapshot!(brief(&with(", gold: label}\nteacher", "}\nteacher")), @"spec::conflict 9:12 the simulated teacher has no answers to give");
    assert_snapshot!(brief(&with("teacher:\n  models: [simulated/frontier, simulated/backup]\n  budget_usd: 2.00\n", "").replace("gold: label}", "labels: teacher}")), @"
    spec::conflict 7:34 `data.labels` is `teacher`, but there is no teacher
    spec::missing 8:1 nothing says what the right answers of `evals.test` are
    spec::unknown_key 8:25 `evals` has no key `labels`
    ");
    assert_snapshot!(brief(&with("target: [linear, nano]", "target: linear").replace("test.csv,", "test.csv, controls: [full],")), @"spec::conflict 11:36 control `full` compares with a decoder, and no decoder is trained");
    assert_snapshot!(brief(&with("simulated/frontier, simulated/backup", "openai/x").replace("budget_usd: 2.00", "budget_usd: 2\n  simulate: {accuracy: 0.9}")), @"spec::conflict 11:3 `teacher.simulate` is set, but no model of the chain is the embedded simulated one");
}

#[test]
fn a_key_in_the_place_of_its_variable_is_not_repeated() {
    let text = with(
        "simulated/frontier, simulated/backup",
        "{vendor: openai, model: m, api_key_env: sk-1234-secret}",
    );
    let message = brief(&text);
    assert!(!message.contains("1234"), "{message}");
    assert_snapshot!(message, @"spec::invalid 9:52 `api_key_env` is not the name of an environment variable");
}

/// Each number of the spec: a value that it may have, and those that it may not.
#[test]
fn numbers_are_held_to_their_ranges() {
    let cases: &[(&[&str], &str, &[&str])] = &[
        (&["data", "validation"], "0.2", &["0", "1", "-0.1"]),
        (&["data", "limit"], "1", &["0"]),
        (&["evals", "limit"], "1", &["0"]),
        (&["teacher", "budget_usd"], "0.01", &["0", "-1"]),
        (&["teacher", "concurrency"], "1", &["0", "5000"]),
        (&["teacher", "temperature"], "2", &["-1", "2.5"]),
        (&["teacher", "max_tokens"], "1", &["0"]),
        (&["teacher", "simulate", "accuracy"], "1", &["1.1", "-0.1"]),
        (
            &["teacher", "simulate", "judge_position_bias"],
            "0",
            &["1.1", "-0.1"],
        ),
        (&["teacher", "simulate", "unsteady"], "1", &["2"]),
        (
            &["teacher", "simulate", "latency_ms", "median"],
            "1",
            &["0"],
        ),
        (&["teacher", "simulate", "latency_ms", "p95"], "80", &["3"]),
        (
            &["teacher", "simulate", "faults", "hang"],
            "1",
            &["1.5", "-1"],
        ),
        (&["train", "decoder", "rank"], "1", &["0", "4096"]),
        (
            &["train", "decoder", "alpha"],
            "1",
            &["0", "1e-320", "1e308"],
        ),
        (&["train", "decoder", "epochs"], "1000", &["0", "1001"]),
        (&["train", "decoder", "learning_rate"], "0.5", &["0", "1"]),
        (&["train", "decoder", "batch_tokens"], "1", &["0"]),
        (&["train", "decoder", "accumulation"], "1", &["0"]),
        (&["train", "decoder", "warmup"], "0", &["1", "-0.1"]),
        (&["train", "decoder", "max_steps"], "1", &["0"]),
        (&["train", "decoder", "patience"], "1", &["0"]),
        (&["train", "decoder", "weight_decay"], "0", &["-1", "1e20"]),
        (&["train", "decoder", "clip"], "1", &["0"]),
        (&["train", "linear", "word_ngrams"], "2", &["9"]),
        (&["train", "linear", "character_ngrams"], "0", &["9"]),
        (
            &["train", "linear", "penalties"],
            "[1]",
            &["[0]", "[1, -1]"],
        ),
        (&["accept", "margin"], "0.5", &["0", "1"]),
        (&["accept", "confidence"], "0.5", &["0", "1", "95"]),
        (&["accept", "max_p95_ms"], "1", &["0"]),
        (&["accept", "max_usd_per_1000"], "1", &["0"]),
        (&["cost", "usd_per_hour"], "0", &["-1"]),
        (&["cost", "requests_per_day"], "1", &["0"]),
    ];
    let base: Value = serde_saphyr::from_str(QUICKSTART).unwrap();
    let load_with = |path: &[&str], number: &str| {
        let mut spec = base.clone();
        let place = path.iter().fold(&mut spec, |value, key| &mut value[*key]);
        *place = serde_json::from_str(number).unwrap();
        load("p.yaml", &spec.to_string(), &VOCABULARY)
    };
    for (path, good, bad) in cases {
        load_with(path, good)
            .unwrap_or_else(|findings| panic!("{path:?} {good}: {}", findings.to_text()));
        for number in *bad {
            let findings = load_with(path, number).expect_err(number);
            let codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [Code::OutOfRange], "{path:?} {number}");
        }
    }
}

#[test]
fn json_gives_the_same_facts_as_the_text() {
    let found = findings(&with("2.00", "0")).to_json();
    assert_eq!(
        found,
        json!([{
            "code": "spec::out_of_range",
            "message": "`teacher.budget_usd` is 0, and must be above 0",
            "label": "a budget of 0 asks for no label",
            "hint": found[0]["hint"],
            "file": "p.yaml",
            "line": 10,
            "column": 15,
            "offset": QUICKSTART.find("2.00").unwrap(),
            "length": 1,
        }])
    );
}

#[test]
fn miette_has_the_text_and_every_finding() {
    use miette::Diagnostic;
    let findings = findings(&with("2.00", "0").replace("kind:", "knd:"));
    assert_eq!(findings.to_string(), "p.yaml has 3 mistakes");
    assert!(findings.source_code().is_some());
    let related: Vec<String> = findings
        .related()
        .unwrap()
        .map(|one| one.code().unwrap().to_string())
        .collect();
    assert_eq!(
        related,
        ["spec::missing", "spec::unknown_key", "spec::out_of_range"]
    );
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let text = with("name: quickstart", "{name: \"äöü\", zzz: 1, task: {}}");
    assert_snapshot!(brief(text.lines().next().unwrap()), @"
    spec::missing 1:1 `data` is missing
    spec::missing 1:1 `evals` is missing
    spec::missing 1:1 `student` is missing
    spec::unknown_key 1:15 a pipeline has no key `zzz`
    spec::missing 1:23 `task.kind` is missing
    spec::missing 1:23 `task.prompt` is missing
    ");
}

#[test]
fn settings_of_a_decoder_that_cannot_be_are_named() {
    let written = |keys: &str| format!("{QUICKSTART}train: {{decoder: {{{keys}}}}}\n");
    for (keys, said) in [
        (
            "variant: adalora",
            "`train.decoder.variant` cannot be `adalora`",
        ),
        ("base: int8", "`train.decoder.base` cannot be `int8`"),
        (
            "schedule: step",
            "`train.decoder.schedule` cannot be `step`",
        ),
        (
            "learning_rate: fast",
            "`train.decoder.learning_rate` cannot be `fast`",
        ),
        ("learning_rate: [1]", "a number, `width` or `auto`"),
        ("learning_rate: 2", "`train.decoder.learning_rate`"),
        ("targets: []", "`train.decoder.targets` is an empty list"),
        ("dropout: 1", "`train.decoder.dropout`"),
        ("decay: 0.1", "belongs to the schedule `wsd`"),
        ("validate_every: 0", "`train.decoder.validate_every`"),
        (
            "final_learning_rate: 1.5",
            "`train.decoder.final_learning_rate`",
        ),
    ] {
        let text = check(&written(keys));
        assert!(text.contains(said), "{keys}: {text}");
    }
    for keys in [
        "learning_rate: auto",
        "learning_rate: width",
        "schedule: wsd, decay: 0.1",
    ] {
        assert!(
            load("p.yaml", &written(keys), &VOCABULARY).is_ok(),
            "{keys}"
        );
    }
}

#[test]
fn finer_settings_at_rest_leave_the_key_as_it_was() {
    let json = |text: &str| {
        let spec = load("p.yaml", text, &VOCABULARY).unwrap();
        serde_json::to_value(&spec.train.decoder).unwrap()
    };
    assert!(json(QUICKSTART).get("tuning").is_none());
    let tuned = json(&format!(
        "{QUICKSTART}train: {{decoder: {{variant: rslora}}}}\n"
    ));
    assert_eq!(tuned["tuning"]["variant"], "rslora");
}
