//! The event log and its readers.

use distill_pipeline::record::{RunId, RunState};

use super::*;
use crate::{EventReader, StoreError, find_run, list_runs, read_run};

#[tokio::test]
async fn the_log_tells_what_the_observer_saw() {
    let bench = Bench::new();
    let report = bench.run(words("hello dear world")).await;
    let reading = read_run(&bench.home(), &report.header.run, bench.clock.now()).unwrap();
    assert_eq!(reading.events, *bench.events.lock().unwrap());
    assert_eq!(reading.view, report.view);
    assert_eq!(reading.header, report.header);
    assert_eq!(reading.state, RunState::Done);
    assert!(!reading.torn);
    assert_eq!(
        bench.seen("count"),
        [
            "step_started",
            "step_progress",
            "step_metric",
            "step_metric",
            "step_finished"
        ]
    );
    let count = reading.view.step("count").unwrap();
    assert_eq!(count.metrics["words"], Some(3.0));
    assert_eq!(count.metrics["loss"], None, "no number is made of NaN");
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_read_as_far_as_it_goes() {
    let bench = Bench::new();
    let report = bench.run(words("hello dear world")).await;
    let run = &report.header.run;
    let path = bench.home().run_dir(run).join("events.jsonl");
    let whole = fs::read(&path).unwrap();
    let lines = bench.events.lock().unwrap().len();
    for cut in (0..whole.len()).step_by(37) {
        fs::write(&path, &whole[..cut]).unwrap();
        let reading = read_run(&bench.home(), run, bench.clock.now()).unwrap();
        let ends = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(reading.events.len(), ends);
        assert_eq!(reading.torn, cut > 0 && whole[cut - 1] != b'\n');
        assert!(reading.events.len() < lines);
        assert_eq!(reading.state, RunState::Running);
        let later = Timestamp::from_millis(bench.clock.now().millis() + 11_000);
        let reading = read_run(&bench.home(), run, later).unwrap();
        assert_eq!(reading.state, RunState::Died);
    }
}

#[tokio::test]
async fn a_line_that_is_no_event_is_named() {
    let bench = Bench::new();
    let report = bench.run(words("hello")).await;
    let run = &report.header.run;
    let path = bench.home().run_dir(run).join("events.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2] = "{}";
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let error = read_run(&bench.home(), run, bench.clock.now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("line 3 of {} is not a run event", path.display())
    );
    // One run that cannot be read hides no other.
    let other = bench.run(words("hello")).await;
    let listings = list_runs(&bench.home(), bench.clock.now()).unwrap();
    assert_eq!(listings[0].run, other.header.run);
    assert!(listings[0].found.is_ok());
    assert!(listings[1].found.is_err());
}

#[tokio::test]
async fn a_live_log_is_read_piece_by_piece() {
    let bench = Bench::new();
    let report = bench.run(words("hello")).await;
    let run = &report.header.run;
    let path = bench.home().run_dir(run).join("events.jsonl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, "").unwrap();
    let mut reader = EventReader::open(&bench.home(), run).unwrap();
    let mut events = Vec::new();
    for piece in whole.chunks(50) {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(piece).unwrap();
        events.extend(reader.poll().unwrap());
    }
    assert_eq!(events, *bench.events.lock().unwrap());
    assert!(!reader.torn());
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_found_by_what_people_type() {
    let bench = Bench::new();
    let home = bench.home();
    let none = find_run(&home, "latest").unwrap_err();
    assert!(matches!(none, StoreError::NoRun { .. }));
    let first = bench.run(words("hello")).await.header.run;
    let second = bench.run(words("hello")).await.header.run;
    let listings = list_runs(&home, bench.clock.now()).unwrap();
    let ids: Vec<&RunId> = listings.iter().map(|listing| &listing.run).collect();
    assert_eq!(ids, [&second, &first]);
    let listed = listings[0].found.as_ref().unwrap();
    assert_eq!((listed.steps, listed.done, listed.cached), (4, 4, 4));
    assert_eq!(listed.pipeline, "words");

    assert_eq!(find_run(&home, "latest").unwrap(), second);
    assert_eq!(find_run(&home, first.as_str()).unwrap(), first);
    assert_eq!(find_run(&home, &first.as_str()[9..]).unwrap(), first);
    assert_eq!(find_run(&home, &first.as_str()[..15]).unwrap(), first);
    let several = find_run(&home, &first.as_str()[..8]).unwrap_err();
    assert!(matches!(several, StoreError::AmbiguousRun { matches, .. } if matches.len() == 2));
    assert!(find_run(&home, "").is_err());
    assert!(find_run(&home, "nothing").is_err());
}

#[tokio::test]
async fn a_run_shows_its_heart_beat() {
    let bench = Bench::new();
    let report = bench.run(words("hello")).await;
    let directory = bench.home().run_dir(&report.header.run);
    assert_eq!(
        crate::heartbeat::last_beat(&directory),
        Some(report.header.started)
    );
}
