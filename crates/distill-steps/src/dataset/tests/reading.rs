use insta::assert_snapshot;

use super::*;

fn refused(name: &str, bytes: impl AsRef<[u8]>, gold: Option<&str>) -> String {
    check(name, bytes, gold).expect_err("the file is wrong")
}

#[test]
fn a_csv_becomes_rows_without_their_answer_among_the_fields() {
    let bytes = "\u{feff}text,label\n\"two\nlines, one row\",a\nplain, b \nunlabelled,\n";
    assert_eq!(
        check("d.csv", bytes, Some("label")),
        Ok(vec![
            row("000000", json!({"text": "two\nlines, one row"}), Some("a")),
            row("000001", json!({"text": "plain"}), Some("b")).with_text("plain"),
            row("000002", json!({"text": "unlabelled"}), None),
        ])
    );
}

impl Row {
    fn with_text(mut self, text: &str) -> Self {
        self.fields["text"] = text.into();
        self
    }
}

#[test]
fn other_separators_and_unnamed_columns_are_read() {
    let semicolons = check("d.csv", "text;label\na, b;x\n", Some("label")).unwrap();
    assert_eq!(
        semicolons,
        [row("000000", json!({"text": "a, b"}), Some("x"))]
    );
    let tabs = check("d.tsv", "\ttext\n0\thello\n", None).unwrap();
    assert_eq!(
        tabs,
        [row(
            "000000",
            json!({"column_1": "0", "text": "hello"}),
            None
        )]
    );
}

#[test]
fn json_lines_and_arrays_keep_values_and_write_answers_compactly() {
    let lines = "{\"text\": \"a\", \"n\": 1, \"gold\": {\"b\": \"1\", \"a\": \"2\"}}\n\n{\"text\": \"b\", \"gold\": null}\n";
    let rows = check("d.jsonl", lines, Some("gold")).unwrap();
    assert_eq!(
        rows[0],
        row(
            "000000",
            json!({"text": "a", "n": 1}),
            Some(r#"{"b":"1","a":"2"}"#)
        )
    );
    assert_eq!(rows[1], row("000001", json!({"text": "b"}), None));
    let array = check(
        "d.json",
        r#"[{"text": "a", "gold": "{ \"x\": \"1\" }"}]"#,
        Some("gold"),
    )
    .unwrap();
    assert_eq!(
        array,
        [row("000000", json!({"text": "a"}), Some(r#"{"x":"1"}"#))]
    );
}

#[test]
fn a_broken_file_is_named_with_line_and_next_step() {
    assert_snapshot!(refused("d.csv", "text,label\na,b\nc\n", None), @"
    DIR/d.csv, line 3: the row has 1 columns and the header 2
    help: put text that holds commas or line breaks into quotes, or mend the row
    ");
    assert_snapshot!(refused("d.csv", b"text,label\na,b\ncaf\xe9,b\n", None), @"
    DIR/d.csv, line 3: column `text` is not UTF-8
    help: save the file as UTF-8, for instance `iconv -f latin1 -t utf-8`
    ");
    assert_snapshot!(refused("d.csv", b"t\xe9xt,label\na,b\n", None), @"
    DIR/d.csv, line 1: the name of column 1 is not UTF-8
    help: save the file as UTF-8, for instance `iconv -f latin1 -t utf-8`
    ");
    assert_snapshot!(refused("d.csv", "text,text\na,b\n", None), @"
    DIR/d.csv, line 1: two columns are called `text`
    help: mend the line, or remove it
    ");
    assert_snapshot!(refused("d.csv", "text,label\n", None), @"
    `DIR/d.csv` has no rows
    help: give a file with rows below its header
    ");
    assert_snapshot!(refused("d.csv", "", None), @"
    `DIR/d.csv` has no rows
    help: give a file with rows below its header
    ");
    assert_snapshot!(refused("d.csv", "text,label\na,b\n", Some("intent")), @"
    DIR/d.csv, line 1: there is no column `intent`, which `gold` names
    help: the columns are: text, label
    ");
    assert_snapshot!(refused("d.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", None), @"
    DIR/d.jsonl, line 2: the line is not JSON at column 9
    help: mend the line, or remove it
    ");
    assert_snapshot!(refused("d.jsonl", "[1]\n", None), @"
    DIR/d.jsonl, line 1: the line is not a JSON object
    help: mend the line, or remove it
    ");
    assert_snapshot!(refused("d.jsonl", b"{}\n\"\xff\"\n", None), @"
    DIR/d.jsonl, line 2: the line is not UTF-8
    help: save the file as UTF-8, for instance `iconv -f latin1 -t utf-8`
    ");
    assert_snapshot!(refused("d.json", "{\"text\": \"a\"}\n{}", None), @"
    DIR/d.json, line 2: the file is not JSON at column 1; JSON lines go into a .jsonl file
    help: mend the line, or remove it
    ");
    assert_snapshot!(refused("d.json", "[{}, 3]", None), @"
    DIR/d.json: item 1 of the array is not an object
    help: mend the line, or remove it
    ");
    assert_snapshot!(refused("d.xlsx", "", None), @"
    the format of `DIR/d.xlsx` is not known
    help: give a file that ends in .csv, .jsonl, .json or .parquet
    ");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let missing = Resolved::from_parts(&folder.path("no.csv"), Format::Csv);
    assert_snapshot!(folder.told(&read_rows(&missing, None).unwrap_err()), @"
    the data file `DIR/no.csv` cannot be read: No such file or directory (os error 2)
    help: look at the path: written in a pipeline or a suite, it counts from the folder of that file
    ");
    fs::create_dir(folder.path("folder.csv")).unwrap();
    let directory = Resolved::from_parts(&folder.path("folder.csv"), Format::Csv);
    assert!(matches!(
        read_rows(&directory, None),
        Err(DatasetError::Unreadable { .. })
    ));
}

fn classify(prompt: &str) -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: prompt.to_owned(),
        labels: vec!["card_lost".into(), "top_up".into()],
        schema: None,
    })
    .unwrap()
}

/// What the user reads when a file does not suit a task.
fn unsuited(name: &str, bytes: &str, prompt: &str) -> String {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    let task = classify(prompt);
    let rows = read_rows(
        &Resolved::from_parts(&path, Format::of(&path).unwrap()),
        Some("label"),
    )
    .unwrap();
    let found = check_columns(&rows, &task, &path)
        .and_then(|()| check_labels(&rows, &task.definition().labels, &path));
    folder.told(&found.expect_err("the data does not suit the task"))
}

#[test]
fn rows_are_held_to_the_task() {
    let good = "text,label\na,card_lost\nb,top_up\n";
    assert_snapshot!(unsuited("d.csv", good, "{{ message }}"), @"
    DIR/d.csv, line 1: there is no column `message`, which the task's template reads
    help: the columns are: text
    ");
    assert_snapshot!(unsuited("d.csv", good, "{{ text }} {{ label }}"), @"
    DIR/d.csv, line 1: there is no column `label`, which the task's template reads: it holds the answer, and a prompt must not
    help: the columns are: text
    ");
    assert_snapshot!(unsuited("d.jsonl", "{\"text\": \"a\", \"label\": \"top_up\"}\n{\"label\": \"top_up\"}\n", "{{ text }}"), @"
    DIR/d.jsonl, line 2: there is no column `text`, which the task's template reads
    help: the columns are:
    ");
    assert_snapshot!(unsuited("d.csv", "text,label\na,card_lost\n\"b\n\",Top up\nc,sales\n", "{{ text }}"), @"
    DIR/d.csv, line 3: label `Top up` is not one of the task's 2 (and 1 rows more have such a label)
    help: did you mean `top_up`? Mend the row, or add the label to `task.labels`
    ");
    assert_snapshot!(unsuited("d.csv", "text,label\na,sales\n", "{{ text }}"), @"
    DIR/d.csv, line 2: label `sales` is not one of the task's 2
    help: mend the row, or add the label to `task.labels`
    ");
}

#[test]
fn labels_are_distinct_and_sorted() {
    let rows = check("d.csv", "text,label\na,z\nb,a\nc,z\nd,\n", Some("label")).unwrap();
    assert_eq!(distinct_labels(&rows), ["a", "z"]);
}

// ---- spans ---------------------------------------------------------------------------------

fn spans(item: &Value) -> Result<Row, String> {
    let folder = Folder::new();
    let path = folder.write("spans.json", json!([item]).to_string());
    let rows = read_rows(
        &Resolved::from_parts(&path, Format::SpanSlots),
        Some("slots"),
    );
    rows.map(|mut rows| rows.remove(0))
        .map_err(|error| folder.told(&error))
}

#[test]
fn spans_become_an_object_in_the_order_of_the_text() {
    let item = json!({
        "userInput": {"text": "Käthe at 8 for two"},
        "context": {"requestedSlots": ["time", "people", "time"]},
        "labels": [
            {"slot": "people", "valueSpan": {"startIndex": 15, "endIndex": 18}},
            {"slot": "first_name", "valueSpan": {"endIndex": 5}},
        ],
    });
    let expected = json!({"text": "Käthe at 8 for two", "requested": "time,people"});
    assert_eq!(
        spans(&item),
        Ok(row(
            "000000",
            expected,
            Some(r#"{"first_name":"Käthe","people":"two"}"#)
        ))
    );
    let nothing = json!({"userInput": {"text": "yes"}});
    assert_eq!(
        spans(&nothing),
        Ok(row(
            "000000",
            json!({"text": "yes", "requested": ""}),
            Some("{}")
        ))
    );
}

#[test]
fn spans_that_would_lose_an_answer_are_refused() {
    let span = |start: usize, end: usize| json!({"slot": "time", "valueSpan": {"startIndex": start, "endIndex": end}});
    let twice = json!({"userInput": {"text": "8 or 9"}, "labels": [span(0, 1), span(5, 6)]});
    assert_snapshot!(spans(&twice).unwrap_err(), @"
    DIR/spans.json: item 0 of the array: slot `time` is named twice
    help: mend the line, or remove it
    ");
    let outside = json!({"userInput": {"text": "8"}, "labels": [span(0, 4)]});
    assert_snapshot!(spans(&outside).unwrap_err(), @"
    DIR/spans.json: item 0 of the array: span 0..4 of slot `time` leaves the text
    help: mend the line, or remove it
    ");
    assert_snapshot!(spans(&json!({"text": "8"})).unwrap_err(), @"
    DIR/spans.json: item 0 of the array: missing field `userInput`
    help: mend the line, or remove it
    ");
}
