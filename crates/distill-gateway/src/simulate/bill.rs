//! What the provider was asked and what it charges: a log that outlives it.
//!
//! A line is handed to the system before the request is answered, so it survives a kill of the
//! client and of the provider alike.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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
            bill.count(row);
        }
        bill.rows = rows;
        bill
    }

    /// Adds to the totals.
    fn count(&mut self, row: &BillRow) {
        self.requests += 1;
        self.billed_usd += row.usd();
        let total = self.by_outcome.entry(row.outcome.clone()).or_default();
        total.requests += 1;
        total.usd += row.usd();
        *self.by_request.entry(row.request.clone()).or_default() += 1;
    }
}

#[derive(Debug)]
struct State {
    seen: HashMap<String, u64>,
    /// Without its rows.
    totals: Bill,
    rows: VecDeque<BillRow>,
    most_rows: usize,
    file: Option<File>,
}

impl State {
    fn keep(&mut self, row: BillRow) {
        self.totals.count(&row);
        if self.most_rows == 0 {
            return;
        }
        while self.rows.len() >= self.most_rows {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }
}

/// The log of a running provider.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    /// Goes on with a state file, or begins one; without a path nothing outlives the provider.
    /// Keeps the last so many rows apart from the totals.
    pub(super) fn open(path: Option<&Path>, most_rows: usize) -> io::Result<Self> {
        let mut state = State {
            seen: HashMap::new(),
            totals: Bill::default(),
            rows: VecDeque::new(),
            most_rows,
            file: None,
        };
        let Some(path) = path else {
            return Ok(Self(Mutex::new(state)));
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (bill, whole) = read(path)?;
        // The provider was killed while it wrote: nothing was answered after that half line.
        file.set_len(whole)?;
        for row in bill.rows {
            let count = state.seen.entry(row.request.clone()).or_insert(0);
            *count = row.attempt.max(*count);
            state.keep(row);
        }
        state.file = Some(file);
        Ok(Self(Mutex::new(state)))
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
        state.keep(row.clone());
        Ok(row)
    }

    pub(super) fn bill(&self) -> Bill {
        let state = self.0.lock().expect("no holder panics");
        Bill {
            rows: state.rows.iter().cloned().collect(),
            ..state.totals.clone()
        }
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
