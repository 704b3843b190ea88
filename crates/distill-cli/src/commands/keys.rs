//! `distill keys`: who may ask the proxy.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use distill_gateway::{Usd, date_of_days};
use distill_ledger::{Clock, KeyInfo, KeyLimits, NewKey, Role};
use serde_json::json;

use super::ledger::{LedgerArguments, failure, moment};
use crate::{arguments::Format, failure::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill keys create alice --team search --usd-per-day 20\n  distill keys list\n  distill keys revoke dk-1a2b3c"
)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and show it, this once
    Create(Box<CreateArguments>),
    /// List the keys and whom they name
    List(ListArguments),
    /// Take a key out of use; a proxy that runs knows within a second
    Revoke(RevokeArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The key goes to standard output and is kept nowhere: the ledger has its hash.\nTeam, discipline and level are those that the configuration gives this person, unless said here.\n\nExample:\n  export OPENAI_API_KEY=$(distill keys create alice --model fast --usd-per-month 100)"
)]
struct CreateArguments {
    /// Whom the key names
    user: String,
    #[arg(long)]
    team: Option<String>,
    /// Such as backend, data, design
    #[arg(long)]
    discipline: Option<String>,
    /// Such as junior, senior, staff
    #[arg(long)]
    level: Option<String>,
    /// May also see everybody's usage, answer questions about spend and make keys
    #[arg(long)]
    admin: bool,
    /// A model, route or task that may be asked, `*` at its end for anything; repeatable [default: all]
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    #[arg(long, value_name = "DOLLARS")]
    usd_per_day: Option<f64>,
    #[arg(long, value_name = "DOLLARS")]
    usd_per_month: Option<f64>,
    #[arg(long, value_name = "DOLLARS")]
    usd_total: Option<f64>,
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u64>,
    #[arg(long, value_name = "COUNT")]
    tokens_per_minute: Option<u64>,
    /// When it ends: a date, or a span like 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// What it is for
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    ledger: LedgerArguments,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Revoked and expired ones too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    ledger: LedgerArguments,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct RevokeArguments {
    /// The key's id, or its beginning as `distill keys list` shows it
    key: String,
    #[command(flatten)]
    ledger: LedgerArguments,
}

pub(crate) async fn execute(arguments: &KeysArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        KeysCommand::Create(arguments) => create(arguments).await,
        KeysCommand::List(arguments) => list(arguments).await,
        KeysCommand::Revoke(arguments) => revoke(arguments).await,
    }
}

async fn create(arguments: &CreateArguments) -> Result<ExitCode, Failure> {
    let user = arguments.user.trim();
    if user.is_empty() {
        return Err(Failure::bad_input("a key names somebody")
            .hint("give a user: `distill keys create alice`"));
    }
    let limits = limits(arguments)?;
    let now_ms = Clock::System.now_ms();
    let expires_ms = match &arguments.expires {
        Some(text) => Some(moment(text, now_ms, true)?),
        None => None,
    };
    if expires_ms.is_some_and(|expires| expires <= now_ms) {
        return Err(Failure::bad_input("the key would have expired already")
            .hint("`--expires` takes a day to come, or a span like 90d"));
    }
    let found = arguments.ledger.open(true).await?;
    let person = found.people.iter().find(|person| person.name == user);
    let known = |said: &Option<String>, known: Option<&Option<String>>| {
        said.clone().or_else(|| known.cloned().flatten())
    };
    let key = NewKey {
        user: user.to_owned(),
        team: known(&arguments.team, person.map(|person| &person.team)),
        discipline: known(
            &arguments.discipline,
            person.map(|person| &person.discipline),
        ),
        level: known(&arguments.level, person.map(|person| &person.level)),
        role: if arguments.admin {
            Role::Admin
        } else {
            Role::User
        },
        models: arguments.models.clone(),
        limits,
        note: arguments.note.clone(),
        expires_ms,
    };
    let (secret, info) = found.records.create_key(key).await.map_err(failure)?;
    if arguments.format == Format::Json {
        print_json(&json!({ "key": secret.expose(), "info": info }));
    } else {
        println!("{}", secret.expose());
        eprintln!(
            "key {} for {}: it is shown this once and kept nowhere",
            info.id,
            whom(&info)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn limits(arguments: &CreateArguments) -> Result<KeyLimits, Failure> {
    let dollars = |amount: Option<f64>, option: &str| match amount {
        None => Ok(None),
        Some(amount) if (0.0..9e6).contains(&amount) => Ok(Some(Usd::from_dollars(amount))),
        Some(amount) => Err(
            Failure::bad_input(format!("`{option} {amount}` is no limit"))
                .hint("dollars, from 0 up to nine million"),
        ),
    };
    Ok(KeyLimits {
        requests_per_minute: arguments.requests_per_minute,
        tokens_per_minute: arguments.tokens_per_minute,
        usd_per_day: dollars(arguments.usd_per_day, "--usd-per-day")?,
        usd_per_month: dollars(arguments.usd_per_month, "--usd-per-month")?,
        usd_total: dollars(arguments.usd_total, "--usd-total")?,
    })
}

async fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let found = arguments.ledger.open(false).await?;
    let now_ms = Clock::System.now_ms();
    let mut keys = found.records.list_keys().await.map_err(failure)?;
    keys.retain(|key| arguments.all || state(key, now_ms) == "active");
    if arguments.format == Format::Json {
        print_json(&json!(keys));
        return Ok(ExitCode::SUCCESS);
    }
    if keys.is_empty() {
        eprintln!(
            "no {}keys: make one with `distill keys create USER`",
            if arguments.all { "" } else { "active " }
        );
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["key", "id", "for", "state", "made", "held to"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heading)
        .chain(keys.iter().map(|key| {
            [
                key.shown.clone(),
                key.id.clone(),
                whom(key),
                state(key, now_ms).to_owned(),
                date_of_days(key.created_ms.div_euclid(86_400_000)),
                held_to(key),
            ]
        }))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(arguments: &RevokeArguments) -> Result<ExitCode, Failure> {
    let found = arguments.ledger.open(false).await?;
    let info = found
        .records
        .revoke_key(&arguments.key)
        .await
        .map_err(|error| failure(error).hint("`distill keys list` shows them"))?;
    println!("revoked {} of {}", info.id, whom(&info));
    Ok(ExitCode::SUCCESS)
}

fn whom(key: &KeyInfo) -> String {
    let facts = [&key.team, &key.discipline, &key.level];
    let facts: Vec<&str> = facts.into_iter().flatten().map(String::as_str).collect();
    let admin = if key.role == Role::Admin {
        ", admin"
    } else {
        ""
    };
    if facts.is_empty() {
        format!("{}{admin}", key.user)
    } else {
        format!("{} ({}){admin}", key.user, facts.join(", "))
    }
}

fn state(key: &KeyInfo, now_ms: i64) -> &'static str {
    if key.revoked_ms.is_some() {
        "revoked"
    } else if key.expires_ms.is_some_and(|expires| expires <= now_ms) {
        "expired"
    } else {
        "active"
    }
}

/// The limits and models of a key, in words.
fn held_to(key: &KeyInfo) -> String {
    let limits = &key.limits;
    let dollars = |amount: Option<Usd>, span: &str| amount.map(|amount| format!("{amount} {span}"));
    let count = |count: Option<u64>, of: &str| count.map(|count| format!("{count} {of}/min"));
    let models = (!key.models.is_empty()).then(|| format!("only {}", key.models.join(", ")));
    let expires = key
        .expires_ms
        .map(|expires| format!("until {}", date_of_days(expires.div_euclid(86_400_000))));
    [
        dollars(limits.usd_per_day, "a day"),
        dollars(limits.usd_per_month, "a month"),
        dollars(limits.usd_total, "in all"),
        count(limits.requests_per_minute, "requests"),
        count(limits.tokens_per_minute, "tokens"),
        models,
        expires,
        key.note.clone(),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

fn print_json(value: &serde_json::Value) {
    println!(
        "{}",
        serde_json::to_string_pretty(value).expect("it is plain data")
    );
}
