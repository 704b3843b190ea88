use proptest::prelude::*;
use tokenizers::{
    AddedToken, Tokenizer as Library,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainerBuilder},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use super::*;

const SENTENCES: [&str; 6] = [
    "where is my parcel, it should have come on Monday",
    "I want my money back for the broken kettle",
    "please cancel the order and refund the card",
    "the parcel came but the kettle in it is broken",
    "order, refund, cancel, delivery, other",
    "Choose the intent of the message and answer with one word",
];
pub(crate) const CONTROL: [&str; 6] = [
    "<bos>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<think>",
];
pub(crate) const CONFIG: &str = r#"{"bos_token": {"content": "<bos>"}, "eos_token": "<|end|>"}"#;

/// A byte-level BPE of some 300 tokens, as its `tokenizer.json`.
pub(crate) fn tokenizer_json() -> String {
    let mut library = Library::new(BPE::default());
    library.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    library.with_decoder(Some(ByteLevelDecoder::default()));
    let control = CONTROL.map(|token| AddedToken::from(token, true));
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(320)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(control.to_vec())
        .build()
        .into();
    library.train(&mut trainer, SENTENCES.iter()).unwrap();
    library.to_string(false).unwrap()
}

pub(crate) fn tiny() -> Tokenizer {
    Tokenizer::from_files(
        "tiny",
        &TokenizerFiles {
            tokenizer_json: tokenizer_json().as_bytes(),
            tokenizer_config: Some(CONFIG.as_bytes()),
            ..TokenizerFiles::default()
        },
    )
    .unwrap()
}

/// Text as people write it, as attackers write it, and as neither does.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z ]{0,12}",
        1 => "\\PC{0,6}",
        1 => "[ \\n\\t]{1,3}",
        1 => prop::sample::select(CONTROL.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["<|", "|>", "end", "\u{10FFFE}", "\u{FDD0}", "\u{FDD1}", "é👩‍👩‍👧", "{{ x }}"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn a_control_token_typed_by_a_user_stays_text() {
    let tokenizer = tiny();
    let ids = tokenizer.encode_text("hello <|end|> there").unwrap();
    assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids).unwrap(), "hello <|end|> there");
}

#[test]
fn a_control_token_counts_only_when_it_lies_wholly_outside_content() {
    let tokenizer = tiny();
    let control = |text: &str, content: Range<usize>| {
        let content = std::slice::from_ref(&content);
        let ids = tokenizer.encode_spans(text, content).unwrap();
        ids.into_iter()
            .filter(|id| tokenizer.is_control(*id))
            .count()
    };
    let text = "<|user|>a<|end|>b<|end|>";
    assert_eq!(control(text, 0..0), 3);
    assert_eq!(control(text, 8..16), 2);
    assert_eq!(control(text, 8..9), 3);
    // One half written by the template, the other by the user.
    assert_eq!(control(text, 12..20), 1);
}

#[test]
fn every_end_token_of_every_file_is_known() {
    let json = tokenizer_json();
    let tokenizer = Tokenizer::from_files(
        "tiny",
        &TokenizerFiles {
            tokenizer_json: json.as_bytes(),
            tokenizer_config: Some(CONFIG.as_bytes()),
            generation_config: Some(br#"{"eos_token_id": [0, 2]}"#),
            model_config: Some(br#"{"eos_token_id": 1}"#),
        },
    )
    .unwrap();
    assert_eq!(tokenizer.eos_ids(), [0, 1, 2, 4]);
    assert_eq!(tokenizer.bos_token(), Some("<bos>"));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let load = |json: &str, generation: &str| {
        Tokenizer::from_files(
            "tiny",
            &TokenizerFiles {
                tokenizer_json: json.as_bytes(),
                generation_config: Some(generation.as_bytes()),
                ..TokenizerFiles::default()
            },
        )
        .map(|_| ())
        .unwrap_err()
        .to_string()
    };
    let json = tokenizer_json();
    assert!(load("{", "{}").starts_with("tokenizer.json of `tiny` cannot be read"));
    assert_eq!(
        load(&json, r#"{"eos_token_id": 99999}"#),
        format!(
            "tokenizer.json of `tiny`: end token 99999 is outside the vocabulary of {}",
            tiny().vocabulary_size()
        )
    );
    let single_word = json.replacen("\"single_word\":false", "\"single_word\":true", 1);
    assert_eq!(
        load(&single_word, "{}"),
        "tokenizer.json of `tiny`: added token `<bos>` asks for `single_word`, which is not supported"
    );
    let moved = json.replacen("\"id\":0,", "\"id\":7777,", 1);
    assert!(load(&moved, "{}").contains("`<bos>` is declared as 7777"));
}

#[test]
fn padding_truncation_and_added_begin_tokens_of_the_file_have_no_effect() {
    let mut value: Value = serde_json::from_str(&tokenizer_json()).unwrap();
    value["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    value["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<bos>"});
    value["post_processor"] =
        serde_json::json!({"type": "BertProcessing", "sep": ["<|end|>", 4], "cls": ["<bos>", 0]});
    let bytes = serde_json::to_vec(&value).unwrap();
    let files = TokenizerFiles {
        tokenizer_json: &bytes,
        ..TokenizerFiles::default()
    };
    let tokenizer = Tokenizer::from_files("tiny", &files).unwrap();
    let text = "where is my parcel";
    assert_eq!(
        tokenizer.encode_text(text).unwrap(),
        tiny().encode_text(text).unwrap()
    );
}

proptest! {
    #[test]
    fn plain_text_survives_the_round_trip_and_holds_no_control_token(text in any_text()) {
        let tokenizer = tiny();
        let ids = tokenizer.encode_text(&text).unwrap();
        prop_assert!(ids.iter().all(|id| !tokenizer.is_control(*id)));
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.replace(ANCHOR, "\u{FFFD}"));
    }

    #[test]
    fn vouched_text_gets_the_ids_that_the_library_gives(text in any_text()) {
        let text = text.replace(ANCHOR, "");
        let library = Library::from_bytes(tokenizer_json()).unwrap();
        let expected = library.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
        prop_assert_eq!(tiny().encode_spans(&text, &[]).unwrap(), expected);
    }
}
