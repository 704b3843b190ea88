use std::convert::Infallible;

use serde_json::json;

use super::*;
use crate::graph::{ArtifactKind, StepNode};
use crate::record::{Because, OutputRecord, Timestamp};

const ROWS: ArtifactKind = ArtifactKind::new("rows");

#[derive(Debug, Clone)]
struct Verb(Value);

impl Action for Verb {
    fn kind(&self) -> &'static str {
        "make"
    }
    fn version(&self) -> u32 {
        1
    }
    fn settings(&self) -> Value {
        self.0.clone()
    }
}

/// A store in memory.
#[derive(Default)]
struct Shelf {
    records: BTreeMap<Key, ActionRecord>,
}

impl Known for Shelf {
    type Error = Infallible;

    fn file(&mut self, path: &Path) -> Result<ContentHash, Infallible> {
        Ok(ContentHash::of_bytes(path.as_os_str().as_encoded_bytes()))
    }

    fn lookup<A>(&mut self, key: &Key, _step: &StepNode<A>) -> Result<Lookup, Infallible> {
        Ok(match self.records.get(key) {
            Some(record) => Lookup::Hit(Box::new(record.clone())),
            None => Lookup::Miss(MissReason::NeverMade),
        })
    }
}

fn run() -> RunId {
    RunId::new(Timestamp::from_millis(0), 1)
}

impl Shelf {
    /// Makes as if each step that would run now had run; its output holds `content`.
    fn make(&mut self, graph: &Graph<Verb>, content: &str) -> usize {
        let planned = plan(graph, self).unwrap();
        let mut made = 0;
        for step in &planned.plan.steps {
            if let PlanState::Miss { key, .. } = step.state {
                made += 1;
                let hash = ContentHash::of_bytes(format!("{} {content}", step.name).as_bytes());
                let output = OutputRecord {
                    hash,
                    bytes: 1,
                    kind: ROWS,
                };
                let record = ActionRecord {
                    key,
                    ingredients: planned.ingredients[&step.name].known.clone(),
                    outputs: BTreeMap::from([("rows".to_owned(), output)]),
                    run: run(),
                    pipeline: "test".to_owned(),
                    step: step.name.clone(),
                    finished: Timestamp::from_millis(0),
                    seconds: 2.0,
                    facts: Value::Null,
                    because: Because {
                        miss: MissReason::NeverMade,
                        compared_with: None,
                        differences: Vec::new(),
                    },
                };
                self.records.insert(key, record);
            }
        }
        made
    }
}

/// file → label → train → report, and file → split → report.
fn graph(label: &Value) -> Graph<Verb> {
    let step = |name: &str, settings: &Value| {
        StepNode::new(name, Verb(settings.clone())).output("rows", ROWS)
    };
    let plain = Value::Null;
    Graph::build(vec![
        step("report", &plain)
            .input("a", ROWS, "train", "rows")
            .input("b", ROWS, "split", "rows"),
        step("train", &json!("train")).input("a", ROWS, "label", "rows"),
        step("label", label).file("a", ROWS, "train.csv"),
        step("split", &plain).file("a", ROWS, "train.csv"),
    ])
    .unwrap()
}

/// Writes a plan down, one word a step.
fn states(graph: &Graph<Verb>, shelf: &mut Shelf) -> Vec<String> {
    let plan = plan(graph, shelf).unwrap().plan;
    let state = |state: &PlanState| match state {
        PlanState::Hit { .. } => "hit".to_owned(),
        PlanState::Miss { .. } => "miss".to_owned(),
        PlanState::Unknown { waits_for } => format!("waits for {}", waits_for.join(" and ")),
    };
    let steps = plan.steps.iter();
    steps
        .map(|step| format!("{}: {}", step.name, state(&step.state)))
        .collect()
}

#[test]
fn a_plan_knows_what_it_can_without_running() {
    let graph = graph(&json!("prompt"));
    let mut shelf = Shelf::default();
    assert_eq!(
        states(&graph, &mut shelf),
        [
            "label: miss",
            "split: miss",
            "train: waits for label",
            "report: waits for split and train"
        ]
    );
    let mut rounds = Vec::new();
    loop {
        match shelf.make(&graph, "1") {
            0 => break,
            made => rounds.push(made),
        }
    }
    assert_eq!(rounds, [2, 1, 1]);
    assert_eq!(
        states(&graph, &mut shelf),
        ["label: hit", "split: hit", "train: hit", "report: hit"]
    );
}

#[test]
fn one_setting_leaves_the_rest_alone() {
    let mut shelf = Shelf::default();
    let before = graph(&json!("prompt"));
    while shelf.make(&before, "1") > 0 {}
    let after = graph(&json!("other prompt"));
    assert_eq!(
        states(&after, &mut shelf),
        [
            "label: miss",
            "split: hit",
            "train: waits for label",
            "report: waits for train"
        ]
    );
    // The new labels are the old ones: nothing below has to run.
    assert_eq!(shelf.make(&after, "1"), 1);
    assert!(
        states(&after, &mut shelf)
            .iter()
            .all(|s| s.ends_with("hit"))
    );
}

#[test]
fn a_plan_survives_the_way_through_json() {
    let mut shelf = Shelf::default();
    let graph = graph(&json!("prompt"));
    shelf.make(&graph, "1");
    let plan = plan(&graph, &mut shelf).unwrap().plan;
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(plan.step("train").unwrap().needs, ["label"]);
    assert!(plan.step("nobody").is_none());
}

fn ingredients() -> Ingredients {
    Ingredients {
        kind: "label".to_owned(),
        version: 1,
        settings: json!({"decoder": {"rank": 8, "alpha": 16}, "labels": ["a", "b"]}),
        inputs: BTreeMap::from([("rows".to_owned(), ContentHash::of_bytes(b"old"))]),
        models: vec!["simulated/frontier".to_owned()],
        seed: None,
    }
}

/// Lists what differs, as a reader meets it.
fn differing(change: impl FnOnce(&mut Ingredients), unknown: &[&str]) -> Vec<String> {
    let old = ingredients();
    let mut known = old.clone();
    change(&mut known);
    let new = PartialIngredients {
        known,
        unknown_ports: unknown.iter().map(|port| (*port).to_owned()).collect(),
    };
    let source = Source::Step {
        step: "split".to_owned(),
        output: "train".to_owned(),
    };
    let sources = BTreeMap::from([("rows".to_owned(), source)]);
    let found = differences(&old, &new, &sources);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_differs_from_itself() {
    assert!(differing(|_| {}, &[]).is_empty());
    assert!(
        differing(
            |i| i.settings = json!({"labels": ["a", "b"], "decoder": {"alpha": 16, "rank": 8}}),
            &[]
        )
        .is_empty()
    );
}

#[test]
fn every_ingredient_that_differs_is_listed() {
    let all = |i: &mut Ingredients| {
        i.kind = "ask".to_owned();
        i.version = 2;
        i.settings = json!({"decoder": {"rank": 16, "warmup": 0.1}, "labels": ["a", "c"]});
        i.inputs
            .insert("rows".to_owned(), ContentHash::of_bytes(b"new"));
        i.inputs
            .insert("more".to_owned(), ContentHash::of_bytes(b"more"));
        i.models.clear();
        i.seed = Some(7);
    };
    let short = |bytes: &[u8]| ContentHash::of_bytes(bytes).short();
    assert_eq!(
        differing(all, &[]),
        [
            "kind of step: label → ask".to_owned(),
            "version of the step: 1 → 2".to_owned(),
            "setting `decoder.alpha`: 16 → not set".to_owned(),
            "setting `decoder.rank`: 8 → 16".to_owned(),
            "setting `decoder.warmup`: not set → 0.1".to_owned(),
            "setting `labels[1]`: \"b\" → \"c\"".to_owned(),
            format!("input `more`: content none → {}", short(b"more")),
            format!(
                "input `rows` (from `train` of step `split`): content {} → {}",
                short(b"old"),
                short(b"new")
            ),
            "models: simulated/frontier → none".to_owned(),
            "seed: none → 7".to_owned(),
        ]
    );
}

#[test]
fn what_is_not_known_yet_does_not_differ() {
    assert!(differing(|i| i.inputs.clear(), &["rows"]).is_empty());
    assert_eq!(differing(|i| i.inputs.clear(), &[]).len(), 1);
}

#[test]
fn long_settings_are_shown_where_they_begin_to_differ() {
    let prompt = |word: &str| {
        let before = "Choose the intent of the customer's message. ".repeat(3);
        json!({ "prompt": format!("{before}Answer with one {word}{}", " and nothing else".repeat(9)) })
    };
    let old = Ingredients {
        settings: prompt("word"),
        ..ingredients()
    };
    let new = PartialIngredients {
        known: Ingredients {
            settings: prompt("label"),
            ..ingredients()
        },
        unknown_ports: BTreeSet::new(),
    };
    let found = differences(&old, &new, &BTreeMap::new());
    assert_eq!(
        found[0].to_string(),
        "setting `prompt`: …essage. Answer with one word and nothing else and nothing else a… → \
         …essage. Answer with one label and nothing else and nothing else …"
    );
}
