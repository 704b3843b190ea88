//! Does one step: from the work order's paths to the step's own module and back.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use distill_chat::{Task, TaskDefinition};
use distill_gateway::Usd;
use distill_runner::{BoxFuture, Outcome, StepContext, StepFailure, StepRunner, Work};
use serde_json::json;

use crate::{
    Action, Arm,
    action::{Ask, Compare},
    compare::{self, Evidence, Findings},
    compile::step_name,
    curate::{self, Removal},
    evaluate::{self, Answerer, ConstantAnswerer, Evaluate},
    human::read_labels,
    label::{self, LabelUsage},
    measure::{self, Measure},
    rows::{AnswerRow, Example, Row, read_json, read_lines, write_json, write_lines},
    smoke,
    student::StudentAnswerer,
    teacher::{Environment, Teachers},
    train::{self, Folders, Train},
    write_report::{self, Additions, Inputs, Lineage, StudyDocument},
};

mod judging;
mod learning;

/// The executor's side of all step kinds.
pub struct Steps {
    teachers: Arc<Teachers>,
}

impl Steps {
    /// `home` is the state folder: the journal and the simulated providers keep theirs in it.
    pub fn new(home: &Path, environment: Environment) -> Self {
        Self {
            teachers: Arc::new(Teachers::new(home, environment)),
        }
    }
}

impl StepRunner<Action> for Steps {
    fn run(
        &self,
        work: Work<Action>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        let teachers = self.teachers.clone();
        Box::pin(async move {
            match &work.action {
                Action::Smoke(ask) => run_smoke(&teachers, ask, &work, &context).await,
                Action::Label(ask) => run_label(&teachers, ask, &work, &context).await,
                Action::NoiseFloor(floor) => {
                    judging::run_noise_floor(&teachers, floor, &work, &context).await
                }
                Action::Judge(judge) => judging::run_judge(&teachers, judge, &work, &context).await,
                Action::Measure(measure) => run_measure(measure, &work, &context).await,
                Action::External(external) => {
                    let examples = external
                        .run(work.input("examples"), work.output("examples"), &context)
                        .await?;
                    Ok(Outcome {
                        facts: json!({ "examples": examples.len() }),
                    })
                }
                _ => {
                    context
                        .blocking(move |context| compute(&work, &context))
                        .await
                }
            }
        })
    }
}

/// The steps that compute instead of waiting.
fn compute(work: &Work<Action>, context: &StepContext) -> Result<Outcome, StepFailure> {
    match &work.action {
        Action::Ingest(ingest) => {
            let rows = ingest.read(work.input("source"))?;
            write_lines(work.output("rows"), &rows)?;
            Ok(outcome(json!({ "rows": rows.len() })))
        }
        Action::Curate(settings) => run_curate(&settings.task, work),
        Action::LabelNoise(noise) => learning::run_label_noise(noise, work),
        Action::Split(settings) => learning::run_split(settings, work),
        Action::Train(train) => run_train(train, work, context),
        Action::Curve(curve) => learning::run_curve(curve, work, context),
        Action::CurveFigures(figures) => learning::run_curve_figures(figures, work),
        Action::Cascade(cascade) => learning::run_cascade(cascade, work, context),
        Action::Evaluate(evaluate) => run_evaluate(evaluate, work, context),
        Action::Repeat(repeat) => judging::run_repeat(repeat, work, context),
        Action::Compare(settings) => run_compare(settings, work),
        Action::Report(lineage) => run_report(lineage, work),
        Action::Smoke(_)
        | Action::Label(_)
        | Action::Measure(_)
        | Action::External(_)
        | Action::NoiseFloor(_)
        | Action::Judge(_) => Err(StepFailure::bug("an asking step was sent to compute")),
    }
}

fn outcome(facts: serde_json::Value) -> Outcome {
    Outcome { facts }
}

fn task_of(definition: &TaskDefinition) -> Result<Task, StepFailure> {
    Task::new(definition.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))
}

/// All rows that a simulated teacher knows the answers of.
fn known_rows(work: &Work<Action>) -> Result<Vec<Row>, StepFailure> {
    let mut rows: Vec<Row> = read_lines(work.input("train"))?;
    rows.extend(read_lines::<Row>(work.input("test"))?);
    Ok(rows)
}

async fn run_smoke(
    teachers: &Teachers,
    ask: &Ask,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let task = task_of(&ask.task)?;
    let rows: Vec<Row> = read_lines(work.input("asked"))?;
    let known = known_rows(work)?;
    let gateway = teachers
        .connect(&ask.teacher, &task, &known, context)
        .await?;
    let first = &rows[..rows.len().min(smoke::SMOKE_ROWS)];
    let asked = label::ask_all(&gateway, &ask.teacher, &task, first, context).await?;
    let smoke = smoke::judge(&asked.answers)?;
    let requests = known
        .iter()
        .map(|row| ask.teacher.request(&task, row))
        .collect::<Result<Vec<_>, _>>()?;
    let estimate = gateway.estimate(&requests).map_err(|error| {
        StepFailure::failed("the label journal cannot be read").caused_by(error)
    })?;
    smoke::check_price(&estimate, Usd::from_dollars(ask.teacher.budget_usd))?;
    write_json(work.output("smoke"), &smoke)?;
    Ok(outcome(
        json!({ "rows": smoke.rows, "expected_usd": estimate.expected_usd, "worst_usd": estimate.worst_usd }),
    ))
}

async fn run_label(
    teachers: &Teachers,
    ask: &Ask,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let started = Instant::now();
    let task = task_of(&ask.task)?;
    let rows: Vec<Row> = read_lines(work.input("asked"))?;
    let gateway = teachers
        .connect(&ask.teacher, &task, &known_rows(work)?, context)
        .await?;
    let asked = label::ask_all(&gateway, &ask.teacher, &task, &rows, context).await?;
    let usage = label::usage(&gateway, &asked, started.elapsed().as_secs_f64())?;
    for alert in &usage.alerts {
        context.note(distill_pipeline::record::Level::Warning, alert.clone());
    }
    write_lines(work.output("answers"), &asked.answers)?;
    write_json(work.output("usage"), &usage)?;
    Ok(outcome(
        json!({ "rows": usage.rows, "statuses": usage.statuses, "from_journal": usage.from_journal }),
    ))
}

/// What was removed, the most frequent reason first: "20 with an empty text, 3 …".
fn in_words(removed: &BTreeMap<Removal, usize>) -> String {
    let mut reasons: Vec<(Removal, usize)> = removed.iter().map(|(why, n)| (*why, *n)).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> = reasons
        .into_iter()
        .map(|(why, count)| format!("{count} ({})", why.text()))
        .collect();
    words.join(", ")
}

fn run_curate(task: &TaskDefinition, work: &Work<Action>) -> Result<Outcome, StepFailure> {
    let task = task_of(task)?;
    let rows: Vec<Row> = read_lines(work.input("rows"))?;
    let test: Vec<Row> = read_lines(work.input("test"))?;
    let answers: Option<Vec<AnswerRow>> = work
        .inputs
        .get("answers")
        .map(|path| read_lines(path))
        .transpose()?;
    let (examples, curation) = curate::curate(&task, &rows, answers.as_deref(), &test)
        .map_err(|error| StepFailure::bad_input("a row does not fit the task").caused_by(error))?;
    if examples.is_empty() {
        return Err(StepFailure::bad_input(format!(
            "of {} rows none is left to train on: {}",
            rows.len(),
            in_words(&curation.removed)
        ))
        .hint("rows need a label: see `data.gold` and `data.labels`, or the reasons above"));
    }
    write_lines(work.output("examples"), &examples)?;
    write_json(work.output("curation"), &curation)?;
    Ok(outcome(
        json!({ "kept": curation.kept, "removed": curation.removed }),
    ))
}

fn run_train(
    train: &Train,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let examples: Vec<Example> = read_lines(work.input("train"))?;
    let validation: Vec<Example> = read_lines(work.input("validation"))?;
    let folders = Folders {
        student: work.output("student"),
        work: &work.work_dir,
    };
    let training = train.run(&examples, &validation, &folders, context)?;
    write_json(work.output("training"), &training)?;
    Ok(outcome(
        serde_json::to_value(&training).expect("facts are plain data"),
    ))
}

fn run_evaluate(
    evaluate: &Evaluate,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let rows: Vec<Row> = read_lines(work.input("rows"))?;
    let base = || {
        evaluate
            .base
            .as_ref()
            .ok_or_else(|| StepFailure::bug("this arm has no base model"))
    };
    let device = train::device(evaluate.device);
    let answerer: Box<dyn Answerer> = match &evaluate.arm {
        Arm::Constant => {
            let examples: Vec<Example> = read_lines(work.input("examples"))?;
            Box::new(ConstantAnswerer::new(&evaluate.task, &examples))
        }
        Arm::Untuned => Box::new(StudentAnswerer::untuned(
            base()?,
            task_of(&evaluate.task)?,
            &[],
            device,
        )?),
        Arm::FewShot => {
            let examples: Vec<Example> = read_lines(work.input("examples"))?;
            let shots = evaluate::draw_shots(&examples, evaluate.shot_seed);
            Box::new(StudentAnswerer::untuned(
                base()?,
                task_of(&evaluate.task)?,
                &shots,
                device,
            )?)
        }
        Arm::Student(_) | Arm::Control(_) => {
            Box::new(StudentAnswerer::open_on(work.input("student"), device)?)
        }
        Arm::Cheaper(_) | Arm::Teacher => {
            return Err(StepFailure::bug("a hosted model is asked by a label step"));
        }
    };
    let (predictions, timing) = evaluate::measure(answerer.as_ref(), &rows, context)?;
    evaluate::write(
        &predictions,
        &timing,
        (work.output("predictions"), work.output("timing")),
    )?;
    Ok(outcome(
        json!({ "answers": predictions.len(), "seconds": timing.batch_seconds }),
    ))
}

async fn run_measure(
    measure: &Measure,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let rows: Vec<Row> = read_lines(work.input("rows"))?;
    let (record, exchanges) = measure
        .run(work.input("student"), &rows, &work.work_dir, context)
        .await?;
    write_json(work.output("load"), &record)?;
    write_lines(work.output("exchanges"), &exchanges)?;
    Ok(outcome(json!({ "requests": exchanges.len() })))
}

fn run_compare(settings: &Compare, work: &Work<Action>) -> Result<Outcome, StepFailure> {
    let evidence = evidence(settings, work)?;
    let (study, samples) = compare::collect(settings, &evidence)?;
    let findings = compare::compare(&study, &samples)?;
    compare::write_samples(work.output("samples"), &study, &samples)?;
    write_json(work.output("study"), &study)?;
    write_json(work.output("comparison"), &findings)?;
    // What `deploy` judges by, when it asks the same rows again as they will be served.
    write_json(work.output("gate"), settings)?;
    Ok(outcome(json!({
        "decision": findings.recommendation.verdict.decision.to_string(),
        "choice": findings.recommendation.choice,
    })))
}

/// Reads what the arms said and what the steps before chose and measured.
fn evidence(settings: &Compare, work: &Work<Action>) -> Result<Evidence, StepFailure> {
    let mut evidence = Evidence {
        rows: read_lines(work.input("rows"))?,
        ..Evidence::default()
    };
    if let Some(path) = work.inputs.get("human") {
        evidence.human = Some(read_labels(path, &task_of(&settings.task)?)?);
    }
    if let (Some(rows), Some(verdicts), Some(usage)) = (
        work.inputs.get("judged"),
        work.inputs.get("verdicts"),
        work.inputs.get("usage:judge"),
    ) {
        evidence.judging = judging::evidence(rows, verdicts, usage)?;
    }
    for arm in &settings.arms {
        let name = step_name(arm);
        let found = |port: &str| work.inputs.get(&format!("{port}:{name}"));
        if let (Some(answers), Some(usage)) = (found("answers"), found("usage")) {
            let hosted = (read_lines(answers)?, read_json(usage)?);
            evidence.hosted.insert(name, hosted);
            continue;
        }
        let predictions = read_lines(work.input(&format!("predictions:{name}")))?;
        let timing = read_json(work.input(&format!("timing:{name}")))?;
        if let Some(path) = found("training") {
            evidence.training.insert(name.clone(), read_json(path)?);
        }
        if let Some(path) = found("load") {
            evidence.loads.insert(name.clone(), read_json(path)?);
        }
        if let Some(path) = found("cascade") {
            evidence.cascades.push(read_json(path)?);
        }
        if let Some(path) = found("curve") {
            evidence.learning_curves.push(read_json(path)?);
        }
        evidence.predictions.insert(name, (predictions, timing));
    }
    Ok(evidence)
}

fn run_report(lineage: &Lineage, work: &Work<Action>) -> Result<Outcome, StepFailure> {
    let mut training = std::collections::BTreeMap::new();
    for arm in &lineage.arms {
        let name = step_name(arm);
        if let Some(path) = work.inputs.get(&format!("training:{name}")) {
            training.insert(name, read_json(path)?);
        }
    }
    let labelling = match (
        work.inputs.get("answers:label"),
        work.inputs.get("usage:label"),
    ) {
        (Some(answers), Some(usage)) => Some((read_lines(answers)?, read_json(usage)?)),
        _ => None,
    };
    let inputs = Inputs {
        curation: read_json(work.input("curation"))?,
        parts: learning::parts(work)?,
        train_rows: read_lines(work.input("train"))?,
        test_rows: read_lines(work.input("test"))?,
        data_hashes: (
            artifact_name(work.input("train")),
            artifact_name(work.input("test")),
        ),
        training,
        labelling,
        teacher_usage: usage_of(work, "usage:teacher")?,
        noise_usage: usage_of(work, "usage:noise-floor")?,
        additions: additions(work)?,
        run: work.run.to_string(),
    };
    let document = StudyDocument::new(
        read_json(work.input("study"))?,
        write_report::gather(lineage, &inputs),
    );
    let findings: Findings = read_json(work.input("comparison"))?;
    let report = write_report::assemble(&document, findings);
    let samples = compare::read_samples(work.input("samples"), &document.comparison)?;
    write_report::write(&report, &document, &samples, work.output("report"))?;
    measure::keep_exchanges(work)?;
    learning::write_lists(&inputs.curation, work)?;
    Ok(outcome(
        json!({ "decision": report.recommendation.verdict.decision.to_string() }),
    ))
}

fn usage_of(work: &Work<Action>, port: &str) -> Result<Option<LabelUsage>, StepFailure> {
    let path = work.inputs.get(port);
    path.map(|path| read_json(path)).transpose()
}

/// What other steps found for the report alone: every input whose port begins with `addition:`.
fn additions(work: &Work<Action>) -> Result<Additions, StepFailure> {
    let mut additions = Additions::default();
    for (_, path) in work
        .inputs
        .iter()
        .filter(|(port, _)| port.starts_with("addition:"))
    {
        additions.join(read_json(path)?);
    }
    Ok(additions)
}

/// An artifact's file is named by its content hash.
fn artifact_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
