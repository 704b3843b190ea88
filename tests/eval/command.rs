//! A scorer of the user's own: what it is given, and what it gets wrong.

use std::fs;

use serde_json::json;

use super::{RUN, job, refused, run, with};
use crate::fixture::{Job, Running};

/// A scorer of one line of shell: `sed` makes a score of each row.
fn command(line: &str, more: &str) -> Job {
    job(&with(
        "scorers: [exact_match, rouge_l]",
        &format!("scorers: [{{command: {{name: mine, run: [sh, score.sh]{more}}}}}]"),
    ))
    .with_script(line)
}

impl Job {
    fn with_script(self, line: &str) -> Self {
        self.write("score.sh", line);
        self
    }
}

#[test]
fn a_command_scores_what_it_is_given() {
    let script = r#"sed -E -e 's/.*"id":"a".*/{"id":"a","unscored":"too easy"}/' -e '/"id":"b"/d' -e 's/.*"id":"([^"]*)".*"topic":"times".*/{"id":"\1","score":0.25}/' -e 's/^\{"id":"([^"]*)","input.*/{"id":"\1","score":0.75}/'"#;
    let job = command(script, "");
    let summary = run(&job, &[]);
    let values = &summary["scorers"][0]["values"];
    assert_eq!(
        (&values[0]["n"], &values[0]["unscored"]),
        (&json!(6), &json!(2))
    );
    assert_eq!(
        values[0]["unscored_reasons"],
        json!({"too easy": 1, "`mine` gave no score for this row": 1})
    );
    // c and d are plus, e to h times; h has no answer from `bad`.
    assert_eq!(values[0]["value"], json!((2.0 * 0.75 + 4.0 * 0.25) / 6.0));
    assert_eq!(values[1]["value"], json!((2.0 * 0.75 + 3.0 * 0.25) / 5.0));
    assert_eq!(
        values[1]["unscored_reasons"]["no answer is recorded in `bad.said`"],
        1
    );
}

#[test]
fn a_command_that_fails_is_told_for_what_it_did() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "echo out of luck >&2; exit 4",
            "",
            &["`mine`", "exit status: 4", "out of luck"],
        ),
        (
            "echo hello",
            "",
            &["line 1", "`hello` is not JSON", "standard error"],
        ),
        ("echo '{\"score\": 1}'", "", &["line 1", "no `id`"]),
        (
            "echo '{\"id\": \"z\", \"score\": 1}'",
            "",
            &["no row `z` was asked about"],
        ),
        (
            "echo '{\"id\": \"a\", \"score\": 1}'; echo '{\"id\": \"a\", \"score\": 0}'",
            "",
            &["line 2", "row `a` was scored before"],
        ),
        (
            "echo '{\"id\": \"a\"}'",
            "",
            &["neither a `score` nor a reason"],
        ),
        (
            "echo '{\"id\": \"a\", \"score\": 0.5}'",
            ", unit: share",
            &["0 and 1 only"],
        ),
        (
            "exec sleep 60",
            ", timeout_seconds: 0.2",
            &["not done after 0.2 seconds"],
        ),
        ("head -c 3000000 /dev/zero", "", &["longer than"]),
        (
            "echo '{\"id\": \"a\", \"score\": 1e308}'",
            "",
            &[
                "line 1",
                "row `a` has the score 1e",
                "beyond what can be averaged",
            ],
        ),
    ];
    for (script, more, words) in cases {
        refused(&command(script, more), RUN, 1, words);
    }
    let job = job(&with(
        "[exact_match, rouge_l]",
        "[{command: {name: mine, run: [./nowhere]}}]",
    ));
    refused(&job, RUN, 2, &["does not start", "nowhere", "on the path"]);
}

#[test]
fn a_command_ends_with_the_run_that_started_it() {
    let job = command("echo $$ > pid; exec sleep 300", "");
    let run = Running::new(&mut job.distill(["eval", "run", "suite.yaml", "--out", "out"]));
    let pid = job.path().join("pid");
    crate::fixture::wait_for("the command has started", || {
        fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
    });
    run.interrupt();
    run.finish(130);
    let pid = fs::read_to_string(&pid).unwrap().trim().to_owned();
    crate::fixture::wait_for("the command has ended", || {
        // Ended and not yet collected is ended, too.
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
    });
}

#[test]
fn what_a_command_started_ends_with_it() {
    // The child keeps the output open, so that the command seems to go on after its own end.
    let job = command("sleep 300 & echo $! > pid", ", timeout_seconds: 0.2");
    refused(&job, RUN, 1, &["not done after 0.2 seconds"]);
    let pid = fs::read_to_string(job.path().join("pid")).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    crate::fixture::wait_for("the child has ended", || {
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z"))
    });
}
