//! `train.decoder` as written.

use crate::spec::{
    read::{At, Place, Read, Reader, section},
    resolved::{AdapterKind, BasePrecision, DeviceKind, ScheduleKind},
    tree::{Node, NodeValue},
};

section! {
    /// Training of a decoder: low-rank adapters (`LoRA`) on its linear layers.
    DecoderSection {
        /// Rank of the adapters. Default 16.
        optional rank: u64,
        /// Scale of the adapters is alpha / rank; of `rslora`, alpha / √rank. Default 32.
        optional alpha: f64,
        /// `lora`, `rslora` (scale alpha / √rank), `dora` (the length of each row trained apart) or `rsdora`. Default `lora`.
        optional variant: AdapterKind,
        /// Modules that get an adapter, by the end of their name: `[q_proj, v_proj]`. Default: every linear layer.
        optional targets: Vec<At<String>>,
        /// Share of its inputs that an adapter does not see in a step. Default 0.
        optional dropout: f64,
        /// Train a copy of the embeddings too. Default false.
        optional embeddings: bool,
        /// Train a copy of the output head too. Default false.
        optional head: bool,
        /// How the frozen base is held: `auto` (as its files are), `f32`, `bf16` or `nf4` (four bits, as in `QLoRA`). Default `auto`.
        optional base: BasePrecision,
        /// Where it is trained and evaluated: `cpu`, `cuda` (a build with `--features cuda`), `metal` or `auto` (the first graphics card that opens, else the processor). Default `cpu`.
        optional device: DeviceKind,
        /// Passes over the examples. Default 4.
        optional epochs: u64,
        /// Highest learning rate: a number, `width` (by the model's family and width and by the method, a fit by Schulman et al. 2025, thinkingmachines.ai/blog/lora: 0.0036 for `LoRA` on nano, 0.0005 on a Qwen of any size, 0.0004 on a Llama of 2,560) or `auto` (found by a short test before the training). Default `width`.
        optional learning_rate: WrittenRate,
        /// How the learning rate goes on after its rise: `cosine`, `linear`, `constant` or `wsd` (stable, then a linear decay). Default `cosine`.
        optional schedule: ScheduleKind,
        /// Share of all steps in which `wsd` decays. Default 0.2.
        optional decay: f64,
        /// Where the schedule ends, as a share of the highest rate. Default 0.
        optional final_learning_rate: f64,
        /// Tokens of one packed batch. Default 4096.
        optional batch_tokens: u64,
        /// Rows of like length share a batch. Default false.
        optional group_by_length: bool,
        /// Batches for each optimizer step. Default 1.
        optional accumulation: u64,
        /// Compute the blocks again in the backward pass instead of keeping them: less memory, about a third more time. Default false.
        optional gradient_checkpointing: bool,
        /// Share of all steps in which the learning rate rises. Default 0.05.
        optional warmup: f64,
        /// Stop after so many steps. Default: none.
        optional max_steps: u64,
        /// Steps between validations. Default: at the end of each epoch.
        optional validate_every: u64,
        /// Validations without a better loss before training stops. Default 2.
        optional patience: u64,
        /// Weight decay. Default 0.
        optional weight_decay: f64,
        /// Largest norm of the gradient. Default 1.
        optional clip: f64,
    }
}

/// What `learning_rate` may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WrittenRate {
    Number(f64),
    Width,
    Auto,
}

impl Read for WrittenRate {
    const EXPECTED: &'static str = "a number, `width` or `auto`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(_) => {
                reader.choose(node, place, &[("width", Self::Width), ("auto", Self::Auto)])
            }
            NodeValue::Float(_) | NodeValue::Integer(_) => {
                f64::read(node, place, reader).map(Self::Number)
            }
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

impl Read for AdapterKind {
    const EXPECTED: &'static str = "`lora`, `rslora`, `dora` or `rsdora`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = Self::ALL.map(|kind| (kind.name(), kind));
        reader.choose(node, place, &names)
    }
}

impl Read for DeviceKind {
    const EXPECTED: &'static str = "`auto`, `cpu`, `cuda` or `metal`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = Self::ALL.map(|kind| (kind.name(), kind));
        reader.choose(node, place, &names)
    }
}

impl Read for BasePrecision {
    const EXPECTED: &'static str = "`auto`, `f32`, `bf16` or `nf4`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [
            ("auto", Self::Auto),
            ("f32", Self::F32),
            ("bf16", Self::Bf16),
            ("nf4", Self::Nf4),
        ];
        reader.choose(node, place, &names)
    }
}

impl Read for ScheduleKind {
    const EXPECTED: &'static str = "`cosine`, `linear`, `constant` or `wsd`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [
            ("cosine", Self::Cosine),
            ("linear", Self::Linear),
            ("constant", Self::Constant),
            ("wsd", Self::Wsd),
        ];
        reader.choose(node, place, &names)
    }
}
