use distill_pipeline::spec::{self, ResolvedSpec, Vocabulary};
use insta::assert_snapshot;

use super::{
    scaffold::{Answer, Scaffold, ScaffoldError, Wishes},
    *,
};

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    vendors: &["openai", "anthropic", "simulated"],
    metrics: &[],
    check_scorer: |_, _| Ok(()),
};

/// Looks at a file and holds the pipeline to the checks that `distill run` makes.
fn scaffold(name: &str, bytes: &str, wishes: &Wishes) -> (Scaffold, ResolvedSpec) {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    let scaffold = Scaffold::new(&path, wishes).unwrap();
    let spec = spec::load("pipeline.yaml", scaffold.pipeline(), &VOCABULARY)
        .unwrap_or_else(|findings| panic!("{}\n{}", findings.to_text(), scaffold.pipeline()));
    (scaffold, spec)
}

fn tickets(rows: usize) -> String {
    let mut text = String::from("id,Customer Message,queue,note\n");
    for index in 0..rows {
        let queue = ["billing", "delivery", "other things"][index % 3];
        text.push_str(
            &[
                &index.to_string(),
                ",\"my parcel number ",
                &index.to_string(),
                " is late, help\",",
                queue,
                ",\n",
            ]
            .concat(),
        );
    }
    text
}

#[test]
fn a_table_of_tickets_becomes_a_classification() {
    let (scaffold, spec) = scaffold("tickets.csv", &tickets(60), &Wishes::default());
    assert_snapshot!(scaffold.notes.join("\n"), @"
    column `Customer Message` is called `Customer_Message` in the new files, so that a template can read it
    text: column `Customer_Message`, the longest (33 characters on average)
    answer: column `queue`, by its name (3 distinct values)
    split by seed 17: 48 rows to learn from, 12 to judge by (equal texts stay on one side)
    ");
    assert_snapshot!(scaffold.warnings.join("\n"), @"12 test rows leave wide intervals: expect the verdict UNDECIDED, and collect more rows");
    assert_snapshot!(scaffold.pipeline(), @r#"
    # Learns the job of train.csv and judges the result on test.csv.
    # `distill check` looks for mistakes, `distill plan` shows steps and spend, `distill run` does it.
    name: tickets

    task:
      kind: classify          # one label of a set
      system: "Choose the label of the text. Answer with one of: {{ labels | join(', ') }}."
      prompt: "{{ Customer_Message }}"    # a template over the columns
      labels: [billing, delivery, "other things"]

    data:
      train: train.csv
      gold: queue          # the column with the human answer
      validation: 0.1         # share kept apart to choose settings

    # SIMULATED: no model is asked. A provider inside the program answers from the gold column and errs
    # in 9 of 100 rows; reports mark what it touched. It shows the way without key or network.
    teacher:
      models: [simulated/frontier, simulated/backup]
      budget_usd: 2.00        # never exceeded; `distill plan` estimates
      simulate: {accuracy: 0.91}
    # A real one: put this in place of `models` and remove `simulate`.
    #  models: [openai/gpt-5-mini, anthropic/claude-haiku-4-5]   # keys: OPENAI_API_KEY, ANTHROPIC_API_KEY

    evals:
      test: test.csv
      gold: queue          # the column with the human answer

    student:
      target: [linear, nano]   # n-grams and a softmax; the embedded decoder

    # How students are trained, with the defaults. Every key there is: `distill reference train`.
    #train:
    #  decoder:
    #    variant: lora                 # or rslora, dora, rsdora
    #    rank: 16
    #    base: auto                    # nf4: the base in four bits, for less memory
    #    learning_rate: width          # by the model's width; or a number, or `auto` (a short test)
    #    batch_tokens: 4096            # smaller: less memory
    #    gradient_checkpointing: false # true: far less memory, a third more time
    #  objective: {kind: cross_entropy} # or what a local teacher knows: soft_labels, top_k, on_policy

    accept:
      margin: 0.03            # how much worse than the teacher is still good enough, absolute
      confidence: 0.95

    cost:                     # assumptions: put your own figures here
      usd_per_hour: 0.10      # the machine that will serve
      requests_per_day: 10000

    seed: 17
    "#);
    // What the comments say of training is taken, and is the default.
    let pipeline = scaffold.pipeline();
    let (before, commented) = pipeline.split_once("\n#train:").unwrap();
    let (commented, after) = commented.split_once("\n\n").unwrap();
    let shown = format!(
        "{before}\ntrain:{}\n\n{after}",
        commented.replace("\n#", "\n")
    );
    let taken = crate::parse_spec("pipeline.yaml", &shown).unwrap();
    assert_eq!(taken.train.decoder, spec.train.decoder);
    assert_eq!(spec.task.labels, ["billing", "delivery", "other things"]);
    assert_eq!((scaffold.train_rows, scaffold.test_rows), (48, 12));
}

#[test]
fn objects_become_an_extraction() {
    let lines: String = (0..40)
        .map(|index| format!("{{\"utterance\": \"table for {index} at eight\", \"slots\": {{\"people\": \"{index}\", \"count\": {index}}}}}\n"))
        .collect();
    let (scaffold, spec) = scaffold("bookings.jsonl", &lines, &Wishes::default());
    let fields = vec![
        ("count".to_owned(), "integer"),
        ("people".to_owned(), "string"),
    ];
    assert_eq!(scaffold.guess.answer, Answer::Object { fields });
    assert_eq!(spec.task.kind, TaskKind::Extract);
    assert_eq!(spec.data.gold.as_deref(), Some("slots"));
}

#[test]
fn without_an_answer_the_teacher_labels_and_the_limit_is_said() {
    let rows: String = (0..30)
        .map(|index| format!("message {index} of a kind\n"))
        .collect();
    let (scaffold, spec) = scaffold("mail.csv", &format!("text\n{rows}"), &Wishes::default());
    assert!(scaffold.warnings[0].contains("only show agreement with the teacher"));
    assert_eq!((spec.data.gold, spec.evals.gold), (None, None));
    assert!(!spec.teacher.unwrap().models[0].simulated());
}

#[test]
fn wishes_come_before_guesses() {
    let wishes = Wishes {
        text: Some("note".into()),
        label: Some("id".into()),
    };
    let bytes: String = (0..20)
        .map(|index| format!("{},{index} note,long text number {index}\n", index % 4))
        .collect();
    let (scaffold, _) = scaffold("d.csv", &format!("id,note,text\n{bytes}"), &wishes);
    assert_eq!(
        (
            scaffold.guess.text.as_str(),
            scaffold.guess.label.as_deref()
        ),
        ("note", Some("id"))
    );
    let folder = Folder::new();
    let path = folder.write("d.csv", format!("id,note,text\n{bytes}"));
    let wrong = Wishes {
        text: None,
        label: Some("intent".into()),
    };
    let error = Scaffold::new(&path, &wrong).unwrap_err();
    assert_eq!(error.hint().unwrap(), "the columns are: id, note, text");
}

#[test]
fn the_split_is_seeded_keeps_labels_and_separates_no_twins() {
    let mut bytes = String::from("text,label\n");
    for index in 0..200 {
        let label = if index % 10 == 0 { "rare" } else { "usual" };
        // Every text stands twice, once in capitals.
        let text = format!("message {}", index / 2);
        let text = if index % 2 == 0 {
            text
        } else {
            text.to_uppercase()
        };
        bytes.push_str(&[&text, ",", label, "\n"].concat());
    }
    let folder = Folder::new();
    let path = folder.write("d.csv", &bytes);
    let write = |out: &str| {
        Scaffold::new(&path, &Wishes::default())
            .unwrap()
            .write(&folder.path(out), false)
            .unwrap();
        let read = |name: &str| {
            let path = folder.path(out).join(name);
            read_rows(&Resolved::from_parts(&path, Format::Csv), Some("label")).unwrap()
        };
        (read("train.csv"), read("test.csv"))
    };
    let (train, test) = write("one");
    assert_eq!((train.clone(), test.clone()), write("two"));
    assert_eq!((train.len(), test.len()), (160, 40));
    let text = |row: &Row| row.fields["text"].as_str().unwrap().to_lowercase();
    assert!(
        test.iter()
            .all(|row| train.iter().all(|other| text(row) != text(other)))
    );
    let rare = test
        .iter()
        .filter(|row| row.gold.as_deref() == Some("rare"))
        .count();
    assert!((2..=6).contains(&rare), "{rare}");
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let folder = Folder::new();
    let path = folder.write("d.csv", tickets(30));
    folder.write("out/test.csv", "mine");
    let scaffold = Scaffold::new(&path, &Wishes::default()).unwrap();
    let out = folder.path("out");
    assert!(matches!(
        scaffold.write(&out, false),
        Err(ScaffoldError::Exists { .. })
    ));
    assert_eq!(fs::read_to_string(out.join("test.csv")).unwrap(), "mine");
    assert!(!out.join("train.csv").exists());
    scaffold.write(&out, true).unwrap();
    assert_ne!(fs::read_to_string(out.join("test.csv")).unwrap(), "mine");
}

#[test]
fn what_is_no_data_for_a_pipeline_is_refused() {
    let folder = Folder::new();
    let refused = |name: &str, bytes: &str| {
        let path = folder.write(name, bytes);
        let error = Scaffold::new(&path, &Wishes::default()).unwrap_err();
        assert!(error.hint().is_some());
        error
    };
    assert!(matches!(
        refused("few.csv", &tickets(4)),
        ScaffoldError::TooFew { rows: 4, .. }
    ));
    assert!(matches!(
        refused("numbers.csv", "a,b\n1,2\n3,4\n"),
        ScaffoldError::NoText { .. }
    ));
    assert!(matches!(
        refused("empty.csv", "a,b\n"),
        ScaffoldError::Data(DatasetError::Empty { .. })
    ));
}
