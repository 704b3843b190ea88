//! Rotary position embedding as a configuration gives it: base, width and scaling.

use serde_json::{Map, Value};

use super::fields::{Fields, unsupported};
use super::limits;
use crate::decoder::DecoderError;
use crate::ops::Rotation;

/// One rotation of a model. Most have one; Gemma 3 has another for its local layers.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    pub theta: f64,
    /// Elements of a head.
    pub head_dim: usize,
    /// Elements of a head that are turned, an even number.
    pub width: usize,
    /// Whether neighbours are a pair, or elements half the width apart.
    pub interleaved: bool,
    pub scaling: RopeScaling,
}

/// How the frequencies differ from `theta^(-2i / width)`, so that longer rows can be read.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    /// Positions shrink by a factor (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear {
        factor: f64,
    },
    /// Slow pairs shrink, fast ones stay, a blend between (Llama 3.1).
    Llama3 {
        factor: f64,
        low_frequency_factor: f64,
        high_frequency_factor: f64,
        original_length: f64,
    },
    /// A ramp over the pairs and a temperature (Peng et al. 2023,
    /// <https://arxiv.org/abs/2309.00071>).
    Yarn {
        factor: f64,
        original_length: f64,
        fast_turns: f64,
        slow_turns: f64,
        whole_pairs: bool,
        attention_factor: f64,
    },
    /// A divisor for each pair, other ones in rows longer than the original length (Ding et al.
    /// 2024, <https://arxiv.org/abs/2402.13753>).
    Long {
        short: Vec<f64>,
        long: Vec<f64>,
        original_length: usize,
        attention_factor: f64,
    },
}

impl RopeConfig {
    /// The rotation that the op runs. Frequencies are worked out in single precision, step by step
    /// as transformers does (`modeling_rope_utils.py`): a model was trained with those, and the
    /// difference to exact ones grows with the position.
    pub(crate) fn rotation(&self) -> Rotation {
        let periods = Rotation::periods(self.theta, self.width);
        let plain = || periods.iter().map(|period| 1.0 / period);
        let divided = |by: &[f64]| -> Vec<f32> {
            let pairs = periods.iter().zip(by);
            pairs
                .map(|(period, by)| 1.0 / (*by as f32 * period))
                .collect()
        };
        let (mut long, mut factor) = (None, 1.0);
        let frequencies = match &self.scaling {
            RopeScaling::None => plain().collect(),
            RopeScaling::Linear { factor } => plain().map(|f| f / *factor as f32).collect(),
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_length,
            } => {
                let blend = Blend {
                    factor: *factor as f32,
                    low: *low_frequency_factor,
                    high: *high_frequency_factor,
                    original_length: *original_length,
                };
                plain().map(|f| blend.of(f)).collect()
            }
            RopeScaling::Yarn {
                factor: by,
                attention_factor,
                ..
            } => {
                factor = *attention_factor;
                let pairs = periods.iter().zip(self.yarn_ramp());
                pairs
                    .map(|(period, ramp)| {
                        let kept = 1.0 - ramp;
                        1.0 / (*by as f32 * period) * (1.0 - kept) + 1.0 / period * kept
                    })
                    .collect()
            }
            RopeScaling::Long {
                short,
                long: divisors,
                original_length,
                attention_factor,
            } => {
                factor = *attention_factor;
                long = Some((*original_length, divided(divisors)));
                divided(short)
            }
        };
        Rotation {
            head_dim: self.head_dim,
            frequencies,
            long,
            factor: factor as f32,
            interleaved: self.interleaved,
        }
    }

    /// For each pair how much of it shrinks: 0 for those that turn fast, 1 for those that turn
    /// slowly.
    fn yarn_ramp(&self) -> Vec<f32> {
        let RopeScaling::Yarn {
            original_length,
            fast_turns,
            slow_turns,
            whole_pairs,
            ..
        } = &self.scaling
        else {
            return Vec::new();
        };
        let width = self.width as f64;
        // The pair that makes so many turns over the original length.
        let pair = |turns: f64| {
            width * (original_length / (turns * std::f64::consts::TAU)).ln()
                / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (pair(*fast_turns), pair(*slow_turns));
        if *whole_pairs {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(width - 1.0));
        if (high - low).abs() < f64::EPSILON {
            high += 0.001;
        }
        let (start, length) = (low as f32, (high - low) as f32);
        (0..self.width / 2)
            .map(|i| ((i as f32 - start) / length).clamp(0.0, 1.0))
            .collect()
    }
}

/// The frequencies of Llama 3.1.
struct Blend {
    factor: f32,
    low: f64,
    high: f64,
    original_length: f64,
}

impl Blend {
    fn of(&self, frequency: f32) -> f32 {
        let wavelength = 1.0 / frequency * std::f32::consts::TAU;
        if wavelength > (self.original_length / self.low) as f32 {
            return frequency / self.factor;
        }
        if wavelength < (self.original_length / self.high) as f32 {
            return frequency;
        }
        let turns = 1.0 / wavelength * self.original_length as f32;
        let kept = (turns - self.low as f32) / (self.high - self.low) as f32;
        (1.0 - kept) * frequency / self.factor + kept * frequency
    }
}

/// What a rotation takes from outside its own object.
pub(super) struct RopeSetting<'a> {
    pub(super) theta: f64,
    pub(super) partial: f64,
    pub(super) head_dim: usize,
    pub(super) interleaved: bool,
    pub(super) max_positions: usize,
    /// `original_max_position_embeddings` beside the object, which counts before the one within.
    pub(super) original_length: Option<usize>,
    /// Fields that the family may hold in the object without a meaning for text.
    pub(super) ignored: &'a [&'a str],
    pub(super) partial_allowed: bool,
}

impl RopeSetting<'_> {
    /// Reads one rotation, of an object (`rope_scaling`, `rope_parameters` or a part of it) or of
    /// none.
    pub(super) fn read(
        &self,
        object: Option<&Map<String, Value>>,
        path: &str,
    ) -> Result<RopeConfig, DecoderError> {
        let nothing = Map::new();
        let fields = Fields::new(object.unwrap_or(&nothing), path);
        let kind = Self::kind(fields)?;
        let known: &[&str] = match kind {
            "default" => &[],
            "linear" => &["factor"],
            "llama3" => &[
                "factor",
                "low_freq_factor",
                "high_freq_factor",
                "original_max_position_embeddings",
            ],
            "yarn" => &[
                "factor",
                "original_max_position_embeddings",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            "longrope" => &[
                "factor",
                "original_max_position_embeddings",
                "attention_factor",
                "short_factor",
                "long_factor",
            ],
            other => {
                let reason = "known are default, linear, llama3, yarn and longrope";
                return Err(fields.refuse("rope_type", other, reason));
            }
        };
        for (name, value) in fields.map() {
            let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
            let name = name.as_str();
            let known = always.contains(&name) || known.contains(&name);
            if !known && !self.ignored.contains(&name) && !value.is_null() {
                return Err(fields.refuse(
                    name,
                    value.clone(),
                    "this kind of rotation has no such field",
                ));
            }
        }
        let partial = fields.number_or("partial_rotary_factor", self.partial)?;
        let width = (self.head_dim as f64 * partial) as usize;
        let turns_part = width != self.head_dim;
        if width == 0
            || width % 2 == 1
            || width > self.head_dim
            || (turns_part && !self.partial_allowed)
        {
            let reason = "this family cannot turn such a part of its heads";
            return Err(fields.refuse("partial_rotary_factor", partial, reason));
        }
        let theta = fields.number_or("rope_theta", self.theta)?;
        if theta <= 1.0 {
            return Err(fields.refuse("rope_theta", theta, "it is not greater than 1"));
        }
        Ok(RopeConfig {
            theta,
            head_dim: self.head_dim,
            width,
            interleaved: self.interleaved,
            scaling: self.scaling(fields, kind, width)?,
        })
    }

    /// The kind in the newer or the older field, which must agree.
    fn kind(fields: Fields<'_>) -> Result<&str, DecoderError> {
        let (new, old) = (fields.text("rope_type")?, fields.text("type")?);
        if let (Some(new), Some(old)) = (new, old)
            && new != old
        {
            return Err(fields.refuse("type", old, "`rope_type` says another kind"));
        }
        Ok(match new.or(old).unwrap_or("default") {
            // The first name of the method, in files of Phi-3.
            "su" => "longrope",
            kind => kind,
        })
    }

    fn scaling(
        &self,
        fields: Fields<'_>,
        kind: &str,
        width: usize,
    ) -> Result<RopeScaling, DecoderError> {
        Ok(match kind {
            "linear" => RopeScaling::Linear {
                factor: fields.number("factor")?,
            },
            "llama3" => {
                let low = fields.number("low_freq_factor")?;
                let high = fields.number("high_freq_factor")?;
                if high <= low {
                    let reason = "it is not greater than low_freq_factor";
                    return Err(fields.refuse("high_freq_factor", high, reason));
                }
                RopeScaling::Llama3 {
                    factor: fields.number("factor")?,
                    low_frequency_factor: low,
                    high_frequency_factor: high,
                    original_length: self.original_length(fields)? as f64,
                }
            }
            "yarn" => self.yarn(fields)?,
            "longrope" => {
                let original_length = self.original_length(fields)?;
                let factor = fields.optional_number("factor")?;
                let factor = factor.unwrap_or(self.max_positions as f64 / original_length as f64);
                let attention_factor = match fields.optional_number("attention_factor")? {
                    Some(factor) => factor,
                    None if factor <= 1.0 || original_length == 1 => 1.0,
                    None => (1.0 + factor.ln() / (original_length as f64).ln()).sqrt(),
                };
                RopeScaling::Long {
                    short: fields.numbers("short_factor", width / 2)?,
                    long: fields.numbers("long_factor", width / 2)?,
                    original_length,
                    attention_factor,
                }
            }
            _ => RopeScaling::None,
        })
    }

    fn yarn(&self, fields: Fields<'_>) -> Result<RopeScaling, DecoderError> {
        let original_length = self.original_length(fields)? as f64;
        let factor = fields.optional_number("factor")?;
        let factor = factor.unwrap_or(self.max_positions as f64 / original_length);
        let temperature = |weight: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * weight * factor.ln() + 1.0
            }
        };
        let weights = (
            fields.optional_number("mscale")?,
            fields.optional_number("mscale_all_dim")?,
        );
        let attention_factor = match (fields.optional_number("attention_factor")?, weights) {
            (Some(factor), _) => factor,
            (None, (Some(one), Some(all))) => temperature(one) / temperature(all),
            (None, _) => temperature(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_length,
            fast_turns: fields.number_or("beta_fast", 32.0)?,
            slow_turns: fields.number_or("beta_slow", 1.0)?,
            whole_pairs: fields.switch("truncate", true)?,
            attention_factor,
        })
    }

    fn original_length(&self, fields: Fields<'_>) -> Result<usize, DecoderError> {
        const FIELD: &str = "original_max_position_embeddings";
        let within = fields.optional_size(FIELD, limits::POSITIONS)?;
        match (self.original_length, within) {
            (Some(outer), Some(inner)) if outer != inner => Err(unsupported(
                FIELD,
                outer,
                "the rotation says another length",
            )),
            (Some(length), _) | (None, Some(length)) => Ok(length),
            (None, None) => Ok(self.max_positions),
        }
    }
}
