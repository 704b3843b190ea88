//! What a route will do, told before it does it: its chain, what each failure leads to, and how long
//! a caller waits at worst.

use std::{fmt, time::Duration};

use distill_gateway::{
    Failure, Target,
    failover::{Effect, RULES, Rule, Then},
};
use serde::Serialize;

use super::{LOOK_AGAIN, Route, RouteTable};
use crate::config::Policy;

/// What one route will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutePlan {
    pub route: String,
    pub order: &'static str,
    pub members: Vec<MemberPlan>,
    pub max_attempts: u32,
    pub failures: Vec<FailurePlan>,
    /// Seconds until the first content of a stream, or an error in its place, at worst.
    pub worst_first_content_seconds: f64,
    /// Seconds until the last byte of any answer, or an error in its place, at worst.
    pub worst_total_seconds: f64,
    /// After so many seconds a second target is asked as well.
    pub hedge_after_seconds: Option<f64>,
}

/// One member of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberPlan {
    pub target: String,
    /// The dialect that it is asked in where it does not know the caller's.
    pub dialect: &'static str,
    /// Dollars per million tokens of input and output.
    pub usd_per_million: [f64; 2],
    /// Where the price comes from, and of which day it is.
    pub price: String,
    /// What is particular about it; empty: nothing.
    pub notes: Vec<String>,
}

/// Failures with the same consequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailurePlan {
    pub failures: Vec<&'static str>,
    pub then: String,
}

/// What every route of a table will do, by name.
pub fn plans(table: &RouteTable) -> Vec<RoutePlan> {
    table.routes().map(|route| plan(route)).collect()
}

/// What a route will do.
pub fn plan(route: &Route) -> RoutePlan {
    let config = route.config();
    let members = route.members();
    let timeouts = config.timeouts;
    // A timeout gets no retry, so that each member can be waited for once.
    let waits = config.max_attempts.min(members.len() as u32);
    let first = (timeouts.first_token * waits).min(timeouts.total);
    RoutePlan {
        route: config.name.clone(),
        order: match config.policy {
            Policy::Order => "as listed",
            Policy::Weight => "by weight",
            Policy::Latency => "the fastest first",
            Policy::Cost => "the cheapest first",
        },
        members: members
            .iter()
            .map(|member| {
                let target = member.live().target();
                let rates = &target.price().base;
                MemberPlan {
                    target: target.name().to_owned(),
                    dialect: target.dialect().as_str(),
                    usd_per_million: [rates.input, rates.output]
                        .map(|rate| (rate * 1_000_000).dollars()),
                    price: price_source(target),
                    notes: notes(route, member),
                }
            })
            .collect(),
        max_attempts: config.max_attempts,
        failures: failures(config.retry, members.len()),
        worst_first_content_seconds: first.as_secs_f64(),
        worst_total_seconds: timeouts.total.as_secs_f64(),
        hedge_after_seconds: config.hedge.map(|hedge| hedge.after.as_secs_f64()),
    }
}

fn price_source(target: &Target) -> String {
    let price = target.price();
    match &price.as_of {
        Some(day) => format!("{} of {day}", price.source.name()),
        None => price.source.name().to_owned(),
    }
}

fn notes(route: &Route, member: &super::Member) -> Vec<String> {
    let mut notes = Vec::new();
    if route.config().policy == Policy::Weight {
        notes.push(format!("weight {}", member.weight));
    }
    let when = &member.when;
    for (bytes, words) in [
        (when.min_prompt_bytes, "at least"),
        (when.max_prompt_bytes, "at most"),
    ] {
        if let Some(bytes) = bytes {
            notes.push(format!("prompts of {words} {bytes} bytes"));
        }
    }
    for (is, what) in [
        (when.tools, "tools"),
        (when.images, "images"),
        (when.schema, "a schema"),
    ] {
        if let Some(is) = is {
            notes.push(format!(
                "{} {what}",
                if is { "only with" } else { "without" }
            ));
        }
    }
    if let Some(last) = member.sunset {
        notes.push(format!("until {last}"));
    }
    if !member.options.is_empty() {
        let names: Vec<&str> = member.options.keys().map(String::as_str).collect();
        notes.push(format!("with {}", names.join(", ")));
    }
    if member.live().target().simulated() {
        notes.push("SIMULATED".to_owned());
    }
    notes
}

/// The rows of the policy, those with the same consequence together.
fn failures(retries: bool, members: usize) -> Vec<FailurePlan> {
    let mut plans: Vec<FailurePlan> = Vec::new();
    for rule in RULES {
        let then = consequence(&rule, retries, members);
        match plans.iter_mut().find(|plan| plan.then == then) {
            Some(plan) => plan.failures.push(rule.name),
            None => plans.push(FailurePlan {
                failures: vec![rule.name],
                then,
            }),
        }
    }
    plans
}

fn consequence(rule: &Rule, retries: bool, members: usize) -> String {
    let mut parts = Vec::new();
    if retries && rule.retries_here > 0 {
        parts.push("one retry at once".to_owned());
    }
    parts.push(match rule.then {
        Then::ReturnToCaller => "the caller gets it back; nobody else is asked".to_owned(),
        Then::NextTarget if members < 2 => {
            "nobody else is there: the caller gets an error".to_owned()
        }
        Then::NextTarget if rule.failure == Failure::InvalidOutput => {
            "the next, those that hold a schema first".to_owned()
        }
        Then::NextTarget => "the next".to_owned(),
    });
    match rule.effect {
        Effect::Stays => {}
        Effect::RestsAsTold(untold) => {
            parts.push(format!("rests as its headers say, else {}", Span(untold)));
        }
        Effect::OutForLongerPrompts => {
            parts.push("others first for prompts as long as this".to_owned());
        }
        Effect::OutFor(time) => parts.push(format!("out for {}", Span(time))),
        Effect::Out => parts.push(format!("out, looked at again after {}", Span(LOOK_AGAIN))),
    }
    if rule.breaks {
        parts.push("counts towards the breaker".to_owned());
    }
    if rule.alert {
        parts.push("alert".to_owned());
    }
    parts.join("; ")
}

/// A time as people write it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds >= 60.0 && self.0.as_secs().is_multiple_of(60) {
            write!(formatter, "{} min", self.0.as_secs() / 60)
        } else {
            write!(formatter, "{seconds} s")
        }
    }
}

impl fmt::Display for RoutePlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{}: {}, at most {} attempts",
            self.route, self.order, self.max_attempts
        )?;
        for (index, member) in self.members.iter().enumerate() {
            let [input, output] = member.usd_per_million;
            write!(
                formatter,
                "  {}. {} ({}; ${input} in, ${output} out a million tokens, price: {})",
                index + 1,
                member.target,
                member.dialect,
                member.price
            )?;
            if member.notes.is_empty() {
                writeln!(formatter)?;
            } else {
                writeln!(formatter, ": {}", member.notes.join(", "))?;
            }
        }
        writeln!(formatter, "  after a failure")?;
        for plan in &self.failures {
            writeln!(formatter, "    {}: {}", plan.failures.join(", "), plan.then)?;
        }
        writeln!(
            formatter,
            "    nobody left: 429 with Retry-After when one is throttled, 504 when the time is over, else 503"
        )?;
        if let Some(after) = self.hedge_after_seconds {
            writeln!(
                formatter,
                "  a second target is asked as well after {}",
                Span(Duration::from_secs_f64(after))
            )?;
        }
        writeln!(
            formatter,
            "  worst case: the first content of a stream (or an error) after {}, the end of any answer after {}",
            Span(Duration::from_secs_f64(self.worst_first_content_seconds)),
            Span(Duration::from_secs_f64(self.worst_total_seconds)),
        )
    }
}
