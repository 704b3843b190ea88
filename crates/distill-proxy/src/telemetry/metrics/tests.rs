use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::Usd;

use super::{AttemptMeasure, Metrics, RequestMeasure, SETS, TargetState, decimal, rendered};

fn request(route: &str) -> RequestMeasure<'_> {
    RequestMeasure {
        route,
        dialect: "openai.chat_completions",
        status: 200,
        outcome: "answered",
        latency: Duration::from_millis(7),
        first_token: None,
        cache: None,
        saved: None,
    }
}

#[test]
fn a_page_holds_what_was_counted() {
    let metrics = Arc::new(Metrics::default());
    let in_flight = metrics.in_flight();
    metrics.request(&request("fast"));
    metrics.request(&RequestMeasure {
        latency: Duration::from_secs(1000),
        cache: Some("exact"),
        saved: Some(Usd::from_dollars(0.25)),
        ..request("fast")
    });
    metrics.attempt(&AttemptMeasure {
        target: "openai/gpt-5-mini",
        simulated: false,
        outcome: "answered",
        usage: Usage {
            input_tokens: Some(12),
            reasoning_tokens: Some(0),
            ..Usage::default()
        },
        usd: None,
        latency: Some(Duration::from_millis(100)),
        first_token: None,
    });
    metrics.refused("budget");
    let page = metrics.render(&[TargetState {
        target: "openai/gpt-5-mini".into(),
        state: "open",
    }]);
    for line in [
        "distill_in_flight 1",
        "distill_requests_total{route=\"fast\",dialect=\"openai.chat_completions\",status=\"200\",outcome=\"answered\"} 2",
        "distill_request_seconds_bucket{route=\"fast\",le=\"0.005\"} 0",
        "distill_request_seconds_bucket{route=\"fast\",le=\"0.01\"} 1",
        "distill_request_seconds_bucket{route=\"fast\",le=\"300\"} 1",
        "distill_request_seconds_bucket{route=\"fast\",le=\"+Inf\"} 2",
        "distill_request_seconds_count{route=\"fast\"} 2",
        "distill_attempts_total{target=\"openai/gpt-5-mini\",outcome=\"answered\",simulated=\"false\"} 1",
        "distill_tokens_total{target=\"openai/gpt-5-mini\",class=\"input\",simulated=\"false\"} 12",
        "distill_tokens_total{target=\"openai/gpt-5-mini\",class=\"reasoning\",simulated=\"false\"} 0",
        "distill_attempts_without_cost_total{target=\"openai/gpt-5-mini\"} 1",
        "distill_cache_hits_total{route=\"fast\",kind=\"exact\"} 1",
        "distill_cache_saved_usd_total{route=\"fast\",kind=\"exact\"} 0.25",
        "distill_refusals_total{reason=\"budget\"} 1",
        "distill_target_state{target=\"openai/gpt-5-mini\",state=\"open\"} 1",
        "distill_target_state{target=\"openai/gpt-5-mini\",state=\"closed\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page.contains("class=\"output\""), "not reported, not 0");
    assert!(!page.contains("distill_usd_total{"), "not known, not 0");
    drop(in_flight);
    assert!(metrics.render(&[]).contains("distill_in_flight 0\n"));
}

#[test]
fn every_line_is_a_comment_or_a_sample() {
    let metrics = Metrics::default();
    metrics.request(&request("a \"quoted\\ name\nin two lines"));
    for line in metrics.render(&[]).lines() {
        let sample = line
            .rsplit_once(' ')
            .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(line.starts_with("# ") || sample, "{line}");
    }
}

#[test]
fn names_that_callers_make_up_do_not_grow_without_bound() {
    let metrics = Metrics::default();
    for number in 0..SETS + 10 {
        metrics.request(&request(&format!("made/up-{number}")));
    }
    let page = metrics.render(&[]);
    let sets = page
        .lines()
        .filter(|line| line.starts_with("distill_requests_total{"))
        .count();
    assert_eq!(sets, SETS + 1);
    let other = "distill_request_seconds_count{route=\"other\"} 10";
    assert!(page.lines().any(|line| line == other));
}

#[test]
fn labels_are_escaped() {
    assert_eq!(rendered(&[("a", "x\"\\\n")]), "a=\"x\\\"\\\\\\n\"");
    assert_eq!(decimal(0, &mut [0; 5]), "0");
    assert_eq!(decimal(65_535, &mut [0; 5]), "65535");
}
