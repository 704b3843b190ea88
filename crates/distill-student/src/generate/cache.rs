//! What tokens that have been run leave behind, layer by layer.

use crate::decoder::{DecoderConfig, DeltaConfig, MixerConfig};
use crate::ops::Piece;

/// Least rows of keys beyond a window before they are dropped together: dropping moves the rest.
const WINDOW_SLACK: usize = 8;

/// What a run of tokens has left behind in every layer. What came before it is in other caches.
#[derive(Debug, Clone)]
pub(super) struct RowCache {
    pub(super) layers: Vec<LayerCache>,
    /// Tokens that have been run.
    length: usize,
}

/// What one layer remembers.
#[derive(Debug, Clone)]
pub(super) enum LayerCache {
    KeyValue(KeyValue),
    DeltaNet(DeltaCache),
}

impl LayerCache {
    pub(super) fn key_value(&self) -> &KeyValue {
        match self {
            Self::KeyValue(cache) => cache,
            Self::DeltaNet(_) => unreachable!("a delta net does not attend"),
        }
    }

    pub(super) fn delta_net(&self) -> &DeltaCache {
        match self {
            Self::DeltaNet(cache) => cache,
            Self::KeyValue(_) => unreachable!("attention keeps keys and values"),
        }
    }

    pub(super) fn delta_net_mut(&mut self) -> &mut DeltaCache {
        match self {
            Self::DeltaNet(cache) => cache,
            Self::KeyValue(_) => unreachable!("attention keeps keys and values"),
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
#[derive(Debug, Clone, Default)]
pub(super) struct KeyValue {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Keys that a query sees, its own among them.
    window: Option<usize>,
}

impl RowCache {
    pub(super) fn new(config: &DecoderConfig) -> Self {
        let layer = |mixer: &MixerConfig| match mixer {
            MixerConfig::Attention(attention) => LayerCache::KeyValue(KeyValue {
                window: attention.window,
                ..KeyValue::default()
            }),
            MixerConfig::DeltaNet(_) => LayerCache::DeltaNet(DeltaCache::default()),
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
                LayerCache::DeltaNet(_) => {}
            }
        }
    }

    /// Bytes of all layers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let elements = |layer: &LayerCache| match layer {
            LayerCache::KeyValue(cache) => cache.keys.len() + cache.values.len(),
            LayerCache::DeltaNet(cache) => cache.tail.len() + cache.state.len(),
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
