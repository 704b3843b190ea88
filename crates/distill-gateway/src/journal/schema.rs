//! The tables of the journal.

/// Stored in `user_version`; a journal of another version is refused, never guessed at.
pub(super) const VERSION: i64 = 1;

pub(super) const TABLES: &str = "
-- One answered request.
CREATE TABLE request (
  hash         TEXT PRIMARY KEY,
  scope        TEXT NOT NULL,
  canonical    TEXT NOT NULL,     -- all that is hashed: messages, parameters, chain, dialects
  first_target TEXT NOT NULL,     -- the first of the chain
  target       TEXT NOT NULL,     -- the one that answered
  model        TEXT NOT NULL,     -- as it named itself
  completion   TEXT NOT NULL,     -- JSON: text, finish reason, usage
  raw          TEXT NOT NULL,     -- the body as it came
  usd_pico     INTEGER,           -- NULL: the vendor reported no usage
  input_pico   INTEGER NOT NULL,  -- price of a token at that time
  output_pico  INTEGER NOT NULL,
  price_as_of  TEXT,
  simulated    INTEGER NOT NULL,
  latency_us   INTEGER NOT NULL,
  attempts     INTEGER NOT NULL,
  answered_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_scope ON request (scope);

-- One attempt, written before the call and completed after it.
CREATE TABLE attempt (
  id            TEXT PRIMARY KEY,
  request_hash  TEXT NOT NULL,
  scope         TEXT NOT NULL,
  holder        TEXT NOT NULL,    -- the process that makes it
  target        TEXT NOT NULL,
  simulated     INTEGER NOT NULL,
  number        INTEGER NOT NULL,
  reserved_pico INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('open', 'settled', 'unsettled')),
  outcome       TEXT,
  status        INTEGER,
  model         TEXT,
  input         INTEGER,
  cached_input  INTEGER,
  cache_write   INTEGER,
  output        INTEGER,
  reasoning     INTEGER,
  usd_pico      INTEGER,
  response_id   TEXT,
  latency_us    INTEGER,
  started_ms    INTEGER NOT NULL,
  ended_ms      INTEGER
) STRICT;
CREATE INDEX attempt_scope ON attempt (scope);
CREATE INDEX attempt_request ON attempt (request_hash);
CREATE INDEX attempt_open ON attempt (holder, scope) WHERE state = 'open';

-- What counts against the cap of a scope: settled costs plus reservations that stand.
CREATE TABLE scope (
  name           TEXT PRIMARY KEY,
  committed_pico INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

pub(super) const ANSWER: &str = "
SELECT completion, target, usd_pico, simulated, latency_us, attempts FROM request WHERE hash = ?1";

pub(super) const OPEN_ELSEWHERE: &str = "
SELECT DISTINCT holder FROM attempt WHERE request_hash = ?1 AND state = 'open' AND holder <> ?2";

pub(super) const OPEN_HOLDERS: &str =
    "SELECT DISTINCT holder FROM attempt WHERE state = 'open' AND holder <> ?1";

pub(super) const CUT: &str = "
UPDATE attempt SET state = 'unsettled', outcome = 'cut' WHERE holder = ?1 AND state = 'open'";

pub(super) const KNOW_SCOPE: &str =
    "INSERT INTO scope (name, committed_pico) VALUES (?1, 0) ON CONFLICT DO NOTHING";

/// Changes no row when the cap would be passed.
pub(super) const COMMIT_MONEY: &str = "
UPDATE scope SET committed_pico = committed_pico + ?2
WHERE name = ?1 AND committed_pico + ?2 <= ?3";

pub(super) const COMMITTED: &str = "SELECT committed_pico FROM scope WHERE name = ?1";

pub(super) const OPEN_IN_SCOPE: &str =
    "SELECT DISTINCT holder FROM attempt WHERE scope = ?1 AND state = 'open'";

pub(super) const INTENT: &str = "
INSERT INTO attempt
  (id, request_hash, scope, holder, target, simulated, number, reserved_pico, state, started_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open', ?9)";

pub(super) const SETTLE: &str = "
UPDATE attempt SET
  state = ?2, outcome = ?3, status = ?4, model = ?5, input = ?6, cached_input = ?7,
  cache_write = ?8, output = ?9, reasoning = ?10, usd_pico = ?11, response_id = ?12,
  latency_us = ?13, ended_ms = ?14
WHERE id = ?1 AND state = 'open'";

/// Gives back what was reserved and books what it cost.
pub(super) const BOOK: &str = "
UPDATE scope SET committed_pico = committed_pico + ?2 -
  (SELECT reserved_pico FROM attempt WHERE id = ?1)
WHERE name = (SELECT scope FROM attempt WHERE id = ?1)";

pub(super) const ANSWERED: &str = "
INSERT INTO request
  (hash, scope, canonical, first_target, target, model, completion, raw, usd_pico, input_pico,
   output_pico, price_as_of, simulated, latency_us, attempts, answered_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT DO NOTHING";
