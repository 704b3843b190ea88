//! Files of a model as a stranger could have made them.

use std::{io::Cursor, sync::Once};

use distill_chat::Message;
use distill_student::{
    decoder::DecoderConfig,
    template::ChatTemplate,
    weights::{DecoderWeights, Header, Precision},
};

/// The smallest decoder: a file that holds its tensors has some hundred bytes of data.
const TINY: &str = r#"{"model_type": "llama", "vocab_size": 2, "hidden_size": 2, "intermediate_size": 2,
"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2,
"hidden_act": "silu", "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"tie_word_embeddings": true}"#;

/// A configuration that is read is written so that it reads the same again, and its figures hold.
pub fn config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(config) = DecoderConfig::from_json(text) else {
        return;
    };
    assert!(config.parameter_count() > 0);
    assert_eq!(config.layers.len(), config.num_hidden_layers);
    let written = config.to_json();
    let again = DecoderConfig::from_json(&written).expect("what was written is read");
    assert_eq!(again.to_json(), written);
    assert_eq!(again.tensors(), config.tensors());
}

/// A template is refused, or renders within its bounds; the same conversation gives the same text.
pub fn template(text: &[u8]) {
    // The fuzzer's own hook ends the process at once; what the renderer catches is no finding, and
    // what it does not catch ends the process when it gets here.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(template) = ChatTemplate::new(text, Some("<s>"), Some("</s>")) else {
        return;
    };
    let messages = [
        Message::system("Name the queue."),
        Message::user("My card {{ was }} declined. <s>"),
        Message::assistant("billing"),
        Message::user("And now?"),
    ];
    if let Ok(rendered) = template.render(&messages, true) {
        assert_eq!(template.render(&messages, true).ok(), Some(rendered));
    }
}

/// A file is refused, or its weights are finite and are written so that they read the same again.
pub fn weights(bytes: &[u8]) {
    let header = Header::read(&mut Cursor::new(bytes), "the file");
    let config = DecoderConfig::from_json(TINY).expect("the configuration holds");
    let Ok(weights) = DecoderWeights::from_safetensors(config.clone(), bytes) else {
        return;
    };
    assert!(header.is_ok());
    let hash = weights.sha256().expect("finite weights have a hash");
    let written = weights
        .to_safetensors(Precision::F32)
        .expect("weights are written");
    let again = DecoderWeights::from_safetensors(config, &written).expect("and read");
    assert_eq!(again.sha256().expect("finite weights have a hash"), hash);
}
