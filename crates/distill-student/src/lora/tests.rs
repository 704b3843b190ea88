//! PEFT's form, there and back, and the rules of an adapter.

use candle_core::Var;
use serde_json::{Value, json};

use super::*;
use crate::decoder::tests::tiny;
use crate::decoder::{Decoder, DecoderPlan, PackedTokens};
use crate::ops::Storage;
use crate::weights::{DecoderWeights, Written};

fn config() -> LoraConfig {
    LoraConfig {
        rank: 4,
        alpha: 8.0,
        ..LoraConfig::default()
    }
}

fn adapter() -> LoraAdapter {
    LoraAdapter::init(&tiny("llama", true), config(), 7).unwrap()
}

fn weights(tied: bool) -> DecoderWeights {
    DecoderWeights::random(tiny("llama", tied), 3).unwrap()
}

/// An adapter that changes something: every tensor moved away from its start.
fn moved(weights: &DecoderWeights, config: LoraConfig) -> LoraAdapter {
    let adapter = LoraAdapter::for_weights(weights, None, config.clone(), 7).unwrap();
    let mut draw = Draw::new(9);
    let tensors = adapter
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let noise = draw.normal(tensor.elem_count(), 0.1);
            let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu).unwrap();
            (name.clone(), (tensor + noise).unwrap())
        })
        .collect();
    LoraAdapter::from_tensors(config, tensors).unwrap()
}

fn every_kind() -> Vec<LoraConfig> {
    let mut configs = vec![LoraConfig {
        targets: Targets::Usual,
        rank_pattern: vec![("q_proj".to_owned(), 3)],
        alpha_pattern: vec![(r"layers\.1\.self_attn\.v_proj".to_owned(), 5.5)],
        dropout: 0.25,
        ..config()
    }];
    for variant in [
        LoraVariant::Lora,
        LoraVariant::RsLora,
        LoraVariant::Dora,
        LoraVariant::RsDora,
    ] {
        configs.push(LoraConfig {
            variant,
            targets: Targets::Names(vec!["q_proj".to_owned(), "mlp.down_proj".to_owned()]),
            ..config()
        });
    }
    configs.push(LoraConfig {
        targets: Targets::Pattern(r"model\.layers\.\d\.mlp\..*".to_owned()),
        train_embeddings: true,
        train_head: true,
        ..config()
    });
    configs
}

fn largest(tensor: &Tensor) -> f32 {
    let tensor = tensor.abs().unwrap().flatten_all().unwrap();
    tensor.max(0).unwrap().to_scalar().unwrap()
}

fn logits(decoder: &Decoder) -> Tensor {
    let rows: [&[u32]; 2] = [&[1, 5, 9, 2, 7], &[3, 3, 8]];
    decoder.logits(&PackedTokens::new(rows)).unwrap()
}

#[test]
fn an_adapter_of_every_kind_survives_its_files() {
    for config in every_kind() {
        let adapter = moved(&weights(false), config.clone());
        let bytes = adapter.to_safetensors().unwrap();
        let text = adapter.adapter_config_json("base");
        let read = LoraAdapter::from_parts(&text, &bytes).unwrap();
        read.check(weights(false).config()).unwrap();
        let named = LoraConfig {
            // A choice of the writer's is written out as names.
            targets: read.config().targets.clone(),
            ..config.clone()
        };
        assert_eq!(*read.config(), named);
        assert_eq!(read.to_safetensors().unwrap(), bytes);
        assert_eq!(read.adapter_config_json("base"), text);
    }
}

#[test]
fn names_and_start_are_those_of_peft() {
    let adapter = adapter();
    assert_eq!(adapter.tensors().len(), 2 * 2 * 7);
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    let down: Vec<f32> = adapter.tensors()[name]
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let bound = 1.0 / 32.0f32.sqrt();
    assert!(down.iter().all(|v| v.abs() <= bound));
    assert!(down.iter().any(|v| v.abs() > 0.9 * bound));
    for (name, tensor) in adapter.tensors() {
        if name.ends_with(UP) {
            assert!(largest(tensor) < f32::MIN_POSITIVE, "{name}");
        }
    }
}

#[test]
fn a_new_adapter_of_any_kind_changes_nothing() {
    let weights = weights(true);
    let base = logits(&Decoder::new(&weights).unwrap());
    for config in every_kind() {
        let adapter = LoraAdapter::for_weights(&weights, None, config.clone(), 7).unwrap();
        let adapted = Decoder::with_adapter(&weights, &adapter).unwrap();
        let difference = largest(&(logits(&adapted) - &base).unwrap());
        assert!(difference < 1e-5, "{config:?}: {difference}");
    }
}

#[test]
fn an_adapter_merged_in_answers_as_one_beside() {
    for tied in [false, true] {
        let weights = weights(tied);
        let base = logits(&Decoder::new(&weights).unwrap());
        for config in every_kind() {
            let adapter = moved(&weights, config.clone());
            let beside = logits(&Decoder::with_adapter(&weights, &adapter).unwrap());
            let merged = weights.merge(&adapter).unwrap();
            assert_eq!(
                merged.config().tie_word_embeddings,
                tied && !config.train_head
            );
            let merged = logits(&Decoder::new(&merged).unwrap());
            assert!(largest(&(&beside - &base).unwrap()) > 1e-2, "{config:?}");
            let difference = largest(&(beside - merged).unwrap());
            assert!(difference < 1e-4, "{config:?}: {difference}");
        }
    }
}

#[test]
fn a_merged_model_read_back_from_its_files_answers_as_the_adapter_beside() {
    for tied in [false, true] {
        let weights = weights(tied);
        for config in every_kind() {
            let adapter = moved(&weights, config.clone());
            let beside = logits(&Decoder::with_adapter(&weights, &adapter).unwrap());
            // In one file, and in as many as there are tensors.
            for shard_bytes in [u64::MAX, 1] {
                let directory = tempfile::tempdir().unwrap();
                let how = Written {
                    adapter: Some(&adapter),
                    shard_bytes,
                    ..Written::default()
                };
                weights.write_dir(directory.path(), &how).unwrap();
                let index = directory.path().join("model.safetensors.index.json");
                assert_eq!(index.exists(), shard_bytes == 1);
                let read = DecoderWeights::from_dir(directory.path()).unwrap();
                let difference =
                    largest(&(&beside - logits(&Decoder::new(&read).unwrap())).unwrap());
                assert!(difference < 1e-4, "{config:?}, tied {tied}: {difference}");
                let merged = weights.merge(&adapter).unwrap();
                assert_eq!(read.sha256().unwrap(), merged.sha256().unwrap());
            }
        }
    }
}

#[test]
fn what_follows_from_a_dora_adapter_is_the_same_worked_out_once_or_in_each_pass() {
    let weights = weights(true);
    for storage in [Storage::F32, Storage::Bf16, Storage::Nf4] {
        let adapter = moved(
            &weights,
            LoraConfig {
                variant: LoraVariant::Dora,
                ..config()
            },
        );
        let plan = |live| DecoderPlan {
            adapter: Some(&adapter),
            storage: Some(storage),
            live,
            ..DecoderPlan::default()
        };
        let [once, each] =
            [false, true].map(|live| logits(&Decoder::with_plan(&weights, plan(live)).unwrap()));
        let difference = largest(&(once - each).unwrap());
        assert!(difference < 1e-5, "{storage:?}: {difference}");
    }
}

/// Gradients of a `DoRA` projection against the formula in candle's own operations.
#[test]
fn gradients_of_every_kind_are_those_of_the_composed_formula() {
    let weights = weights(true);
    for variant in [LoraVariant::RsLora, LoraVariant::Dora] {
        let config = LoraConfig {
            variant,
            targets: Targets::Names(vec!["layers.1.mlp.down_proj".to_owned()]),
            ..config()
        };
        let module = "model.layers.1.mlp.down_proj";
        let start = moved(&weights, config.clone());
        let variables: BTreeMap<String, Var> = start
            .tensors()
            .iter()
            .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
            .collect();
        let live = |variables: &BTreeMap<String, Var>| {
            let tensors = variables
                .iter()
                .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
                .collect();
            LoraAdapter::from_tensors(config.clone(), tensors).unwrap()
        };
        let adapter = live(&variables);
        let plan = DecoderPlan {
            adapter: Some(&adapter),
            live: true,
            ..DecoderPlan::default()
        };
        let decoder = Decoder::with_plan(&weights, plan).unwrap();
        let got = logits(&decoder).sqr().unwrap().sum_all().unwrap();
        let got = got.backward().unwrap();

        // The same model with the updated weight as one tensor, its row lengths held constant.
        let update = adapter.low_rank(module).unwrap().unwrap();
        let name = format!("{module}.weight");
        let change = (update.up.matmul(&update.down).unwrap() * update.scale).unwrap();
        let mut weight = (weights.get(&name).unwrap() + change).unwrap();
        if let Some(magnitude) = &update.magnitude {
            let lengths = magnitude::row_lengths(&weight).unwrap().detach();
            let factors = (magnitude / lengths).unwrap().unsqueeze(1).unwrap();
            weight = weight.broadcast_mul(&factors).unwrap();
        }
        let mut tensors = weights.tensors().clone();
        tensors.insert(name, weight);
        let composed = DecoderWeights::from_tensors(weights.config().clone(), tensors).unwrap();
        let expected = logits(&Decoder::new(&composed).unwrap());
        let expected = expected.sqr().unwrap().sum_all().unwrap();
        let expected = expected.backward().unwrap();
        for (name, variable) in &variables {
            let expected = expected.get(variable).unwrap();
            let off = largest(&(got.get(variable).unwrap() - expected).unwrap());
            assert!(
                off <= 1e-4 * largest(expected),
                "{variant:?} `{name}`: {off}"
            );
        }
    }
}

#[test]
fn targets_and_strengths_follow_peft_rules() {
    let rules_of = |targets| LoraConfig {
        targets,
        rank_pattern: vec![("q_proj".to_owned(), 2), (r".*\.0\..*".to_owned(), 3)],
        alpha_pattern: vec![(r"mlp\.up_proj".to_owned(), 12.0)],
        ..config()
    };
    let q = "model.layers.0.self_attn.q_proj";
    let up = "model.layers.0.mlp.up_proj";
    let names = rules_of(Targets::Names(vec!["q_proj".to_owned(), up.to_owned()]));
    let rules = names.rules().unwrap();
    assert!(rules.targets(q) && rules.targets(up));
    assert!(!rules.targets("model.layers.1.mlp.up_proj"));
    assert!(!rules.targets("model.layers.0.self_attn.other_q_proj"));
    let pattern = rules_of(Targets::Pattern(r".*\.mlp\.(up|down)_proj".to_owned()));
    let rules = pattern.rules().unwrap();
    assert!(rules.targets(up) && !rules.targets(q));
    // The first pattern that matches counts.
    assert_eq!(rules.strength(q).rank, 2);
    assert_eq!(rules.strength(up).rank, 3);
    assert!((rules.strength(up).scale - 4.0).abs() < 1e-12);
    assert!((rules.strength("model.layers.1.mlp.down_proj").scale - 2.0).abs() < 1e-12);
    let stabilised = LoraConfig {
        variant: LoraVariant::RsLora,
        ..config()
    };
    assert!((stabilised.rules().unwrap().strength(q).scale - 4.0).abs() < 1e-12);
    let broken = LoraConfig {
        targets: Targets::Pattern("(".to_owned()),
        ..config()
    };
    assert!(
        broken
            .check()
            .unwrap_err()
            .to_string()
            .contains("`^(?:()$`")
    );
}

fn with_field(field: &str, value: Value) -> String {
    let mut config: Value = serde_json::from_str(&adapter().adapter_config_json("base")).unwrap();
    config[field] = value;
    config.to_string()
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    for (field, value) in [
        ("bias", json!("all")),
        ("peft_type", json!("IA3")),
        ("peft_type", json!("ADALORA")),
        ("modules_to_save", json!(["score"])),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("loftq")),
        ("layers_to_transform", json!([0])),
        ("layer_replication", json!([[0, 1]])),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("use_qalora", json!(true)),
        ("exclude_modules", json!(["q_proj"])),
        ("target_parameters", json!(["experts.up"])),
        ("trainable_token_indices", json!([1])),
        ("ensure_weight_tying", json!(true)),
        ("alora_invocation_tokens", json!([1])),
        ("megatron_config", json!({"a": 1})),
        ("a_field_of_tomorrow", json!(1)),
    ] {
        let error = peft::read(&with_field(field, value)).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    for (field, value) in [
        ("r", json!(0)),
        ("lora_alpha", json!("x")),
        ("rank_pattern", json!(3)),
    ] {
        let error = peft::read(&with_field(field, value)).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

/// The decisive fields of real configurations, and whether they are read.
#[test]
fn real_configurations_are_read_or_refused_by_name() {
    let plain = |rank: usize, alpha: f64| LoraConfig {
        rank,
        alpha,
        targets: Targets::Usual,
        ..LoraConfig::default()
    };
    let lora = json!({"peft_type": "LORA", "bias": "none", "r": 32, "lora_alpha": 64,
        "target_modules": null, "megatron_core": "megatron.core", "loftq_config": {},
        "modules_to_save": null, "init_lora_weights": true, "use_dora": false, "use_rslora": false});
    let with = |changes: Value| {
        let mut config = lora.clone();
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        peft::read(&config.to_string())
    };
    assert_eq!(with(json!({})).unwrap(), plain(32, 64.0));
    let dora = with(json!({"use_dora": true})).unwrap();
    assert_eq!(dora.variant, LoraVariant::Dora);
    let stabilised = with(json!({"use_rslora": true, "r": 64})).unwrap();
    assert_eq!(stabilised.variant, LoraVariant::RsLora);
    let mlp = json!(["gate_proj", "up_proj", "down_proj"]);
    let named = with(json!({"target_modules": mlp, "r": 10, "lora_alpha": 20})).unwrap();
    assert_eq!((named.rank, named.alpha as usize), (10, 20));
    assert!(matches!(named.targets, Targets::Names(names) if names.len() == 3));
    for kind in ["ADALORA", "IA3", "VBLORA", "PREFIX_TUNING"] {
        let error = with(json!({"peft_type": kind})).unwrap_err().to_string();
        assert!(
            error.contains("peft_type") && error.contains(kind),
            "{error}"
        );
    }
}

/// The nine configurations of PEFT's own comparison.
#[test]
#[expect(clippy::print_stderr, reason = "a test without its data says so")]
fn configurations_of_published_runs_are_read_or_refused_by_name() {
    let Some(models) = std::env::var_os("DISTILL_MODELS_DIR") else {
        eprintln!(
            "skipped: configurations_of_published_runs_are_read_or_refused_by_name: \
             DISTILL_MODELS_DIR is not set"
        );
        return;
    };
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    for entry in std::fs::read_dir(Path::new(&models).join("peft-configs")).unwrap() {
        let path = entry.unwrap().path().join("adapter_config.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match peft::read(&text) {
            Ok(config) => taken.push((config.variant, config.rank)),
            Err(error) => refused.push(error.to_string()),
        }
    }
    taken.sort_by_key(|(variant, rank)| (*rank, *variant as usize));
    assert_eq!(
        taken,
        [
            (LoraVariant::Lora, 10),
            (LoraVariant::Lora, 32),
            (LoraVariant::Dora, 32),
            (LoraVariant::Lora, 64),
            (LoraVariant::RsLora, 64),
        ]
    );
    assert_eq!(refused.len(), 4);
    assert!(
        refused.iter().all(|r| r.contains("`peft_type`")),
        "{refused:?}"
    );
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let mut other = tiny("llama", true);
    other.intermediate_size = 64;
    let error = adapter().check(&other).unwrap_err().to_string();
    assert!(error.contains("mlp."), "{error}");

    let mut deeper = tiny("llama", true);
    deeper.num_hidden_layers += 1;
    deeper.layers.push(deeper.layers[0].clone());
    let error = adapter().check(&deeper).unwrap_err().to_string();
    assert!(
        error.contains("layers.2.") && error.contains("no tensors"),
        "{error}"
    );

    let whole = adapter();
    let mut tensors = whole.tensors().clone();
    let lost = tensors
        .keys()
        .find(|name| name.ends_with(UP))
        .unwrap()
        .clone();
    tensors.remove(&lost);
    let error = LoraAdapter::from_tensors(config(), tensors)
        .unwrap_err()
        .to_string();
    assert!(error.contains(&lost), "{error}");

    let mut tensors = whole.tensors().clone();
    let name = format!("{PREFIX}{EMBEDDINGS}");
    tensors.insert(name.clone(), weights(true).get(EMBEDDINGS).unwrap().clone());
    let error = LoraAdapter::from_tensors(config(), tensors)
        .unwrap_err()
        .to_string();
    assert!(error.contains(&name), "{error}");

    let nothing = LoraConfig {
        targets: Targets::Names(vec!["c_attn".to_owned()]),
        ..config()
    };
    let error = LoraAdapter::init(&tiny("llama", true), nothing, 7).unwrap_err();
    assert!(error.to_string().contains("by `c_attn`"), "{error}");
}

#[test]
fn targets_of_no_projection_are_named() {
    let model = tiny("llama", true);
    let names = |names: &[&str]| Targets::Names(names.iter().map(|at| (*at).to_owned()).collect());
    let some = names(&["q_proj", "vproj", "mlp.up_proj", "proj", ""]);
    assert_eq!(
        LoraAdapter::unknown_targets(&model, &some),
        ["vproj", "proj", ""]
    );
    assert!(LoraAdapter::unknown_targets(&model, &Targets::AllLinear).is_empty());
    let known = LoraAdapter::projection_names(&model);
    assert!(known.contains("q_proj") && known.len() == 7, "{known:?}");
}

#[test]
fn a_pickled_adapter_is_refused_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let config = adapter().adapter_config_json("base");
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    std::fs::write(folder.path().join("adapter_model.bin"), b"\x80\x02").unwrap();
    let error = LoraAdapter::read_dir(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("safe_serialization"), "{error}");
}

#[test]
fn a_rank_that_no_matrix_has_is_refused_before_anything_is_counted() {
    for rank in [0, 1 << 21, usize::MAX / 2] {
        for patterned in [false, true] {
            let mut config = LoraConfig::default();
            if patterned {
                config.rank_pattern = vec![("q_proj".to_owned(), rank)];
            } else {
                config.rank = rank;
            }
            let told = config.check().unwrap_err().to_string();
            assert!(told.contains(&format!("its rank is {rank},")), "{told}");
        }
    }
}
