//! The lives of targets: models that change under their names, sunsets, quality.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use distill_ledger::{Clock, ModelChange, TargetFact};

use super::{Alerts, Score, Standing, fact_name, judge};
use crate::{
    config::{Config, Day},
    route::RouteTable,
};

/// Tells what becomes of targets, and demotes those that are not good enough.
#[derive(Debug)]
pub struct Targets {
    alerts: Alerts,
    clock: Clock,
}

impl Targets {
    pub fn new(alerts: Alerts, clock: Clock) -> Self {
        Self { alerts, clock }
    }

    /// A target was answered by another model than before. The ledger has it on record.
    pub fn model_changed(&self, change: &ModelChange) {
        let named = |model: &str, fingerprint: Option<&str>| match fingerprint {
            Some(print) => format!("`{model}` (fingerprint {print})"),
            None => format!("`{model}`"),
        };
        let now = named(&change.model, change.fingerprint.as_deref());
        let before = named(&change.before.0, change.before.1.as_deref());
        self.alerts.raise(
            &format!("model:{}:{now}", change.target),
            "model",
            format!(
                "`{}` changed under its name: {now} answers now, {before} did before",
                change.target
            ),
        );
    }

    /// Tells of sunsets that are near: once when the time of notice begins, again a week and a day
    /// before, and when the target is no longer asked.
    pub fn sunsets(&self, config: &Config) {
        let today = Day::of_seconds(self.clock.now_ms().div_euclid(1_000));
        let members = config
            .routes
            .iter()
            .filter(|route| !route.name.starts_with("task/"))
            .flat_map(|route| route.members.iter().map(move |member| (route, member)));
        for (route, member) in members {
            let Some(sunset) = member.sunset else {
                continue;
            };
            let left = sunset.0 - today.0;
            let step = match left {
                ..0 => "over",
                0..=1 => "day",
                2..=7 => "week",
                _ if left <= i64::from(config.alerts.sunset_days) => "notice",
                _ => continue,
            };
            let (name, target) = (&route.name, &member.target);
            let others = route.members.iter().any(|other| {
                other.target != *target && other.sunset.is_none_or(|last| last > sunset)
            });
            let after = if others {
                "the other members answer then"
            } else {
                "no member is left then: add another"
            };
            let wording = if left < 0 {
                format!("`{target}` in `{name}` is past its sunset {sunset} and is no longer asked")
            } else {
                format!("`{target}` in `{name}` is asked until {sunset}, {left} more days; {after}")
            };
            self.alerts.raise(
                &format!("sunset:{name}:{target}:{sunset}:{step}"),
                "sunset",
                wording,
            );
        }
    }

    /// Puts members last whose latest score is not good enough, and back those whose is.
    pub fn quality(&self, config: &Config, routes: &RouteTable, facts: &[TargetFact]) {
        // Facts come oldest first, so the latest stays.
        let latest: HashMap<(&str, &str), &TargetFact> = facts
            .iter()
            .map(|fact| ((fact.target.as_str(), fact.name.as_str()), fact))
            .collect();
        for route in &config.routes {
            let (Some(quality), Some(live)) = (&route.quality, routes.find(&route.name)) else {
                continue;
            };
            let name = fact_name(&quality.suite);
            for member in live.members() {
                let target = member.live().name();
                let Some(score) = latest
                    .get(&(target, name.as_str()))
                    .and_then(|fact| serde_json::from_value::<Score>(fact.value.clone()).ok())
                else {
                    continue;
                };
                let was = member.is_demoted();
                let key = format!("quality:{}:{target}", route.name);
                match judge(&score, quality) {
                    Standing::Demoted(why) => {
                        live.demote(target, true);
                        if !was {
                            self.alerts.raise(
                                &key,
                                "quality",
                                format!(
                                    "`{target}` in `{}` is asked last now: it {why}",
                                    route.name
                                ),
                            );
                        }
                    }
                    Standing::Good if was => {
                        live.demote(target, false);
                        self.alerts.settle(&key);
                        self.alerts.note(
                            "quality",
                            format!(
                                "`{target}` in `{}` is asked in its turn again: it scores {:.3}",
                                route.name, score.score
                            ),
                        );
                    }
                    Standing::Good => {}
                }
            }
        }
    }
}
