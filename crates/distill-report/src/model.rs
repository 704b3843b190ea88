//! What a report knows. Shares are 0 to 1, units stand in the names, and `None` means "not
//! measured": no rendering turns it into a number.

use distill_eval::{
    Aggregate, Comparison, ConfusedPair, CorpusComparison, FieldScores, Interval, LabelScores,
    PairedTable, Quantiles, Recommendation, Reference, Unit, recommend,
};
use serde::{Deserialize, Serialize};

mod cost;
mod evidence;
mod facts;
mod judge;
mod load;
mod quality;

pub use cost::{CandidateCost, CostInputs, CostModel, OneOff, StudentCost};
pub use evidence::{
    CascadeFacts, CurveFacts, CurveFactsPoint, NoiseFloorFacts, ReliabilityBin, RepeatFacts,
};
pub use facts::{
    Agreement, Counted, DataFacts, DataSource, LabelFacts, LabelSource, LeakedRow, Lineage,
    ModelSource, OtherSpend, Removal, SharedText, Spend, TrainingFacts, Unsettled,
};
pub use judge::{Corrected, JudgeFacts, JudgePair, JudgeScore};
pub use load::{Arrival, EnergyFacts, EnergySource, LoadFacts, PriceAge, Sensitivity, Spread};
pub use quality::{
    CONFUSION_LABELS, ConfusionFacts, EvalDuplicate, LabelConflict, LabelNoiseFacts, LabelSuspect,
};

/// The version of the shape of `report.json`.
pub const SCHEMA: u32 = 1;

/// Everything that a run's report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The pipeline's name.
    pub name: String,
    pub task: TaskFacts,
    /// The run's verdict and each candidate's.
    pub recommendation: Recommendation,
    pub accept: AcceptFacts,
    /// What a simulated provider touched, one phrase each ("teacher answers", "prices"). Empty
    /// when nothing was simulated.
    pub simulated: Vec<String>,
    /// The models compared, all on the same rows, in the order shown.
    pub arms: Vec<Arm>,
    pub differences: Vec<Difference>,
    pub regressions: Option<Regressions>,
    pub data: DataFacts,
    pub labels: Option<LabelFacts>,
    pub spend: Option<Spend>,
    pub cost: CostModel,
    pub training: Vec<TrainingFacts>,
    pub lineage: Lineage,
    /// Sentences shown under the verdict.
    pub notes: Vec<String>,
    /// Students that answer when they are sure and ask the teacher otherwise.
    #[serde(default)]
    pub cascade: Vec<CascadeFacts>,
    #[serde(default)]
    pub learning_curves: Vec<CurveFacts>,
    /// The teacher asked twice; `None` when it was not.
    #[serde(default)]
    pub noise_floor: Option<NoiseFloorFacts>,
    #[serde(default)]
    pub judge: Option<JudgeFacts>,
    /// Labels of the training rows that look wrong; `None` when nobody looked.
    #[serde(default)]
    pub label_noise: Option<LabelNoiseFacts>,
    /// Rows with one text and more than one label.
    #[serde(default)]
    pub label_conflicts: Vec<LabelConflict>,
    /// Eval rows that repeat another eval row.
    #[serde(default)]
    pub eval_duplicates: Vec<EvalDuplicate>,
    /// Each engine at each setting.
    #[serde(default)]
    pub load: Vec<LoadFacts>,
    #[serde(default)]
    pub energy: Vec<EnergyFacts>,
    /// The cost figures if the teacher gets cheaper.
    #[serde(default)]
    pub sensitivity: Vec<Sensitivity>,
    /// The prices that the run used, and how old they are.
    #[serde(default)]
    pub price_age: Vec<PriceAge>,
}

impl Default for RunReport {
    /// A report of nothing: no arm, no row, no candidate.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            name: String::new(),
            task: TaskFacts::default(),
            recommendation: recommend(&[]),
            accept: AcceptFacts::default(),
            simulated: Vec::new(),
            arms: Vec::new(),
            differences: Vec::new(),
            regressions: None,
            data: DataFacts::default(),
            labels: None,
            spend: None,
            cost: CostModel::default(),
            training: Vec::new(),
            lineage: Lineage::default(),
            notes: Vec::new(),
            cascade: Vec::new(),
            learning_curves: Vec::new(),
            noise_floor: None,
            judge: None,
            label_noise: None,
            label_conflicts: Vec::new(),
            eval_duplicates: Vec::new(),
            load: Vec::new(),
            energy: Vec::new(),
            sensitivity: Vec::new(),
            price_age: Vec::new(),
        }
    }
}

impl RunReport {
    /// Whether a simulated provider touched any number in it.
    pub fn touched_by_simulation(&self) -> bool {
        !self.simulated.is_empty()
            || self.arms.iter().any(|arm| arm.simulated)
            || self.differences.iter().any(|row| row.simulated)
            || self.labels.as_ref().is_some_and(|labels| labels.simulated)
            || self.spend.as_ref().is_some_and(|spend| spend.simulated)
            || self.cost.teacher_simulated
    }

    /// The arm's value of the task's metric.
    pub(crate) fn primary<'a>(&self, arm: &'a Arm) -> Option<&'a Aggregate> {
        arm.scores
            .iter()
            .find(|score| score.metric == self.task.metric)
    }

    /// The unit of that metric: as an arm's score of it says, else as the metric says.
    pub(crate) fn unit(&self, metric: &str) -> Unit {
        let scores = self.arms.iter().flat_map(|arm| &arm.scores);
        let mut named = scores.filter(|score| score.metric == metric);
        named.next().map_or_else(
            || distill_eval::metric(metric).map_or(Unit::Share, |metric| metric.unit),
            |score| score.unit,
        )
    }

    /// What the candidates would take over from.
    pub(crate) fn teacher(&self) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.role == Role::Teacher)
    }

    /// That candidate against the teacher by the task's metric.
    pub(crate) fn against_teacher(&self, candidate: &str) -> Option<&Difference> {
        let teacher = self.teacher()?;
        self.differences.iter().find(|row| {
            row.candidate == candidate
                && row.baseline == teacher.name
                && row.metric == self.task.metric
        })
    }

    /// The arm that the run's verdict is about, else the first student.
    pub(crate) fn main_arm(&self) -> Option<&Arm> {
        let named = self.recommendation.choice.as_ref().or(self
            .recommendation
            .verdict
            .candidate
            .as_ref());
        self.arms
            .iter()
            .find(|arm| Some(&arm.name) == named)
            .or_else(|| self.arms.iter().find(|arm| arm.role == Role::Student))
    }
}

/// What was asked of the models.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFacts {
    /// `classify` or `extract`.
    pub kind: String,
    /// The metric that the verdict rests on, by its name in `distill-eval`.
    pub metric: String,
    pub eval_rows: usize,
    /// Where the eval rows came from, as a reader would name it.
    pub eval_source: String,
    pub reference: Reference,
    /// Of the intervals, 0 to 1.
    pub confidence: f64,
    /// Who vouches for the eval rows' references ("gold", "human", "teacher") and for how many;
    /// empty when that was not counted.
    #[serde(default)]
    pub expected_by: Vec<Counted>,
}

/// The gate that the user set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptFacts {
    /// The loss that is accepted, as a share.
    pub margin: f64,
    pub confidence: f64,
    pub max_p95_ms: Option<f64>,
    pub max_usd_per_1000: Option<f64>,
    /// Rows that a paired decision was expected to need, before any was made.
    pub required_rows: Option<usize>,
    /// The share of rows on which two models were assumed to differ for that number.
    pub assumed_discordance: Option<f64>,
    /// The greatest share of wrong answers among those that a cascade's student gives itself.
    #[serde(default)]
    pub risk: Option<f64>,
}

/// What an arm is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The linear student.
    Floor,
    /// An answer that costs nothing, such as always `{}`.
    Constant,
    Untuned,
    FewShot,
    Control,
    #[default]
    Student,
    /// A student that asks the teacher when it is not sure.
    Cascade,
    /// A cheaper hosted model.
    CheaperApi,
    Teacher,
}

impl Role {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Constant => "constant",
            Self::Untuned => "untuned",
            Self::FewShot => "few-shot",
            Self::Control => "control",
            Self::Student => "student",
            Self::Cascade => "cascade",
            Self::CheaperApi => "cheaper API",
            Self::Teacher => "teacher",
        }
    }
}

/// One model on the eval rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Unique; differences refer to it.
    pub name: String,
    pub role: Role,
    pub description: String,
    /// Whether a simulated provider gave the answers, the latency or the price.
    pub simulated: bool,
    /// The first is the task's metric.
    pub scores: Vec<Aggregate>,
    pub speed: Option<Speed>,
    /// A student's at the stated request rate; a teacher's from the journal.
    pub usd_per_1000: Option<f64>,
    /// Classification: per label.
    pub labels: Vec<LabelScores>,
    /// Extraction: per field.
    pub fields: Vec<FieldScores>,
    /// The pairs most often confused.
    pub confused: Vec<ConfusedPair>,
    /// Classification over few labels: the whole table.
    #[serde(default)]
    pub confusion: Option<ConfusionFacts>,
    /// The task's metric on parts of the rows.
    pub slices: Vec<Slice>,
}

/// A part of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Such as "non-empty rows".
    pub name: String,
    pub score: Aggregate,
}

/// How fast an arm answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Milliseconds from question to whole answer.
    pub per_answer_ms: Quantiles,
    pub answers_per_second: Option<f64>,
    /// Threads, batch, warm-up: what a reader needs to repeat it.
    pub measured_on: String,
    /// Answers that were not timed, such as "120 answers from the journal".
    pub left_out: Option<String>,
}

/// Two arms on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    pub candidate: String,
    pub baseline: String,
    pub metric: String,
    pub simulated: bool,
    /// Pairs with both sides scored.
    pub n: usize,
    pub left_out: usize,
    pub candidate_value: Option<f64>,
    pub baseline_value: Option<f64>,
    /// Candidate minus baseline.
    pub difference: Option<f64>,
    pub interval: Option<Interval>,
    /// Exact, two-sided; only for metrics that are shares.
    pub mcnemar_p: Option<f64>,
    pub table: Option<PairedTable>,
}

impl Difference {
    pub fn from_comparison(
        candidate: impl Into<String>,
        baseline: impl Into<String>,
        metric: impl Into<String>,
        simulated: bool,
        comparison: &Comparison,
    ) -> Self {
        Self {
            candidate: candidate.into(),
            baseline: baseline.into(),
            metric: metric.into(),
            simulated,
            n: comparison.n,
            left_out: comparison.left_out,
            candidate_value: comparison.candidate,
            baseline_value: comparison.baseline,
            difference: comparison.difference,
            interval: comparison.interval,
            mcnemar_p: comparison.mcnemar_p,
            table: comparison.table,
        }
    }

    pub fn from_corpus(
        candidate: impl Into<String>,
        baseline: impl Into<String>,
        simulated: bool,
        comparison: &CorpusComparison,
    ) -> Self {
        Self {
            candidate: candidate.into(),
            baseline: baseline.into(),
            metric: comparison.metric.clone(),
            simulated,
            n: comparison.n,
            left_out: comparison.left_out,
            candidate_value: comparison.candidate,
            baseline_value: comparison.baseline,
            difference: comparison.difference,
            interval: comparison.interval,
            mcnemar_p: None,
            table: None,
        }
    }
}

/// Rows that the baseline had right and the candidate has wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regressions {
    pub candidate: String,
    pub baseline: String,
    /// All of them.
    pub total: usize,
    /// The worst, at most some twenty.
    pub rows: Vec<Regression>,
    /// Whether the baseline's answers are simulated.
    pub simulated: bool,
}

/// One such row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    pub id: String,
    /// What the models were asked about.
    pub text: String,
    pub gold: Option<String>,
    pub baseline_answer: Option<String>,
    pub candidate_answer: Option<String>,
    /// The candidate's own probability of its answer, 0 to 1.
    pub candidate_confidence: Option<f64>,
    /// The task's metric on this row, where it is not merely right or wrong.
    #[serde(default)]
    pub baseline_score: Option<f64>,
    #[serde(default)]
    pub candidate_score: Option<f64>,
}
