//! Who uses the demo.

use distill_ledger::{Caller, KeyLimits, NewKey, Role};

/// Somebody with a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Person {
    pub name: &'static str,
    pub team: &'static str,
    pub discipline: &'static str,
    pub level: &'static str,
    /// How often they ask, relative to the others.
    pub(super) weight: u32,
    /// What they ask for, the first the most.
    pub(super) models: [&'static str; 3],
}

const fn person(
    name: &'static str,
    team: &'static str,
    discipline: &'static str,
    level: &'static str,
    weight: u32,
    models: [&'static str; 3],
) -> Person {
    Person {
        name,
        team,
        discipline,
        level,
        weight,
        models,
    }
}

/// The last of them is an agent that nobody watches.
pub(super) const PEOPLE: [Person; 8] = [
    person(
        "ada",
        "platform",
        "backend",
        "staff",
        5,
        ["code", "chat", "think"],
    ),
    person(
        "grace",
        "platform",
        "backend",
        "senior",
        4,
        ["code", "cheap", "chat"],
    ),
    person(
        "margaret",
        "apps",
        "mobile",
        "senior",
        4,
        ["chat", "code", "cheap"],
    ),
    person(
        "radia",
        "apps",
        "frontend",
        "mid",
        3,
        ["chat", "cheap", "code"],
    ),
    person(
        "alan",
        "research",
        "machine learning",
        "principal",
        2,
        ["think", "code", "chat"],
    ),
    person(
        "emmy",
        "research",
        "machine learning",
        "junior",
        3,
        ["cheap", "chat", "think"],
    ),
    person(
        "nightly-ci",
        "platform",
        "service",
        "none",
        6,
        ["task/triage", "task/summary", "embed"],
    ),
    person(
        "night-agent",
        "apps",
        "service",
        "none",
        3,
        ["think", "think", "code"],
    ),
];

impl Person {
    pub(super) fn new_key(&self) -> NewKey {
        NewKey {
            user: self.name.to_owned(),
            team: Some(self.team.to_owned()),
            discipline: Some(self.discipline.to_owned()),
            level: Some(self.level.to_owned()),
            role: Role::User,
            models: Vec::new(),
            limits: KeyLimits::default(),
            note: Some("made by the demo".to_owned()),
            expires_ms: None,
        }
    }

    /// As history shows them, from before they had a key.
    pub(super) fn caller(&self) -> Caller {
        Caller {
            key_id: "history".to_owned(),
            user: self.name.to_owned(),
            team: Some(self.team.to_owned()),
            discipline: Some(self.discipline.to_owned()),
            level: Some(self.level.to_owned()),
            role: Role::User,
            models: Vec::new(),
            limits: KeyLimits::default(),
        }
    }
}
