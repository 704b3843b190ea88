//! The tables.

/// Format of the tables. A change that an older program cannot live with counts it up.
pub(crate) const VERSION: i64 = 1;

/// What both databases are asked, statement by statement; each can be repeated. A shared database is
/// asked for them again only when there are more than it was given: what is new goes to the end.
pub(crate) const TABLES: &[&str] = &[
    // Counters that tell other processes that something changed, and the last log applied.
    "CREATE TABLE IF NOT EXISTS versions (
        name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS requests (
        id TEXT PRIMARY KEY, started_ms BIGINT NOT NULL, instance TEXT NOT NULL,
        key_id TEXT NOT NULL, user_name TEXT NOT NULL, team TEXT, discipline TEXT, level TEXT,
        task TEXT, task_version TEXT, route TEXT NOT NULL, model_asked TEXT NOT NULL,
        dialect TEXT NOT NULL, streamed BIGINT NOT NULL, session TEXT,
        status BIGINT, outcome TEXT, answered_by TEXT, model TEXT, attempts BIGINT,
        latency_us BIGINT, first_token_us BIGINT,
        cache_kind TEXT, cache_age_ms BIGINT, cache_saved BIGINT, ended_ms BIGINT)",
    "CREATE INDEX IF NOT EXISTS requests_by_time ON requests (started_ms)",
    "CREATE INDEX IF NOT EXISTS requests_open ON requests (instance) WHERE outcome IS NULL",
    "CREATE TABLE IF NOT EXISTS attempts (
        request_id TEXT NOT NULL, number BIGINT NOT NULL, started_ms BIGINT NOT NULL,
        instance TEXT NOT NULL, target TEXT NOT NULL, simulated BIGINT NOT NULL,
        reserved BIGINT NOT NULL, pool TEXT, pool_held BIGINT, pool_of BIGINT,
        outcome TEXT, usd BIGINT, pool_usd BIGINT, pool_tokens BIGINT,
        input_tokens BIGINT, cached_tokens BIGINT, cache_write_tokens BIGINT,
        output_tokens BIGINT, reasoning_tokens BIGINT,
        status BIGINT, model TEXT, fingerprint TEXT, response_id TEXT,
        latency_us BIGINT, first_token_us BIGINT, ended_ms BIGINT,
        PRIMARY KEY (request_id, number))",
    "CREATE INDEX IF NOT EXISTS attempts_open ON attempts (instance) WHERE outcome IS NULL",
    "CREATE INDEX IF NOT EXISTS attempts_unsettled ON attempts (started_ms) WHERE usd IS NULL",
    "CREATE TABLE IF NOT EXISTS balances (
        account TEXT NOT NULL, span TEXT NOT NULL, number BIGINT NOT NULL, amount BIGINT NOT NULL,
        PRIMARY KEY (account, span, number))",
    "CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, shown TEXT NOT NULL,
        user_name TEXT NOT NULL, team TEXT, discipline TEXT, level TEXT, role TEXT NOT NULL,
        models TEXT NOT NULL, limits TEXT NOT NULL, note TEXT,
        created_ms BIGINT NOT NULL, expires_ms BIGINT, revoked_ms BIGINT)",
    "CREATE TABLE IF NOT EXISTS questions (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, user_name TEXT, rule TEXT NOT NULL,
        wording TEXT NOT NULL, holds BIGINT NOT NULL, default_answer TEXT NOT NULL,
        raised_ms BIGINT NOT NULL, deadline_ms BIGINT NOT NULL,
        answer TEXT, answered_by TEXT, answered_ms BIGINT, stops_until_ms BIGINT)",
    "CREATE INDEX IF NOT EXISTS questions_by_time ON questions (raised_ms)",
    "CREATE TABLE IF NOT EXISTS sightings (
        target TEXT NOT NULL, model TEXT NOT NULL, fingerprint TEXT NOT NULL,
        first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL, answers BIGINT NOT NULL,
        PRIMARY KEY (target, model, fingerprint))",
    "CREATE TABLE IF NOT EXISTS facts (
        target TEXT NOT NULL, name TEXT NOT NULL, at_ms BIGINT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (target, name, at_ms))",
    "CREATE TABLE IF NOT EXISTS bodies (
        request_id TEXT PRIMARY KEY, stored_ms BIGINT NOT NULL, request TEXT, reply TEXT)",
    "CREATE INDEX IF NOT EXISTS bodies_by_time ON bodies (stored_ms)",
    "CREATE TABLE IF NOT EXISTS instances (
        id TEXT PRIMARY KEY, started_ms BIGINT NOT NULL, seen_ms BIGINT NOT NULL)",
];
