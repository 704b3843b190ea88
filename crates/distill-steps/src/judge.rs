//! `judge`: one or several models judge what students, cheaper models and the teacher said.
//!
//! What is asked and how a reply is read is [`distill_eval::judge`]'s; here the questions go through
//! the gateway and its journal, under a budget of their own. Every judge is a chain of one model, so
//! the journal's key holds its own identity, and a panel shares one budget.

use std::collections::BTreeMap;

use distill_chat::{ChatRequest, Task, TaskDefinition};
use distill_eval::{
    Judgement, Score,
    judge::{self, JUDGE_VERSION, JudgeMode, Material},
};
use distill_gateway::{Gateway, Usd, families, simulate::SimulatorSettings};
use distill_pipeline::{hash::ContentHash, record::Level};
use distill_runner::{StepContext, StepFailure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Arm,
    rows::Row,
    teacher::{Environment, ModelReference, Teacher, Teachers},
};

mod asking;
mod facts;
mod forecast;
#[cfg(test)]
mod tests;
mod verdicts;

pub use facts::{Figures, facts};
pub use verdicts::{HumanVerdict, read_verdicts};

/// Room for a reason and a verdict; models that think aloud need most of it.
const MAX_TOKENS: u32 = 1024;
/// Tokens of a reason in one sentence and a verdict.
const USUAL_REPLY: u32 = 80;
/// How often questions that nobody answered are asked again at the end.
const SWEEPS: usize = 2;
/// Share of unreadable replies above which the run says so.
const LOUD: f64 = 0.1;

/// What a judging step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    pub task: TaskDefinition,
    pub panel: Vec<ModelReference>,
    pub mode: JudgeMode,
    pub rubric: String,
    pub budget_usd: f64,
    pub concurrency: usize,
    /// Name of the pipeline, for the budget's scope.
    pub pipeline: String,
    pub simulator: Option<SimulatorSettings>,
    /// The user allowed a judge of the teacher's family.
    pub same_family: bool,
    /// Whose answers are judged; pairwise, the teacher's are what the others are held against.
    pub arms: Vec<Arm>,
}

/// A judging step of a pipeline: the judge, and how its figures are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeStep {
    pub judge: Judge,
    /// Column whose equal values make rows depend on each other.
    pub group: Option<String>,
    /// Of intervals.
    pub confidence: f64,
    pub seed: u64,
}

impl JudgeStep {
    pub fn settings(&self) -> Value {
        let mut settings = self.judge.settings();
        settings["group"] = json!(self.group);
        settings["confidence"] = json!(self.confidence);
        settings
    }
}

/// One arm's answers, as a judge gets them.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedArm {
    pub name: String,
    /// By row id: the text, or why there is none.
    pub answers: BTreeMap<String, Result<String, String>>,
}

/// What the panel said of one arm's answer to one row. Pairwise, the answer was held against the
/// baseline's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedRow {
    pub arm: String,
    pub id: String,
    /// By the judge's `vendor/model`.
    pub judged: BTreeMap<String, Judgement>,
    /// The panel's score, 0 to 1.
    pub score: Score,
    /// Why it is a tie, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie: Option<String>,
}

/// What judging took. Varies from run to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeUsage {
    /// `None` in what an earlier version wrote.
    #[serde(default)]
    pub mode: Option<JudgeMode>,
    /// Questions, over all judges and orders.
    pub asked: usize,
    /// Of those, answered earlier and read back.
    pub from_journal: usize,
    /// Replies that were no verdict.
    pub unreadable: usize,
    /// The gateway's account of the budget's scope so far.
    pub spend: Value,
    pub usd: Option<f64>,
    pub alerts: Vec<String>,
    pub simulated: bool,
}

/// What a run of the panel found.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub rows: Vec<JudgedRow>,
    pub usage: JudgeUsage,
}

/// One question to one judge.
struct Question {
    judge: usize,
    request: ChatRequest,
    /// Where the reply belongs: the place of the judged row, and of the order it was shown in.
    row: usize,
    order: usize,
}

/// A reply as far as reading it goes.
type Said = Result<String, String>;

impl Judge {
    /// What shapes the verdicts: budget and concurrency do not.
    pub fn settings(&self) -> Value {
        json!({
            "version": JUDGE_VERSION,
            "task": self.task,
            "panel": self.models(),
            "mode": self.mode,
            "rubric": self.rubric,
            "arms": self.arms,
            "simulator": self.simulator.as_ref().map(|settings| json!({
                "seed": settings.seed,
                "judge": settings.judge,
            })),
        })
    }

    pub fn models(&self) -> Vec<String> {
        self.panel.iter().map(ModelReference::identity).collect()
    }

    /// Refuses a judge of the teacher's family, unless the user allowed it: models prefer the
    /// answers of their own kind (A. Panickssery et al., "LLM evaluators recognize and favor their
    /// own generations", 2024).
    ///
    /// # Errors
    /// A [`StepFailure`] that names both models and the family.
    pub fn check_family(&self, teachers: &[ModelReference]) -> Result<(), StepFailure> {
        if self.same_family {
            return Ok(());
        }
        let of = |model: &ModelReference| {
            families(&model.vendor, &model.model, model.base_url.is_some())
        };
        for judge in &self.panel {
            for teacher in teachers {
                let common: Vec<String> = of(judge).intersection(&of(teacher)).cloned().collect();
                if let Some(family) = common.first() {
                    return Err(StepFailure::bad_input(format!(
                        "judge `{}` is of the teacher's family: `{}` is `{family}`, too",
                        judge.name(),
                        teacher.name()
                    ))
                    .hint("models prefer answers of their own kind: name a judge of another family, or set `evals.judge.same_family: true`"));
                }
            }
        }
        Ok(())
    }

    /// Parts what is judged from what it is held against.
    pub fn sides(&self, mut arms: Vec<JudgedArm>) -> (Vec<JudgedArm>, Option<JudgedArm>) {
        if self.mode == JudgeMode::Pointwise {
            return (arms, None);
        }
        let teacher = Arm::Teacher.name();
        let place = arms.iter().position(|arm| arm.name == teacher);
        let baseline = place.map(|place| arms.remove(place));
        (arms, baseline)
    }

    /// Judges the answers of every arm to every row. Pairwise, `baseline` is held against each arm.
    ///
    /// # Errors
    /// A [`StepFailure`] when the budget does not suffice, a model cannot be asked, the run was
    /// interrupted, or the journal fails. A judge that gives no verdict is not an error.
    pub async fn run(
        &self,
        teachers: &Teachers,
        rows: &[Row],
        known: &[Row],
        arms: &[JudgedArm],
        baseline: Option<&JudgedArm>,
        context: &StepContext,
    ) -> Result<Judged, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let gateways = self.gateways(teachers, &task, known, context).await?;
        let mut judged = self.blank(rows, arms, baseline)?;
        let questions = self.questions(&task, rows, arms, baseline, &judged)?;
        self.check_price(&gateways, &questions)?;
        let (replies, from_journal) = asking::ask_all(&gateways, &questions, context).await?;
        let asked = questions.len();
        let unreadable = self.fill(&mut judged, questions, replies);
        if unreadable as f64 > LOUD * asked as f64 {
            context.note(
                Level::Warning,
                format!("{unreadable} of {asked} replies of the judge were no verdict: their rows are not scored"),
            );
        }
        let usage = JudgeUsage {
            mode: Some(self.mode),
            ..usage(&gateways, asked, from_journal, unreadable)?
        };
        for alert in &usage.alerts {
            context.note(Level::Warning, alert.clone());
        }
        Ok(Judged {
            rows: judged,
            usage,
        })
    }

    /// A row for each answer, with what is known without asking: no answer cannot be judged, and
    /// two equal answers are a tie.
    fn blank(
        &self,
        rows: &[Row],
        arms: &[JudgedArm],
        baseline: Option<&JudgedArm>,
    ) -> Result<Vec<JudgedRow>, StepFailure> {
        let baseline = match (self.mode, baseline) {
            (JudgeMode::Pairwise, None) => {
                return Err(StepFailure::bad_input(
                    "a pairwise judge holds each answer against the teacher's, and there is no teacher",
                )
                .hint("add a `teacher`, or set `evals.judge.mode: pointwise`"));
            }
            (JudgeMode::Pairwise, baseline) => baseline,
            (JudgeMode::Pointwise, _) => None,
        };
        let mut judged = Vec::new();
        for arm in arms {
            for row in rows {
                let mine = answer_of(arm, &row.id);
                let theirs = baseline.map(|baseline| answer_of(baseline, &row.id));
                let known = match (mine, theirs) {
                    (Err(reason), _) => Some(Score::unscored(reason)),
                    (_, Some(Err(reason))) => {
                        Some(Score::unscored(format!("the baseline: {reason}")))
                    }
                    (Ok(mine), Some(Ok(theirs))) if mine.trim() == theirs.trim() => {
                        Some(Score::Value(0.5))
                    }
                    _ => None,
                };
                let is_tie = matches!(known, Some(Score::Value(_)));
                judged.push(JudgedRow {
                    arm: arm.name.clone(),
                    id: row.id.clone(),
                    judged: BTreeMap::new(),
                    score: known.unwrap_or_else(|| Score::unscored(TO_ASK)),
                    tie: is_tie.then(|| "the two answers are the same text".to_owned()),
                });
            }
        }
        Ok(judged)
    }

    fn questions(
        &self,
        task: &Task,
        rows: &[Row],
        arms: &[JudgedArm],
        baseline: Option<&JudgedArm>,
        judged: &[JudgedRow],
    ) -> Result<Vec<Question>, StepFailure> {
        let mut questions = Vec::new();
        for (place, open) in judged.iter().enumerate() {
            if open.score != Score::unscored(TO_ASK) {
                continue;
            }
            let row = &rows[place % rows.len()];
            let arm = &arms[place / rows.len()];
            let mut messages = task.messages(&row.fields).map_err(|error| {
                StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id))
                    .caused_by(error)
            })?;
            let question = messages.pop().map(|message| message.content);
            let instructions = messages.pop().map(|message| message.content);
            let reference = row
                .gold
                .as_deref()
                .map(|gold| self.task.kind.first_reference(gold));
            let material = Material {
                rubric: &self.rubric,
                instructions: instructions.as_deref(),
                question: question.as_deref().unwrap_or_default(),
                reference: reference.as_deref(),
            };
            let mine = answer_of(arm, &row.id).unwrap_or_default();
            let asked = match (self.mode, baseline) {
                (JudgeMode::Pairwise, Some(baseline)) => {
                    let theirs = answer_of(baseline, &row.id).unwrap_or_default();
                    vec![
                        (
                            judge::pairwise(&material, mine, theirs),
                            judge::pairwise_schema(),
                        ),
                        (
                            judge::pairwise(&material, theirs, mine),
                            judge::pairwise_schema(),
                        ),
                    ]
                }
                _ => vec![(judge::pointwise(&material, mine), judge::pointwise_schema())],
            };
            for (order, (messages, schema)) in asked.into_iter().enumerate() {
                for (judge, model) in self.panel.iter().enumerate() {
                    questions.push(Question {
                        judge,
                        request: ChatRequest {
                            max_tokens: Some(MAX_TOKENS),
                            temperature: Some(0.0),
                            response_schema: Some(schema.clone()),
                            ..ChatRequest::new(model.name(), messages.clone())
                        },
                        row: place,
                        order,
                    });
                }
            }
        }
        Ok(questions)
    }

    /// Looks whether every judge can be asked, without asking any.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the model, and the variable where a key is missing.
    pub fn check_models(&self, environment: &Environment) -> Result<(), StepFailure> {
        self.panel
            .iter()
            .try_for_each(|model| self.asker(model).check(environment))
    }

    /// One judge as a chain of its own.
    fn asker(&self, model: &ModelReference) -> Teacher {
        Teacher {
            chain: vec![model.clone()],
            budget_usd: self.budget_usd,
            concurrency: self.concurrency,
            temperature: 0.0,
            max_tokens: MAX_TOKENS,
            pipeline: self.pipeline.clone(),
            simulator: self.simulator.clone(),
            top_logprobs: None,
        }
    }

    async fn gateways(
        &self,
        teachers: &Teachers,
        task: &Task,
        known: &[Row],
        context: &StepContext,
    ) -> Result<Vec<Gateway>, StepFailure> {
        let scope = self.scope(known);
        let mut gateways = Vec::with_capacity(self.panel.len());
        for model in &self.panel {
            let asked = self.asker(model);
            let gateway = teachers
                .connect_within(scope.clone(), &asked, task, known, context)
                .await?;
            gateways.push(gateway);
        }
        Ok(gateways)
    }

    /// The budget's scope: one panel's job in one pipeline.
    fn scope(&self, rows: &[Row]) -> String {
        let job = json!({
            "settings": self.settings(),
            "rows": rows.iter().map(|row| json!([row.id, row.fields])).collect::<Vec<_>>(),
        });
        let job = ContentHash::of_json(&job);
        format!("{}/judge/{}", self.pipeline, job.short())
    }

    /// Stops before most of the money is spent.
    fn check_price(&self, gateways: &[Gateway], questions: &[Question]) -> Result<(), StepFailure> {
        let mut expected = Usd::ZERO;
        for (judge, gateway) in gateways.iter().enumerate() {
            let requests: Vec<ChatRequest> = questions
                .iter()
                .filter(|question| question.judge == judge)
                .map(|question| question.request.clone())
                .collect();
            let open = {
                let estimate = gateway.estimate(&requests).map_err(journal_failure)?;
                estimate.requests - estimate.in_journal
            };
            // Half of the bound is expected where nothing is known: a verdict is far shorter.
            let short: Vec<ChatRequest> = requests
                .into_iter()
                .map(|request| ChatRequest {
                    max_tokens: Some(2 * USUAL_REPLY),
                    ..request
                })
                .collect();
            let all = short.len() as f64;
            let estimate = gateway.estimate(&short).map_err(journal_failure)?;
            let each = estimate.expected_usd.dollars() / all.max(1.0);
            expected += Usd::from_dollars(each * open as f64);
        }
        let budget = Usd::from_dollars(self.budget_usd);
        if expected <= budget {
            return Ok(());
        }
        Err(StepFailure::budget(format!(
            "judging with {} is expected to cost {expected}, the budget of the judge is {budget}",
            self.models().join(", ")
        ))
        .hint("raise `evals.judge.budget_usd`, set `evals.limit`, or name fewer or cheaper judges; nothing was spent on judging"))
    }

    /// Puts the replies where they belong; gives the number of unreadable ones.
    fn fill(
        &self,
        judged: &mut [JudgedRow],
        questions: Vec<Question>,
        replies: Vec<Said>,
    ) -> usize {
        let mut said: BTreeMap<(usize, usize), Vec<Said>> = BTreeMap::new();
        for (question, reply) in questions.into_iter().zip(replies) {
            let orders = said.entry((question.row, question.judge)).or_default();
            debug_assert_eq!(orders.len(), question.order);
            orders.push(reply);
        }
        let mut unreadable = 0;
        let mut asked = std::collections::BTreeSet::new();
        for ((row, judge), orders) in said {
            let reply = |order: usize| match orders.get(order) {
                Some(Ok(text)) => Ok(text.as_str()),
                Some(Err(reason)) => Err(reason.as_str()),
                None => Err("the judge was not asked"),
            };
            let judgement = match self.mode {
                JudgeMode::Pointwise => judge::pointwise_judgement(reply(0)),
                JudgeMode::Pairwise => judge::pairwise_judgement(reply(0), reply(1)),
            };
            let heard = orders.iter().all(Result::is_ok);
            unreadable += usize::from(heard && judgement.score.value().is_none());
            judged[row]
                .judged
                .insert(self.panel[judge].name(), judgement);
            asked.insert(row);
        }
        for row in asked {
            let panel = judge::panel(self.mode, judged[row].judged.values());
            judged[row].score = panel.score;
            judged[row].tie = panel.tie;
        }
        unreadable
    }
}

/// The place of an answer that has yet to be asked about; never left in a result.
const TO_ASK: &str = "the judge was not asked";

fn answer_of<'a>(arm: &'a JudgedArm, id: &str) -> Result<&'a str, &'a str> {
    match arm.answers.get(id) {
        Some(Ok(text)) => Ok(text),
        Some(Err(reason)) => Err(reason),
        None => Err("no answer was recorded for this row"),
    }
}

fn usage(
    gateways: &[Gateway],
    asked: usize,
    from_journal: usize,
    unreadable: usize,
) -> Result<JudgeUsage, StepFailure> {
    // All judges of a panel spend within one scope: any of the gateways knows it.
    let spend = gateways
        .first()
        .map(Gateway::spend)
        .transpose()
        .map_err(journal_failure)?;
    let mut alerts: Vec<String> = gateways
        .iter()
        .flat_map(Gateway::alerts)
        .map(|alert| alert.message)
        .collect();
    alerts.dedup();
    Ok(JudgeUsage {
        asked,
        from_journal,
        unreadable,
        mode: None,
        usd: spend.as_ref().map(|spend| spend.settled_usd.dollars()),
        simulated: spend.as_ref().is_some_and(|spend| spend.simulated),
        spend: serde_json::to_value(&spend).map_err(|error| {
            StepFailure::bug("the spend summary does not serialise").caused_by(error)
        })?,
        alerts,
    })
}

fn journal_failure(error: distill_gateway::JournalError) -> StepFailure {
    StepFailure::failed("the label journal cannot be read").caused_by(error)
}
