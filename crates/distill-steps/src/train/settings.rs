//! A decoder's settings, from the spec to the trainer.

use distill_pipeline::spec::{
    AdapterKind, BasePrecision, DecoderSpec, DeviceKind, LearningRate, ScheduleKind, TuningSpec,
};
use distill_runner::StepFailure;
use distill_student::{
    decoder::DecoderConfig,
    device::DeviceChoice,
    lora::{Adaptable, LoraAdapter, LoraConfig, LoraVariant, Targets},
    ops::Storage,
};
use distill_train::{Method, Proofs, ScheduleShape, TrainSettings, default_learning_rate};

use crate::base::BaseReference;

/// Every weight moves at once in full training, so it takes smaller steps than `LoRA` (Biderman et al.
/// 2024, arXiv:2405.09673, on larger models). The share is a choice, not the result of a search.
const FULL_LEARNING_RATE_SHARE: f64 = 0.25;
/// Rows that are learnt by heart before a run.
pub(super) const OVERFIT_ROWS: usize = 8;
/// The steps that this may take.
const OVERFIT_STEPS: usize = 30;

/// The trainer's settings. A rate that is still to be looked for begins at the model's usual one.
pub(super) fn settings(
    spec: &DecoderSpec,
    full: bool,
    seed: u64,
    model: &DecoderConfig,
    stop_tokens: &[u32],
) -> TrainSettings {
    let tuning = &spec.tuning;
    let method = trained(spec, full);
    let share = if full { FULL_LEARNING_RATE_SHARE } else { 1.0 };
    TrainSettings {
        learning_rate: match spec.learning_rate {
            LearningRate::Given(rate) => rate * share,
            LearningRate::Width | LearningRate::Auto => default_learning_rate(model, &method),
        },
        // All weights are trained in f32, whatever an adapter's base is held in.
        base: if full { None } else { storage(tuning) },
        method,
        device: choice(tuning.device),
        gradient_checkpointing: tuning.gradient_checkpointing,
        epochs: spec.epochs,
        max_steps: spec.max_steps,
        schedule: match tuning.schedule {
            ScheduleKind::Cosine => ScheduleShape::Cosine,
            ScheduleKind::Linear => ScheduleShape::Linear,
            ScheduleKind::Constant => ScheduleShape::Constant,
            ScheduleKind::Wsd => ScheduleShape::WarmupStableDecay {
                decay: tuning.decay,
            },
        },
        warmup: spec.warmup,
        final_learning_rate: tuning.final_learning_rate,
        weight_decay: spec.weight_decay,
        clip: spec.clip,
        batch_tokens: spec.batch_tokens,
        group_by_length: tuning.group_by_length,
        accumulation: spec.accumulation,
        validate_every: tuning.validate_every,
        patience: spec.patience,
        proofs: Proofs {
            stop_tokens: stop_tokens.to_vec(),
            overfit_rows: OVERFIT_ROWS,
            overfit_steps: OVERFIT_STEPS,
        },
        seed,
        ..TrainSettings::default()
    }
}

fn trained(spec: &DecoderSpec, full: bool) -> Method {
    if full {
        Method::Full
    } else {
        Method::Lora(adapter(spec))
    }
}

/// The highest rate where the spec leaves it to the model's width and the model is on this machine:
/// a step's key tells it, so that another rule is another training.
pub(crate) fn rate_by_width(base: &BaseReference, spec: &DecoderSpec, full: bool) -> Option<f64> {
    if spec.learning_rate != LearningRate::Width {
        return None;
    }
    let config = base.decoder_config()?;
    Some(default_learning_rate(&config, &trained(spec, full)))
}

pub(super) fn variant(kind: AdapterKind) -> LoraVariant {
    match kind {
        AdapterKind::Lora => LoraVariant::Lora,
        AdapterKind::Rslora => LoraVariant::RsLora,
        AdapterKind::Dora => LoraVariant::Dora,
        AdapterKind::Rsdora => LoraVariant::RsDora,
    }
}

fn adapter(spec: &DecoderSpec) -> LoraConfig {
    let tuning = &spec.tuning;
    LoraConfig {
        rank: spec.rank,
        alpha: spec.alpha,
        variant: variant(tuning.variant),
        targets: if tuning.targets.is_empty() {
            Targets::AllLinear
        } else {
            Targets::Names(tuning.targets.clone())
        },
        train_embeddings: tuning.embeddings,
        train_head: tuning.head,
        dropout: tuning.dropout,
        ..LoraConfig::default()
    }
}

pub(crate) fn choice(device: DeviceKind) -> DeviceChoice {
    match device {
        DeviceKind::Auto => DeviceChoice::Auto,
        DeviceKind::Cpu => DeviceChoice::Cpu,
        DeviceKind::Cuda => DeviceChoice::Cuda(0),
        DeviceKind::Metal => DeviceChoice::Metal,
    }
}

/// The device that `auto` stands for on this machine: a step's key tells it, since results differ
/// by the order of sums.
pub(crate) fn found_device(device: DeviceKind) -> DeviceKind {
    match choice(device).resolved() {
        DeviceChoice::Cuda(_) => DeviceKind::Cuda,
        DeviceChoice::Metal => DeviceKind::Metal,
        DeviceChoice::Auto | DeviceChoice::Cpu => DeviceKind::Cpu,
    }
}

pub(super) fn storage(tuning: &TuningSpec) -> Option<Storage> {
    match tuning.base {
        BasePrecision::Auto => None,
        BasePrecision::F32 => Some(Storage::F32),
        BasePrecision::Bf16 => Some(Storage::Bf16),
        BasePrecision::Nf4 => Some(Storage::Nf4),
    }
}

/// Refuses targets that are no projections of the model, each by its name: one that is misspelt
/// beside others would go untrained without a word.
///
/// # Errors
/// A [`StepFailure`] with the names that the model has.
pub(super) fn check_targets(spec: &DecoderSpec, model: &DecoderConfig) -> Result<(), StepFailure> {
    known_targets("train.decoder", &adapter(spec).targets, model)
}

/// The same for the targets of any model, which the key of this section names.
pub(super) fn known_targets(
    section: &str,
    targets: &Targets,
    model: &impl Adaptable,
) -> Result<(), StepFailure> {
    let quoted = |names: &mut dyn Iterator<Item = String>| {
        let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let unknown = LoraAdapter::unknown_targets(model, targets);
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown = quoted(&mut unknown.into_iter().map(str::to_owned));
    let known = quoted(&mut LoraAdapter::projection_names(model).into_iter());
    Err(StepFailure::bad_input(format!(
        "`{section}.targets` names what is no projection of the model: {unknown}"
    ))
    .hint(format!("it has {known}; leave the key out for all of them")))
}

/// What is trained, in words.
pub(super) fn method(spec: &DecoderSpec, full: bool) -> String {
    let tuning = &spec.tuning;
    let base = match tuning.base {
        _ if full => "",
        BasePrecision::Nf4 => " on a base in NF4",
        BasePrecision::F32 => " on a base in f32",
        BasePrecision::Bf16 => " on a base in bf16",
        BasePrecision::Auto => "",
    };
    let trained = if full {
        "all weights".to_owned()
    } else {
        adapter_words(tuning.variant, spec.rank, spec.alpha)
    };
    let again = if tuning.gradient_checkpointing {
        ", with gradient checkpointing"
    } else {
        ""
    };
    let device = match choice(tuning.device) {
        DeviceChoice::Cpu => String::new(),
        device => format!(", on {device}"),
    };
    format!("{trained}{base}{again}{device}")
}

/// An adapter in words.
pub(super) fn adapter_words(kind: AdapterKind, rank: usize, alpha: f64) -> String {
    let kind = match kind {
        AdapterKind::Lora => "LoRA",
        AdapterKind::Rslora => "rsLoRA",
        AdapterKind::Dora => "DoRA",
        AdapterKind::Rsdora => "rank-stabilised DoRA",
    };
    format!("{kind} rank {rank}, alpha {alpha}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> DecoderConfig {
        DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 2000,
                "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
                "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_spec_at_rest_is_plain_lora_at_its_own_rate() {
        let settings = settings(&DecoderSpec::default(), false, 3, &model(), &[7]);
        assert_eq!(settings.method, Method::lora(16, 32.0));
        assert!((settings.learning_rate - 5e-4).abs() < 1e-12);
        assert_eq!(settings.base, None);
        assert_eq!(settings.proofs.stop_tokens, [7]);
    }

    /// The embedded model's own comes out where it was found by trying, 0.003 to 0.004.
    #[test]
    fn a_rate_by_width_is_known_before_a_run_where_the_model_is() {
        let nano = BaseReference::Embedded {
            name: "nano".to_owned(),
            sha256: String::new(),
        };
        let rate = |spec: &DecoderSpec, full| rate_by_width(&nano, spec, full);
        let lora = rate(&DecoderSpec::default(), false).unwrap();
        assert!((lora - 3.595e-3).abs() < 1e-6, "{lora}");
        let full = rate(&DecoderSpec::default(), true).unwrap();
        assert!((full - lora / 10.0).abs() < 1e-12);
        let given = DecoderSpec {
            learning_rate: LearningRate::Given(0.004),
            ..DecoderSpec::default()
        };
        assert_eq!(rate(&given, false), None);
        let absent = BaseReference::Hub {
            name: "org/name@main".to_owned(),
            folder: None,
        };
        assert_eq!(rate_by_width(&absent, &DecoderSpec::default(), false), None);
    }

    #[test]
    fn a_misspelt_target_is_refused_beside_others() {
        let mut spec = DecoderSpec::default();
        check_targets(&spec, &model()).unwrap();
        spec.tuning.targets = ["q_proj", "mlp.up_proj"].map(str::to_owned).to_vec();
        check_targets(&spec, &model()).unwrap();
        spec.tuning.targets.push("vproj".to_owned());
        let error = check_targets(&spec, &model()).unwrap_err().to_string();
        assert!(error.contains("the model: `vproj`"), "{error}");
    }

    #[test]
    fn every_finer_setting_reaches_the_trainer() {
        let spec = DecoderSpec {
            tuning: TuningSpec {
                variant: AdapterKind::Rsdora,
                targets: vec!["q_proj".to_owned()],
                dropout: 0.1,
                embeddings: true,
                head: true,
                base: BasePrecision::Nf4,
                device: DeviceKind::Metal,
                schedule: ScheduleKind::Wsd,
                decay: 0.3,
                final_learning_rate: 0.2,
                group_by_length: true,
                gradient_checkpointing: true,
                validate_every: Some(5),
            },
            ..DecoderSpec::default()
        };
        let spec = DecoderSpec {
            learning_rate: LearningRate::Given(0.004),
            ..spec
        };
        let got = settings(&spec, false, 3, &model(), &[]);
        let expected = LoraConfig {
            variant: LoraVariant::RsDora,
            targets: Targets::Names(vec!["q_proj".to_owned()]),
            dropout: 0.1,
            train_embeddings: true,
            train_head: true,
            ..LoraConfig::default()
        };
        assert_eq!(got.method, Method::Lora(expected));
        assert!((got.learning_rate - 0.004).abs() < 1e-12);
        assert_eq!(got.base, Some(Storage::Nf4));
        assert_eq!(got.device, DeviceChoice::Metal);
        let decay = ScheduleShape::WarmupStableDecay { decay: 0.3 };
        assert_eq!(got.schedule, decay);
        assert!((got.final_learning_rate - 0.2).abs() < 1e-12);
        assert!(got.group_by_length && got.gradient_checkpointing);
        assert_eq!(got.validate_every, Some(5));
        let full = settings(&spec, true, 3, &model(), &[]);
        assert_eq!((full.method, full.base), (Method::Full, None));
        assert!((full.learning_rate - 0.001).abs() < 1e-12);
        assert_eq!(
            method(&spec, false),
            "rank-stabilised DoRA rank 16, alpha 32 on a base in NF4, with gradient checkpointing, on \
             metal"
        );
        assert_eq!(method(&DecoderSpec::default(), true), "all weights");
        assert_eq!(
            method(&DecoderSpec::default(), false),
            "LoRA rank 16, alpha 32"
        );
    }
}
