//! What an encoder's configuration means, apart from how its file is written.

use std::fmt::Debug;

use super::{EncoderConfig, Family, ModernBert};
use crate::encoder::DropoutRates;

impl EncoderConfig {
    /// The same text for every file that means the same encoder, another one where an answer or a
    /// training could differ; what only says how weights are first drawn is left out.
    pub(in crate::encoder) fn identity(&self) -> String {
        let Self {
            model_type,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            max_position_embeddings,
            norm_eps,
            initializer_range: _,
            labels,
            dropout,
            family,
            source: _,
        } = self;
        let DropoutRates {
            embeddings,
            attention,
            attended,
            inner,
            fed_forward,
            classifier,
        } = dropout;
        let sizes: [&dyn Debug; 9] = [
            model_type,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            max_position_embeddings,
            norm_eps,
            labels,
        ];
        let dropped = [
            embeddings,
            attention,
            attended,
            inner,
            fed_forward,
            classifier,
        ];
        format!("{sizes:?}\n{dropped:?}\n{}\n", of_family(family))
    }
}

fn of_family(family: &Family) -> String {
    match family {
        Family::Bert { token_types } => format!("token types {token_types}"),
        Family::ModernBert(ModernBert {
            local,
            reach,
            global_theta,
            local_theta,
            attention_bias,
            mlp_bias,
            norm_bias,
            classifier_bias,
            pooling,
        }) => format!(
            "layers {local:?} within {reach}, rotations {global_theta:?} {local_theta:?}, biases \
             {attention_bias} {mlp_bias} {norm_bias} {classifier_bias}, pooling {pooling:?}"
        ),
    }
}
