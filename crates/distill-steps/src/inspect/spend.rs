//! What everybody who will be asked costs: the teacher, its second answers, cheaper models, judges.

use std::{collections::BTreeSet, path::Path};

use distill_chat::Task;
use distill_gateway::{Estimate, Usd};
use distill_runner::StepFailure;
use serde::Serialize;

use crate::{
    Action,
    compile::{Compiled, JUDGE_STEP},
    judge::Judge,
    noise,
    rows::Row,
    smoke::SMOKE_ROWS,
    teacher::{Environment, Teacher, Teachers},
};

/// Most tokens of a judged answer where no teacher's `max_tokens` says it.
const LONGEST_ANSWER: u32 = 256;
/// The account of the teacher.
const TEACHER: &str = "teacher";

/// What asking will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpendEstimate {
    /// One for each step that asks, and for each judge.
    pub lines: Vec<SpendLine>,
    /// The teacher's first, the judge's last.
    pub accounts: Vec<SpendAccount>,
    pub expected_usd: Usd,
    /// No account's part is above its cap.
    pub worst_usd: Usd,
    /// The caps of all accounts.
    pub budget_usd: f64,
    /// Of asking, one step after the other.
    pub seconds: f64,
    pub simulated: bool,
}

/// Lines that share a cap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpendAccount {
    pub name: String,
    pub expected_usd: Usd,
    /// Every bound reached, whatever the cap.
    pub worst_usd: Usd,
    pub cap_usd: f64,
    /// The key of the pipeline that sets the cap.
    pub cap_key: &'static str,
}

/// What one step asks of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpendLine {
    pub step: String,
    /// Who is asked about what, in words.
    pub what: String,
    /// The model asked first.
    pub model: String,
    pub requests: u64,
    /// Of these, answered already; `None` where that depends on answers that are yet to be made.
    pub in_journal: Option<u64>,
    pub expected_usd: Usd,
    /// Every bound reached; the account's cap holds none the less.
    pub worst_usd: Usd,
    /// Lines of one account share its cap.
    pub account: String,
    pub cap_usd: f64,
    pub seconds: f64,
    pub simulated: bool,
    /// The day of the price table; `None` where no table was used.
    pub price_as_of: Option<String>,
}

/// The data of a pipeline, read once.
struct Material<'a> {
    teachers: Teachers,
    task: Task,
    train: Vec<Row>,
    test: Vec<Row>,
    /// What a simulated provider knows the answers of.
    known: Vec<Row>,
    /// Steps that are taken from the cache and ask nobody.
    cached: &'a BTreeSet<String>,
}

impl Compiled {
    /// Estimates what everybody who is asked will cost, line by line; none where nobody is. The
    /// steps in `cached` ask nothing.
    ///
    /// # Errors
    /// A [`StepFailure`] when the data or the journal cannot be read, or a model or its price is not
    /// known.
    pub async fn estimate(
        &self,
        home: &Path,
        environment: Environment,
        cached: &BTreeSet<String>,
    ) -> Result<Option<SpendEstimate>, StepFailure> {
        let material = Material {
            teachers: Teachers::to_look_at(home, environment),
            task: self.made_task()?,
            train: self.train.read(&self.train_path)?,
            test: self.test.read(&self.test_path)?,
            known: self.all_rows()?,
            cached,
        };
        let labels = self.graph.step("label").is_some();
        let mut lines = Vec::new();
        for step in self.graph.steps() {
            match &step.action {
                // Its rows are among those that are labelled.
                Action::Smoke(ask) if !labels => {
                    let first = &material.train[..material.train.len().min(SMOKE_ROWS)];
                    let what = "teacher, first trial";
                    lines.push(
                        material
                            .line(&step.name, what, TEACHER, &ask.teacher, first, 0)
                            .await?,
                    );
                }
                Action::Label(ask) => {
                    let name = step.name.as_str();
                    let cheaper = name.starts_with("evaluate:") && name != "evaluate:teacher";
                    let model = ask.teacher.chain[0].name();
                    let (what, rows) = match name {
                        "label" => ("teacher, training rows".to_owned(), &material.train),
                        _ if cheaper => (format!("{model}, test rows"), &material.test),
                        _ => ("teacher, test rows".to_owned(), &material.test),
                    };
                    let account = if cheaper { &model } else { TEACHER };
                    lines.push(
                        material
                            .line(name, &what, account, &ask.teacher, rows, 0)
                            .await?,
                    );
                }
                Action::NoiseFloor(floor) => {
                    let drawn = noise::draw(&material.test, floor.rows, floor.seed);
                    let what = "teacher, a second time";
                    let teacher = &floor.ask.teacher;
                    lines.push(
                        material
                            .line(&step.name, what, TEACHER, teacher, &drawn, noise::SECOND)
                            .await?,
                    );
                }
                Action::Judge(step) => {
                    let longest = self
                        .teacher
                        .as_ref()
                        .map_or(LONGEST_ANSWER, |teacher| teacher.max_tokens);
                    lines.extend(material.judges(&step.judge, longest).await?);
                }
                _ => {}
            }
        }
        lines.sort_by_key(SpendLine::place);
        Ok((!lines.is_empty()).then(|| SpendEstimate::of(lines)))
    }
}

impl Material<'_> {
    /// One step that asks a teacher or a model in its place about rows.
    async fn line(
        &self,
        step: &str,
        what: &str,
        account: &str,
        teacher: &Teacher,
        rows: &[Row],
        sample: u32,
    ) -> Result<SpendLine, StepFailure> {
        let requests = rows
            .iter()
            .map(|row| teacher.request(&self.task, row))
            .collect::<Result<Vec<_>, _>>()?;
        let estimate = self
            .teachers
            .estimate(teacher, &self.task, &requests, sample, &self.known)
            .await?;
        let estimate = if self.cached.contains(step) {
            answered(estimate)
        } else {
            estimate
        };
        Ok(SpendLine {
            step: step.to_owned(),
            what: what.to_owned(),
            model: teacher.chain[0].name(),
            requests: estimate.requests,
            in_journal: Some(estimate.in_journal),
            expected_usd: estimate.expected_usd,
            worst_usd: estimate.worst_usd,
            account: account.to_owned(),
            cap_usd: teacher.budget_usd,
            seconds: estimate.seconds,
            simulated: estimate.simulated,
            price_as_of: estimate.price_as_of,
        })
    }

    /// The judges of a panel, which share an account.
    async fn judges(&self, judge: &Judge, longest: u32) -> Result<Vec<SpendLine>, StepFailure> {
        let cached = self.cached.contains(JUDGE_STEP);
        let forecasts = judge
            .forecast(&self.teachers, &self.test, &self.known, longest)
            .await?;
        let lines = forecasts.into_iter().map(|forecast| SpendLine {
            step: JUDGE_STEP.to_owned(),
            what: format!("judge {}", forecast.model),
            model: forecast.model,
            requests: forecast.requests,
            in_journal: cached.then_some(forecast.requests),
            expected_usd: spent_unless(cached, forecast.expected_usd),
            worst_usd: spent_unless(cached, forecast.worst_usd),
            account: JUDGE_STEP.to_owned(),
            cap_usd: judge.budget_usd,
            seconds: if cached { 0.0 } else { forecast.seconds },
            simulated: forecast.simulated,
            price_as_of: forecast.price_as_of,
        });
        Ok(lines.collect())
    }
}

/// A step that is taken from the cache: every answer is there.
fn answered(estimate: Estimate) -> Estimate {
    Estimate {
        in_journal: estimate.requests,
        expected_usd: Usd::ZERO,
        worst_usd: Usd::ZERO,
        seconds: 0.0,
        ..estimate
    }
}

fn spent_unless(cached: bool, amount: Usd) -> Usd {
    if cached { Usd::ZERO } else { amount }
}

impl SpendLine {
    /// The teacher before others, what it is asked first before what it is asked again.
    fn place(&self) -> (bool, usize) {
        let steps = ["smoke", "label", "evaluate:teacher"];
        let place = steps.iter().position(|step| *step == self.step);
        let last = steps.len() + usize::from(self.step == JUDGE_STEP);
        (self.account != TEACHER, place.unwrap_or(last))
    }
}

impl SpendEstimate {
    fn of(lines: Vec<SpendLine>) -> Self {
        let mut accounts: Vec<SpendAccount> = Vec::new();
        for line in &lines {
            match accounts
                .iter_mut()
                .find(|account| account.name == line.account)
            {
                Some(account) => {
                    account.expected_usd += line.expected_usd;
                    account.worst_usd += line.worst_usd;
                }
                None => accounts.push(SpendAccount {
                    name: line.account.clone(),
                    expected_usd: line.expected_usd,
                    worst_usd: line.worst_usd,
                    cap_usd: line.cap_usd,
                    cap_key: if line.account == JUDGE_STEP {
                        "evals.judge.budget_usd"
                    } else {
                        "teacher.budget_usd"
                    },
                }),
            }
        }
        let capped =
            |account: &SpendAccount| account.worst_usd.min(Usd::from_dollars(account.cap_usd));
        let worst_usd = accounts.iter().map(capped).sum();
        let budget_usd = accounts.iter().map(|account| account.cap_usd).sum();
        Self {
            expected_usd: lines.iter().map(|line| line.expected_usd).sum(),
            worst_usd,
            budget_usd,
            seconds: lines.iter().map(|line| line.seconds).sum(),
            simulated: lines.iter().any(|line| line.simulated),
            accounts,
            lines,
        }
    }
}
