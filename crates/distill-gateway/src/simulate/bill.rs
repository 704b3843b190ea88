//! What the provider was asked and what it charges: a log that outlives it.
//!
//! A line is handed to the system before the request is answered, so it survives a kill of the
//! client and of the provider alike.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Mutex,
};

use serde::{Deserialize, Serialize};

use crate::Usd;

/// One request as the provider saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BillRow {
    /// Hash of the request as it came, streaming aside.
    pub request: String,
    /// How often it had come by then, from 1.
    pub attempt: u64,
    pub model: String,
    pub outcome: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// In pico-dollars, which a floating-point number would round.
    pub usd_pico: i64,
    pub response_id: String,
    /// The client's own name for the attempt, where it sent one.
    #[serde(default)]
    pub client_attempt: Option<String>,
}

impl BillRow {
    pub fn usd(&self) -> Usd {
        Usd::from_pico(self.usd_pico)
    }
}

/// Requests that ended alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct OutcomeTotal {
    pub requests: u64,
    pub usd: Usd,
}

/// All that the provider was asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bill {
    pub requests: u64,
    pub billed_usd: Usd,
    pub by_outcome: BTreeMap<String, OutcomeTotal>,
    /// How often each request came.
    pub by_request: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<BillRow>,
}

impl Bill {
    fn of(rows: Vec<BillRow>) -> Self {
        let mut bill = Self::default();
        for row in &rows {
            bill.requests += 1;
            bill.billed_usd += row.usd();
            let total = bill.by_outcome.entry(row.outcome.clone()).or_default();
            total.requests += 1;
            total.usd += row.usd();
            *bill.by_request.entry(row.request.clone()).or_default() += 1;
        }
        bill.rows = rows;
        bill
    }
}

#[derive(Debug)]
struct State {
    seen: HashMap<String, u64>,
    rows: Vec<BillRow>,
    file: Option<File>,
}

/// The log of a running provider.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    /// Goes on with a state file, or begins one; without a path nothing outlives the provider.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(Mutex::new(State {
                seen: HashMap::new(),
                rows: Vec::new(),
                file: None,
            })));
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (bill, whole) = read(path)?;
        // The provider was killed while it wrote: nothing was answered after that half line.
        file.set_len(whole)?;
        let mut seen = HashMap::new();
        for row in &bill.rows {
            let count = seen.entry(row.request.clone()).or_insert(0);
            *count = row.attempt.max(*count);
        }
        Ok(Self(Mutex::new(State {
            seen,
            rows: bill.rows,
            file: Some(file),
        })))
    }

    /// Counts a request and writes what `row` makes of its attempt number. Everything that decides
    /// the answer is known by then, so it is on the bill before the client can see it.
    pub(super) fn enter(
        &self,
        request: &str,
        row: impl FnOnce(u64) -> BillRow,
    ) -> io::Result<BillRow> {
        let mut state = self.0.lock().expect("no holder panics");
        let attempt = state.seen.get(request).map_or(1, |seen| seen + 1);
        let row = row(attempt);
        if let Some(file) = &mut state.file {
            let mut line = serde_json::to_string(&row).expect("a row is strings and numbers");
            line.push('\n');
            file.write_all(line.as_bytes())?;
        }
        state.seen.insert(request.to_owned(), attempt);
        state.rows.push(row.clone());
        Ok(row)
    }

    pub(super) fn bill(&self) -> Bill {
        Bill::of(self.0.lock().expect("no holder panics").rows.clone())
    }
}

/// Reads a state file: its bill, and the length of its whole lines.
pub(super) fn read(path: &Path) -> io::Result<(Bill, u64)> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let rows = text[..whole]
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {}: {error}", index + 1),
                )
            })
        })
        .collect::<io::Result<Vec<BillRow>>>()?;
    Ok((Bill::of(rows), whole as u64))
}
