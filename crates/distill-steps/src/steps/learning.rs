//! The steps around training: what the labels are worth, how the examples are parted, what more of
//! them would bring, and from which confidence on a student may answer.

use distill_pipeline::record::Level;
use distill_report::{LabelNoiseFacts, LabelSuspect};
use distill_runner::{Outcome, StepContext, StepFailure, Work};
use serde_json::json;

use super::{outcome, task_of};
use crate::{
    Action, Arm,
    action::Split,
    cascade::Cascade,
    compare::Evidence,
    compile::step_name,
    curate::{self, Curation},
    curve::{Curve, CurveFigures},
    human::read_labels,
    label_noise::{LabelNoise, NoiseEstimate},
    rows::{Example, Row, read_json, read_lines, write_json, write_lines},
    split::{set_apart, split},
    student::StudentAnswerer,
    train::Training,
    write_report::{Additions, Parts},
};

/// Where the full lists are, in the report's folder.
const LISTS_FOLDER: &str = "data";
/// Suspects that the report shows; the artifact has them all.
const SHOWN_SUSPECTS: usize = 50;

pub(super) fn run_label_noise(
    noise: &LabelNoise,
    work: &Work<Action>,
) -> Result<Outcome, StepFailure> {
    let examples: Vec<Example> = read_lines(work.input("examples"))?;
    let rows: Vec<Row> = match work.inputs.get("rows") {
        Some(path) => read_lines(path)?,
        None => Vec::new(),
    };
    let found = noise.estimate(&examples, &rows)?;
    let additions = Additions {
        label_noise: Some(LabelNoiseFacts {
            method: found.told(),
            n: found.n,
            estimated_share: found.estimated_share,
            upper_share: found.upper_share,
            suspected: found.suspects.len(),
            suspects: found
                .suspects
                .iter()
                .take(SHOWN_SUSPECTS)
                .map(|suspect| LabelSuspect {
                    id: suspect.id.clone(),
                    given: suspect.given.clone(),
                    likely: suspect.likely.clone(),
                    probability: suspect.probability,
                    text: suspect.text.clone(),
                })
                .collect(),
            simulated: noise.simulated,
        }),
        ..Additions::default()
    };
    write_json(work.output("noise"), &found)?;
    write_json(work.output("addition"), &additions)?;
    Ok(outcome(json!({
        "examples": found.n,
        "estimated_share": found.estimated_share,
        "suspects": found.suspects.len(),
    })))
}

pub(super) fn run_split(settings: &Split, work: &Work<Action>) -> Result<Outcome, StepFailure> {
    let mut examples: Vec<Example> = read_lines(work.input("examples"))?;
    let mut facts = serde_json::Map::new();
    if let Some(calibrate) = &settings.calibration {
        let (rest, apart) = set_apart(examples, calibrate.share, settings.seed);
        let count = rest.len();
        // A row that a training row repeats would make the student look surer than it is.
        examples = curate::without_repeats_of(&task_of(&calibrate.task)?, rest, &apart).map_err(
            |error| StepFailure::bad_input("an example does not fit the task").caused_by(error),
        )?;
        write_lines(work.output("calibration"), &apart)?;
        facts.insert("calibration".to_owned(), json!(apart.len()));
        facts.insert("left_out".to_owned(), json!(count - examples.len()));
    }
    let (train, validation) = split(examples, settings.validation, settings.seed);
    write_lines(work.output("train"), &train)?;
    write_lines(work.output("validation"), &validation)?;
    facts.insert("train".to_owned(), json!(train.len()));
    facts.insert("validation".to_owned(), json!(validation.len()));
    Ok(outcome(facts.into()))
}

pub(super) fn run_curve(
    curve: &Curve,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let runs = curve.run(
        &read_lines::<Example>(work.input("train"))?,
        &read_lines::<Example>(work.input("validation"))?,
        &read_lines::<Row>(work.input("rows"))?,
        &work.work_dir,
        context,
    )?;
    write_json(work.output("runs"), &runs)?;
    let sizes: Vec<usize> = runs.iter().map(|run| run.train_rows).collect();
    Ok(outcome(json!({ "train_rows": sizes })))
}

pub(super) fn run_curve_figures(
    figures: &CurveFigures,
    work: &Work<Action>,
) -> Result<Outcome, StepFailure> {
    let mut evidence = Evidence {
        rows: read_lines(work.input("rows"))?,
        ..Evidence::default()
    };
    if let Some(path) = work.inputs.get("human") {
        evidence.human = Some(read_labels(path, &task_of(&figures.compare.task)?)?);
    }
    if let (Some(answers), Some(usage)) = (work.inputs.get("answers"), work.inputs.get("usage")) {
        let hosted = (read_lines(answers)?, read_json(usage)?);
        evidence.hosted.insert(step_name(&Arm::Teacher), hosted);
    }
    let training: Training = read_json(work.input("training"))?;
    let facts = figures.facts(
        evidence,
        read_json(work.input("runs"))?,
        (training.examples, read_lines(work.input("predictions"))?),
    )?;
    let values: Vec<Option<f64>> = facts.points.iter().map(|point| point.value).collect();
    write_json(work.output("curve"), &facts)?;
    Ok(outcome(json!({ "values": values })))
}

pub(super) fn run_cascade(
    cascade: &Cascade,
    work: &Work<Action>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let examples: Vec<Example> = read_lines(work.input("calibration"))?;
    let rows: Vec<Row> = match work.inputs.get("rows") {
        Some(path) => read_lines(path)?,
        None => Vec::new(),
    };
    let student = StudentAnswerer::open(work.input("student"))?;
    let choice = cascade.choose(&student, &examples, &rows)?;
    if choice.threshold.is_none() {
        context.note(Level::Warning, choice.statement.clone());
    }
    let additions = Additions {
        notes: vec![choice.statement.clone()],
        ..Additions::default()
    };
    write_json(work.output("cascade"), &choice)?;
    write_json(work.output("addition"), &additions)?;
    Ok(outcome(json!({
        "rows": choice.calibration_rows,
        "right": choice.right,
        "threshold": choice.threshold.map(|threshold| threshold.raw),
    })))
}

/// How the examples were parted, by the split's files.
pub(super) fn parts(work: &Work<Action>) -> Result<Option<Parts>, StepFailure> {
    let examples = |port: &str| -> Result<Option<Vec<Example>>, StepFailure> {
        let path = work.inputs.get(&format!("split:{port}"));
        path.map(|path| read_lines(path)).transpose()
    };
    let (Some(all), Some(train), Some(validation)) = (
        examples("examples")?,
        examples("train")?,
        examples("validation")?,
    ) else {
        return Ok(None);
    };
    let calibration = examples("calibration")?.unwrap_or_default();
    Ok(Some(Parts::new(&all, &train, &validation, &calibration)))
}

/// Writes the full lists of what was found in the data beside the report, where the page shows the
/// first rows of them.
pub(super) fn write_lists(curation: &Curation, work: &Work<Action>) -> Result<(), StepFailure> {
    let folder = work.output("report").join(LISTS_FOLDER);
    curation.write_lists(&folder)?;
    if let Some(path) = work.inputs.get("label-noise") {
        let noise: NoiseEstimate = read_json(path)?;
        write_lines(&folder.join("label_suspects.jsonl"), &noise.suspects)?;
    }
    Ok(())
}
