//! What a configuration means, apart from how its file is written.

use std::fmt::{Debug, Write as _};

use super::{AttentionConfig, DecoderConfig, LayerConfig, MixerConfig, RopeConfig, RopeScaling};
use crate::decoder::DeltaConfig;
use crate::ops::DeltaHeads;

/// Lines of names and values.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Debug) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name} {value:?}");
    }
}

impl DecoderConfig {
    /// The same text for every file that means the same model, another one where an answer could differ:
    /// what a hash of the model covers. What only says how weights are first drawn is left out.
    pub(crate) fn identity(&self) -> String {
        let Self {
            model_type,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings,
            rms_norm_eps,
            tie_word_embeddings,
            layers,
            ropes,
            qkv_bias,
            output_bias,
            mlp_bias,
            qk_norm,
            post_norms,
            zero_centred_norms,
            fused_projections,
            output_gate,
            activation,
            embedding_multiplier,
            residual_multiplier,
            attention_scale,
            attention_soft_cap,
            logit_multiplier,
            logit_soft_cap,
            initializer_range: _,
            source: _,
        } = self;
        let mut lines = Lines::default();
        lines.add("family", model_type);
        lines.add("vocabulary", vocab_size);
        lines.add("width", hidden_size);
        lines.add("feed-forward width", intermediate_size);
        lines.add("layers", num_hidden_layers);
        lines.add("query heads", num_attention_heads);
        lines.add("key heads", num_key_value_heads);
        lines.add("head width", head_dim);
        lines.add("positions", max_position_embeddings);
        lines.add("norm epsilon", rms_norm_eps);
        lines.add("tied", tie_word_embeddings);
        lines.add("biases", (qkv_bias, output_bias, mlp_bias));
        lines.add("norms", (qk_norm, post_norms, zero_centred_norms));
        lines.add("fused", fused_projections);
        lines.add("gated", output_gate);
        lines.add("activation", activation);
        lines.add("embedding multiplier", embedding_multiplier);
        lines.add("residual multiplier", residual_multiplier);
        lines.add("attention scale", attention_scale);
        lines.add("attention soft cap", attention_soft_cap);
        lines.add("logit multiplier", logit_multiplier);
        lines.add("logit soft cap", logit_soft_cap);
        for LayerConfig { mixer } in layers {
            match mixer {
                MixerConfig::Attention(AttentionConfig { window, rope }) => {
                    lines.add("attention", (window, rope));
                }
                MixerConfig::DeltaNet(DeltaConfig { heads, taps }) => {
                    let DeltaHeads {
                        key,
                        value,
                        key_width,
                        value_width,
                    } = heads;
                    lines.add("delta net", (key, value, key_width, value_width, taps));
                }
            }
        }
        for rope in ropes {
            add_rope(&mut lines, rope);
        }
        lines.0
    }
}

fn add_rope(lines: &mut Lines, rope: &RopeConfig) {
    let RopeConfig {
        theta,
        head_dim,
        width,
        interleaved,
        scaling,
    } = rope;
    lines.add("rotation", (theta, head_dim, width, interleaved));
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => lines.add("linear", factor),
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_length,
        } => lines.add(
            "llama3",
            (
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_length,
            ),
        ),
        RopeScaling::Yarn {
            factor,
            original_length,
            fast_turns,
            slow_turns,
            whole_pairs,
            attention_factor,
        } => lines.add(
            "yarn",
            (
                factor,
                original_length,
                fast_turns,
                slow_turns,
                whole_pairs,
                attention_factor,
            ),
        ),
        RopeScaling::Long {
            short,
            long,
            original_length,
            attention_factor,
        } => lines.add("longrope", (short, long, original_length, attention_factor)),
    }
}
