use std::fs;

use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    answer::tests::{LIMITS, definition, linear_student, row},
    base::{StandardBases, tests::tiny_base},
    lora::LoraConfig,
};

pub(super) fn bases() -> StandardBases {
    StandardBases::directories()
        .with("embedded:tiny1", || Ok(tiny_base(1)))
        .with("embedded:tiny2", || Ok(tiny_base(2)))
}

/// An adapter that changes answers.
pub(super) fn adapter(base: &BaseModel) -> LoraAdapter {
    let config = LoraConfig {
        rank: 2,
        alpha: 4.0,
        ..LoraConfig::default()
    };
    let drawn = LoraAdapter::init(base.weights.config(), config.clone(), 5).unwrap();
    let moved = drawn
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor + 0.05).unwrap()));
    LoraAdapter::from_tensors(config, moved.collect()).unwrap()
}

fn golden() -> Vec<Fields> {
    ["my card", "the parcel", "<|end|> é"].map(row).to_vec()
}

fn written(student: BundleStudent<'_>) -> (TempDir, Manifest) {
    let directory = tempfile::tempdir().unwrap();
    let contents = BundleContents {
        name: "support",
        task: &definition(),
        student,
        golden_rows: &golden(),
        lineage: json!({"data": "abc", "teachers": ["b", "a"]}),
        verdict: Value::Null,
    };
    let manifest = write_bundle(directory.path(), &contents).unwrap();
    (directory, manifest)
}

pub(super) fn linear() -> (TempDir, Manifest) {
    written(BundleStudent::Linear(&linear_student()))
}

pub(super) fn tuned(tuned: Tuned<'_>) -> (TempDir, Manifest) {
    written(BundleStudent::Decoder {
        base: &tiny_base(1),
        tuned,
        limits: LIMITS,
    })
}

fn open(directory: &TempDir) -> Result<Bundle, BundleError> {
    Bundle::open(directory.path(), &bases())
}

/// Changes the manifest as text and opens the bundle.
fn open_with(directory: &TempDir, change: impl Fn(&mut Value)) -> BundleError {
    let path = directory.path().join("manifest.json");
    let before = fs::read(&path).unwrap();
    let mut value: Value = serde_json::from_slice(&before).unwrap();
    change(&mut value);
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    let error = open(directory).unwrap_err();
    fs::write(&path, before).unwrap();
    error
}

/// Replaces a file and the manifest's entry for it, as an attacker would, and opens the bundle.
fn open_with_file(directory: &TempDir, name: &str, bytes: &[u8]) -> BundleError {
    let path = directory.path().join(name);
    let before = fs::read(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let error = open_with(directory, |manifest| {
        manifest["files"][name] = json!({"bytes": bytes.len(), "sha256": sha256(bytes)});
    });
    fs::write(&path, before).unwrap();
    error
}

/// A safetensors file with the bytes of every tensor rewritten.
fn rewritten(file: &[u8], change: impl Fn(&mut Vec<u8>, &mut Vec<usize>)) -> Vec<u8> {
    let file = SafeTensors::deserialize(file).unwrap();
    let parts: Vec<_> = file
        .iter()
        .map(|(name, tensor)| {
            let (mut data, mut shape) = (tensor.data().to_vec(), tensor.shape().to_vec());
            change(&mut data, &mut shape);
            (name.to_owned(), tensor.dtype(), shape, data)
        })
        .collect();
    let views = parts.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn every_class_comes_back_with_its_answers() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let other = tiny_base(2).weights;
    let bundles = [
        linear(),
        tuned(Tuned::Adapter(&adapter)),
        tuned(Tuned::Full(&other)),
    ];
    let mut identities = Vec::new();
    for (directory, manifest) in &bundles {
        let bundle = open(directory).unwrap();
        assert_eq!(bundle.manifest(), manifest);
        identities.push(manifest.identity());
        let answers = bundle.student().answer_batch(&golden());
        for (golden, answer) in manifest.golden.iter().zip(answers) {
            assert_eq!(answer.unwrap().text, golden.answer);
        }
    }
    identities.dedup();
    assert_eq!(identities.len(), 3);
}

#[test]
fn the_adapter_is_what_answers() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let (_kept, tuned) = tuned(Tuned::Adapter(&adapter));
    let untouched = LoraAdapter::init(base.weights.config(), adapter.config().clone(), 5).unwrap();
    let (_kept, plain) = super::tests::tuned(Tuned::Adapter(&untouched));
    assert_eq!(tuned.golden[0].tokens, plain.golden[0].tokens);
    assert_ne!(tuned.golden[0].answer, plain.golden[0].answer);
}

#[test]
fn the_same_student_gives_the_same_bytes() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let bytes = |(directory, manifest): (TempDir, Manifest)| -> Vec<Vec<u8>> {
        let mut names: Vec<String> = manifest.files.into_keys().collect();
        names.push("manifest.json".into());
        let path = directory.path();
        names
            .iter()
            .map(|name| fs::read(path.join(name)).unwrap())
            .collect()
    };
    assert_eq!(bytes(linear()), bytes(linear()));
    assert_eq!(
        bytes(tuned(Tuned::Adapter(&adapter))),
        bytes(tuned(Tuned::Adapter(&adapter)))
    );
}

#[test]
fn a_verdict_is_added_without_touching_the_student() {
    let (directory, manifest) = linear();
    set_verdict(directory.path(), json!({"decision": "REPLACE"})).unwrap();
    let bundle = open(&directory).unwrap();
    assert_eq!(bundle.manifest().verdict["decision"], "REPLACE");
    assert_eq!(bundle.manifest().identity(), manifest.identity());
    assert_eq!(bundle.manifest().lineage["teachers"], json!(["b", "a"]));
}

#[test]
fn a_file_that_changed_on_the_way_is_noticed() {
    let (directory, _) = linear();
    let path = directory.path().join("linear.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, flipped).unwrap();
    assert!(matches!(open(&directory), Err(BundleError::Hash { .. })));
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(open(&directory), Err(BundleError::Size { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(&directory), Err(BundleError::Io { .. })));
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        open(&directory),
        Err(BundleError::Malformed { .. })
    ));
}

#[test]
fn hostile_tensors_are_refused_by_name_before_they_are_used() {
    let base = tiny_base(1);
    let (directory, _) = tuned(Tuned::Adapter(&adapter(&base)));
    let name = "adapter_model.safetensors";
    let file = fs::read(directory.path().join(name)).unwrap();

    let nan = rewritten(&file, |data, _| {
        data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let error = open_with_file(&directory, name, &nan).to_string();
    assert!(
        error.starts_with("tensor `base_model.model.") && error.contains("not a finite number"),
        "{error}"
    );

    let turned = rewritten(&file, |_, shape| shape.reverse());
    let error = open_with_file(&directory, name, &turned);
    assert!(matches!(error, BundleError::Decoder(_)), "{error}");

    // A header that claims more than follows it.
    let mut claims = u64::MAX.to_le_bytes().to_vec();
    claims.extend(&file[8..]);
    for hostile in [
        claims.as_slice(),
        &file[..file.len() - 4],
        b"",
        b"12345678{}",
    ] {
        let error = open_with_file(&directory, name, hostile);
        assert!(matches!(error, BundleError::Malformed { .. }), "{error}");
    }
}

#[test]
fn a_hostile_manifest_is_refused() {
    let (directory, _) = linear();
    let error = open_with(&directory, |manifest| manifest["format"] = json!(2));
    assert!(
        error
            .to_string()
            .ends_with("has format 2; this version reads format 1")
    );
    let error = open_with(&directory, |manifest| manifest["surprise"] = json!(1));
    assert!(
        error.to_string().contains("unknown field `surprise`"),
        "{error}"
    );
    let error = open_with(&directory, |manifest| manifest["files"] = json!({}));
    assert!(
        error
            .to_string()
            .ends_with("it does not list `linear.safetensors`")
    );
    let error = open_with(&directory, |manifest| manifest["golden"] = json!([]));
    assert!(matches!(error, BundleError::GoldenCount(0)));
    let error = open_with(&directory, |manifest| {
        manifest["task"]["labels"] = json!(["billing", "other"]);
    });
    assert!(matches!(error, BundleError::ForeignLabel(label) if label == "delivery"));
    let file = fs::File::create(directory.path().join("manifest.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(open(&directory), Err(BundleError::Size { .. })));
}

#[test]
fn a_renderer_that_gives_other_tokens_is_noticed() {
    let base = tiny_base(1);
    let (directory, _) = tuned(Tuned::Adapter(&adapter(&base)));
    let decoder = |manifest: &mut Value, key: &str, value: Value| {
        manifest["student"]["decoder"][key] = value;
    };
    let template = base.template.source().replace('\n', " ");
    let error = open_with(&directory, |m| decoder(m, "chat_template", json!(template)));
    assert!(
        matches!(error, BundleError::GoldenTokens { row: 0 }),
        "{error}"
    );
    let error = open_with(&directory, |m| m["task"]["prompt"] = json!("{{ text }}!"));
    assert!(
        matches!(error, BundleError::GoldenTokens { row: 0 }),
        "{error}"
    );
    let error = open_with(&directory, |m| decoder(m, "tokenizer_sha256", json!("00")));
    let told = error.to_string();
    assert!(
        told.ends_with("does not have the tokenizer that the student was trained on"),
        "{told}"
    );
    let endless = json!({"max_prompt_tokens": usize::MAX, "max_reply_tokens": 9});
    let error = open_with(&directory, |m| decoder(m, "limits", endless.clone()));
    assert!(
        matches!(error, BundleError::Context { context: 128, .. }),
        "{error}"
    );
}

#[test]
fn other_weights_under_the_same_name_are_noticed() {
    let base = tiny_base(1);
    let (directory, _) = tuned(Tuned::Adapter(&adapter(&base)));
    let swapped = StandardBases::directories().with("embedded:tiny1", || Ok(tiny_base(2)));
    let error = Bundle::open(directory.path(), &swapped).unwrap_err();
    let told = error.to_string();
    assert!(
        told.ends_with("does not have the weights that the student was trained on"),
        "{told}"
    );
    let error = Bundle::open(directory.path(), &StandardBases::directories()).unwrap_err();
    assert!(matches!(error, BundleError::BaseModel(_)));
}

#[test]
fn an_engine_that_answers_otherwise_is_noticed() {
    let (directory, manifest) = linear();
    assert_eq!(manifest.golden[1].answer, "delivery");
    let error = open_with(&directory, |m| m["golden"][1]["answer"] = json!("billing"));
    assert_eq!(
        error.to_string(),
        "golden row 1 is answered `delivery`, it was `billing` when the bundle was written"
    );
    let error = open_with(&directory, |m| m["golden"][2]["fields"] = json!({}));
    assert!(matches!(error, BundleError::GoldenFailed { row: 2, .. }));
}

#[test]
fn a_bundle_without_golden_rows_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let contents = BundleContents {
        name: "support",
        task: &definition(),
        student: BundleStudent::Linear(&linear_student()),
        golden_rows: &[],
        lineage: Value::Null,
        verdict: Value::Null,
    };
    let error = write_bundle(directory.path(), &contents).unwrap_err();
    assert!(matches!(error, BundleError::GoldenCount(0)));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
