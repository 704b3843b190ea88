//! Which layers turn, which look through a window, and with which rotation.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::limits;
use super::rope::{RopeConfig, RopeSetting};
use super::{AttentionConfig, LayerConfig, MixerConfig};
use crate::decoder::family::{Family, LayerPattern};
use crate::decoder::{DecoderError, DeltaConfig};
use crate::ops::DeltaHeads;

type Object = Map<String, Value>;

/// The layers of a model and the rotations that they point to.
pub(super) struct Stack {
    pub(super) layers: Vec<LayerConfig>,
    pub(super) ropes: Vec<RopeConfig>,
}

/// Reads what differs from layer to layer.
pub(super) struct Layers<'a> {
    pub(super) fields: Fields<'a>,
    pub(super) family: &'static Family,
    /// Bounded before: this many entries are made.
    pub(super) count: usize,
    pub(super) head_dim: usize,
    pub(super) max_positions: usize,
}

impl Layers<'_> {
    pub(super) fn read(&self) -> Result<Stack, DecoderError> {
        let windows = self.windows()?;
        let (ropes, local) = self.ropes()?;
        let turned = self.turned()?;
        let delta_nets = self.delta_nets()?;
        let layers = windows
            .into_iter()
            .zip(turned)
            .zip(delta_nets)
            .map(|((window, turned), delta_net)| {
                if let Some(net) = delta_net {
                    return LayerConfig {
                        mixer: MixerConfig::DeltaNet(net),
                    };
                }
                let rope = if window.is_some() { local } else { 0 };
                LayerConfig {
                    mixer: MixerConfig::Attention(AttentionConfig {
                        window,
                        rope: turned.then_some(rope),
                    }),
                }
            })
            .collect();
        Ok(Stack { layers, ropes })
    }

    fn windows(&self) -> Result<Vec<Option<usize>>, DecoderError> {
        let window = || {
            self.fields
                .optional_size("sliding_window", limits::POSITIONS)
        };
        if let LayerPattern::DeltaNets { .. } = self.family.layers {
            return Ok(vec![None; self.count]);
        }
        let used = self.fields.switch("use_sliding_window", false)?;
        let named = self.named_windows()?;
        let all = |window| vec![window; self.count];
        Ok(match self.family.layers {
            LayerPattern::Uniform | LayerPattern::DeltaNets { .. } => all(None),
            LayerPattern::AllWindowed => {
                let absent = !self.fields.map().contains_key("sliding_window");
                if absent && self.family.model_type == "mistral" {
                    return Err(self.fields.missing("sliding_window"));
                }
                all(window()?)
            }
            LayerPattern::LastWindowed | LayerPattern::SomeUnturned if !used => all(None),
            LayerPattern::LastWindowed => {
                let window = window()?.ok_or_else(|| self.fields.missing("sliding_window"))?;
                let first = match self.fields.present("max_window_layers") {
                    Some(Value::Number(number)) if number.as_u64() == Some(0) => 0,
                    _ => self
                        .fields
                        .optional_size("max_window_layers", usize::MAX)?
                        .unwrap_or(28),
                };
                let named = named.unwrap_or_else(|| (0..self.count).map(|i| i >= first).collect());
                named.into_iter().map(|w| w.then_some(window)).collect()
            }
            LayerPattern::SomeUnturned => {
                let window = window()?;
                let named = match named {
                    Some(named) => named,
                    None => self.turned()?.into_iter().map(|turned| !turned).collect(),
                };
                named.into_iter().map(|w| window.filter(|_| w)).collect()
            }
            LayerPattern::Alternating { interval, .. } => {
                let named = match named {
                    Some(named) => named,
                    None => self.alternating(interval)?,
                };
                let window = window()?;
                if named.contains(&true) && window.is_none() {
                    return Err(self.fields.missing("sliding_window"));
                }
                named.into_iter().map(|w| window.filter(|_| w)).collect()
            }
        })
    }

    /// Every layer but each n-th has a window.
    fn alternating(&self, interval: usize) -> Result<Vec<bool>, DecoderError> {
        let mut interval = interval;
        for field in ["sliding_window_pattern", "_sliding_window_pattern"] {
            let given = self.fields.optional_size(field, limits::LAYERS)?;
            interval = given.unwrap_or(interval);
        }
        Ok((0..self.count).map(|i| (i + 1) % interval != 0).collect())
    }

    /// The layers that `layer_types` gives a window, where it is there.
    fn named_windows(&self) -> Result<Option<Vec<bool>>, DecoderError> {
        let Some(list) = self.fields.list("layer_types")? else {
            return Ok(None);
        };
        if list.len() != self.count {
            let reason = "it does not name one kind for each layer";
            return Err(self.fields.refuse("layer_types", list.len(), reason));
        }
        let windows_allowed = self.family.fields.contains(&"layer_types");
        list.iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") if windows_allowed => Ok(true),
                _ => {
                    let reason = "this family has no such kind of layer";
                    Err(self.fields.refuse("layer_types", kind.clone(), reason))
                }
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The delta net of each layer that has one.
    fn delta_nets(&self) -> Result<Vec<Option<DeltaConfig>>, DecoderError> {
        let LayerPattern::DeltaNets { interval } = self.family.layers else {
            return Ok(vec![None; self.count]);
        };
        let net = self.delta_net()?;
        let Some(list) = self.fields.list("layer_types")? else {
            let field = "full_attention_interval";
            let given = self.fields.optional_size(field, limits::LAYERS)?;
            let interval = given.unwrap_or(interval);
            let nets = (0..self.count).map(|i| (i + 1) % interval != 0);
            return Ok(nets.map(|is_net| is_net.then_some(net)).collect());
        };
        if list.len() != self.count {
            let reason = "it does not name one kind for each layer";
            return Err(self.fields.refuse("layer_types", list.len(), reason));
        }
        list.iter()
            .map(|kind| match kind.as_str() {
                Some("linear_attention") => Ok(Some(net)),
                Some("full_attention") => Ok(None),
                _ => {
                    let reason = "this family has no such kind of layer";
                    Err(self.fields.refuse("layer_types", kind.clone(), reason))
                }
            })
            .collect()
    }

    /// The shape of every delta net; what the fields leave open is as in transformers.
    fn delta_net(&self) -> Result<DeltaConfig, DecoderError> {
        let size = |field, largest, default| {
            let given = self.fields.optional_size(field, largest)?;
            Ok::<_, DecoderError>(given.unwrap_or(default))
        };
        let heads = DeltaHeads {
            key: size("linear_num_key_heads", limits::HEADS, 16)?,
            value: size("linear_num_value_heads", limits::HEADS, 32)?,
            key_width: size("linear_key_head_dim", limits::HEAD_WIDTH, 128)?,
            value_width: size("linear_value_head_dim", limits::HEAD_WIDTH, 128)?,
        };
        if !heads.value.is_multiple_of(heads.key) {
            let reason = "linear_num_key_heads does not divide it";
            let field = "linear_num_value_heads";
            return Err(self.fields.refuse(field, heads.value, reason));
        }
        let taps = size("linear_conv_kernel_dim", limits::TAPS, 4)?;
        Ok(DeltaConfig { heads, taps })
    }

    /// Whether each layer turns its queries and keys.
    fn turned(&self) -> Result<Vec<bool>, DecoderError> {
        if self.family.layers != LayerPattern::SomeUnturned {
            return Ok(vec![true; self.count]);
        }
        let Some(list) = self.fields.list("no_rope_layers")? else {
            let field = "no_rope_layer_interval";
            let interval = self.fields.optional_size(field, limits::LAYERS)?;
            let interval = interval.unwrap_or(4);
            return Ok((0..self.count).map(|i| (i + 1) % interval != 0).collect());
        };
        if list.len() < self.count {
            let reason = "it does not say 0 or 1 for each layer";
            return Err(self.fields.refuse("no_rope_layers", list.len(), reason));
        }
        list[..self.count]
            .iter()
            .map(|flag| match flag.as_u64() {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                _ => {
                    let reason = "a layer turns (1) or does not (0)";
                    Err(self.fields.refuse("no_rope_layers", flag.clone(), reason))
                }
            })
            .collect()
    }

    /// The rotations, and the place of the one that layers with a window take.
    fn ropes(&self) -> Result<(Vec<RopeConfig>, usize), DecoderError> {
        let (object, path) = self.rope_object()?;
        let setting = self.rope_setting()?;
        let LayerPattern::Alternating {
            local_theta: Some(local_theta),
            ..
        } = self.family.layers
        else {
            return Ok((vec![setting.read(object, &format!("{path}."))?], 0));
        };
        // Per kind of layer (transformers 5), or one for the layers without a window.
        let nested = object.filter(|_| path == "rope_parameters");
        let part = |kind: &str| match nested {
            None => Ok(None),
            Some(map) => Fields::new(map, "rope_parameters.").object(kind),
        };
        if let Some(map) = nested {
            let kinds = ["full_attention", "sliding_attention"];
            if let Some((name, value)) = map.iter().find(|(n, _)| !kinds.contains(&n.as_str())) {
                let fields = Fields::new(map, "rope_parameters.");
                return Err(fields.refuse(name, value.clone(), "it is not a kind of layer"));
            }
        }
        let whole = if nested.is_some() {
            part("full_attention")?
        } else {
            object
        };
        let whole = setting.read(whole, &format!("{path}."))?;
        let theta = self.fields.number_or("rope_local_base_freq", local_theta)?;
        let local = RopeSetting { theta, ..setting };
        let local = local.read(
            part("sliding_attention")?,
            "rope_parameters.sliding_attention.",
        )?;
        Ok((vec![whole, local], 1))
    }

    /// The object of either form, and its name.
    fn rope_object(&self) -> Result<(Option<&Object>, &'static str), DecoderError> {
        let (new, old) = ("rope_parameters", "rope_scaling");
        match (self.fields.object(new)?, self.fields.object(old)?) {
            (Some(parameters), Some(scaling)) if parameters != scaling => {
                let reason = "`rope_parameters` says something else";
                Err(self.fields.refuse(old, scaling.clone(), reason))
            }
            (Some(parameters), _) => Ok((Some(parameters), new)),
            (None, scaling) => Ok((scaling, old)),
        }
    }

    fn rope_setting(&self) -> Result<RopeSetting<'static>, DecoderError> {
        let field = "original_max_position_embeddings";
        let original_length = if self.family.fields.contains(&field) {
            // What transformers takes where a configuration of Phi-3 does not say.
            const PHI: usize = 4096;
            let length = self.fields.optional_size(field, limits::POSITIONS)?;
            Some(length.unwrap_or(PHI))
        } else {
            None
        };
        let theta = self.family.rope_theta;
        // Text stands at one position on each axis of a rotation by axes, which then is a plain one.
        let (partial, ignored): (_, &[&str]) = match self.family.layers {
            LayerPattern::DeltaNets { .. } => (0.25, &["mrope_interleaved", "mrope_section"]),
            _ => (1.0, &[]),
        };
        Ok(RopeSetting {
            theta: self.fields.number_or("rope_theta", theta)?,
            partial: self.fields.number_or("partial_rotary_factor", partial)?,
            head_dim: self.head_dim,
            interleaved: self.fields.switch("rope_interleaved", false)?,
            max_positions: self.max_positions,
            original_length,
            ignored,
            partial_allowed: self.family.partial_rotation,
        })
    }
}
