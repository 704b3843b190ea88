//! Model families: what a `model_type` fixes beyond what its configuration says. A family whose
//! blocks are built from the same parts joins as a row of [`FAMILIES`].

use super::config::Activation;

/// How a family decides which layers turn and which look through a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LayerPattern {
    /// Every layer sees all.
    Uniform,
    /// Every layer has the window that `sliding_window` gives, if it gives one.
    AllWindowed,
    /// `use_sliding_window` gives those a window that `layer_types` names, or that follow the
    /// first `max_window_layers`.
    LastWindowed,
    /// `no_rope_layers` names those that do not turn; they may have a window.
    SomeUnturned,
    /// `layer_types`, or every layer but each n-th, has a window.
    Alternating {
        interval: usize,
        /// The base of their own rotation where the configuration does not say, if they have one.
        local_theta: Option<f64>,
    },
    /// `layer_types`, or every layer but each n-th, is a gated delta net.
    DeltaNets { interval: usize },
}

/// Where biases stand on the attention's projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttentionBias {
    Never,
    /// On q, k and v, with no field that says so.
    QueryKeyValue,
    /// On all four where `attention_bias` says so.
    Field,
}

/// One row of the table.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a row of a table of switches"
)]
pub(super) struct Family {
    /// `model_type` in `config.json`.
    pub(super) model_type: &'static str,
    /// Fields that it honours beyond those of every family.
    pub(super) fields: &'static [&'static str],
    /// Fields that its files hold and that change nothing at one value, written as JSON.
    pub(super) fixed: &'static [(&'static str, &'static str)],
    pub(super) layers: LayerPattern,
    pub(super) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is a field.
    pub(super) feed_forward_bias: bool,
    /// Norms of each head's queries and keys.
    pub(super) qk_norm: bool,
    /// Norms behind the attention and the feed-forward too.
    pub(super) post_norms: bool,
    /// Norms scale by one plus their weight.
    pub(super) zero_centred_norms: bool,
    /// One projection for q, k and v, and one for gate and up.
    pub(super) fused_projections: bool,
    /// Embeddings are scaled by the square root of their width.
    pub(super) scaled_embeddings: bool,
    /// Only a part of each head may turn.
    pub(super) partial_rotation: bool,
    /// The query projection also gives a gate for the attention's output.
    pub(super) output_gate: bool,
    /// The field of the activation, and its value where the configuration does not say.
    pub(super) activation: (&'static str, Activation),
    /// `head_dim` where the configuration does not say; the width through the heads if none.
    pub(super) head_dim: Option<usize>,
    /// Whether a missing `num_key_value_heads` means as many as query heads.
    pub(super) ungrouped_by_default: bool,
    /// `tie_word_embeddings` where the configuration does not say.
    pub(super) tied: bool,
    pub(super) rms_norm_eps: f64,
    /// `rope_theta` where the configuration does not say.
    pub(super) rope_theta: f64,
}

const LLAMA: Family = Family {
    model_type: "llama",
    fields: &["rope_interleaved"],
    fixed: &[("is_llama_config", "true")],
    layers: LayerPattern::Uniform,
    attention_bias: AttentionBias::Field,
    feed_forward_bias: true,
    qk_norm: false,
    post_norms: false,
    zero_centred_norms: false,
    fused_projections: false,
    scaled_embeddings: false,
    partial_rotation: false,
    output_gate: false,
    activation: ("hidden_act", Activation::Silu),
    head_dim: None,
    ungrouped_by_default: true,
    tied: false,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
};

const QWEN_WINDOWS: &[&str] = &[
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
];

const GEMMA: Family = Family {
    feed_forward_bias: false,
    layers: LayerPattern::Alternating {
        interval: 2,
        local_theta: None,
    },
    post_norms: true,
    zero_centred_norms: true,
    scaled_embeddings: true,
    activation: ("hidden_activation", Activation::GeluTanh),
    head_dim: Some(256),
    ungrouped_by_default: false,
    tied: true,
    ..LLAMA
};

pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        model_type: "mistral",
        fields: &["sliding_window"],
        fixed: &[],
        layers: LayerPattern::AllWindowed,
        attention_bias: AttentionBias::Never,
        feed_forward_bias: false,
        ungrouped_by_default: false,
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        fields: &[
            "no_rope_layers",
            "no_rope_layer_interval",
            "use_sliding_window",
            "sliding_window",
            "layer_types",
            "max_window_layers",
        ],
        fixed: &[],
        layers: LayerPattern::SomeUnturned,
        ungrouped_by_default: false,
        tied: true,
        rope_theta: 2_000_000.0,
        ..LLAMA
    },
    Family {
        model_type: "qwen2",
        fields: QWEN_WINDOWS,
        fixed: &[("attention_bias", "true"), ("mlp_bias", "false")],
        layers: LayerPattern::LastWindowed,
        attention_bias: AttentionBias::QueryKeyValue,
        feed_forward_bias: false,
        ungrouped_by_default: false,
        ..LLAMA
    },
    Family {
        model_type: "qwen3",
        fields: QWEN_WINDOWS,
        fixed: &[("mlp_bias", "false")],
        layers: LayerPattern::LastWindowed,
        feed_forward_bias: false,
        qk_norm: true,
        head_dim: Some(128),
        ungrouped_by_default: false,
        ..LLAMA
    },
    Family {
        model_type: "qwen3_5_text",
        fields: &[
            "full_attention_interval",
            "layer_types",
            "linear_conv_kernel_dim",
            "linear_key_head_dim",
            "linear_num_key_heads",
            "linear_num_value_heads",
            "linear_value_head_dim",
            // How many tokens further a head guesses that is no part of the model's answers.
            "mtp_num_hidden_layers",
            "partial_rotary_factor",
        ],
        fixed: &[
            ("attn_output_gate", "true"),
            ("mamba_ssm_dtype", "\"float32\""),
            ("mlp_only_layers", "[]"),
            ("mtp_use_dedicated_embeddings", "false"),
        ],
        layers: LayerPattern::DeltaNets { interval: 4 },
        feed_forward_bias: false,
        qk_norm: true,
        zero_centred_norms: true,
        partial_rotation: true,
        output_gate: true,
        head_dim: Some(256),
        ungrouped_by_default: false,
        ..LLAMA
    },
    Family {
        model_type: "gemma2",
        fields: &[
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "hidden_act",
            "layer_types",
            "query_pre_attn_scalar",
            "sliding_window",
        ],
        fixed: &[("use_bidirectional_attention", "false")],
        ..GEMMA
    },
    Family {
        model_type: "gemma3_text",
        // Not `attn_logit_softcapping`: transformers reads it for this family and does nothing.
        fields: &[
            "final_logit_softcapping",
            "hidden_act",
            "layer_types",
            "query_pre_attn_scalar",
            "rope_local_base_freq",
            "sliding_window",
            "sliding_window_pattern",
            "_sliding_window_pattern",
        ],
        fixed: &[("use_bidirectional_attention", "false")],
        layers: LayerPattern::Alternating {
            interval: 6,
            local_theta: Some(10_000.0),
        },
        qk_norm: true,
        rope_theta: 1_000_000.0,
        ..GEMMA
    },
    Family {
        model_type: "phi3",
        fields: &[
            "original_max_position_embeddings",
            "partial_rotary_factor",
            "sliding_window",
        ],
        fixed: &[
            ("attention_bias", "false"),
            ("mlp_bias", "false"),
            ("lm_head_bias", "false"),
            ("full_attn_mod", "1"),
            ("interpolate_factor", "1"),
        ],
        layers: LayerPattern::AllWindowed,
        attention_bias: AttentionBias::Never,
        feed_forward_bias: false,
        fused_projections: true,
        partial_rotation: true,
        rms_norm_eps: 1e-5,
        ..LLAMA
    },
    Family {
        model_type: "granite",
        fields: &[
            "embedding_multiplier",
            "residual_multiplier",
            "attention_multiplier",
            "logits_scaling",
        ],
        fixed: &[],
        ..LLAMA
    },
];

pub(super) fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|f| f.model_type == model_type)
}
