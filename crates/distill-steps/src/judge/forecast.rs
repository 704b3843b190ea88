//! What judging will cost, before there is an answer to judge.

use std::collections::BTreeMap;

use distill_chat::{ChatRequest, Task};
use distill_eval::{Score, judge::JudgeMode};
use distill_gateway::Usd;
use distill_runner::StepFailure;

use super::{Judge, JudgedArm, JudgedRow, TO_ASK, USUAL_REPLY};
use crate::{
    Arm,
    rows::Row,
    teacher::{ModelReference, Teachers},
};

/// Bytes of a token of usual text.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens of an answer of which nothing is known.
const USUAL_ANSWER: usize = 64;

/// What one judge of a panel will be asked and cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JudgeForecast {
    pub model: String,
    /// Every answer in every order; equal answers of a pair are not asked about, so it may be fewer.
    pub requests: u64,
    /// With answers as long as the right ones and verdicts of usual length.
    pub expected_usd: Usd,
    /// With answers of `longest_answer` tokens and every verdict cut off by its limit.
    pub worst_usd: Usd,
    pub seconds: f64,
    pub simulated: bool,
    pub price_as_of: Option<String>,
}

impl Judge {
    /// Forecasts the panel's work on these rows, judge by judge. `longest_answer` is the most tokens
    /// that an answer to be judged may have.
    ///
    /// # Errors
    /// A [`StepFailure`] when a row cannot be rendered, or a judge or its price is not known.
    pub(crate) async fn forecast(
        &self,
        teachers: &Teachers,
        rows: &[Row],
        known: &[Row],
        longest_answer: u32,
    ) -> Result<Vec<JudgeForecast>, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let longest = longest_answer as usize * BYTES_PER_TOKEN;
        let usual = self.stand_ins(&task, rows, None, Some(2 * USUAL_REPLY))?;
        let worst = self.stand_ins(&task, rows, Some(longest), None)?;
        let mut forecasts = Vec::with_capacity(self.panel.len());
        for (judge, model) in self.panel.iter().enumerate() {
            let asker = self.asker(model);
            let expected = teachers
                .estimate(&asker, &task, &usual[judge], 0, known)
                .await?;
            let worst = teachers
                .estimate(&asker, &task, &worst[judge], 0, known)
                .await?;
            forecasts.push(JudgeForecast {
                model: ModelReference::name(model),
                requests: expected.requests,
                expected_usd: expected.expected_usd,
                worst_usd: worst.worst_usd,
                seconds: expected.seconds,
                simulated: expected.simulated,
                price_as_of: expected.price_as_of,
            });
        }
        Ok(forecasts)
    }

    /// The requests of each judge, with stand-ins for the answers that are yet to be made: texts of
    /// `length` bytes, or as long as the right answer. `reply` is the bound of the verdict's tokens,
    /// where it is another than that of the request.
    fn stand_ins(
        &self,
        task: &Task,
        rows: &[Row],
        length: Option<usize>,
        reply: Option<u32>,
    ) -> Result<Vec<Vec<ChatRequest>>, StepFailure> {
        let answers: BTreeMap<String, Result<String, String>> = rows
            .iter()
            .map(|row| {
                let length = length.unwrap_or_else(|| self.usual_length(row));
                (row.id.clone(), Ok("x".repeat(length)))
            })
            .collect();
        let named = |arm: &Arm| JudgedArm {
            name: arm.name(),
            answers: answers.clone(),
        };
        let (arms, baseline) = self.sides(self.arms.iter().map(named).collect());
        if self.mode == JudgeMode::Pairwise && baseline.is_none() {
            return Ok(vec![Vec::new(); self.panel.len()]);
        }
        let open: Vec<JudgedRow> = arms
            .iter()
            .flat_map(|arm| rows.iter().map(|row| (arm.name.clone(), row.id.clone())))
            .map(|(arm, id)| JudgedRow {
                arm,
                id,
                judged: BTreeMap::new(),
                score: Score::unscored(TO_ASK),
                tie: None,
            })
            .collect();
        let mut requests = vec![Vec::new(); self.panel.len()];
        for question in self.questions(task, rows, &arms, baseline.as_ref(), &open)? {
            requests[question.judge].push(ChatRequest {
                max_tokens: reply.or(question.request.max_tokens),
                ..question.request
            });
        }
        Ok(requests)
    }

    /// Bytes of the answer that is expected to a row.
    fn usual_length(&self, row: &Row) -> usize {
        let right = row.gold.as_deref().map(|gold| {
            let right = self.task.kind.first_reference(gold);
            right.len()
        });
        let label = || self.task.labels.iter().map(String::len).max();
        right
            .or_else(label)
            .unwrap_or(USUAL_ANSWER * BYTES_PER_TOKEN)
    }
}
