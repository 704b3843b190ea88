use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

use super::*;

const TEXTS: [&str; 4] = [
    "my card was charged twice",
    "card charged again",
    "where is my parcel",
    "the parcel is late",
];

fn vectorizer() -> Vectorizer {
    let settings = FeatureSettings {
        min_rows: 1,
        ..FeatureSettings::default()
    };
    Vectorizer::fit(settings, &TEXTS)
}

/// Weighs the n-grams of the first two texts for `billing`, of the others for `delivery`.
fn student() -> LinearStudent {
    let vectorizer = vectorizer();
    let mut weights = vec![0.0; vectorizer.len() * 2];
    for (row, text) in TEXTS.iter().enumerate() {
        for (feature, value) in vectorizer.transform(text).entries() {
            weights[*feature as usize * 2 + row / 2] += value;
        }
    }
    let labels = vec!["billing".to_owned(), "delivery".to_owned()];
    LinearStudent::new(vectorizer, labels, &weights, vec![0.0, 0.0])
        .unwrap()
        .with_sharpness(4.0)
}

/// The student's file with one tensor replaced.
fn with_tensor(name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> LinearError {
    let student = student();
    let file = student.to_safetensors();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let tensors = file.tensors().into_iter().map(|(key, view)| {
        if key == name {
            (key, TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
        } else {
            (key, view)
        }
    });
    let changed = safetensors::serialize(tensors, None).unwrap();
    LinearStudent::from_parts(student.settings().clone(), &changed).unwrap_err()
}

#[test]
fn a_text_gets_the_label_whose_words_it_uses_in_any_case() {
    let student = student();
    for (text, label) in [
        ("CHARGED twice on my card", 0),
        ("Parcel is late", 1),
        ("parcels?", 1),
    ] {
        let answer = student.predict(text);
        assert_eq!(answer.label, label, "{text}");
        assert!(answer.probability > 0.5 && answer.probability < 1.0);
    }
}

#[test]
fn a_text_of_unknown_n_grams_is_answered_with_a_coin_s_confidence() {
    let answer = student().predict("日本語");
    assert_eq!(answer.label, 0);
    assert!((answer.probability - 0.5).abs() < 1e-9);
}

#[test]
fn a_batch_answers_as_single_texts_do() {
    let student = student();
    let single: Vec<_> = TEXTS.iter().map(|text| student.predict(text)).collect();
    assert_eq!(student.predict_batch(&TEXTS), single);
}

#[test]
fn words_and_characters_weigh_the_same() {
    for text in TEXTS {
        let row = vectorizer().transform(text);
        let length: f32 = row.entries().iter().map(|(_, value)| value * value).sum();
        assert!((length - 2.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn weights_in_eight_bits_stay_within_half_a_step() {
    let vectorizer = vectorizer();
    let weights: Vec<f32> = (0..vectorizer.len() * 2)
        .map(|index| (index as f32 * 0.7).sin())
        .collect();
    let labels = vec!["a".to_owned(), "b".to_owned()];
    let student = LinearStudent::new(vectorizer, labels, &weights, vec![0.0; 2]).unwrap();
    for (feature, row) in weights.chunks_exact(2).enumerate() {
        for (label, weight) in row.iter().enumerate() {
            let scale = student.scales[feature];
            let stored = f32::from(student.weights[feature * 2 + label]) * scale;
            assert!((stored - weight).abs() <= scale * 0.5001);
        }
    }
}

#[test]
fn the_files_give_the_student_back_and_the_student_the_same_bytes() {
    let student = student();
    let bytes = student.to_safetensors();
    let json = serde_json::to_string(student.settings()).unwrap();
    let settings = serde_json::from_str(&json).unwrap();
    let read = LinearStudent::from_parts(settings, &bytes).unwrap();
    assert_eq!(read, student);
    assert_eq!(read.to_safetensors(), bytes);
}

#[test]
fn a_hostile_file_is_refused_by_name() {
    let features = vectorizer().len();
    let nan = [f32::NAN.to_le_bytes(), 0.0_f32.to_le_bytes()].concat();
    assert_eq!(
        with_tensor("bias", Dtype::F32, &[2], &nan).to_string(),
        "tensor `bias` of the linear student holds a value that is not a finite number"
    );
    assert_eq!(
        with_tensor("bias", Dtype::F32, &[1], &[0; 4]).to_string(),
        "tensor `bias` of the linear student is F32 [1], expected F32 [2]"
    );
    assert_eq!(
        with_tensor("weights", Dtype::I8, &[2, 1], &[0; 2]).to_string(),
        format!("tensor `weights` of the linear student is I8 [2, 1], expected I8 [{features}, 2]")
    );
    let unordered = vec![7; features * 4];
    assert!(
        with_tensor("hashes", Dtype::U32, &[features], &unordered)
            .to_string()
            .ends_with("the n-gram hashes do not ascend")
    );
    // A header that claims more than the file holds.
    let mut claims = u64::MAX.to_le_bytes().to_vec();
    claims.extend(b"{}");
    let settings = student().settings().clone();
    assert!(matches!(
        LinearStudent::from_parts(settings.clone(), &claims),
        Err(LinearError::Malformed(_))
    ));
    let bytes = student().to_safetensors();
    for cut in [0, 7, 100, bytes.len() - 1] {
        assert!(LinearStudent::from_parts(settings.clone(), &bytes[..cut]).is_err());
    }
}

#[test]
fn settings_that_cost_too_much_or_mean_nothing_are_refused() {
    let bytes = student().to_safetensors();
    let refused = |change: &dyn Fn(&mut LinearSettings)| {
        let mut settings = student().settings().clone();
        change(&mut settings);
        LinearStudent::from_parts(settings, &bytes).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|settings| settings.sharpness = 0.0));
    assert!(refused(&|settings| settings.sharpness = f64::NAN));
    assert!(refused(&|settings| settings.features.max_words = 9));
    assert!(refused(&|settings| settings.features.characters = [1, 17]));
    assert!(refused(&|settings| settings.features.characters = [0, 3]));
    assert!(refused(&|settings| settings.labels = vec!["a".into(); 2]));
    assert!(refused(&|settings| settings.labels.push("third".into())));
}

#[test]
fn a_text_of_any_length_is_answered() {
    let student = student();
    let long = "parcel ".repeat(500_000);
    assert_eq!(student.predict(&long).label, 1);
    assert_eq!(
        student.scores(&long),
        student.scores(&long[..MAX_TEXT_BYTES])
    );
}

proptest! {
    #[test]
    fn every_text_gets_a_label_and_a_probability(text in "\\PC{0,60}") {
        let answer = student().predict(&text);
        prop_assert!(answer.label < 2);
        prop_assert!((0.5..=1.0).contains(&answer.probability));
    }

    #[test]
    fn spacing_and_case_do_not_matter(words in prop::collection::vec("[a-z]{1,8}", 0..6)) {
        let plain = words.join(" ");
        let shouted = words.join(" \n\t ").to_uppercase();
        prop_assert_eq!(vectorizer().transform(&plain), vectorizer().transform(&shouted));
    }
}
