//! What an adapter sees of a model: the projections that it may go on, and what may be trained
//! whole beside them.

use candle_core::Tensor;

use super::config::in_module;
use super::{EMBEDDINGS, HEAD, LoraConfig};
use crate::decoder::{DecoderConfig, DecoderError};
use crate::encoder::{EncoderConfig, EncoderWeights};
use crate::ops::FrozenWeight;
use crate::weights::DecoderWeights;

/// A model that an adapter may go on.
pub trait Adaptable {
    /// Every projection by its name, with its shape (O, I), in the order of the forward pass.
    fn projections(&self) -> Vec<(String, [usize; 2])>;

    /// What a configuration trains whole: tensors by their names, with their shapes.
    ///
    /// # Errors
    /// When the configuration asks for what such a model has not.
    fn trained_whole(&self, config: &LoraConfig)
    -> Result<Vec<(String, Vec<usize>)>, DecoderError>;
}

/// Weights that an adapter may begin at.
pub trait AdaptableWeights {
    type Model: Adaptable;

    fn model(&self) -> &Self::Model;

    /// The tensor that a copy trained whole under this name begins as.
    ///
    /// # Errors
    /// When there is none.
    fn beginning(&self, name: &str) -> Result<&Tensor, DecoderError>;

    /// A projection's matrix, where it is held in four bits and not as a tensor.
    fn held(&self, _name: &str) -> Option<&FrozenWeight> {
        None
    }
}

impl Adaptable for DecoderConfig {
    fn projections(&self) -> Vec<(String, [usize; 2])> {
        (0..self.num_hidden_layers)
            .flat_map(|layer| {
                self.linears(layer).into_iter().map(move |linear| {
                    let module = format!("model.layers.{layer}.{}", linear.name);
                    (module, [linear.output, linear.input])
                })
            })
            .collect()
    }

    fn trained_whole(
        &self,
        config: &LoraConfig,
    ) -> Result<Vec<(String, Vec<usize>)>, DecoderError> {
        if let Some(module) = config.classifier.first() {
            return Err(DecoderError::Adapter {
                reason: format!("it trains `{module}`, which is of a classifier, not of a decoder"),
            });
        }
        let table = || vec![self.vocab_size, self.hidden_size];
        let wanted = [
            (config.train_embeddings, EMBEDDINGS),
            (config.train_head, HEAD),
        ];
        let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
        Ok(wanted.map(|(_, name)| (name.to_owned(), table())).collect())
    }
}

impl AdaptableWeights for DecoderWeights {
    type Model = DecoderConfig;

    fn model(&self) -> &DecoderConfig {
        self.config()
    }

    fn beginning(&self, name: &str) -> Result<&Tensor, DecoderError> {
        let tied = name == HEAD && self.config().tie_word_embeddings;
        self.get(if tied { EMBEDDINGS } else { name })
    }

    fn held(&self, name: &str) -> Option<&FrozenWeight> {
        DecoderWeights::held(self, name)
    }
}

impl Adaptable for EncoderConfig {
    /// Those of the head too, as PEFT counts them, but for the classifier.
    fn projections(&self) -> Vec<(String, [usize; 2])> {
        let matrix = |(name, shape): (String, Vec<usize>)| {
            let module = name.strip_suffix(".weight")?;
            let is_projection = !module.contains("embeddings") && module != "classifier";
            match shape.as_slice() {
                [output, input] if is_projection => Some((module.to_owned(), [*output, *input])),
                _ => None,
            }
        };
        self.tensors().into_iter().filter_map(matrix).collect()
    }

    fn trained_whole(
        &self,
        config: &LoraConfig,
    ) -> Result<Vec<(String, Vec<usize>)>, DecoderError> {
        let refused = |reason: &str| {
            let reason = reason.to_owned();
            Err(DecoderError::Adapter { reason })
        };
        if config.train_embeddings || config.train_head {
            return refused("an encoder has no embeddings or language head that are trained whole");
        }
        if !config
            .classifier
            .iter()
            .any(|module| module == "classifier")
        {
            return refused("it does not train the `classifier`, which every encoder needs");
        }
        let of_head = |(name, _): &(String, Vec<usize>)| {
            let mut modules = config.classifier.iter();
            modules.any(|module| in_module(name, module))
        };
        Ok(self.tensors().into_iter().filter(of_head).collect())
    }
}

impl AdaptableWeights for EncoderWeights {
    type Model = EncoderConfig;

    fn model(&self) -> &EncoderConfig {
        self.config()
    }

    fn beginning(&self, name: &str) -> Result<&Tensor, DecoderError> {
        self.get(name)
    }
}
