use miette::Diagnostic as _;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ROWS: ArtifactKind = ArtifactKind::new("rows");
const ADAPTER: ArtifactKind = ArtifactKind::new("adapter");

#[derive(Debug, Clone, PartialEq)]
struct Verb(&'static str, i64);

impl Action for Verb {
    fn kind(&self) -> &'static str {
        self.0
    }
    fn version(&self) -> u32 {
        1
    }
    fn settings(&self) -> Value {
        json!({ "value": self.1 })
    }
}

fn node(name: &str) -> StepNode<Verb> {
    StepNode::new(name, Verb("make", 0)).output("rows", ROWS)
}

fn from(node: StepNode<Verb>, need: &str) -> StepNode<Verb> {
    let port = format!("in-{}", node.inputs.len());
    node.input(port, ROWS, need, "rows")
}

fn names<A>(graph: &Graph<A>) -> Vec<&str> {
    graph.steps().map(|step| step.name.as_str()).collect()
}

/// Gives each finding with its code and its help, as a reader meets them.
fn findings(nodes: Vec<StepNode<Verb>>) -> Vec<String> {
    let findings = Graph::build(nodes).expect_err("the graph is wrong");
    let related = findings.related().unwrap();
    related
        .map(|finding| {
            let code = finding.code().unwrap();
            let help = finding.help().unwrap();
            format!("{code}: {finding}; {help}")
        })
        .collect()
}

#[test]
fn steps_come_by_depth_then_name() {
    let graph = Graph::build(vec![
        from(from(node("report"), "train"), "split"),
        from(node("train"), "label"),
        from(node("label"), "split"),
        from(node("evaluate"), "train"),
        node("split"),
        node("other"),
    ])
    .unwrap();
    assert_eq!(
        names(&graph),
        ["other", "split", "label", "train", "evaluate", "report"]
    );
    assert_eq!(graph.needs("report"), ["split", "train"]);
    assert_eq!(graph.dependents("train"), ["evaluate", "report"]);
    assert_eq!(graph.len(), 6);
    assert!(graph.needs("nobody").is_empty());
}

#[test]
fn every_finding_is_reported_at_once() {
    let found = findings(vec![
        from(node("train"), "labl"),
        node("label").output("rows", ROWS),
        node("label"),
        node("bad name"),
        node("evaluate")
            .input("adapter", ADAPTER, "label", "rows")
            .input("rows", ROWS, "label", "lines"),
    ]);
    assert_eq!(
        found,
        [
            "graph::duplicate_port: step `label` has two ports with the name `rows`; give one of \
             them another name",
            "graph::duplicate_step: two steps have the name `label`; give one of them another name",
            "graph::bad_name: `bad name` cannot name a step or a port; use letters, digits, `.`, \
             `_`, `-` and `:`, and begin with a letter or digit",
            "graph::unknown_step: step `train` needs `labl`, but no step has that name; the steps \
             are: bad name, evaluate, label, train",
            "graph::kind_mismatch: step `evaluate` takes adapter at `adapter`, but `rows` of step \
             `label` is rows; join `adapter` to an output of kind adapter",
            "graph::unknown_output: step `evaluate` needs `lines` of step `label`, which has no \
             such output; its outputs are: rows",
        ]
    );
}

#[test]
fn circles_are_named_step_by_step() {
    let found = findings(vec![
        from(from(node("a"), "c"), "start"),
        from(node("b"), "a"),
        from(node("c"), "b"),
        from(node("alone"), "alone"),
        node("start"),
    ]);
    assert_eq!(
        found,
        [
            "graph::cycle: steps need each other in a circle: alone → alone; take one of these \
             needs away",
            "graph::cycle: steps need each other in a circle: b → c → a → b; take one of these \
             needs away",
        ]
    );
}

#[test]
fn an_empty_graph_is_one() {
    let graph: Graph<Verb> = Graph::build(Vec::new()).unwrap();
    assert!(graph.is_empty());
}

/// A graph without circles, and an order to give its steps in.
fn any_steps() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<usize>)> {
    (1usize..9).prop_flat_map(|count| {
        let needs = (0..count)
            .map(|step| {
                prop::collection::vec(0..count, 0..4).prop_map(move |needs| {
                    needs
                        .into_iter()
                        .filter(|need| *need < step)
                        .collect::<Vec<_>>()
                })
            })
            .collect::<Vec<_>>();
        let order = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        (needs, order)
    })
}

fn build(needs: &[Vec<usize>], order: &[usize]) -> Graph<Verb> {
    let nodes = order.iter().map(|&step| {
        // Names that sort against the needs, so that order does not follow from them.
        let name = |step: usize| format!("step-{}", 9 - step);
        needs[step]
            .iter()
            .fold(node(&name(step)), |node, need| from(node, &name(*need)))
    });
    Graph::build(nodes.collect()).unwrap()
}

proptest! {
    #[test]
    fn the_order_respects_every_edge_and_nothing_else_matters((needs, order) in any_steps()) {
        let graph = build(&needs, &order);
        let names = names(&graph);
        let place = |name: &str| names.iter().position(|other| *other == name).unwrap();
        for step in graph.steps() {
            for need in graph.needs(&step.name) {
                prop_assert!(place(need) < place(&step.name));
            }
        }
        let straight: Vec<usize> = (0..needs.len()).collect();
        let other = build(&needs, &straight);
        prop_assert_eq!(&names, &self::names(&other));
        prop_assert_eq!(graph.fingerprint(), other.fingerprint());
    }
}

#[test]
fn the_fingerprint_changes_with_settings_and_edges() {
    let base = || vec![node("a"), node("b"), from(node("c"), "a")];
    let fingerprint = |nodes| Graph::build(nodes).unwrap().fingerprint();
    let mut settings = base();
    settings[0].action.1 = 5;
    let mut edge = base();
    edge[2] = from(node("c"), "b");
    assert_ne!(fingerprint(base()), fingerprint(settings));
    assert_ne!(fingerprint(base()), fingerprint(edge));
}
