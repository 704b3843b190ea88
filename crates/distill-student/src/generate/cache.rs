//! What tokens that have been run leave behind, layer by layer.

use super::placed::{PlacedDelta, PlacedKeys};
use crate::decoder::{Decoder, DeltaConfig, MixerConfig};
use crate::ops::{Piece, has_kernels};

/// Least rows of keys beyond a window before they are dropped together: dropping moves the rest.
const WINDOW_SLACK: usize = 8;

/// What a run of tokens has left behind in every layer. What came before it is in other caches.
#[derive(Debug)]
pub(super) struct RowCache {
    pub(super) layers: Vec<LayerCache>,
    /// Tokens that have been run.
    length: usize,
}

/// What one layer remembers: in main memory, or placed where the model runs.
#[derive(Debug)]
pub(super) enum LayerCache {
    KeyValue(KeyValue),
    DeltaNet(DeltaCache),
    PlacedKeys(PlacedKeys),
    /// None before the first token.
    PlacedDelta(Option<PlacedDelta>),
}

impl LayerCache {
    pub(super) fn key_value(&self) -> &KeyValue {
        match self {
            Self::KeyValue(cache) => cache,
            _ => unreachable!("no keys are kept here"),
        }
    }

    pub(super) fn delta_net(&self) -> &DeltaCache {
        match self {
            Self::DeltaNet(cache) => cache,
            _ => unreachable!("no memory of a delta net is kept here"),
        }
    }

    pub(super) fn delta_net_mut(&mut self) -> &mut DeltaCache {
        match self {
            Self::DeltaNet(cache) => cache,
            _ => unreachable!("no memory of a delta net is kept here"),
        }
    }
}

/// What a delta net remembers, however long the row; nothing before its first token.
#[derive(Debug, Clone, Default)]
pub(super) struct DeltaCache {
    /// The inputs that the convolution still needs.
    pub(super) tail: Vec<f32>,
    /// (value heads, key width, value width)
    pub(super) state: Vec<f32>,
}

impl DeltaCache {
    /// The memory in front of a row.
    pub(super) fn new(config: DeltaConfig) -> Self {
        Self {
            tail: vec![0.0; config.tail()],
            state: vec![0.0; config.heads.state()],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.is_empty()
    }
}

/// Keys and values, rows of K * E. A layer with a window keeps the last tokens only.
#[derive(Debug, Default)]
pub(super) struct KeyValue {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Keys that a query sees, its own among them.
    window: Option<usize>,
}

impl RowCache {
    pub(super) fn new(decoder: &Decoder) -> Self {
        let (config, here) = (decoder.config(), has_kernels(decoder.device()));
        let layer = |mixer: &MixerConfig| match mixer {
            MixerConfig::Attention(attention) if here => LayerCache::KeyValue(KeyValue {
                window: attention.window,
                ..KeyValue::default()
            }),
            MixerConfig::DeltaNet(_) if here => LayerCache::DeltaNet(DeltaCache::default()),
            MixerConfig::Attention(attention) => {
                LayerCache::PlacedKeys(PlacedKeys::new(attention.window))
            }
            MixerConfig::DeltaNet(_) => LayerCache::PlacedDelta(None),
        };
        Self {
            layers: config.layers.iter().map(|of| layer(&of.mixer)).collect(),
            length: 0,
        }
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Counts tokens that every layer has taken and drops what no later token sees.
    pub(super) fn advance(&mut self, tokens: usize, key_row: usize) {
        self.length += tokens;
        for layer in &mut self.layers {
            match layer {
                LayerCache::KeyValue(cache) => cache.trim(key_row),
                LayerCache::PlacedKeys(cache) => cache.trim(),
                LayerCache::DeltaNet(_) | LayerCache::PlacedDelta(_) => {}
            }
        }
    }

    /// Bytes of all layers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let elements = |layer: &LayerCache| match layer {
            LayerCache::KeyValue(cache) => cache.keys.len() + cache.values.len(),
            LayerCache::DeltaNet(cache) => cache.tail.len() + cache.state.len(),
            LayerCache::PlacedKeys(cache) => cache.elements(),
            LayerCache::PlacedDelta(cache) => cache.as_ref().map_or(0, PlacedDelta::elements),
        };
        self.layers.iter().map(elements).sum::<usize>() * size_of::<f32>()
    }
}

impl KeyValue {
    pub(super) fn extend(&mut self, keys: &[f32], values: &[f32]) {
        self.keys.extend_from_slice(keys);
        self.values.extend_from_slice(values);
    }

    pub(super) fn piece(&self, key_row: usize) -> Piece<'_> {
        Piece {
            keys: &self.keys,
            values: &self.values,
            length: self.keys.len() / key_row,
        }
    }

    fn trim(&mut self, key_row: usize) {
        let Some(window) = self.window else { return };
        let held = self.keys.len() / key_row;
        // The next query sees itself and one less than the window before it.
        let needed = window.saturating_sub(1);
        if held > needed + WINDOW_SLACK.max(needed / 4) {
            let dropped = (held - needed) * key_row;
            self.keys.drain(..dropped);
            self.values.drain(..dropped);
        }
    }
}
