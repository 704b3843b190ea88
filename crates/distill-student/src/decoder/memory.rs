//! How much a forward pass leaves in memory for its backward pass, from the configuration alone.

use super::config::MixerConfig;
use super::{DecoderConfig, LinearShape};

impl DecoderConfig {
    /// Numbers that one layer keeps for each token: the results of its operations, in f32.
    pub fn kept_per_token(&self, layer: usize) -> usize {
        let d = self.hidden_size;
        let linears = self.linears(layer);
        // A bias is added by an operation of its own.
        let projected = |linear: &LinearShape| linear.output * (1 + usize::from(linear.bias));
        let projections: usize = linears.iter().map(projected).sum();
        let norms = 2 * d * (1 + usize::from(self.post_norms));
        let residuals = 2 * d;
        let activation = self.intermediate_size * if self.fused_projections { 3 } else { 1 };
        projections + norms + residuals + activation + self.mixer_per_token(layer)
    }

    /// The widths of the inputs and outputs of a layer's projections: pairs (input, output).
    pub fn projection_sizes(&self, layer: usize) -> Vec<(usize, usize)> {
        let linears = self.linears(layer);
        linears.iter().map(|l| (l.input, l.output)).collect()
    }

    fn mixer_per_token(&self, layer: usize) -> usize {
        let q = self.num_attention_heads * self.head_dim;
        let k = self.num_key_value_heads * self.head_dim;
        match &self.layers[layer].mixer {
            MixerConfig::Attention(attention) => {
                let turned = usize::from(attention.rope.is_some()) + usize::from(self.qk_norm);
                let gate = 3 * q * usize::from(self.output_gate);
                let split = (q + 2 * k) * usize::from(self.fused_projections);
                // The result, and a sum of each head's scores.
                turned * (q + k) + gate + split + q + self.num_attention_heads
            }
            MixerConfig::DeltaNet(net) => {
                // The convolution, the norm and the gate each give what they take.
                let linears = net.linears(self.hidden_size);
                linears.iter().map(|linear| 3 * linear.output).sum()
            }
        }
    }
}
