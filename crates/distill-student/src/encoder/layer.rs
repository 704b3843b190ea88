//! One block of an encoder: attention over the whole row and a feed-forward, each with a residual
//! and a norm behind it (BERT) or before it (`ModernBERT`).

use std::sync::Arc;

use candle_core::Tensor;

use super::EncoderRows;
use super::config::Family;
use super::dropout::Place;
use super::parts::{LayerNorm, Parts};
use crate::decoder::{DecoderError, Projection};
use crate::ops::{AttentionRule, Heads, Rope, attention, gelu};

#[derive(Debug)]
pub(super) struct Layer {
    attention: Attention,
    feed_forward: FeedForward,
    norms: Norms,
}

#[derive(Debug)]
enum Norms {
    /// Behind each residual.
    Behind(LayerNorm, LayerNorm),
    /// In front of each part; the first layer has none in front of its attention.
    Before(Option<LayerNorm>, LayerNorm),
}

#[derive(Debug)]
struct Attention {
    input: Input,
    output: Projection,
    rope: Option<Arc<Rope>>,
    rule: AttentionRule,
    /// Of the probabilities, and of the result.
    dropped: [Place; 2],
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each layer")]
enum Input {
    Apart([Projection; 3]),
    /// q, k and v after one another in one projection.
    Fused(Projection),
}

#[derive(Debug)]
struct FeedForward {
    input: Projection,
    output: Projection,
    /// Half of the inner width gates the other.
    gated: bool,
    /// Of the inner values, and of the result.
    dropped: [Place; 2],
}

impl Layer {
    pub(super) fn build(
        parts: &Parts<'_>,
        index: usize,
        ropes: &[Arc<Rope>],
    ) -> Result<Self, DecoderError> {
        let config = parts.config();
        let heads = Heads {
            query: config.num_attention_heads,
            key_value: config.num_attention_heads,
            width: config.head_dim(),
        };
        let rule = AttentionRule {
            causal: false,
            ..AttentionRule::from(heads)
        };
        match &config.family {
            Family::Bert { .. } => bert(parts, index, rule),
            Family::ModernBert(modern) => {
                let local = modern.local[index];
                let rule = AttentionRule {
                    window: local.then_some(modern.reach + 1),
                    ..rule
                };
                modern_bert(parts, index, rule, ropes.get(usize::from(local)).cloned())
            }
        }
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    pub(super) fn forward(&self, x: &Tensor, rows: &EncoderRows) -> Result<Tensor, DecoderError> {
        match &self.norms {
            Norms::Behind(first, second) => {
                let x = first.forward(&(x + self.attention.forward(x, rows)?)?)?;
                second.forward(&(&x + self.feed_forward.forward(&x)?)?)
            }
            Norms::Before(first, second) => {
                let h = match first {
                    Some(norm) => norm.forward(x)?,
                    None => x.clone(),
                };
                let x = (x + self.attention.forward(&h, rows)?)?;
                let h = second.forward(&x)?;
                Ok((&x + self.feed_forward.forward(&h)?)?)
            }
        }
    }
}

fn bert(parts: &Parts<'_>, index: usize, rule: AttentionRule) -> Result<Layer, DecoderError> {
    let at = |name: &str| format!("bert.encoder.layer.{index}.{name}");
    let linear = |name: &str| parts.linear(&at(name));
    let norm = |name: &str| parts.norm(&at(name));
    Ok(Layer {
        attention: Attention {
            input: Input::Apart([
                linear("attention.self.query")?,
                linear("attention.self.key")?,
                linear("attention.self.value")?,
            ]),
            output: linear("attention.output.dense")?,
            rope: None,
            rule,
            dropped: attention_places(parts, index),
        },
        feed_forward: FeedForward {
            input: linear("intermediate.dense")?,
            output: linear("output.dense")?,
            gated: false,
            dropped: feed_forward_places(parts, index),
        },
        norms: Norms::Behind(
            norm("attention.output.LayerNorm")?,
            norm("output.LayerNorm")?,
        ),
    })
}

fn modern_bert(
    parts: &Parts<'_>,
    index: usize,
    rule: AttentionRule,
    rope: Option<Arc<Rope>>,
) -> Result<Layer, DecoderError> {
    let at = |name: &str| format!("model.layers.{index}.{name}");
    let linear = |name: &str| parts.linear(&at(name));
    let norm = |name: &str| parts.norm(&at(name));
    Ok(Layer {
        attention: Attention {
            input: Input::Fused(linear("attn.Wqkv")?),
            output: linear("attn.Wo")?,
            rope,
            rule,
            dropped: attention_places(parts, index),
        },
        feed_forward: FeedForward {
            input: linear("mlp.Wi")?,
            output: linear("mlp.Wo")?,
            gated: true,
            dropped: feed_forward_places(parts, index),
        },
        norms: Norms::Before(
            (index > 0).then(|| norm("attn_norm")).transpose()?,
            norm("mlp_norm")?,
        ),
    })
}

fn attention_places(parts: &Parts<'_>, index: usize) -> [Place; 2] {
    let rates = parts.rates();
    let at = |name: &str| format!("dropout.{index}.{name}");
    [
        parts.place(&at("attention"), rates.attention),
        parts.place(&at("attended"), rates.attended),
    ]
}

fn feed_forward_places(parts: &Parts<'_>, index: usize) -> [Place; 2] {
    let rates = parts.rates();
    let at = |name: &str| format!("dropout.{index}.{name}");
    [
        parts.place(&at("inner"), rates.inner),
        parts.place(&at("fed_forward"), rates.fed_forward),
    ]
}

impl Attention {
    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    fn forward(&self, x: &Tensor, rows: &EncoderRows) -> Result<Tensor, DecoderError> {
        let (mut q, mut k, v) = match &self.input {
            Input::Apart([q, k, v]) => (q.forward(x)?, k.forward(x)?, v.forward(x)?),
            Input::Fused(all) => {
                let all = all.forward(x)?; // (T, D) → (T, 3 D)
                let width = all.dim(1)? / 3;
                let part = |index: usize| all.narrow(1, index * width, width);
                (part(0)?, part(1)?, part(2)?)
            }
        };
        if let Some(rope) = &self.rope {
            q = rope.apply(&q, &rows.positions)?;
            k = rope.apply(&k, &rows.positions)?;
        }
        let [probabilities, result] = &self.dropped;
        let with_dropout = probabilities.attention([&q, &k, &v], &self.rule, &rows.segments)?;
        let mixed = match with_dropout {
            Some(mixed) => mixed,
            None => attention(&q, &k, &v, self.rule, &rows.segments)?,
        };
        result.forward(self.output.forward(&mixed)?)
    }
}

impl FeedForward {
    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let inner = self.input.forward(x)?; // (T, D) → (T, I), or (T, 2 I)
        let active = if self.gated {
            let half = inner.dim(1)? / 2;
            (gelu(&inner.narrow(1, 0, half)?)? * inner.narrow(1, half, half)?)?
        } else {
            gelu(&inner)?
        };
        let [inner, result] = &self.dropped;
        result.forward(self.output.forward(&inner.forward(active)?)?)
    }
}
