//! The arms of the comparison: everything that is asked about the same test rows.

use serde::{Deserialize, Serialize};

/// One contestant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The answer that costs nothing: `{}`, or the most frequent label of the training examples.
    Constant,
    /// The base model as it came.
    Untuned,
    /// The base model with a few training examples in its prompt.
    FewShot,
    /// A student by the name of its target.
    Student(String),
    /// A control: the same architecture, trained another way.
    Control(ControlKind),
    /// A cheaper hosted model, by its `vendor/model`.
    Cheaper(String),
    Teacher,
}

/// Ways to train the base's architecture that show what pretraining and `LoRA` each bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// Every weight of the pretrained base is trained.
    Full,
    /// `LoRA` on random weights.
    RandomLora,
    /// Every weight is trained from random ones.
    RandomFull,
    /// The linear student on the human labels of the training rows: what the teacher's errors cost.
    LinearGold,
}

impl Arm {
    /// Whether it is asked through the gateway.
    pub fn is_hosted(&self) -> bool {
        matches!(self, Self::Teacher | Self::Cheaper(_))
    }

    /// The name in step names and reports.
    pub fn name(&self) -> String {
        match self {
            Self::Constant => "constant".to_owned(),
            Self::Untuned => "untuned".to_owned(),
            Self::FewShot => "few_shot".to_owned(),
            Self::Student(target) => target.clone(),
            Self::Cheaper(model) => model.clone(),
            Self::Control(ControlKind::Full) => "full".to_owned(),
            Self::Control(ControlKind::RandomLora) => "random_lora".to_owned(),
            Self::Control(ControlKind::RandomFull) => "random_full".to_owned(),
            Self::Control(ControlKind::LinearGold) => "linear_gold".to_owned(),
            Self::Teacher => "teacher".to_owned(),
        }
    }
}
