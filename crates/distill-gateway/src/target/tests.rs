use super::{Target, TargetError, TargetOptions};
use crate::PriceSource;

fn environment(name: &str) -> Option<String> {
    (name == "OPENAI_API_KEY").then(|| "sk-planted".to_owned())
}

fn parse(text: &str) -> Result<Target, TargetError> {
    Target::parse(text, &TargetOptions::default(), &environment)
}

#[test]
fn a_model_is_found_by_vendor_and_name() {
    let target = parse("openai/gpt-5-mini").unwrap();
    assert_eq!(target.name(), "openai/gpt-5-mini");
    assert_eq!(target.identity(), "openai/gpt-5-mini");
    assert_eq!(target.price().source, PriceSource::Table);
    assert!(!target.loopback());
    assert!(target.fixed_temperature());
    assert!(parse("ollama/qwen3").unwrap().loopback());
}

#[test]
fn no_debug_output_of_a_target_shows_its_key() {
    let text = format!("{:?}", parse("openai/gpt-5-mini").unwrap());
    assert!(
        text.contains("[secret]") && !text.contains("planted"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_asked_says_why_and_what_to_do() {
    for (text, message, hint) in [
        (
            "gpt-5",
            "`gpt-5` does not name a model as `vendor/model`",
            "openai/gpt-5-mini",
        ),
        (
            "opnai/gpt-5",
            "model `gpt-5`: there is no vendor `opnai`",
            "known vendors: openai",
        ),
        (
            "anthropic/claude-haiku-4-5",
            "model `anthropic/claude-haiku-4-5`: the environment variable ANTHROPIC_API_KEY holds no key",
            "set ANTHROPIC_API_KEY",
        ),
        (
            "openai/gpt-99",
            "model `openai/gpt-99`: its price is not known, so no budget can hold it",
            "input_usd_per_million",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.hint().unwrap().contains(hint), "{text}");
    }
}

#[test]
fn a_server_of_ones_own_is_part_of_the_identity_and_needs_no_key() {
    let options = TargetOptions {
        base_url: Some("http://10.0.0.7:9000/v1/".into()),
        input_usd_per_million: Some(1.0),
        output_usd_per_million: Some(2.0),
        ..TargetOptions::default()
    };
    let target = Target::resolve("openai", "mine", &options, &|_| None).unwrap();
    assert_eq!(target.identity(), "openai/mine@http://10.0.0.7:9000/v1");
    assert_eq!(target.price().source, PriceSource::Custom);
    assert!(!target.loopback());
}

#[test]
fn an_address_that_is_none_and_half_a_price_are_refused() {
    for url in ["ftp://a", "nonsense", "http://user:pass@host"] {
        let options = TargetOptions {
            base_url: Some(url.into()),
            ..TargetOptions::default()
        };
        let error = Target::resolve("ollama", "m", &options, &|_| None).unwrap_err();
        assert!(matches!(error, TargetError::BaseUrl { .. }), "{url}");
        assert!(!error.to_string().contains("pass@"));
    }
    let half = TargetOptions {
        input_usd_per_million: Some(1.0),
        ..TargetOptions::default()
    };
    assert!(matches!(
        Target::resolve("ollama", "m", &half, &|_| None),
        Err(TargetError::NoPrice { .. })
    ));
    let negative = TargetOptions {
        input_usd_per_million: Some(-1.0),
        output_usd_per_million: Some(1.0),
        ..TargetOptions::default()
    };
    assert!(matches!(
        Target::resolve("ollama", "m", &negative, &|_| None),
        Err(TargetError::BadPrice { .. })
    ));
}

#[test]
fn a_name_that_only_begins_like_loopback_is_not() {
    let target = parse("ollama/m").unwrap();
    assert!(
        !target
            .clone()
            .with_base_url("http://127.0.0.1.example.com/v1")
            .loopback()
    );
    assert!(target.with_base_url("http://localhost:1/v1").loopback());
}
