//! What a comparison knows beside the rows: settings, the arms' engines and accounts, and what
//! earlier steps chose on other rows.

use distill_chat::TaskKind;
use distill_eval::cascade::{Calibration, Threshold};
use distill_report::{CurveFacts, LoadFacts, PriceAge, Role};
use serde::{Deserialize, Serialize};

use super::{judged::JudgeStudy, records::Evidence};
use crate::{
    Arm,
    action::Compare,
    arm::ControlKind,
    evaluate::Timing,
    human::Design,
    label::LabelUsage,
    measure::{LoadRecord, teacher_load},
    train::Training,
};

/// All that the figures rest on and no record holds. With the records of every arm it gives every
/// figure again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Study {
    pub settings: Compare,
    /// In the order of the report.
    pub arms: Vec<ArmStudy>,
    /// Rows of the eval; every arm has a record of each.
    pub rows: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cascades: Vec<CascadeStudy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_curves: Vec<CurveFacts>,
    /// The teacher's latencies of the whole job, as the journal has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_load: Option<LoadFacts>,
    /// How the rows were drawn that people answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    /// Who judged the answers, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeStudy>,
    /// What to tell the reader about the references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One arm as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmStudy {
    pub arm: Arm,
    /// Unique; records are filed under it.
    pub name: String,
    #[serde(default)]
    pub simulated: bool,
    /// Present for an arm that ran here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Present for a hosted arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// Present for a trained arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_seconds: Option<f64>,
    /// Of what would be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How fast it answered on the engine that will serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadRecord>,
    /// What a hosted arm's models cost, and how old that knowledge was when they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<PriceAge>,
}

/// How an arm ran on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Engine {
    /// All rows in batches, and the seconds that took.
    pub batch_rows: usize,
    pub batch_seconds: f64,
    pub threads: usize,
    /// Prompts that did not fit and were cut.
    pub cut_prompts: usize,
}

/// What a hosted arm was paid for the whole job: failed attempts and other rows included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub settled_usd: Option<f64>,
    pub requests_answered: Option<u64>,
    /// The part of it that brought no answer.
    pub failed_attempts_usd: Option<f64>,
    /// Test rows whose answer was asked and paid earlier.
    pub from_journal: usize,
}

/// What was chosen for a cascade on its calibration rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CascadeStudy {
    /// The student's name.
    pub student: String,
    /// What the raw confidence is.
    #[serde(default)]
    pub confidence_is: String,
    /// Rows both were fitted on; none of them is an eval row.
    pub calibration_rows: usize,
    pub calibration: Option<Calibration>,
    /// `None`: no threshold keeps the risk that was asked for.
    pub threshold: Option<Threshold>,
}

impl Study {
    /// From what the steps before left.
    pub(crate) fn new(settings: &Compare, evidence: &Evidence, notes: Vec<String>) -> Self {
        let ids: Vec<String> = evidence.rows.iter().map(|row| row.id.clone()).collect();
        let arms = settings
            .arms
            .iter()
            .map(|arm| ArmStudy::new(arm, evidence))
            .collect();
        Self {
            settings: settings.clone(),
            arms,
            rows: evidence.rows.len(),
            cascades: evidence.cascades.clone(),
            learning_curves: evidence.learning_curves.clone(),
            teacher_load: evidence
                .hosted
                .get(&crate::compile::step_name(&Arm::Teacher))
                .and_then(|(_, usage)| teacher_load(usage)),
            judge: evidence
                .judging
                .as_ref()
                .map(|judging| judging.study.clone()),
            design: evidence.human.as_ref().map(|labels| labels.design(&ids)),
            notes,
        }
    }

    /// Whether the teacher's answers are simulated.
    pub(crate) fn teacher_simulated(&self) -> bool {
        self.arms
            .iter()
            .any(|arm| arm.arm == Arm::Teacher && arm.simulated)
    }
}

impl ArmStudy {
    fn new(arm: &Arm, evidence: &Evidence) -> Self {
        let key = crate::compile::step_name(arm);
        let timing = evidence.predictions.get(&key).map(|(_, timing)| timing);
        let usage = evidence.hosted.get(&key).map(|(_, usage)| usage);
        let training: Option<&Training> = evidence.training.get(&key);
        Self {
            arm: arm.clone(),
            name: arm.name(),
            simulated: usage.is_some_and(|usage| usage.simulated),
            engine: timing.and_then(Engine::of),
            account: usage.map(Account::of),
            training_seconds: training.map(|training| training.seconds),
            bytes: training.map(|training| training.bytes),
            load: evidence.loads.get(&key).cloned(),
            prices: usage.map(|usage| usage.prices.clone()).unwrap_or_default(),
        }
    }

    pub(crate) fn role(&self) -> Role {
        match &self.arm {
            Arm::Constant => Role::Constant,
            Arm::Untuned => Role::Untuned,
            Arm::FewShot => Role::FewShot,
            Arm::Control(_) => Role::Control,
            Arm::Student(name) if name == "linear" => Role::Floor,
            Arm::Student(_) => Role::Student,
            Arm::Cheaper(_) => Role::CheaperApi,
            Arm::Teacher => Role::Teacher,
        }
    }

    /// What it is, in words; `controls_of` names the student on whose base the controls are made,
    /// where there are several.
    pub(crate) fn description(&self, kind: TaskKind, controls_of: Option<&str>) -> String {
        let base = controls_of.map_or_else(
            || "the base model".to_owned(),
            |student| format!("the base model of {student}"),
        );
        match &self.arm {
            Arm::Constant if kind == TaskKind::Extract => {
                "always {}: the answer that costs nothing".to_owned()
            }
            Arm::Constant if kind == TaskKind::Generate => {
                "always the most frequent training answer".to_owned()
            }
            Arm::Constant => "always the most frequent training label".to_owned(),
            Arm::Untuned => format!("{base} as it came"),
            Arm::FewShot => format!(
                "{base} with {} examples in its prompt",
                crate::evaluate::SHOTS
            ),
            Arm::Control(ControlKind::Full) => {
                format!("{base}, all weights trained, same steps")
            }
            Arm::Control(ControlKind::RandomLora) => {
                format!("an adapter on random weights in the shape of {base}, same steps")
            }
            Arm::Control(ControlKind::RandomFull) => {
                format!("{base}, all weights trained from random ones, same steps")
            }
            Arm::Control(ControlKind::LinearGold) => {
                "the linear student, trained on the human labels of the same rows".to_owned()
            }
            Arm::Student(name) if name == "linear" => {
                "hashed n-grams and a softmax: the floor".to_owned()
            }
            Arm::Student(name) => format!("{name}, trained for this task"),
            Arm::Cheaper(_) => "a cheaper hosted model, asked the same".to_owned(),
            Arm::Teacher => "the chain of models that labelled".to_owned(),
        }
    }
}

impl Engine {
    /// `None` where nothing was answered.
    pub(crate) fn of(timing: &Timing) -> Option<Self> {
        (timing.batch_rows > 0).then_some(Self {
            batch_rows: timing.batch_rows,
            batch_seconds: timing.batch_seconds,
            threads: timing.threads,
            cut_prompts: timing.cut_prompts,
        })
    }
}

impl Account {
    fn of(usage: &LabelUsage) -> Self {
        let number = |name: &str| usage.spend.get(name).and_then(serde_json::Value::as_f64);
        let attempts = usage
            .spend
            .get("attempts")
            .and_then(serde_json::Value::as_array);
        let failed = attempts.map(|attempts| {
            attempts
                .iter()
                .filter(|group| {
                    group.get("outcome").and_then(serde_json::Value::as_str) != Some("answered")
                })
                .filter_map(|group| group.get("usd").and_then(serde_json::Value::as_f64))
                .sum()
        });
        Self {
            settled_usd: number("settled_usd"),
            requests_answered: usage
                .spend
                .get("requests_answered")
                .and_then(serde_json::Value::as_u64),
            failed_attempts_usd: failed,
            from_journal: usage.from_journal,
        }
    }

    /// What an answer cost on average, times 1000; failed attempts included.
    pub(crate) fn usd_per_1000(&self) -> Option<f64> {
        match (self.settled_usd, self.requests_answered) {
            (Some(usd), Some(requests)) if requests > 0 => Some(usd / requests as f64 * 1000.0),
            _ => None,
        }
    }
}
