//! Facts about targets: who answers under their names, how good they were found, when they end.

use serde::Serialize;

use super::Records;
use crate::{error::LedgerError, store::Statement};

/// A model that answered under the name of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// `vendor/model`.
    pub target: String,
    /// As it named itself.
    pub model: String,
    pub fingerprint: Option<String>,
    /// Milliseconds since 1970.
    pub first_ms: i64,
    pub last_ms: i64,
    pub answers: u64,
}

/// Something that was found out about a target, such as a score of an eval suite or a sunset date.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetFact {
    pub target: String,
    /// What it is about, such as `quality:intents`.
    pub name: String,
    pub at_ms: i64,
    pub value: serde_json::Value,
}

impl Records {
    /// Every model that was seen to answer, the latest of each target last. `target`: only of one.
    pub async fn sightings(&self, target: Option<&str>) -> Result<Vec<Sighting>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                "SELECT target, model, fingerprint, first_ms, last_ms, answers FROM sightings
                 WHERE ($1 = '' OR target = $2) ORDER BY target, last_ms, first_ms",
                vec![
                    target.unwrap_or_default().to_owned().into(),
                    target.unwrap_or_default().to_owned().into(),
                ],
            ))
            .await?;
        Ok(rows
            .iter()
            .map(|row| Sighting {
                target: row[0].words(),
                model: row[1].words(),
                fingerprint: row[2].text().filter(|print| !print.is_empty()),
                first_ms: row[3].integer().unwrap_or(0),
                last_ms: row[4].integer().unwrap_or(0),
                answers: row[5].count().unwrap_or(0),
            })
            .collect())
    }

    /// The latest sighting of each target.
    pub(crate) async fn last_seen(&self) -> Result<Vec<Sighting>, LedgerError> {
        let mut latest: Vec<Sighting> = Vec::new();
        for sighting in self.sightings(None).await? {
            match latest.last_mut() {
                Some(last) if last.target == sighting.target => *last = sighting,
                _ => latest.push(sighting),
            }
        }
        Ok(latest)
    }

    /// Puts a fact about a target on record, with the time.
    pub async fn note_fact(
        &self,
        target: &str,
        name: &str,
        value: &serde_json::Value,
    ) -> Result<(), LedgerError> {
        let insert = Statement::new(
            "INSERT INTO facts (target, name, at_ms, value) VALUES ($1, $2, $3, $4)
             ON CONFLICT (target, name, at_ms) DO UPDATE SET value = excluded.value",
            vec![
                target.to_owned().into(),
                name.to_owned().into(),
                self.clock.now_ms().into(),
                value.to_string().into(),
            ],
        );
        self.database().change(vec![insert]).await.map(drop)
    }

    /// The history of facts about a target, oldest first. `name`: only of that one.
    pub async fn facts(
        &self,
        target: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<TargetFact>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                "SELECT target, name, at_ms, value FROM facts
                 WHERE ($1 = '' OR target = $2) AND ($3 = '' OR name = $4)
                 ORDER BY at_ms, target, name",
                [target, target, name, name]
                    .into_iter()
                    .map(|part| part.unwrap_or_default().to_owned().into())
                    .collect(),
            ))
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(TargetFact {
                    target: row[0].text()?,
                    name: row[1].text()?,
                    at_ms: row[2].integer()?,
                    value: serde_json::from_str(&row[3].text()?).ok()?,
                })
            })
            .collect())
    }
}
