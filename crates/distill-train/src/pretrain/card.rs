//! The model card: what the model is, what it saw, how to make it again.

use super::{PretrainSummary, Recipe};

pub(super) fn model_card(recipe: &Recipe, summary: &PretrainSummary) -> String {
    let model = &recipe.model;
    format!(
        "# {name}\n\n\
A small decoder (Llama shape, grouped key/value heads, tied embedding) to be tuned on one narrow job.\n\
It holds a sense of everyday words, of instructions with a list of labels or keys, and of copying\n\
spans of a text into JSON. It is no assistant and knows no facts.\n\n\
| | |\n|---|---|\n\
| parameters | {parameters} |\n\
| layers, width, feed-forward | {layers}, {width}, {feed_forward} |\n\
| query heads, key/value heads | {query_heads}, {key_value_heads} |\n\
| context | {context} tokens |\n\
| vocabulary | {vocabulary}, byte-level BPE; digits one by one; a capital letter starts a token |\n\
| steps | {steps} of {planned} |\n\
| tokens seen | {tokens} in {samples} samples |\n\
| loss a token, replies / text (running mean) | {reply_loss:.4} / {text_loss:.4} |\n\
| seconds in steps | {seconds:.0} |\n\
| sha256 of config and weights | `{weights_sha256}` |\n\
| sha256 of tokenizer.json | `{tokenizer_sha256}` |\n\n\
## Data\n\n\
Text made by the generator in `crates/distill-train/src/corpus` from its own word lists, situations\n\
and schemas, each sample once. It has no rows, labels or templates of any pipeline or eval; a test\n\
measures the overlap of word n-grams.\n\n\
## Make it again\n\n\
`distill pretrain --recipe {name} --out DIR` with this recipe:\n\n\
```json\n{recipe_json}```\n\n\
## Limits\n\n\
English only, short messages only; what it was not tuned for it answers at random. Untuned it\n\
follows the instructions of its own corpus at best.\n",
        name = recipe.name,
        parameters = summary.parameters,
        layers = model.layers,
        width = model.width,
        feed_forward = model.feed_forward,
        query_heads = model.query_heads,
        key_value_heads = model.key_value_heads,
        context = model.context,
        vocabulary = summary.vocabulary,
        steps = summary.steps,
        planned = recipe.steps(),
        tokens = summary.tokens_seen,
        samples = summary.samples_seen,
        reply_loss = summary.reply_loss,
        text_loss = summary.text_loss,
        seconds = summary.seconds,
        weights_sha256 = summary.weights_sha256,
        tokenizer_sha256 = summary.tokenizer_sha256,
        recipe_json = recipe.to_json(),
    )
}
