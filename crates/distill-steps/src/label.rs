//! `label`: asks the teacher about each row and keeps the answers apart from what they cost.

use std::collections::BTreeMap;

use distill_chat::{FinishReason, Task};
use distill_gateway::{Answered, AskError, Gateway, Usd};
use distill_runner::{StepContext, StepFailure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    rows::{AnswerRow, AnswerStatus, Row},
    teacher::{Teacher, fatal},
};

/// How often rows that nobody answered are asked again at the end.
const SWEEPS: usize = 2;

/// How many answers there are of each status.
pub(crate) type StatusCounts = BTreeMap<AnswerStatus, usize>;

/// What labelling took, for the report. Varies from run to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelUsage {
    pub rows: usize,
    pub statuses: StatusCounts,
    /// Answers that the journal already had: asked and paid earlier.
    pub from_journal: usize,
    pub seconds: f64,
    /// The gateway's own account of the job so far.
    pub spend: serde_json::Value,
    pub alerts: Vec<String>,
    pub simulated: bool,
    /// What each answer took, in row order; only of rows that somebody answered.
    #[serde(default)]
    pub per_row: Vec<RowUsage>,
    /// What the chain's models cost, and how old that knowledge was on the day of asking.
    #[serde(default)]
    pub prices: Vec<distill_report::PriceAge>,
    /// Requests in flight at most.
    #[serde(default)]
    pub concurrency: Option<usize>,
}

/// What one answer took, when it was asked. What the vendor did not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowUsage {
    pub id: String,
    /// Of the answering attempt; milliseconds.
    pub latency_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of the answering attempt; failed ones stand in the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Asked and paid earlier, read back from the journal.
    pub from_journal: bool,
}

impl RowUsage {
    fn of(id: &str, answered: &Answered, first_sweep: bool) -> Self {
        Self {
            id: id.to_owned(),
            latency_ms: answered.latency.as_secs_f64() * 1000.0,
            input_tokens: answered.completion.usage.input_tokens,
            output_tokens: answered.completion.usage.output_tokens,
            usd: answered.usd.map(Usd::dollars),
            from_journal: answered.from_journal && first_sweep,
        }
    }
}

/// All answers, with what each took.
pub(crate) struct Asked {
    pub answers: Vec<AnswerRow>,
    pub per_row: Vec<RowUsage>,
}

impl Asked {
    /// Answers that the journal already had.
    pub(crate) fn read_back(&self) -> usize {
        self.per_row.iter().filter(|row| row.from_journal).count()
    }
}

/// Asks about every row and waits for all answers.
///
/// # Errors
/// A [`StepFailure`] when the budget is spent, the run was interrupted, or the journal fails. A row
/// that nobody could answer is not an error: it is an [`AnswerRow`] with a reason.
pub(crate) async fn ask_all(
    gateway: &Gateway,
    teacher: &Teacher,
    task: &Task,
    rows: &[Row],
    context: &StepContext,
) -> Result<Asked, StepFailure> {
    ask_again(gateway, teacher, task, rows, 0, context).await
}

/// The same for the how-manieth answer to each row; 0 is the first.
///
/// # Errors
/// As [`ask_all`].
pub(crate) async fn ask_again(
    gateway: &Gateway,
    teacher: &Teacher,
    task: &Task,
    rows: &[Row],
    sample: u32,
    context: &StepContext,
) -> Result<Asked, StepFailure> {
    let mut answers: Vec<Option<AnswerRow>> = vec![None; rows.len()];
    let mut per_row: Vec<Option<RowUsage>> = vec![None; rows.len()];
    let mut waiting: Vec<usize> = (0..rows.len()).collect();
    for sweep in 0..=SWEEPS {
        let mut asked = JoinSet::new();
        for index in std::mem::take(&mut waiting) {
            let request = teacher.request(task, &rows[index])?;
            let gateway = gateway.clone();
            asked.spawn(async move { (index, gateway.ask_again(&request, sample).await) });
        }
        let mut stopped = None;
        while let Some(joined) = asked.join_next().await {
            let (index, result) = joined.map_err(|error| {
                StepFailure::bug("a question to the teacher panicked").caused_by(error)
            })?;
            if let Err(error) = &result
                && let Some(failure) = fatal(error)
            {
                // Let what is in flight arrive: it is paid for, and the journal keeps it.
                stopped.get_or_insert(failure);
                continue;
            }
            if let Ok(answered) = &result {
                per_row[index] = Some(RowUsage::of(&rows[index].id, answered, sweep == 0));
            } else if sweep < SWEEPS && !matches!(result, Err(AskError::Refused { .. })) {
                waiting.push(index);
            }
            answers[index] = Some(answer_row(task, &rows[index].id, result));
            let done = answers.iter().flatten().count();
            context.progress(done as u64, Some(rows.len() as u64), "rows");
        }
        if let Some(failure) = stopped {
            return Err(failure);
        }
        waiting.sort_unstable();
        if waiting.is_empty() {
            break;
        }
    }
    Ok(Asked {
        answers: answers.into_iter().flatten().collect(),
        per_row: per_row.into_iter().flatten().collect(),
    })
}

fn answer_row(task: &Task, id: &str, result: Result<Answered, AskError>) -> AnswerRow {
    let answered = match result {
        Ok(answered) => answered,
        Err(error) => {
            return AnswerRow {
                id: id.to_owned(),
                status: AnswerStatus::Failed,
                answer: None,
                reply: None,
                model: None,
                reason: Some(error.to_string()),
                token_logprobs: None,
            };
        }
    };
    let completion = answered.completion;
    let (status, answer, reason) = match &completion.finish {
        FinishReason::Length => (
            AnswerStatus::Truncated,
            None,
            Some("the reply was cut off by the token limit".to_owned()),
        ),
        FinishReason::ContentFilter => (
            AnswerStatus::Refused,
            None,
            Some("the vendor withheld the reply".to_owned()),
        ),
        _ => match task.parse_reply(&completion.text) {
            Ok(answer) => (AnswerStatus::Answered, Some(answer.to_text()), None),
            Err(error) => (AnswerStatus::Invalid, None, Some(error.to_string())),
        },
    };
    AnswerRow {
        id: id.to_owned(),
        status,
        answer,
        reply: Some(completion.text),
        model: Some(completion.model),
        reason,
        token_logprobs: completion.token_logprobs,
    }
}

/// Counts answers by status.
pub(crate) fn count_statuses(answers: &[AnswerRow]) -> StatusCounts {
    let mut counts = StatusCounts::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

/// What the journal knows of the job, as a document for the report.
///
/// # Errors
/// A [`StepFailure`] when the journal cannot be read.
pub(crate) fn usage(
    gateway: &Gateway,
    asked: &Asked,
    seconds: f64,
) -> Result<LabelUsage, StepFailure> {
    let spend = gateway.spend().map_err(|error| {
        StepFailure::failed("the label journal cannot be read").caused_by(error)
    })?;
    Ok(LabelUsage {
        rows: asked.answers.len(),
        statuses: count_statuses(&asked.answers),
        from_journal: asked.read_back(),
        per_row: asked.per_row.clone(),
        prices: crate::prices::ages(gateway.chain()),
        concurrency: Some(gateway.concurrency()),
        seconds,
        simulated: spend.simulated,
        spend: serde_json::to_value(&spend).map_err(|error| {
            StepFailure::bug("the spend summary does not serialise").caused_by(error)
        })?,
        alerts: gateway
            .alerts()
            .into_iter()
            .map(|alert| alert.message)
            .collect(),
    })
}
