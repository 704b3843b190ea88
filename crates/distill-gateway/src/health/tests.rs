use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, BreakerSettings, HealthState, Kind, SpikeSettings, TargetHealth};
use crate::failover::Failure;

const SECOND: Duration = Duration::from_secs(1);
const FREE: Admission = Admission::Now { probe: false };
const PROBE: Admission = Admission::Now { probe: true };

fn settings() -> BreakerSettings {
    BreakerSettings {
        errors: 2,
        pause: SECOND,
        longest_pause: 3 * SECOND,
        ..BreakerSettings::default()
    }
}

fn health() -> TargetHealth {
    TargetHealth::new(settings())
}

#[test]
fn a_throttled_target_rests_as_long_as_it_said() {
    let (health, now) = (health(), Instant::now());
    let rule = Failure::RateLimited.rule();
    health.failed(&rule, Some(5 * SECOND), 10, now);
    assert_eq!(health.admit(10, now), Admission::Rests(now + 5 * SECOND));
    health.failed(&rule, Some(3 * SECOND), 10, now);
    assert_eq!(
        health.admit(10, now),
        Admission::Rests(now + 5 * SECOND),
        "the longer rest counts"
    );
    assert_eq!(health.snapshot(now).state, HealthState::Resting);
    assert_eq!(health.admit(10, now + 5 * SECOND), FREE);
}

#[test]
fn the_breaker_opens_probes_once_and_closes_on_success() {
    let (health, now) = (health(), Instant::now());
    let rule = Failure::ServerError.rule();
    health.failed(&rule, None, 10, now);
    assert_eq!(health.admit(10, now), FREE);
    health.failed(&rule, None, 10, now);
    assert_eq!(health.admit(10, now), Admission::Open(now + SECOND));
    let then = now + SECOND;
    assert_eq!(health.admit(10, then), PROBE);
    assert!(
        matches!(health.admit(10, then), Admission::Open(_)),
        "one probe at a time"
    );
    assert_eq!(health.snapshot(then).state, HealthState::HalfOpen);
    health.failed(&rule, None, 10, then);
    assert_eq!(health.admit(10, then), Admission::Open(then + 2 * SECOND));
    assert_eq!(health.admit(10, then + 2 * SECOND), PROBE);
    health.succeeded(None, then);
    assert_eq!(health.admit(10, then + 2 * SECOND), FREE);
}

#[test]
fn a_probe_without_outcome_lets_the_next_one_probe() {
    let (health, now) = (health(), Instant::now());
    for _ in 0..2 {
        health.failed(&Failure::Timeout.rule(), None, 10, now);
    }
    assert_eq!(health.admit(10, now + SECOND), PROBE);
    health.released();
    assert_eq!(health.admit(10, now + SECOND), PROBE);
}

#[test]
fn a_target_is_out_for_good_for_a_time_or_for_long_prompts() {
    let (health, now) = (health(), Instant::now());
    health.failed(&Failure::ContextTooLong.rule(), None, 1000, now);
    assert_eq!(health.admit(1000, now), Admission::TooLong);
    assert_eq!(health.admit(999, now), FREE);
    health.failed(&Failure::RequestTimeout.rule(), None, 10, now);
    assert_eq!(health.admit(10, now), Admission::Out);
    assert_eq!(health.admit(10, now + 31 * SECOND), FREE);
    health.failed(&Failure::KeyRefused.rule(), None, 10, now);
    assert_eq!(health.admit(10, now + 3600 * SECOND), Admission::Out);
}

#[test]
fn a_server_looks_again_at_a_target_that_was_taken_out() {
    let health = TargetHealth::new(BreakerSettings {
        look_again: Some(60 * SECOND),
        ..settings()
    });
    let now = Instant::now();
    let refused = Failure::KeyRefused.rule();
    health.failed(&refused, None, 10, now);
    assert_eq!(health.admit(10, now + 59 * SECOND), Admission::Out);
    let then = now + 60 * SECOND;
    assert_eq!(health.admit(10, then), PROBE);
    assert!(matches!(health.admit(10, then), Admission::Open(_)));
    health.failed(&refused, None, 10, then);
    assert_eq!(
        health.admit(10, then + SECOND),
        Admission::Out,
        "still refused"
    );
    assert_eq!(health.admit(10, then + 60 * SECOND), PROBE);
    health.succeeded(None, then + 60 * SECOND);
    assert_eq!(health.admit(10, then + 60 * SECOND), FREE);
}

#[test]
fn a_target_that_becomes_slow_is_asked_last_until_it_is_fast_again() {
    let spike = SpikeSettings::default();
    let health = TargetHealth::new(BreakerSettings {
        spike: Some(spike),
        ..settings()
    });
    let mut now = Instant::now();
    for _ in 0..30 {
        health.succeeded(Some((Kind::FirstToken, SECOND)), now);
    }
    assert!(!health.is_slow(now));
    for _ in 0..8 {
        health.succeeded(Some((Kind::FirstToken, 8 * SECOND)), now);
    }
    assert!(health.is_slow(now));
    assert_eq!(health.snapshot(now).state, HealthState::Slow);
    assert_eq!(health.admit(10, now), FREE, "slow is better than none");

    now += spike.longest_pause;
    assert!(!health.is_slow(now), "one is let through to look");
    assert!(health.is_slow(now), "and only one");
    health.succeeded(Some((Kind::FirstToken, 20 * SECOND)), now);
    assert!(health.is_slow(now + spike.pause), "slow still: longer");
    now += spike.longest_pause;
    assert!(!health.is_slow(now));
    health.succeeded(Some((Kind::FirstToken, SECOND)), now);
    assert!(!health.is_slow(now));
    assert!(!health.is_slow(now));
    assert_eq!(health.pace(Kind::FirstToken), Some(SECOND));
    assert_eq!(health.pace(Kind::Whole), None);
}

#[test]
fn what_was_too_long_is_asked_again_after_a_while() {
    let health = TargetHealth::new(BreakerSettings {
        look_again: Some(10 * SECOND),
        ..settings()
    });
    let now = Instant::now();
    let rule = Failure::ContextTooLong.rule();
    health.failed(&rule, None, 100, now);
    assert_eq!(health.admit(100, now), Admission::TooLong);
    assert!(!health.could_be_asked(100, now) && health.could_be_asked(99, now));
    let later = now + 10 * SECOND;
    assert_eq!(health.admit(100, later), FREE);
    // What is learnt anew does not bring the old bound back.
    health.failed(&rule, None, 500, later);
    assert_eq!(health.admit(499, later), FREE);
}
