//! Model families: what a `model_type` fixes beyond what its configuration says. A family whose
//! blocks are built from the same parts joins as a row of [`FAMILIES`].

/// One row of the table.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a row of a table of switches"
)]
pub(super) struct Family {
    /// `model_type` in `config.json`.
    pub(super) model_type: &'static str,
    /// `architectures` entry in `config.json`.
    pub(super) architecture: &'static str,
    /// Biases on q, k, v where the configuration does not say.
    pub(super) qkv_bias: bool,
    /// Whether `attention_bias` puts one on the output projection too.
    pub(super) output_bias: bool,
    /// Norms of each head's queries and keys.
    pub(super) qk_norm: bool,
    /// `tie_word_embeddings` where the configuration does not say.
    pub(super) tied: bool,
    /// `rope_theta` where the configuration does not say.
    pub(super) rope_theta: f64,
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        model_type: "llama",
        architecture: "LlamaForCausalLM",
        qkv_bias: false,
        output_bias: true,
        qk_norm: false,
        tied: false,
        rope_theta: 10_000.0,
    },
    Family {
        model_type: "qwen2",
        architecture: "Qwen2ForCausalLM",
        qkv_bias: true,
        output_bias: false,
        qk_norm: false,
        tied: false,
        rope_theta: 10_000.0,
    },
    Family {
        model_type: "qwen3",
        architecture: "Qwen3ForCausalLM",
        qkv_bias: false,
        output_bias: true,
        qk_norm: true,
        tied: false,
        rope_theta: 10_000.0,
    },
];

pub(super) fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| f.model_type == model_type)
}
