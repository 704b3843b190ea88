use super::*;
use crate::{
    template::tests::TEMPLATE,
    tokenizer::tests::{CONFIG, tiny, tokenizer_json},
    weights::Precision,
};

fn config(vocabulary: usize) -> DecoderConfig {
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {vocabulary}, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.2}}"#
    );
    DecoderConfig::from_json(&text).unwrap()
}

fn files(json: &str) -> TokenizerFiles<'_> {
    TokenizerFiles {
        tokenizer_json: json.as_bytes(),
        tokenizer_config: Some(CONFIG.as_bytes()),
        ..TokenizerFiles::default()
    }
}

/// A decoder of some thousand random weights with the tests' tokenizer and template.
pub(crate) fn tiny_base(seed: u64) -> BaseModel {
    let config = config(tiny().vocabulary_size());
    let weights = DecoderWeights::random(config.clone(), seed).unwrap();
    let weights = weights.to_safetensors(Precision::F32).unwrap();
    let json = tokenizer_json();
    BaseModel::from_files(
        &format!("embedded:tiny{seed}"),
        &config.to_json(),
        &weights,
        &files(&json),
        TEMPLATE,
    )
    .unwrap()
}

#[test]
fn a_directory_gives_the_same_model_as_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    };
    let embedded = tiny_base(1);
    let weights = embedded.weights.to_safetensors(Precision::F32).unwrap();
    write(
        "config.json",
        embedded.weights.config().to_json().as_bytes(),
    );
    write("model.safetensors", &weights);
    write("tokenizer.json", tokenizer_json().as_bytes());
    write("tokenizer_config.json", CONFIG.as_bytes());
    write("chat_template.jinja", TEMPLATE.as_bytes());
    let name = directory.path().to_str().unwrap();
    let read = StandardBases::directories().resolve(name).unwrap();
    assert_eq!(
        read.weights.sha256().unwrap(),
        embedded.weights.sha256().unwrap()
    );
    assert_eq!(read.tokenizer.sha256(), embedded.tokenizer.sha256());
    assert_eq!(read.template.source(), embedded.template.source());

    std::fs::remove_file(directory.path().join("chat_template.jinja")).unwrap();
    let error = StandardBases::directories().resolve(name).unwrap_err();
    assert!(matches!(error, BaseError::Template { .. }), "{error}");
}

#[test]
fn a_name_that_nothing_answers_to_is_told_what_would() {
    let bases = StandardBases::directories().with("embedded:tiny1", || Ok(tiny_base(1)));
    assert_eq!(
        bases.resolve("embedded:tiny1").unwrap().name,
        "embedded:tiny1"
    );
    assert_eq!(
        bases.resolve("embedded:tiny2").unwrap_err().to_string(),
        "`embedded:tiny2` is no embedded model; embedded are: embedded:tiny1"
    );
    assert_eq!(
        bases.resolve("no/such/model").unwrap_err().to_string(),
        "base model `no/such/model` is neither a directory with Hugging Face files nor among the \
         models that were fetched"
    );
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_weights_have_rows_is_refused() {
    let small = config(100);
    let weights = DecoderWeights::random(small.clone(), 1).unwrap();
    let weights = weights.to_safetensors(Precision::F32).unwrap();
    let json = tokenizer_json();
    let error = BaseModel::from_files("x", &small.to_json(), &weights, &files(&json), TEMPLATE);
    assert!(matches!(
        error,
        Err(BaseError::Vocabulary {
            vocabulary: 100,
            ..
        })
    ));
}
