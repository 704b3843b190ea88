//! What a training shows while it runs: metrics, notes, and what was proved before it.

use distill_pipeline::record::Level;
use distill_runner::StepContext;
use distill_student::template::ChatEncoder;
use distill_train::{Proof, RangeTest, TrainEvent, TrainSettings, TrainSummary};

use super::memory;

/// Tells what a decoder's training tells; `encoder` spells its tokens.
pub(super) fn tell(context: &StepContext, event: &TrainEvent, encoder: &ChatEncoder) {
    match event {
        TrainEvent::Proved(proof) => {
            let spell = |tokens: &[u32]| encoder.tokenizer().decode(tokens).unwrap_or_default();
            context.note(level(proof), proved(proof, &spell));
        }
        event => tell_progress(context, event),
    }
}

/// Tells what an encoder's training tells; `labels` are those of its head.
pub(super) fn tell_encoder(context: &StepContext, event: &TrainEvent, labels: &[String]) {
    match event {
        TrainEvent::Proved(Proof::LabelCoverage { missing, .. }) if !missing.is_empty() => {
            let names = missing.iter().filter_map(|label| labels.get(*label));
            let names: Vec<String> = names.map(|name| format!("`{}`", printable(name))).collect();
            context.note(
                Level::Warning,
                format!(
                    "no training row has the label {}: the student will hardly ever give it",
                    names.join(", ")
                ),
            );
        }
        TrainEvent::Proved(proof) => {
            context.note(level(proof), proved(proof, &|_| String::new()));
        }
        event => tell_progress(context, event),
    }
}

/// Tells how far a training is, and its figures.
fn tell_progress(context: &StepContext, event: &TrainEvent) {
    match event {
        TrainEvent::Started {
            resumed_at: Some(step),
            ..
        } => context.note(
            Level::Info,
            format!("goes on from the checkpoint of step {step}"),
        ),
        TrainEvent::Step {
            step,
            steps,
            loss,
            learning_rate,
            gradient_norm,
            tokens,
            seconds,
        } => {
            let position = Some(*step as u64);
            context.progress(*step as u64, Some(*steps as u64), "steps");
            context.metric("loss", *loss, position);
            context.metric("learning_rate", *learning_rate, position);
            context.metric("gradient_norm", *gradient_norm, position);
            if *seconds > 0.0 {
                context.metric("tokens_per_second", *tokens as f64 / seconds, position);
            }
            if let Some(bytes) = memory::resident() {
                context.metric("memory_bytes", bytes as f64, position);
            }
        }
        TrainEvent::Validated { step, loss, .. } => {
            context.metric("validation_loss", *loss, Some(*step as u64));
        }
        TrainEvent::StoppedEarly { step, best_step } => context.note(
            Level::Info,
            format!("stopped at step {step}: nothing better since step {best_step}"),
        ),
        TrainEvent::Started { .. } | TrainEvent::Checkpointed { .. } | TrainEvent::Proved(_) => {}
    }
}

/// A rate that is a setting.
pub(super) fn rate_as_set(rate: f64) -> String {
    format!("learning rate {rate:.2e}")
}

/// The rate that the rule gave: see [`distill_train::default_learning_rate`].
pub(super) fn rate_by_width(rate: f64) -> String {
    format!("learning rate {rate:.2e}, by the model's family and width and by the method")
}

/// How far a training goes at most, and how much it takes at once.
pub(super) fn rounds(settings: &TrainSettings) -> String {
    let steps = settings
        .max_steps
        .map_or_else(String::new, |steps| format!(" or {steps} steps"));
    let batches = match settings.accumulation {
        1 => String::new(),
        more => format!(", {more} of them a step"),
    };
    format!(
        "{} epochs at most{steps}, batches of up to {} tokens{batches}",
        settings.epochs, settings.batch_tokens
    )
}

/// Which step's weights were kept; none where no validation rows chose.
pub(super) fn kept(summary: &TrainSummary) -> Option<String> {
    let best = summary.best_step?;
    let stopped = if summary.stopped_early {
        ", the training stopped early"
    } else {
        ""
    };
    Some(format!(
        "kept as after step {best} of {}, by the loss on validation rows{stopped}",
        summary.steps
    ))
}

/// What a range test chose, with the losses at both ends of the rates tried.
pub(super) fn rate_found(found: &RangeTest) -> String {
    let at = |tried: Option<&(f64, f64)>| {
        tried.map_or_else(String::new, |(rate, loss)| {
            format!("loss {loss:.3} at {rate:.1e}")
        })
    };
    format!(
        "learning rate {:.2e}, by a range test of {} steps ({}, {})",
        found.chosen,
        found.tried.len(),
        at(found.tried.first()),
        at(found.tried.last()),
    )
}

/// A line for what was shown before the run; `spell` gives the text of tokens.
fn proved(proof: &Proof, spell: &dyn Fn(&[u32]) -> String) -> String {
    match proof {
        Proof::Mask { tokens, loss_from } => {
            let (prompt, reply) = tokens.split_at((*loss_from).min(tokens.len()));
            let words = |tokens: &[u32]| printable(&spell(tokens).replace('\n', "\\n"));
            format!(
                "proof: the loss of the first row falls on the last {} of {} tokens: {}»{}«",
                reply.len(),
                tokens.len(),
                tail(&words(prompt)),
                words(reply),
            )
        }
        Proof::StopTokens { rows } => {
            format!("proof: each of {rows} replies ends in a stop token, which is trained")
        }
        Proof::LabelCoverage {
            rows,
            labels,
            missing,
        } => format!(
            "proof: {} of {labels} labels have training rows ({rows} rows)",
            labels - missing.len(),
        ),
        Proof::StartsAtBase { tokens, difference } => format!(
            "proof: before the first step the student answers as its base does (largest difference \
             in a logit {difference:.1e} over {tokens} tokens)"
        ),
        Proof::Census { trained, frozen } => format!(
            "proof: {trained} tensors train and got a gradient, {frozen} are frozen and got none"
        ),
        Proof::Overfit {
            rows,
            steps,
            first_loss,
            last_loss,
            asked_loss,
        } => learnt_by_heart((*rows, *steps), (*first_loss, *last_loss), *asked_loss),
    }
}

/// What was measured, and whether it was enough.
fn learnt_by_heart((rows, steps): (usize, usize), (first, last): (f64, f64), asked: f64) -> String {
    let measured = format!(
        "trained on alone, the loss of {rows} rows went from {first:.3} to {last:.3} in {steps} steps"
    );
    if last <= asked {
        format!("proof: {measured} ({asked:.3} was asked for), so they are learnt; then put back")
    } else {
        format!(
            "NOT PROVED that rows can be learnt by heart: {measured}, and {asked:.3} was asked for; \
             a higher learning rate may be needed. The weights were put back, and training goes on"
        )
    }
}

/// Whether a proof fell short of what it was to show.
fn falls_short(proof: &Proof) -> bool {
    matches!(proof, Proof::Overfit { last_loss, asked_loss, .. } if last_loss > asked_loss)
}

/// The level at which a proof is told.
fn level(proof: &Proof) -> Level {
    if falls_short(proof) {
        Level::Warning
    } else {
        Level::Info
    }
}

/// Data may hold signs that a terminal takes for orders, or that turn a line's direction.
fn printable(text: &str) -> String {
    let harmless = |sign: char| match sign {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        sign if sign.is_control() => '\u{fffd}',
        sign => sign,
    };
    text.chars().map(harmless).collect()
}

/// Characters of a prompt that are shown before the reply.
const TAIL: usize = 40;

fn tail(text: &str) -> String {
    let count = text.chars().count();
    if count <= TAIL {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count - TAIL).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_by_heart_tells_what_was_measured_and_no_more() {
        let proof = |last_loss| Proof::Overfit {
            rows: 8,
            steps: 30,
            first_loss: 2.0,
            last_loss,
            asked_loss: 1.0,
        };
        let spell = |_: &[u32]| String::new();
        let learnt = proved(&proof(0.9), &spell);
        assert_eq!(
            learnt,
            "proof: trained on alone, the loss of 8 rows went from 2.000 to 0.900 in 30 steps \
             (1.000 was asked for), so they are learnt; then put back"
        );
        let short = proved(&proof(1.5), &spell);
        assert!(short.starts_with("NOT PROVED"), "{short}");
        assert!(short.contains("2.000 to 1.500 in 30 steps"), "{short}");
        assert_eq!(level(&proof(0.9)), Level::Info);
        assert_eq!(level(&proof(1.5)), Level::Warning);
    }

    #[test]
    fn a_row_gives_the_terminal_no_orders() {
        let shown = printable("a\u{1b}[2J\u{7}b \u{202e}c\u{9b}é");
        assert_eq!(shown, "a\u{fffd}[2J\u{fffd}b \u{fffd}c\u{fffd}é");
    }
}
