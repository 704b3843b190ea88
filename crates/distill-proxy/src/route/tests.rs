use std::{collections::BTreeMap, path::Path, time::Duration};

use distill_gateway::{Failure, PriceTable, health::Kind};
use tokio::time::Instant;

use super::{Asked, RouteError, RouteTable, Surroundings};
use crate::config::{Config, Day, Sources};

const VENDORS: &str = "vendors:
  a: {like: vllm, base_url: 'http://127.0.0.1:1/v1', price: {input: 3, output: 3}}
  b: {like: vllm, base_url: 'http://127.0.0.1:2/v1', price: {input: 1, output: 1}}
  c: {like: vllm, base_url: 'http://127.0.0.1:3/v1', price: {input: 2, output: 2}}
";

fn day() -> Day {
    Day::parse("2026-11-21").unwrap()
}

fn config(text: &str) -> Config {
    Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|_| None,
            folder: Path::new("/nowhere"),
            state: Path::new("/state"),
            today: day(),
            prices: None,
        },
    )
    .unwrap_or_else(|findings| panic!("{}\n{text}", findings.to_text()))
}

fn build(text: &str, previous: Option<&RouteTable>) -> Result<RouteTable, RouteError> {
    RouteTable::build(
        &config(text),
        &Surroundings {
            addresses: &|_| None,
            prices: PriceTable::embedded(),
            today: day(),
        },
        previous,
    )
}

fn table(models: &str) -> RouteTable {
    build(&format!("{VENDORS}models:\n  {models}\n"), None).unwrap()
}

fn order(table: &RouteTable, asked: &Asked<'_>) -> Vec<String> {
    let route = table.find("r").unwrap();
    let now = Instant::now();
    route
        .order(asked, day(), now)
        .into_iter()
        .map(|index| route.members()[index].live().name().to_owned())
        .collect()
}

fn plain() -> Asked<'static> {
    Asked {
        prompt_bytes: 400,
        ..Asked::default()
    }
}

#[test]
fn a_chain_is_asked_as_it_is_listed() {
    let table = table("r: [a/m, b/m, c/m]");
    assert_eq!(order(&table, &plain()), ["a/m", "b/m", "c/m"]);
}

#[test]
fn a_member_takes_only_what_its_conditions_allow() {
    let table = table(
        "r: {members: [{model: a/m, when: {max_prompt: 1 KB, tools: false}}, {model: b/m, when: {images: true}}, c/m]}",
    );
    assert_eq!(order(&table, &plain()), ["a/m", "c/m"]);
    let big = Asked {
        prompt_bytes: 5000,
        ..plain()
    };
    assert_eq!(order(&table, &big), ["c/m"]);
    let pictures = Asked {
        images: true,
        tools: true,
        ..plain()
    };
    assert_eq!(order(&table, &pictures), ["b/m", "c/m"]);
    let only = ["c/m".to_owned()];
    let allowed = Asked {
        only: Some(&only),
        ..plain()
    };
    assert_eq!(order(&table, &allowed), ["c/m"], "a task's policy");
}

#[test]
fn weights_are_kept_exactly_over_a_round() {
    let table = table(
        "r: {policy: weight, members: [{model: a/m, weight: 5}, {model: b/m, weight: 1}, {model: c/m, weight: 2}]}",
    );
    let mut first = BTreeMap::new();
    let mut runs = Vec::new();
    for _ in 0..80 {
        let order = order(&table, &plain());
        assert_eq!(order.len(), 3);
        *first.entry(order[0].clone()).or_insert(0) += 1;
        runs.push(order[0].clone());
    }
    assert_eq!(
        first,
        BTreeMap::from([("a/m".into(), 50), ("b/m".into(), 10), ("c/m".into(), 20)])
    );
    assert!(
        !runs
            .windows(4)
            .any(|run| run.iter().all(|one| one == "a/m")),
        "the heavy one is spread, not asked in a row"
    );
}

#[test]
fn a_session_stays_with_its_member_in_every_instance() {
    let text = "r: {policy: weight, members: [{model: a/m, weight: 2}, {model: b/m, weight: 1}, {model: c/m, weight: 1}]}";
    let (one, other) = (table(text), table(text));
    let mut first = BTreeMap::new();
    for number in 0..4000 {
        let session = format!("session {number}");
        let asked = Asked {
            session: Some(&session),
            ..plain()
        };
        let place = order(&one, &asked);
        assert_eq!(order(&other, &asked), place);
        assert_eq!(order(&one, &asked), place);
        *first.entry(place[0].clone()).or_insert(0) += 1;
    }
    // Shares of 4000 draws; five standard deviations are 158.
    for (name, share) in [("a/m", 2000), ("b/m", 1000), ("c/m", 1000)] {
        let seen: i32 = first[name];
        assert!((seen - share).abs() < 160, "{name}: {seen} of {share}");
    }
}

#[test]
fn the_cheapest_is_asked_first_and_a_session_stays_where_it_is_warm() {
    let table = table("r: {policy: cost, members: [a/m, b/m, c/m]}");
    assert_eq!(order(&table, &plain()), ["b/m", "c/m", "a/m"]);
    let asked = Asked {
        session: Some("s"),
        ..plain()
    };
    assert_eq!(order(&table, &asked)[0], "b/m");
    // Another had to answer: its cache is warm now.
    let route = table.find("r").unwrap();
    route.answered(Some("s"), 2, Instant::now());
    assert_eq!(order(&table, &asked), ["c/m", "b/m", "a/m"]);
}

#[test]
fn the_fastest_is_asked_first_and_the_others_now_and_then() {
    let table = table("r: {policy: latency, members: [a/m, b/m, c/m]}");
    let route = table.find("r").unwrap();
    let now = Instant::now();
    for (index, milliseconds) in [(0, 900), (1, 200)] {
        let took = (Kind::Whole, Duration::from_millis(milliseconds));
        route.members()[index]
            .live()
            .health()
            .succeeded(Some(took), now);
    }
    assert_eq!(order(&table, &plain())[0], "c/m", "never measured");
    let took = (Kind::Whole, Duration::from_millis(500));
    route.members()[2]
        .live()
        .health()
        .succeeded(Some(took), now);
    let mut first = BTreeMap::new();
    for _ in 0..64 {
        *first.entry(order(&table, &plain())[0].clone()).or_insert(0) += 1;
    }
    assert_eq!(first["b/m"], 62, "{first:?}");
}

#[test]
fn the_demoted_stand_last_and_those_past_their_sunset_are_out() {
    let table = table(
        "r: {members: [a/m, {model: b/m, sunset: 2026-11-21}, {model: c/m, sunset: 2026-11-20}]}",
    );
    assert_eq!(
        order(&table, &plain()),
        ["a/m", "b/m"],
        "today is its last day"
    );
    let route = table.find("r").unwrap();
    assert!(route.demote("a/m", true));
    assert!(!route.demote("x/m", true));
    assert_eq!(order(&table, &plain()), ["b/m", "a/m"]);
    route.demote("a/m", false);
    assert_eq!(order(&table, &plain()), ["a/m", "b/m"]);
}

#[test]
fn what_was_learnt_survives_a_reload_unless_the_target_became_another() {
    let models = "models: {r: [a/m, b/m]}\n";
    let text = format!("{VENDORS}{models}");
    let old = build(&text, None).unwrap();
    let gone = Failure::ModelGone.rule();
    let now = Instant::now();
    for member in old.find("r").unwrap().members() {
        member.live().health().failed(&gone, None, 10, now);
    }
    old.find("r").unwrap().demote("b/m", true);
    let moved = text.replace("127.0.0.1:1/", "127.0.0.1:9/");
    let new = build(&moved, Some(&old)).unwrap();
    let route = new.find("r").unwrap();
    let failed: Vec<u64> = route
        .members()
        .iter()
        .map(|member| member.live().health().snapshot(now).failed)
        .collect();
    assert_eq!(failed, [0, 1], "another address is another target");
    assert!(route.members()[1].is_demoted());
}

#[test]
fn a_session_stays_with_its_member_over_a_reload() {
    let text = format!("{VENDORS}models: {{r: {{policy: cost, members: [a/m, b/m, c/m]}}}}\n");
    let old = build(&text, None).unwrap();
    let asked = Asked {
        session: Some("s"),
        ..plain()
    };
    old.find("r")
        .unwrap()
        .answered(Some("s"), 2, Instant::now());
    let new = build(&text, Some(&old)).unwrap();
    assert_eq!(order(&new, &asked)[0], "c/m");
    // Other places may mean other targets.
    let other = text.replace("[a/m, b/m, c/m]", "[c/m, b/m, a/m]");
    let new = build(&other, Some(&old)).unwrap();
    assert_eq!(order(&new, &asked)[0], "b/m");
}

#[test]
fn one_who_became_slow_is_looked_at_by_one_request_after_its_pause() {
    let table = table("r: [a/m, b/m, c/m]");
    let route = table.find("r").unwrap();
    let now = Instant::now();
    let slow = route.members()[0].live().health();
    for took in std::iter::repeat_n(1, 30).chain([60; 4]) {
        slow.succeeded(Some((Kind::FirstToken, Duration::from_secs(took))), now);
    }
    let today = Day::parse("2026-11-21").unwrap();
    let first = |now| route.order(&plain(), today, now)[0];
    assert_eq!(first(now), 1, "it is asked last");
    let then = now + Duration::from_mins(10);
    assert_eq!((first(then), first(then)), (0, 1));
}

#[test]
fn names_lead_to_routes_by_their_beginning_or_pass_through() {
    let table = build(
        &format!("{VENDORS}passthrough: true\nmodels:\n  'x-*': a/m\n  'x-y*': b/m\n  x-z: c/m\n"),
        None,
    )
    .unwrap();
    let target = |name: &str| {
        table
            .find(name)
            .map(|route| route.members()[0].live().name().to_owned())
    };
    assert_eq!(target("x-1").as_deref(), Some("a/m"));
    assert_eq!(target("x-y1").as_deref(), Some("b/m"));
    assert_eq!(target("x-z").as_deref(), Some("c/m"));
    assert_eq!(target("a/other").as_deref(), Some("a/other"));
    assert_eq!(target("a/m").as_deref(), Some("a/m"));
    assert_eq!(target("nobody/m"), None);
    assert_eq!(target("y"), None);
    let through = table.find("a/m").unwrap();
    let routed = table.find("x-1").unwrap();
    assert!(
        std::ptr::eq(
            through.members()[0].live().health(),
            routed.members()[0].live().health()
        ),
        "one target, one health"
    );
}

#[test]
fn a_plan_names_the_chain_what_failures_do_and_how_long_it_takes_at_worst() {
    let table = table(
        "{r: {members: [{model: a/m, when: {tools: false}}, b/m], timeouts: {first_token: 20s, total: 5m}}, s: {members: [c/m], retry: false}}",
    );
    let text: String = super::plans(&table)
        .iter()
        .map(ToString::to_string)
        .collect();
    for part in [
        "r: as listed, at most 6 attempts",
        "1. a/m (openai.chat_completions; $3 in, $3 out a million tokens, price: custom): without tools",
        "2. b/m",
        "connect_failed, connection_lost, server_error: one retry at once; the next; counts towards the breaker",
        "rate_limited: the next; rests as its headers say, else 2 s",
        "request_fault: the caller gets it back; nobody else is asked",
        "key_refused, quota_spent, model_gone, wrong_address: the next; out, looked at again after 5 min; alert",
        "the first content of a stream (or an error) after 40 s, the end of any answer after 5 min",
        "server_error, timeout, stalled, malformed: nobody else is there: the caller gets an error; counts towards the breaker",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let words = || text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    for rule in distill_gateway::failover::RULES {
        // Once for each route; a name may be part of another.
        let named = words().filter(|word| *word == rule.name).count();
        assert_eq!(named, 2, "{}", rule.name);
    }
}
