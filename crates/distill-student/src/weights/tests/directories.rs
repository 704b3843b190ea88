//! Model directories: types, shards, and what is refused by name.

use std::path::Path;

use super::*;

/// Writes the named tensors to a file.
fn write_part(
    path: &Path,
    weights: &DecoderWeights,
    precision: Precision,
    of: impl Fn(&str) -> bool,
) {
    let part = weights
        .tensors()
        .iter()
        .filter(|(name, _)| of(name))
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    std::fs::write(path, write_tensors(&part, precision).unwrap()).unwrap();
}

pub(super) fn directory(weights: &DecoderWeights) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    std::fs::write(config, weights.config().to_json()).unwrap();
    directory
}

#[test]
fn a_bf16_checkpoint_takes_two_bytes_a_weight() {
    let weights = weights(1);
    let directory = directory(&weights);
    let file = directory.path().join("model.safetensors");
    write_part(&file, &weights, Precision::Bf16, |_| true);
    let read = DecoderWeights::from_dir(directory.path()).unwrap();
    assert_eq!(read.precision(), Precision::Bf16);
    assert_eq!(read.bytes(), 2 * weights.config().parameter_count());
    // The values are those of the rounded weights, whichever way they are looked at.
    let bytes = weights.to_safetensors(Precision::Bf16).unwrap();
    let rounded = DecoderWeights::from_safetensors(weights.config().clone(), &bytes).unwrap();
    assert_eq!(read.sha256().unwrap(), rounded.sha256().unwrap());
    assert_eq!(
        read.widened()
            .unwrap()
            .to_safetensors(Precision::F32)
            .unwrap(),
        rounded.to_safetensors(Precision::F32).unwrap()
    );
    assert_eq!(read.to_safetensors(Precision::Bf16).unwrap(), bytes);
}

#[test]
fn shards_give_the_weights_of_one_file() {
    let weights = weights(2);
    let directory = directory(&weights);
    let (one, other) = ("model-1-of-2.safetensors", "model-2-of-2.safetensors");
    let first = |name: &str| name.contains("layers.0.");
    let part = |name: &str| directory.path().join(name);
    write_part(&part(one), &weights, Precision::F32, first);
    write_part(&part(other), &weights, Precision::F32, |n| !first(n));
    let map: serde_json::Map<_, _> = weights
        .tensors()
        .keys()
        .map(|name| (name.clone(), if first(name) { one } else { other }.into()))
        .collect();
    let index = |map: &serde_json::Value| {
        let text = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
        std::fs::write(part("model.safetensors.index.json"), text).unwrap();
    };
    index(&serde_json::Value::Object(map));
    let read = DecoderWeights::from_dir(directory.path()).unwrap();
    assert_eq!(read.sha256().unwrap(), weights.sha256().unwrap());

    let message = || {
        let error = DecoderWeights::from_dir(directory.path()).unwrap_err();
        error.to_string()
    };
    write_part(&part(other), &weights, Precision::F32, |_| true);
    assert!(message().contains("is in") && message().contains(one));
    for outside in ["../model.safetensors", "/etc/passwd", "weights.bin"] {
        index(&serde_json::json!({"a": outside}));
        assert!(message().contains(outside), "{}", message());
    }
    index(&serde_json::json!({"a": "missing.safetensors"}));
    assert!(message().contains("missing.safetensors"), "{}", message());
}

#[test]
fn pickles_are_refused_with_the_next_step() {
    let weights = weights(1);
    let directory = directory(&weights);
    let refused = || {
        let error = DecoderWeights::from_dir(directory.path()).unwrap_err();
        assert!(matches!(error, DecoderError::Pickle { .. }), "{error}");
        error.to_string()
    };
    let pickle = directory.path().join("pytorch_model.bin");
    std::fs::write(&pickle, b"\x80\x02}q\x00.").unwrap();
    let message = refused();
    assert!(message.contains("pytorch_model.bin") && message.contains("save_pretrained"));
    // A pickle under another name is one still.
    let renamed = directory.path().join("model.safetensors");
    for bytes in [
        &b"PK\x03\x04\x14\0\0\0archive/data.pkl"[..],
        b"\x80\x04\x95\x0e\0\0\0\x01}.",
    ] {
        std::fs::write(&renamed, bytes).unwrap();
        assert!(refused().contains("model.safetensors"));
    }
}

#[test]
fn a_configuration_with_more_layers_than_tensors_is_refused_before_its_names_are_made() {
    let weights = weights(1);
    let directory = directory(&weights);
    let file = directory.path().join("model.safetensors");
    write_part(&file, &weights, Precision::F32, |_| true);
    let mut config = weights.config().clone();
    config.num_hidden_layers = 1 << 40;
    let shapes = weights.tensors().iter();
    let shapes = shapes.map(|(name, tensor)| (name.as_str(), tensor.dims()));
    let error = check_shapes(&config, shapes).unwrap_err().to_string();
    assert!(error.contains("layers"), "{error}");
}

#[test]
fn a_directory_is_written_in_files_of_a_size_and_in_the_asked_type() {
    let weights = weights(5);
    let directory = tempfile::tempdir().unwrap();
    let how = Written {
        precision: Some(Precision::Bf16),
        shard_bytes: 8_000,
        ..Written::default()
    };
    weights.write_dir(directory.path(), &how).unwrap();
    let read = DecoderWeights::from_dir(directory.path()).unwrap();
    assert_eq!(read.precision(), Precision::Bf16);
    let rounded = weights.to_safetensors(Precision::Bf16).unwrap();
    let rounded = DecoderWeights::from_safetensors(read.config().clone(), &rounded).unwrap();
    assert_eq!(read.sha256().unwrap(), rounded.sha256().unwrap());
    let config = std::fs::read_to_string(directory.path().join("config.json")).unwrap();
    assert!(config.contains(r#""dtype": "bfloat16""#), "{config}");

    let index = std::fs::read(directory.path().join("model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(
        index["metadata"]["total_size"],
        2 * weights.config().parameter_count()
    );
    let mut files: Vec<&str> = index["weight_map"]
        .as_object()
        .unwrap()
        .values()
        .map(|file| file.as_str().unwrap())
        .collect();
    files.sort_unstable();
    files.dedup();
    let count = files.len();
    assert!(count > 2);
    for (at, file) in files.iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", at + 1);
        assert_eq!(*file, name);
        let bytes = std::fs::read(directory.path().join(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let held: usize = file.iter().map(|(_, tensor)| tensor.data().len()).sum();
        assert!(held <= 8_000 || file.len() == 1, "{name}: {held}");
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(
            metadata.metadata().as_ref().unwrap().get("format").unwrap(),
            "pt"
        );
    }
}
