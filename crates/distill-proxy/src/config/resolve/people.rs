//! Checks of `users`, `teams`, `limits` and `pools`.

use std::collections::BTreeMap;

use distill_gateway::Usd;
use distill_ledger::{KeyLimits, LimitTable, TokenPool};
use distill_pipeline::spec::document::At;

use super::{DOLLARS, NOT_NEGATIVE, Resolver, texts};
use crate::config::{
    resolved::PersonConfig,
    written::{LimitSection, PoolSection, Proxy},
};

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

impl Resolver<'_> {
    pub(super) fn people(&mut self, written: &Proxy) -> Vec<PersonConfig> {
        let entries = written.users.iter().flat_map(|at| &at.value.0);
        entries
            .map(|entry| {
                let (name, person) = (&entry.name, &entry.value);
                let text = |value: &Option<At<String>>| value.as_ref().map(|at| at.value.clone());
                PersonConfig {
                    name: name.clone(),
                    team: text(&person.team),
                    discipline: text(&person.discipline),
                    level: text(&person.level),
                    owner: text(&person.owner),
                    webhook: self.webhook(
                        person.webhook_env.as_ref(),
                        None,
                        &format!("users.{name}.webhook"),
                    ),
                    spend_exempt: person.spend_exempt.as_ref().is_some_and(|at| at.value),
                }
            })
            .collect()
    }

    /// The teams that the file speaks of; keys may name others.
    pub(super) fn limits(&mut self, written: &Proxy) -> LimitTable {
        let common = written.limits.as_ref().map(|at| &at.value);
        let mut of = |limits: Option<&At<LimitSection>>, path: &str| {
            limits.map_or_else(KeyLimits::default, |limits| self.limit(&limits.value, path))
        };
        let mut table = LimitTable {
            global: of(
                common.and_then(|common| common.total.as_ref()),
                "limits.total",
            ),
            each_user: of(
                common.and_then(|common| common.each_user.as_ref()),
                "limits.each_user",
            ),
            each_team: of(
                common.and_then(|common| common.each_team.as_ref()),
                "limits.each_team",
            ),
            users: BTreeMap::new(),
            teams: BTreeMap::new(),
            tasks: BTreeMap::new(),
            pools: Vec::new(),
        };
        for entry in written.users.iter().flat_map(|at| &at.value.0) {
            if let Some(limits) = &entry.value.limits {
                let path = format!("users.{}.limits", entry.name);
                table
                    .users
                    .insert(entry.name.clone(), of(Some(limits), &path));
            }
        }
        for entry in written.teams.iter().flat_map(|at| &at.value.0) {
            if let Some(limits) = &entry.value.limits {
                let path = format!("teams.{}.limits", entry.name);
                table
                    .teams
                    .insert(entry.name.clone(), of(Some(limits), &path));
            }
        }
        for entry in written.tasks.iter().flat_map(|at| &at.value.0) {
            if let Some(limits) = &entry.value.limits {
                let path = format!("tasks.{}.limits", entry.name);
                table
                    .tasks
                    .insert(entry.name.clone(), of(Some(limits), &path));
            }
        }
        table.pools = self.pools(written);
        table
    }

    fn limit(&mut self, limits: &LimitSection, path: &str) -> KeyLimits {
        let most = 1_000_000_000_000;
        let mut count = |value: &Option<At<u64>>, key: &str| {
            self.whole(value.as_ref(), &format!("{path}.{key}"), 1, most)
        };
        let requests_per_minute = count(&limits.requests_per_minute, "requests_per_minute");
        let tokens_per_minute = count(&limits.tokens_per_minute, "tokens_per_minute");
        let mut dollars = |value: &Option<At<f64>>, key: &str| {
            let hint = "leave the key out for no limit";
            self.optional(value.as_ref(), &format!("{path}.{key}"), &DOLLARS, hint)
                .map(Usd::from_dollars)
        };
        KeyLimits {
            requests_per_minute,
            tokens_per_minute,
            usd_per_day: dollars(&limits.usd_per_day, "usd_per_day"),
            usd_per_month: dollars(&limits.usd_per_month, "usd_per_month"),
            usd_total: dollars(&limits.usd_total, "usd_total"),
        }
    }

    fn pools(&mut self, written: &Proxy) -> Vec<TokenPool> {
        let entries = written.pools.iter().flat_map(|at| &at.value.0);
        entries
            .filter_map(|entry| self.pool(&entry.name, &entry.value))
            .collect()
    }

    fn pool(&mut self, name: &str, pool: &PoolSection) -> Option<TokenPool> {
        let path = format!("pools.{name}");
        let most = 1_000_000_000_000_000;
        let tokens = self.whole(pool.tokens.as_ref(), &format!("{path}.tokens"), 1, most);
        let usd = self.number(
            pool.usd.as_ref(),
            &format!("{path}.usd"),
            0.0,
            &NOT_NEGATIVE,
            "what was paid for the tokens, in US dollars",
        );
        let until = self.day(pool.until.as_ref(), &format!("{path}.until"));
        Some(TokenPool {
            name: name.to_owned(),
            models: texts(Some(pool.models.as_ref()?)),
            teams: texts(pool.teams.as_ref()),
            tokens: tokens?,
            price: Usd::from_dollars(usd),
            // The whole of its last day counts.
            expires_ms: until.map(|day| (day.0 + 1) * MILLISECONDS_PER_DAY),
        })
    }
}
