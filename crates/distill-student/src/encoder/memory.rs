//! How much a forward pass leaves in memory for its backward pass, from the configuration alone.

use super::EncoderConfig;
use crate::lora::Adaptable;

impl EncoderConfig {
    /// Numbers that all layers keep for each token of rows of at most `longest` tokens: the results
    /// of their operations, in f32. `dropped` where values are dropped too.
    pub fn kept_per_token(&self, longest: usize, dropped: bool) -> usize {
        let (d, heads) = (self.hidden_size, self.num_attention_heads);
        // A bias is added by an operation of its own.
        let projected: usize = self
            .projections()
            .iter()
            .map(|(_, [output, _])| 2 * output)
            .sum();
        // Norms and residuals, the rotated or split queries, keys and values, what the attention
        // gives and a sum of each head's scores, the activation.
        let of_layer = 4 * d + 3 * d + d + heads + 2 * self.intermediate_size;
        let dropout = if dropped {
            let rates = self.dropout;
            let places = [rates.attended, rates.fed_forward, rates.inner];
            let widths = [d, d, self.intermediate_size];
            let masked = places.iter().zip(widths).filter(|(rate, _)| **rate > 0.0);
            // A mask and what is left.
            let masked: usize = masked.map(|(_, width)| 2 * width).sum();
            let probabilities = usize::from(rates.attention > 0.0) * 6 * heads * longest;
            masked + probabilities
        } else {
            0
        };
        projected + self.num_hidden_layers * (of_layer + dropout) + 4 * d
    }
}
