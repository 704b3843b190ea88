//! Configurations as they are published, with the odd fields that they carry: each is read, and
//! the weights that it asks for are as many as the model has.

use serde_json::{Value, json};

use crate::decoder::DecoderConfig;

/// A model's name, its weights, and its configuration.
type Published = (&'static str, usize, Value);

fn plain() -> Vec<Published> {
    vec![
        (
            "Llama-3.2-1B",
            1_235_814_400,
            json!({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
                "attention_dropout": 0.0, "bos_token_id": 128_000, "eos_token_id": 128_001,
                "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
                "initializer_range": 0.02, "intermediate_size": 8192,
                "max_position_embeddings": 131_072, "mlp_bias": false, "model_type": "llama",
                "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
                "pretraining_tp": 1, "rms_norm_eps": 1e-5,
                "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192, "rope_type": "llama3"},
                "rope_theta": 500_000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
                "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128_256}),
        ),
        (
            "SmolLM2-135M",
            134_515_008,
            json!({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
                "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0,
                "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041_666_666,
                "intermediate_size": 1536, "is_llama_config": true,
                "max_position_embeddings": 8192, "model_type": "llama",
                "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
                "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false,
                "rope_scaling": null, "rope_theta": 100_000, "tie_word_embeddings": true,
                "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 49_152}),
        ),
        (
            "SmolLM3-3B",
            3_075_098_624,
            json!({"architectures": ["SmolLM3ForCausalLM"], "attention_bias": false,
                "attention_dropout": 0.0, "bos_token_id": 128_000, "eos_token_id": 128_012,
                "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
                "intermediate_size": 11_008, "layer_types": vec!["full_attention"; 36],
                "max_position_embeddings": 65_536, "max_window_layers": 28, "mlp_bias": false,
                "model_type": "smollm3",
                "no_rope_layers": (1..=36).map(|i| u8::from(i % 4 != 0)).collect::<Vec<_>>(),
                "no_rope_layer_interval": 4, "num_attention_heads": 16,
                "num_hidden_layers": 36, "num_key_value_heads": 4, "pretraining_tp": 2,
                "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 5_000_000.0,
                "sliding_window": null, "use_sliding_window": false, "use_cache": false,
                "vocab_size": 128_256}),
        ),
        (
            "Qwen2.5-0.5B",
            494_032_768,
            json!({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
                "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
                "intermediate_size": 4864, "max_position_embeddings": 32_768,
                "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
                "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
                "rope_theta": 1_000_000.0, "sliding_window": 32_768,
                "tie_word_embeddings": true, "use_mrope": false, "use_sliding_window": false,
                "vocab_size": 151_936}),
        ),
        (
            "Qwen3-0.6B",
            596_049_920,
            json!({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
                "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
                "intermediate_size": 3072, "max_position_embeddings": 40_960,
                "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16,
                "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
                "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": null,
                "tie_word_embeddings": true, "use_sliding_window": false,
                "vocab_size": 151_936}),
        ),
    ]
}

fn with_parts_of_their_own() -> Vec<Published> {
    vec![
        (
            "gemma-3-1b-it",
            999_885_952,
            json!({"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
                "attn_logit_softcapping": null, "cache_implementation": "hybrid",
                "eos_token_id": [1, 106], "final_logit_softcapping": null, "head_dim": 256,
                "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
                "initializer_range": 0.02, "intermediate_size": 6912,
                "max_position_embeddings": 32_768, "model_type": "gemma3_text",
                "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1,
                "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
                "rope_local_base_freq": 10_000, "rope_scaling": null,
                "rope_theta": 1_000_000, "sliding_window": 512, "sliding_window_pattern": 6,
                "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 262_144}),
        ),
        (
            "Phi-4-mini-instruct",
            3_836_021_760,
            json!({"architectures": ["Phi3ForCausalLM"], "attention_bias": false,
                "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "embd_pdrop": 0.0,
                "full_attn_mod": 1, "hidden_act": "silu", "hidden_size": 3072,
                "intermediate_size": 8192, "interpolate_factor": 1, "lm_head_bias": false,
                "max_position_embeddings": 131_072, "mlp_bias": false, "model_type": "phi3",
                "num_attention_heads": 24, "num_hidden_layers": 32, "num_key_value_heads": 8,
                "original_max_position_embeddings": 4096, "pad_token_id": 199_999,
                "partial_rotary_factor": 0.75, "resid_pdrop": 0.0, "rms_norm_eps": 1e-5,
                "rope_scaling": {"long_factor": vec![1.5; 48], "short_factor": vec![1.0; 48],
                    "type": "longrope"},
                "rope_theta": 10_000.0, "sliding_window": 262_144,
                "tie_word_embeddings": true, "vocab_size": 200_064}),
        ),
        (
            "Phi-3-mini-4k-instruct",
            3_821_079_552,
            json!({"architectures": ["Phi3ForCausalLM"], "hidden_act": "silu",
                "hidden_size": 3072, "intermediate_size": 8192,
                "max_position_embeddings": 4096, "model_type": "phi3",
                "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
                "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
                "rope_scaling": null, "rope_theta": 10_000.0, "sliding_window": 2047,
                "tie_word_embeddings": false, "vocab_size": 32_064}),
        ),
        (
            "granite-3.3-2b-instruct",
            2_533_539_840,
            json!({"architectures": ["GraniteForCausalLM"], "attention_bias": false,
                "attention_dropout": 0.0, "attention_multiplier": 0.015_625,
                "embedding_multiplier": 12.0, "hidden_act": "silu", "hidden_size": 2048,
                "intermediate_size": 8192, "logits_scaling": 8.0,
                "max_position_embeddings": 131_072, "mlp_bias": false,
                "model_type": "granite", "num_attention_heads": 32, "num_hidden_layers": 40,
                "num_key_value_heads": 8, "residual_multiplier": 0.22, "rms_norm_eps": 1e-5,
                "rope_scaling": null, "rope_theta": 10_000_000.0,
                "tie_word_embeddings": true, "vocab_size": 49_159}),
        ),
        (
            "Mistral-7B-v0.3",
            7_248_023_552,
            json!({"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0,
                "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14_336,
                "max_position_embeddings": 32_768, "model_type": "mistral",
                "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
                "rms_norm_eps": 1e-5, "rope_theta": 1_000_000.0, "sliding_window": null,
                "tie_word_embeddings": false, "vocab_size": 32_768}),
        ),
    ]
}

#[test]
fn published_configurations_are_read_and_ask_for_the_weights_that_there_are() {
    for (name, weights, fields) in plain().into_iter().chain(with_parts_of_their_own()) {
        let config = DecoderConfig::from_json(&fields.to_string());
        let config = config.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.parameter_count(), weights, "{name}");
        let again = DecoderConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(again, config, "{name}");
    }
}
