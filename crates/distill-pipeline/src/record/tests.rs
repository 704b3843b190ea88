use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_769_850_307_000 + seconds * 1000)
}

fn run() -> RunId {
    RunId::new(at(0), 0x1a2b)
}

fn header(steps: &[&str]) -> RunHeader {
    let steps = steps.iter().map(|name| StepHeader {
        name: (*name).to_owned(),
        kind: "make".to_owned(),
        needs: Vec::new(),
    });
    RunHeader {
        run: run(),
        pipeline: "quickstart".to_owned(),
        spec_path: Some("pipelines/quickstart.yaml".to_owned()),
        spec_text: None,
        plan: ContentHash::of_bytes(b"plan"),
        version: "0.1.0".to_owned(),
        argv: vec!["distill".to_owned()],
        started: at(0),
        steps: steps.collect(),
    }
}

fn started(step: &str) -> What {
    What::StepStarted {
        step: step.to_owned(),
        key: Key(ContentHash::of_bytes(b"key")),
        because: Because {
            miss: MissReason::NeverMade,
            compared_with: None,
            differences: Vec::new(),
        },
    }
}

fn finished(step: &str, cached: bool) -> What {
    What::StepFinished {
        step: step.to_owned(),
        key: Key(ContentHash::of_bytes(b"key")),
        cached,
        made_by: run(),
        seconds: 1.5,
        outputs: BTreeMap::new(),
        facts: json!({"rows": 3}),
    }
}

fn view(steps: &[&str], events: Vec<(u64, What)>) -> RunView {
    let mut view = RunView::new(&header(steps));
    for (seconds, what) in events {
        let at = at(seconds);
        view.apply(&Event { at, what });
    }
    view
}

#[test]
fn times_and_runs_are_written_as_people_read_them() {
    let time = Timestamp::from_millis(1_709_210_096_789);
    assert_eq!(time.to_string(), "2024-02-29T12:34:56.789Z");
    assert_eq!(RunId::new(time, 0x00ff).to_string(), "20240229-123456-00ff");
    assert_eq!(
        Timestamp::from_millis(0).to_string(),
        "1970-01-01T00:00:00.000Z"
    );
}

#[test]
fn what_is_no_time_or_run_is_refused() {
    for text in [
        "",
        "2024-02-30T12:34:56.789Z",
        "2024-02-29T24:34:56.789Z",
        "2024-02-29T12:34:56Z",
        "1969-12-31T23:59:59.999Z",
        "2024-02-29T12:34:5é.78Z",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
    for text in [
        "",
        "20240229-123456-00fg",
        "../../../../../etc/pa",
        "20240229_123456-00ff",
    ] {
        assert!(text.parse::<RunId>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn times_survive_the_way_through_text(millis in 0u64..253_402_300_800_000) {
        let time = Timestamp::from_millis(millis);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn text_order_is_time_order(a in 0u64..253_402_300_800_000, b in 0u64..253_402_300_800_000) {
        let (a, b) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
        prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        let (first, second) = (RunId::new(a.min(b), 0), RunId::new(a.max(b), 0));
        prop_assert!(first <= second);
        prop_assert_eq!(first.to_string().parse(), Ok(first));
    }
}

#[test]
fn an_event_is_one_flat_json_object() {
    let event = Event {
        at: at(0),
        what: What::StepMetric {
            step: "train".to_owned(),
            name: "loss".to_owned(),
            value: None,
            position: Some(7),
        },
    };
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(
        text,
        r#"{"at":"2026-01-31T09:05:07.000Z","type":"step_metric","step":"train","name":"loss","value":null,"position":7}"#
    );
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
}

#[test]
fn events_survive_the_way_through_json() {
    let output = OutputRecord {
        hash: ContentHash::of_bytes(b"x"),
        bytes: 1,
        kind: ArtifactKind::new("rows"),
    };
    let mut made = finished("label", false);
    if let What::StepFinished { outputs, .. } = &mut made {
        outputs.insert("rows".to_owned(), output);
    }
    let because = Because {
        miss: MissReason::Missing {
            port: "rows".to_owned(),
            artifact: ContentHash::of_bytes(b"x"),
        },
        compared_with: Some(run()),
        differences: vec![Difference::Setting {
            path: "rank".to_owned(),
            old: Some(json!(8)),
            new: None,
        }],
    };
    let mut began = started("label");
    if let What::StepStarted { because: place, .. } = &mut began {
        *place = because;
    }
    let failure = FailureRecord {
        kind: FailureKind::BadInput,
        message: "no column `text`".to_owned(),
        causes: vec!["cause".to_owned()],
        hint: None,
        file: Some("train.csv".into()),
        line: Some(1),
        retryable: false,
    };
    let failed = What::StepFailed {
        step: "label".to_owned(),
        failure,
    };
    let ended = What::RunFinished {
        outcome: RunOutcome::Done,
        seconds: 0.25,
    };
    for what in [made, began, failed, ended] {
        let event = Event { at: at(1), what };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn a_run_is_folded_from_its_events() {
    let step = |name: &str| name.to_owned();
    let view = view(
        &["split", "label", "train", "report"],
        vec![
            (0, finished("split", true)),
            (1, started("label")),
            (
                2,
                What::StepProgress {
                    step: step("label"),
                    done: 5,
                    total: Some(10),
                    unit: "rows".to_owned(),
                    message: None,
                },
            ),
            (
                3,
                What::StepNote {
                    step: step("label"),
                    level: Level::Warning,
                    text: "slow".to_owned(),
                },
            ),
            (4, finished("label", false)),
            (4, started("train")),
            (
                6,
                What::StepInterrupted {
                    step: step("train"),
                    message: "stopped when asked to".to_owned(),
                },
            ),
            (
                7,
                What::StepSkipped {
                    step: step("report"),
                    reason: "needs step `train`".to_owned(),
                },
            ),
        ],
    );
    let states: Vec<StepState> = view.steps.iter().map(|step| step.state).collect();
    assert_eq!(
        states,
        [
            StepState::Done,
            StepState::Done,
            StepState::Interrupted,
            StepState::Skipped
        ]
    );
    assert!(view.step("split").unwrap().cached);
    let label = view.step("label").unwrap();
    assert_eq!(label.progress.as_ref().unwrap().done, 5);
    assert_eq!(label.facts, json!({"rows": 3}));
    assert_eq!(label.notes.len(), 1);
    assert_eq!(view.step("train").unwrap().seconds, Some(2.0));
    assert!((view.seconds - 7.0).abs() < 1e-9);
}

#[test]
fn a_run_without_an_end_is_running_while_its_heart_beats() {
    let view = view(&["label"], vec![(0, started("label"))]);
    assert_eq!(view.state(at(9), None), RunState::Running);
    assert_eq!(view.state(at(11), None), RunState::Died);
    assert_eq!(view.state(at(100), Some(at(91))), RunState::Running);
    assert_eq!(view.state(at(100), Some(at(89))), RunState::Died);
    // A clock that went back kills nobody.
    assert_eq!(view.state(at(0), Some(at(50))), RunState::Running);
}

#[test]
fn a_run_that_ended_stays_ended() {
    for (outcome, state) in [
        (RunOutcome::Done, RunState::Done),
        (RunOutcome::Failed, RunState::Failed),
        (RunOutcome::Interrupted, RunState::Interrupted),
    ] {
        let end = What::RunFinished {
            outcome,
            seconds: 1.0,
        };
        let view = view(&[], vec![(1, end)]);
        assert_eq!(view.state(at(1_000_000), None), state);
    }
}
