//! `train.objective` as written.

use crate::spec::{
    read::{Place, Read, Reader, section},
    resolved::{DivergenceKind, EstimateKind, ObjectiveKind, RestKind},
    tree::Node,
};

section! {
    /// What a decoder's loss is. Left out: cross-entropy of the labels.
    ObjectiveSection {
        /// `cross_entropy`, `soft_labels` (a teacher's probabilities of the labels), `top_k` (a teacher's likeliest tokens at each place of the reply), `on_policy` (a teacher's view of the student's own replies) or `rationale` (answers with and without reasoning).
        required kind: ObjectiveKind,
        /// The local teacher: `nano`, the directory of a model (`./my-model`), or a model of the hub (`org/name`), with the student's own tokenizer. It is not asked for labels: `teacher` above is. Left out with `top_k`: the vendor tells the log-probabilities of its labels' tokens, which needs a student with its tokenizer.
        optional teacher: String,
        /// `top_k`: tokens of each place. Default 20.
        optional top: u64,
        /// `top_k`: `bucket` (all other tokens are one event) or `renormalised` (they do not exist). Default `bucket`.
        optional rest: RestKind,
        /// `forward` (the student covers what the teacher holds likely) or `reverse` (it keeps to that). Default `forward`; of `on_policy` `reverse`.
        optional divergence: DivergenceKind,
        /// Both distributions are softened by it. Default 1.
        optional temperature: f64,
        /// Share of the teacher's part in the loss; what is left is cross-entropy of the labels. Default 1.
        optional share: f64,
        /// `on_policy`: share of the rows that the student answers itself; the others keep their labels. Default 1.
        optional student_share: f64,
        /// `on_policy`: `whole` (all probabilities of each place) or `drawn` (those of the tokens drawn). Default `whole`.
        optional estimate: EstimateKind,
        /// `rationale`: the column of the training data with the reasoning.
        optional column: String,
        /// `rationale`: what a token with reasoning counts in the loss; one of a plain answer counts 1. Default 0.5.
        optional weight: f64,
    }
}

impl Read for ObjectiveKind {
    const EXPECTED: &'static str =
        "`cross_entropy`, `soft_labels`, `top_k`, `on_policy` or `rationale`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = Self::ALL.map(|kind| (kind.name(), kind));
        reader.choose(node, place, &names)
    }
}

impl Read for RestKind {
    const EXPECTED: &'static str = "`bucket` or `renormalised`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [
            ("bucket", Self::Bucket),
            ("renormalised", Self::Renormalised),
        ];
        reader.choose(node, place, &names)
    }
}

impl Read for DivergenceKind {
    const EXPECTED: &'static str = "`forward` or `reverse`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("forward", Self::Forward), ("reverse", Self::Reverse)];
        reader.choose(node, place, &names)
    }
}

impl Read for EstimateKind {
    const EXPECTED: &'static str = "`whole` or `drawn`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("whole", Self::Whole), ("drawn", Self::Drawn)];
        reader.choose(node, place, &names)
    }
}
