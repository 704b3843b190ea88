//! Exports read back, and what is refused.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    answer::tests::{definition, row},
    base::tests::tiny_base,
    bundle::{
        BundleContents, BundleStudent, Tuned,
        tests::{adapter, bases, linear, tuned},
        write_bundle,
    },
    decoder::PackedTokens,
    encoder::{
        EncoderTokenizer,
        tests::{folder, weights},
    },
};

fn export_with(
    bundle: &TempDir,
    to: &Path,
    change: impl FnOnce(&mut Export<'_>),
) -> Result<Exported, ExportError> {
    let mut request = Export {
        bundle: bundle.path(),
        to,
        form: None,
        precision: None,
        replace: false,
        origin: &[("run".to_owned(), "20260131-090507-1a2b".to_owned())],
        licence: Some("Apache-2.0"),
    };
    change(&mut request);
    export(&request, &bases())
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let logits = decoder
        .logits(&PackedTokens::new([[5u32, 9, 3, 17].as_slice()]))
        .unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn names(exported: &Exported) -> Vec<&str> {
    exported
        .files
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_adapter_goes_out_with_all_that_it_needs() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let (bundle, _) = tuned(Tuned::Adapter(&adapter));
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("new/support");
    let exported = export_with(&bundle, &to, |_| ()).unwrap();
    assert_eq!(exported.form, ExportForm::Adapter);
    assert_eq!(exported.proved_rows, None);
    assert_eq!(
        names(&exported),
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "base/chat_template.jinja",
            "base/config.json",
            "base/generation_config.json",
            "base/model.safetensors",
            "base/tokenizer.json",
            "base/tokenizer_config.json",
            "chat_template.jinja",
            "distill.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    );
    let config = json_of(&to.join("adapter_config.json"));
    assert_eq!(config["base_model_name_or_path"], "base");
    let held = Decoder::with_adapter(&base.weights, &adapter).unwrap();
    let read = BaseModel::from_directory("base", &to.join("base")).unwrap();
    let read = Decoder::with_adapter(&read.weights, &LoraAdapter::read_dir(&to).unwrap()).unwrap();
    assert_eq!(logits(&held), logits(&read));
    let card = fs::read_to_string(to.join("README.md")).unwrap();
    for words in [
        "library_name: peft",
        "license: \"apache-2.0\"",
        "20260131-090507-1a2b",
        "PeftModel.from_pretrained",
        "so it lies beside the adapter",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    let left = fs::read_dir(to.parent().unwrap()).unwrap();
    assert_eq!(left.count(), 1, "nothing is left beside it");
}

#[test]
fn a_merged_model_and_a_trained_one_answer_as_the_student() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let other = tiny_base(2).weights;
    let students = [
        (
            tuned(Tuned::Adapter(&adapter)).0,
            Decoder::with_adapter(&base.weights, &adapter).unwrap(),
        ),
        (tuned(Tuned::Full(&other)).0, Decoder::new(&other).unwrap()),
    ];
    for (bundle, student) in students {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("whole");
        let form = Some(ExportForm::Model);
        let exported = export_with(&bundle, &to, |request| request.form = form).unwrap();
        assert_eq!(exported.form, ExportForm::Model);
        assert_eq!(exported.proved_rows, Some(3));
        assert!(names(&exported).contains(&"model.safetensors"));
        let read = BaseModel::from_directory("whole", &to).unwrap();
        let read = logits(&Decoder::new(&read.weights).unwrap());
        for (one, other) in logits(&student).iter().zip(&read) {
            assert!((one - other).abs() < 1e-5, "{one} {other}");
        }
        // The stop token that the template writes ends a reply for other programs too.
        let stop = base.tokenizer.id("<|end|>").unwrap();
        let generation = json_of(&to.join("generation_config.json"));
        let stops = generation["eos_token_id"].as_array().unwrap();
        assert!(stops.contains(&json!(stop)), "{generation}");
        let tokenizer = json_of(&to.join("tokenizer_config.json"));
        assert!(tokenizer.get("chat_template").is_none());
    }
}

#[test]
fn numbers_are_rounded_where_that_is_asked() {
    let other = tiny_base(2).weights;
    let (bundle, _) = tuned(Tuned::Full(&other));
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("half");
    let precision = Some(Precision::Bf16);
    match export_with(&bundle, &to, |request| request.precision = precision) {
        Ok(_) => {
            let read = BaseModel::from_directory("half", &to).unwrap();
            assert_eq!(read.weights.precision(), Precision::Bf16);
            assert_eq!(json_of(&to.join("config.json"))["dtype"], "bfloat16");
        }
        // Random weights may answer otherwise once they are rounded: then nothing is written.
        Err(error) => {
            assert!(matches!(error, ExportError::Answers(_)), "{error}");
            assert!(error.hint().unwrap().contains("--precision f32"));
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_base_held_in_four_bits_is_written_as_it_was_measured() {
    let base = tiny_base(1);
    let adapter = adapter(&base).with_base_storage(Some(Storage::Nf4));
    let (bundle, _) = tuned(Tuned::Adapter(&adapter));
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("whole");
    let form = Some(ExportForm::Model);
    let exported = export_with(&bundle, &to, |request| request.form = form).unwrap();
    assert!(exported.notes[0].contains("four bits"), "{exported:?}");
    let held = logits(&Decoder::with_adapter(&base.weights, &adapter).unwrap());
    let read = BaseModel::from_directory("whole", &to).unwrap();
    let read = logits(&Decoder::new(&read.weights).unwrap());
    let exact = adapter.with_base_storage(None);
    let exact = logits(&Decoder::with_adapter(&base.weights, &exact).unwrap());
    let far = |other: &[f32]| {
        let differences = held.iter().zip(other).map(|(one, other)| one - other);
        differences.map(|d| d * d).sum::<f32>().sqrt()
    };
    // Products of four-bit weights round their inputs; that is far less than four bits lose.
    assert!(
        far(&read) * 4.0 < far(&exact),
        "{} {}",
        far(&read),
        far(&exact)
    );
    let as_adapter = export_with(&bundle, &place.path().join("adapter"), |_| ()).unwrap();
    assert!(
        as_adapter.notes.iter().any(|note| note.contains("NF4")),
        "{as_adapter:?}"
    );
}

#[test]
fn an_encoder_goes_out_as_a_model_with_its_tokenizer() {
    let tokenizer = EncoderTokenizer::from_directory(&folder("bert"), 32).unwrap();
    let student = EncoderStudent::new(weights("bert"), tokenizer).unwrap();
    let bundle = tempfile::tempdir().unwrap();
    let contents = BundleContents {
        name: "support",
        task: &distill_chat::TaskDefinition {
            labels: student.labels().to_vec(),
            ..definition()
        },
        student: BundleStudent::Encoder {
            student: &student,
            base: "org/encoder@0123456789012345678901234567890123456789",
            base_sha256: "00",
        },
        golden_rows: &[row("my card")],
        lineage: Value::Null,
        verdict: Value::Null,
    };
    write_bundle(bundle.path(), &contents).unwrap();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("encoder");
    let exported = export_with(&bundle, &to, |_| ()).unwrap();
    assert_eq!(
        names(&exported),
        [
            "README.md",
            "config.json",
            "distill.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    );
    let tokenizer = json_of(&to.join("tokenizer.json"));
    assert!(!tokenizer["post_processor"].is_null());
    let card = fs::read_to_string(to.join("README.md")).unwrap();
    assert!(card.contains("base_model: \"org/encoder\""), "{card}");
    let refused = export_with(&bundle, &place.path().join("adapter"), |request| {
        request.form = Some(ExportForm::Adapter);
    });
    assert!(matches!(refused, Err(ExportError::NoAdapter(_))));
}

#[test]
fn what_cannot_go_out_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    let (bundle, _) = linear();
    let error = export_with(&bundle, &to, |_| ()).unwrap_err();
    assert!(matches!(error, ExportError::Linear(_)), "{error}");
    assert!(error.to_string().contains("no weights of a transformer"));
    assert!(error.hint().is_some());
    let other = tiny_base(2).weights;
    let (bundle, _) = tuned(Tuned::Full(&other));
    let form = Some(ExportForm::Adapter);
    let error = export_with(&bundle, &to, |request| request.form = form).unwrap_err();
    assert!(matches!(error, ExportError::NoAdapter(_)), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn files_of_the_user_s_are_never_touched() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    fs::create_dir(&to).unwrap();
    let other = tiny_base(2).weights;
    let (bundle, _) = tuned(Tuned::Full(&other));
    // An empty folder is as good as none.
    export_with(&bundle, &to, |_| ()).unwrap();
    let error = export_with(&bundle, &to, |_| ()).unwrap_err();
    assert!(matches!(error, ExportError::NotEmpty(_)), "{error}");
    export_with(&bundle, &to, |request| request.replace = true).unwrap();
    // One more beside what the earlier export wrote, or one that no list names.
    fs::write(to.join("notes.txt"), "mine").unwrap();
    let again = || export_with(&bundle, &to, |request| request.replace = true).unwrap_err();
    let error = again();
    assert!(matches!(error, ExportError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    fs::remove_file(to.join("notes.txt")).unwrap();
    fs::remove_file(to.join("distill.json")).unwrap();
    let error = again();
    assert!(matches!(error, ExportError::Foreign { .. }), "{error}");
    assert!(to.join("model.safetensors").exists());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_base_of_the_hub_is_named_with_its_commit() {
    let (name, commit) = revision("Qwen/Qwen3-0.6B@c1899de289a04d12100db370d81485cdf75e47ca");
    assert_eq!(name, "Qwen/Qwen3-0.6B");
    assert_eq!(
        commit.as_deref(),
        Some("c1899de289a04d12100db370d81485cdf75e47ca")
    );
    assert_eq!(revision("./model"), ("./model".to_owned(), None));
}

#[test]
fn files_that_come_while_a_model_is_written_stay() {
    let place = tempfile::tempdir().unwrap();
    for there in [false, true] {
        let to = place.path().join(format!("out-{there}"));
        if there {
            fs::create_dir(&to).unwrap();
        }
        let folder = Folder::begin(&to, true).unwrap();
        folder.write("model.safetensors", b"numbers").unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("notes.txt"), "mine").unwrap();
        let error = folder.finish(json!({})).unwrap_err();
        assert!(matches!(error, ExportError::NotEmpty(_)), "{error}");
        assert_eq!(fs::read_to_string(to.join("notes.txt")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn what_a_killed_export_left_is_removed_and_never_taken_over() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    for within in [place.path(), &to] {
        // As a killed process of any number leaves it, of the same one too.
        let own = within.join(format!(".out.{}-0.partial", std::process::id()));
        for left in [within.join(".out.1-0.partial"), own] {
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("stray.safetensors"), "old").unwrap();
        }
        fs::create_dir_all(&to).unwrap();
        let folder = Folder::begin(&to, false).unwrap();
        // Another of the same place at the same time has files of its own.
        let error = Folder::begin(&to, false).err().unwrap();
        assert!(matches!(error, ExportError::NotEmpty(_)), "{error}");
        folder.write("model.safetensors", b"numbers").unwrap();
        let files = folder.finish(json!({})).unwrap();
        assert_eq!(files.len(), 2, "{files:?}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
        fs::remove_dir_all(&to).unwrap();
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    let (one, other) = (Folder::begin(&to, false), Folder::begin(&to, false));
    one.unwrap().finish(json!({})).unwrap();
    let error = other.unwrap().finish(json!({})).unwrap_err();
    assert!(matches!(error, ExportError::NotEmpty(_)), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_is_followed_and_what_is_no_folder_is_refused_first() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().unwrap();
    let (large, link) = (place.path().join("large"), place.path().join("link"));
    fs::create_dir(&large).unwrap();
    symlink(&large, &link).unwrap();
    for replace in [false, true] {
        Folder::begin(&link, replace)
            .unwrap()
            .finish(json!({}))
            .unwrap();
        assert!(link.is_symlink() && large.join("distill.json").is_file());
    }
    let (file, nowhere) = (place.path().join("file"), place.path().join("nowhere"));
    fs::write(&file, "mine").unwrap();
    symlink(place.path().join("none"), &nowhere).unwrap();
    for taken in [&file, &nowhere] {
        let error = Folder::begin(taken, true).err().unwrap();
        assert!(matches!(error, ExportError::NoFolder(_)), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_export_does_not_replace_what_it_is_made_of() {
    let base = tiny_base(1);
    let adapter = adapter(&base);
    let (bundle, _) = tuned(Tuned::Adapter(&adapter));
    // As if an earlier export had brought the student's own folder along.
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    export_with(&bundle, &to, |_| ()).unwrap();
    let folder = Folder::begin(&to, true).unwrap();
    assert!(folder.replaces(&to.join("base")) && folder.replaces(&to));
    assert!(!folder.replaces(bundle.path()) && !folder.replaces(place.path()));
}
