//! Writes adapters and logits for `scripts/check_formats.py`, which compares them with PEFT's.
//!
//! ```sh
//! cargo run -p distill-student --example adapter_logits -- make MODEL KIND OUT
//! cargo run -p distill-student --example adapter_logits -- logits MODEL ADAPTER TOKENS OUT.safetensors
//! ```
//!
//! `make` writes an adapter of a kind (`lora`, `rslora`, `dora`, `saved`) that changes something,
//! and under `merged` the model with the adapter in it. A model may be an encoder too. `logits` takes `-` for no adapter and
//! tokens by commas.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;

use candle_core::{Device, Tensor};
use distill_student::decoder::{Decoder, PackedTokens};
use distill_student::encoder::{
    EncodedText, Encoder, EncoderConfig, EncoderPlan, EncoderRows, EncoderWeights,
};
use distill_student::lora::{LoraAdapter, LoraConfig, LoraVariant, Targets};
use distill_student::weights::{DecoderWeights, Precision};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", model, kind, out] => make(Path::new(model), kind, Path::new(out)),
        ["logits", model, adapter, tokens, out] => {
            logits(Path::new(model), adapter, tokens, Path::new(out))
        }
        _ => Err("usage: make MODEL KIND OUT, or logits MODEL ADAPTER TOKENS OUT".into()),
    }
}

fn config(kind: &str) -> Result<LoraConfig, Box<dyn Error>> {
    let usual = LoraConfig {
        rank: 4,
        alpha: 8.0,
        ..LoraConfig::default()
    };
    Ok(match kind {
        "lora" => usual,
        "rslora" => LoraConfig {
            variant: LoraVariant::RsLora,
            rank_pattern: vec![("o_proj".to_owned(), 2)],
            alpha_pattern: vec![(r"layers\.1\.mlp\.down_proj".to_owned(), 5.0)],
            targets: Targets::Names(vec!["o_proj".to_owned(), "down_proj".to_owned()]),
            ..usual
        },
        "dora" => LoraConfig {
            variant: LoraVariant::Dora,
            ..usual
        },
        "saved" => LoraConfig {
            train_embeddings: true,
            train_head: true,
            targets: Targets::Pattern(r".*\.self_attn\..*".to_owned()),
            ..usual
        },
        _ => return Err(format!("no kind `{kind}`").into()),
    })
}

fn make(model: &Path, kind: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out.join("merged"))?;
    let base = model.display().to_string();
    let (config, bytes) = if let Some(weights) = encoder(model)? {
        let config = LoraConfig {
            classifier: weights.classifier_modules(),
            targets: Targets::AllLinear,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            ..config(kind)?
        };
        let adapter = moved(&LoraAdapter::for_weights(&weights, None, config, 5)?)?;
        adapter.write_dir(out, &base)?;
        let merged = weights.merge(&adapter)?;
        (merged.config().to_json(), merged.to_safetensors()?)
    } else {
        let weights = DecoderWeights::from_dir(model)?;
        let adapter = moved(&LoraAdapter::for_weights(&weights, None, config(kind)?, 5)?)?;
        adapter.write_dir(out, &base)?;
        let merged = weights.merge(&adapter)?;
        let bytes = merged.to_safetensors(Precision::F32)?;
        (merged.config().to_json(), bytes)
    };
    std::fs::write(out.join("merged/config.json"), config)?;
    std::fs::write(out.join("merged/model.safetensors"), bytes)?;
    Ok(())
}

/// The same adapter with noise on every value.
fn moved(start: &LoraAdapter) -> Result<LoraAdapter, Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut moved = BTreeMap::new();
    for (name, tensor) in start.tensors() {
        let noise: Vec<f32> = (0..tensor.elem_count())
            .map(|_| random.random_range(-0.2..0.2))
            .collect();
        let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu)?;
        moved.insert(name.clone(), (tensor + noise)?);
    }
    Ok(LoraAdapter::from_tensors(start.config().clone(), moved)?)
}

/// The weights of an encoder with its own labels; none for a decoder.
fn encoder(model: &Path) -> Result<Option<EncoderWeights>, Box<dyn Error>> {
    let text = std::fs::read_to_string(model.join("config.json"))?;
    if !EncoderConfig::is_encoder(&text) {
        return Ok(None);
    }
    let labels = EncoderConfig::from_json(&text)?.labels;
    Ok(Some(EncoderWeights::from_dir(model, &labels, 0)?))
}

fn logits(model: &Path, adapter: &str, tokens: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let adapter = match adapter {
        "-" => None,
        directory => Some(LoraAdapter::read_dir(Path::new(directory))?),
    };
    let tokens = tokens
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<u32>, _>>()?;
    let logits = if let Some(weights) = encoder(model)? {
        let plan = EncoderPlan {
            adapter: adapter.as_ref(),
            ..EncoderPlan::default()
        };
        let text = EncodedText {
            types: vec![0; tokens.len()],
            tokens,
            dropped: Vec::new(),
        };
        Encoder::with_plan(&weights, plan)?.logits(&EncoderRows::new([&text]))?
    } else {
        let weights = DecoderWeights::from_dir(model)?;
        let decoder = match &adapter {
            None => Decoder::new(&weights)?,
            Some(adapter) => Decoder::with_adapter(&weights, adapter)?,
        };
        decoder.logits(&PackedTokens::new([tokens.as_slice()]))?
    };
    candle_core::safetensors::save(&HashMap::from([("logits", logits)]), out)?;
    Ok(())
}
