use std::{cell::Cell, fs};

use distill_chat::{Message, Role};
use distill_student::template::{ChatEncoder, ChatLimits, ChatTemplate};

use super::*;
use crate::corpus::Sample;

fn stage(steps: usize, mix: Mix) -> Stage {
    Stage {
        steps,
        mix,
        batch_tokens: 1200,
        text_weight: 0.4,
    }
}

fn tiny() -> Recipe {
    let mut recipe = Recipe::named("nano").unwrap();
    recipe.tokenizer = TokenizerRecipe {
        vocabulary: 400,
        samples: 60,
    };
    recipe.model = ModelRecipe {
        width: 16,
        feed_forward: 24,
        layers: 1,
        query_heads: 2,
        key_value_heads: 1,
        context: 600,
        rope_theta: 10_000.0,
        initial_deviation: 0.05,
    };
    recipe.stages = vec![stage(4, Mix::Broad), stage(4, Mix::Narrow)];
    recipe.optimizer.warmup_steps = 2;
    recipe
}

fn make(
    recipe: &Recipe,
    directory: &Path,
    stop_after: usize,
) -> Result<PretrainSummary, PretrainError> {
    let done = Cell::new(0);
    let request = PretrainRequest {
        recipe,
        directory,
        checkpoint_every: 100,
        cancelled: &|| done.get() >= stop_after,
    };
    pretrain(&request, &mut |event| {
        if matches!(event, PretrainEvent::Step { .. }) {
            done.set(done.get() + 1);
        }
    })
}

#[test]
fn every_embedded_recipe_can_be_read() {
    for (name, _) in RECIPES {
        let recipe = Recipe::named(name).unwrap();
        assert_eq!(recipe.name, *name);
        assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe);
    }
    assert!(Recipe::named("unheard of").is_none());
    assert!(Recipe::from_json("{\"name\": \"x\", \"stepz\": 1}").is_err());
}

#[test]
fn an_interrupted_run_ends_with_the_bytes_of_an_unbroken_one() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = tiny();
    let unbroken = make(&recipe, whole.path(), usize::MAX).unwrap();
    assert!(matches!(
        make(&recipe, broken.path(), 3),
        Err(PretrainError::Cancelled { step: 3 })
    ));
    assert!(broken.path().join("checkpoint.safetensors").exists());
    let mut other = recipe.clone();
    other.seed += 1;
    assert!(matches!(
        make(&other, broken.path(), usize::MAX),
        Err(PretrainError::Checkpoint { .. })
    ));
    let resumed = make(&recipe, broken.path(), usize::MAX).unwrap();
    assert!(!broken.path().join("checkpoint.safetensors").exists());
    assert_eq!(resumed.weights_sha256, unbroken.weights_sha256);
    assert_eq!(resumed.tokens_seen, unbroken.tokens_seen);
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "tokenizer_config.json",
    ] {
        let read = |directory: &Path| fs::read(directory.join(file)).unwrap();
        assert_eq!(read(whole.path()), read(broken.path()), "{file}");
    }
    let card = fs::read_to_string(whole.path().join("MODEL_CARD.md")).unwrap();
    assert!(card.contains(&unbroken.weights_sha256));
}

#[test]
fn training_lowers_both_losses() {
    let directory = tempfile::tempdir().unwrap();
    let mut recipe = tiny();
    recipe.stages = vec![stage(30, Mix::Broad)];
    let mut losses = Vec::new();
    let request = PretrainRequest {
        recipe: &recipe,
        directory: directory.path(),
        checkpoint_every: 100,
        cancelled: &|| false,
    };
    pretrain(&request, &mut |event| {
        if let PretrainEvent::Step {
            reply_loss,
            text_loss,
            ..
        } = event
        {
            losses.push((reply_loss, text_loss));
        }
    })
    .unwrap();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(
        last.0 < first.0 - 0.5 && last.1 < first.1 - 0.5,
        "{first:?} to {last:?}"
    );
}

#[test]
fn rates_rise_stay_and_fall() {
    let mut recipe = tiny();
    recipe.stages = vec![stage(60, Mix::Broad), stage(40, Mix::Narrow)];
    recipe.optimizer.warmup_steps = 10;
    recipe.optimizer.decay_share = 0.2;
    let rates: Vec<f64> = [1, 5, 10, 80, 91, 100]
        .iter()
        .map(|step| recipe.rate(*step))
        .collect();
    let expected = [0.1, 0.5, 1.0, 1.0, 0.5, 0.05];
    assert!(
        rates
            .iter()
            .zip(expected)
            .all(|(rate, expected)| (rate - expected).abs() < 1e-9),
        "{rates:?}"
    );
}

#[test]
fn pretraining_sees_the_tokens_that_tuning_will_send() {
    let recipe = tiny();
    let corpus = Corpus::new(recipe.seed);
    let files = vocabulary::learn(&corpus, &recipe.tokenizer, 600).unwrap();
    let again = vocabulary::learn(&corpus, &recipe.tokenizer, 600).unwrap();
    assert_eq!(files.tokenizer, again.tokenizer);
    let tokenizer = Arc::new(files.load("tiny").unwrap());
    let template = ChatTemplate::from_config(&files.config, &tokenizer).unwrap();
    let limits = ChatLimits {
        max_prompt_tokens: 4000,
        max_reply_tokens: 1000,
    };
    let encoder = ChatEncoder::new(Arc::clone(&tokenizer), Arc::new(template), limits).unwrap();
    let mut checked = 0;
    for number in 0..40 {
        let Sample::Chat(messages) = corpus.sample(Mix::Broad, number) else {
            continue;
        };
        let last = messages.last().unwrap();
        assert_eq!(last.role, Role::Assistant);
        let prompt: &[Message] = &messages[..messages.len() - 1];
        let example = encoder.encode_example(prompt, &last.content).unwrap();
        let (row, replies) = stream::row_of(&corpus, &tokenizer, &Sample::Chat(messages.clone()));
        assert_eq!(row, example.tokens);
        let reply = &example.tokens[example.loss_from..];
        assert!(replies.ends_with(reply), "the reply and its end are learnt");
        checked += 1;
    }
    assert!(checked > 20);
}

#[test]
fn the_card_of_the_embedded_model_tells_its_recipe_and_weights() {
    let card = include_str!("../../../distill-student/assets/nano/MODEL_CARD.md");
    let recipe = Recipe::named("nano").unwrap();
    let base = distill_student::embedded::nano().unwrap();
    assert!(card.contains(&recipe.to_json()), "the recipe");
    let (weights, vocabulary) = (base.weights.sha256().unwrap(), base.tokenizer.sha256());
    assert!(card.contains(&weights), "the weights are {weights}");
    assert!(card.contains(vocabulary), "the vocabulary is {vocabulary}");
}
