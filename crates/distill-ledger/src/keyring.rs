//! Virtual keys in the store.

use std::sync::Arc;

use distill_gateway::Secret;
use serde::Serialize;

use crate::{
    api::{Caller, KeyLimits, Role},
    error::LedgerError,
    key::{KeyHash, draw, draw_id, shown},
    question::changed,
    store::{Database, Row, Statement},
};

/// A key to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewKey {
    pub user: String,
    pub team: Option<String>,
    pub discipline: Option<String>,
    pub level: Option<String>,
    pub role: Role,
    /// Models, routes and tasks that may be asked; `*` at the end stands for anything. Empty: all.
    pub models: Vec<String>,
    pub limits: KeyLimits,
    pub note: Option<String>,
    /// Milliseconds since 1970.
    pub expires_ms: Option<i64>,
}

/// A key as lists show it. The key itself is not kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyInfo {
    pub id: String,
    /// The beginning of the key.
    pub shown: String,
    pub user: String,
    pub team: Option<String>,
    pub discipline: Option<String>,
    pub level: Option<String>,
    pub role: Role,
    pub models: Vec<String>,
    pub limits: KeyLimits,
    pub note: Option<String>,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
}

/// A key that the process knows.
#[derive(Debug, Clone)]
pub(crate) struct KnownKey {
    pub(crate) hash: KeyHash,
    pub(crate) caller: Arc<Caller>,
    pub(crate) expires_ms: Option<i64>,
}

impl KnownKey {
    pub(crate) fn holds(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

const COLUMNS: &str = "id, hash, shown, user_name, team, discipline, level, role, models, limits,
    note, created_ms, expires_ms, revoked_ms";

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}

pub(crate) async fn create(
    database: &Database,
    key: NewKey,
    now_ms: i64,
) -> Result<(Secret, KeyInfo), LedgerError> {
    let random = |error| LedgerError::Random {
        source: Arc::new(error),
    };
    let secret = draw().map_err(random)?;
    let info = KeyInfo {
        id: draw_id("k").map_err(random)?,
        shown: shown(&secret),
        user: key.user,
        team: key.team,
        discipline: key.discipline,
        level: key.level,
        role: key.role,
        models: key.models,
        limits: key.limits,
        note: key.note,
        created_ms: now_ms,
        expires_ms: key.expires_ms,
        revoked_ms: None,
    };
    let insert = Statement::new(
        format!(
            "INSERT INTO keys ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        ),
        vec![
            info.id.clone().into(),
            KeyHash::of(secret.expose()).hex().into(),
            info.shown.clone().into(),
            info.user.clone().into(),
            info.team.clone().into(),
            info.discipline.clone().into(),
            info.level.clone().into(),
            role_name(info.role).into(),
            json(&info.models).into(),
            json(&info.limits).into(),
            info.note.clone().into(),
            info.created_ms.into(),
            info.expires_ms.into(),
            info.revoked_ms.into(),
        ],
    );
    database.change(vec![insert, changed("keys")]).await?;
    Ok((secret, info))
}

/// What a process needs to know of every key that still holds.
pub(crate) async fn known(database: &Database, now_ms: i64) -> Result<Vec<KnownKey>, LedgerError> {
    let rows = database
        .query(Statement::new(
            format!(
                "SELECT {COLUMNS} FROM keys WHERE revoked_ms IS NULL
                 AND (expires_ms IS NULL OR expires_ms > $1)"
            ),
            vec![now_ms.into()],
        ))
        .await?;
    Ok(rows.iter().filter_map(known_key).collect())
}

pub(crate) async fn known_by_hash(
    database: &Database,
    hash: &KeyHash,
) -> Result<Option<KnownKey>, LedgerError> {
    let rows = database
        .query(Statement::new(
            format!("SELECT {COLUMNS} FROM keys WHERE hash = $1 AND revoked_ms IS NULL"),
            vec![hash.hex().into()],
        ))
        .await?;
    Ok(rows.first().and_then(known_key))
}

/// Every key, the newest first; revoked ones too.
pub(crate) async fn list(database: &Database) -> Result<Vec<KeyInfo>, LedgerError> {
    let rows = database
        .query(Statement::new(
            format!("SELECT {COLUMNS} FROM keys ORDER BY created_ms DESC, id"),
            vec![],
        ))
        .await?;
    Ok(rows.iter().filter_map(info).collect())
}

/// Revokes a key, by its id or by the beginning that lists show.
pub(crate) async fn revoke(
    database: &Database,
    key: &str,
    now_ms: i64,
) -> Result<KeyInfo, LedgerError> {
    let wanted = key.trim_end_matches("...");
    let mut found = list(database)
        .await?
        .into_iter()
        .filter(|info| info.id == wanted || info.shown.trim_end_matches("...") == wanted);
    let (Some(mut info), None) = (found.next(), found.next()) else {
        return Err(LedgerError::Unknown {
            what: "single key",
            name: key.to_owned(),
        });
    };
    info.revoked_ms = info.revoked_ms.or(Some(now_ms));
    let update = Statement::new(
        "UPDATE keys SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL",
        vec![now_ms.into(), info.id.clone().into()],
    );
    database.change(vec![update, changed("keys")]).await?;
    Ok(info)
}

fn info(row: &Row) -> Option<KeyInfo> {
    Some(KeyInfo {
        id: row[0].text()?,
        shown: row[2].words(),
        user: row[3].text()?,
        team: row[4].text(),
        discipline: row[5].text(),
        level: row[6].text(),
        role: if row[7].words() == role_name(Role::Admin) {
            Role::Admin
        } else {
            Role::User
        },
        // A row that cannot be read gives no key, rather than one without its limits.
        models: serde_json::from_str(&row[8].text()?).ok()?,
        limits: serde_json::from_str(&row[9].text()?).ok()?,
        note: row[10].text(),
        created_ms: row[11].integer()?,
        expires_ms: row[12].integer(),
        revoked_ms: row[13].integer(),
    })
}

fn known_key(row: &Row) -> Option<KnownKey> {
    let hash = KeyHash::from_hex(&row[1].text()?)?;
    let info = info(row)?;
    Some(KnownKey {
        hash,
        expires_ms: info.expires_ms,
        caller: Arc::new(Caller {
            key_id: info.id,
            user: info.user,
            team: info.team,
            discipline: info.discipline,
            level: info.level,
            role: info.role,
            models: info.models,
            limits: info.limits,
        }),
    })
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it is plain data")
}
