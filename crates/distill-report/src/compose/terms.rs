//! The statistical words of a report and what they mean.

use crate::document::{Block, Document, Line, Section};

/// A word, in which forms it is met, and its meaning in a sentence.
struct Term {
    word: &'static str,
    /// In small letters.
    forms: &'static [&'static str],
    meaning: &'static str,
}

const TERMS: &[Term] = &[
    Term {
        word: "interval",
        forms: &["interval"],
        meaning: "The values that the rows at hand do not rule out. Made this way again and again, 95 of 100 such 95% intervals hold the true value.",
    },
    Term {
        word: "margin",
        forms: &["margin"],
        meaning: "How many points of loss you said you accept. \"Not worse by the margin\" means that even the low end of the interval loses less than that.",
    },
    Term {
        word: "points",
        forms: &["points"],
        meaning: "Percentage points: from 90% to 88% is a loss of 2 points.",
    },
    Term {
        word: "paired",
        forms: &["paired"],
        meaning: "Both models answered the same rows and are compared row by row, which tells more than two averages.",
    },
    Term {
        word: "McNemar p",
        forms: &["mcnemar"],
        meaning: "How likely a split this uneven between \"only first right\" and \"only second right\" is if both are equally good. Exact, two-sided.",
    },
    Term {
        word: "p",
        forms: &["p is that of"],
        meaning: "How likely figures this good are if the candidate is really worse than the teacher by the margin. Small is good.",
    },
    Term {
        word: "p after Holm",
        forms: &["holm"],
        meaning: "The same, raised because several candidates had a chance to look good by luck (Holm's correction).",
    },
    Term {
        word: "floor",
        forms: &["(floor)", "the floor"],
        meaning: "The cheapest student there is, a linear model. What does not beat it is not worth its price.",
    },
    Term {
        word: "agreement with the teacher",
        forms: &["agreement with the teacher"],
        meaning: "The share of rows with the teacher's own answer. Where the teacher is wrong, agreeing with it is wrong, too.",
    },
    Term {
        word: "left out",
        forms: &["left out"],
        meaning: "Rows on which one of the two was not scored, so that they cannot be compared.",
    },
    Term {
        word: "unscored",
        forms: &["unscored"],
        meaning: "Rows without a usable answer or reference. They are counted apart, never as 0.",
    },
    Term {
        word: "to the first token (TTFT)",
        forms: &["ttft", "to the first token", "first p"],
        meaning: "Time from the request to the first piece of the answer; `ttft_ms` in report.json, as `vllm bench serve` names it.",
    },
    Term {
        word: "per output token (TPOT)",
        forms: &["tpot", "per output token", "per token p"],
        meaning: "Time per token after the first; `tpot_ms` in report.json.",
    },
    Term {
        word: "to the whole answer (E2EL)",
        forms: &["e2el", "to the whole answer"],
        meaning: "End-to-end latency, from the request to the end of the answer; `e2el_ms` in report.json.",
    },
    Term {
        word: "p50, p95, p99",
        forms: &["p50", "p95", "p99"],
        meaning: "Half of all answers, 95 and 99 of 100 are at least this fast.",
    },
    Term {
        word: "break-even",
        forms: &["break-even"],
        meaning: "After so many requests the student has saved what labels and training cost.",
    },
    Term {
        word: "deferred",
        forms: &["deferred", "deferring"],
        meaning: "Handed on to the teacher, since the student is not sure.",
    },
    Term {
        word: "oracle",
        forms: &["oracle"],
        meaning: "What deferring would bring if one knew which answers are wrong: the best any confidence could do.",
    },
    Term {
        word: "calibrated",
        forms: &["calibrat"],
        meaning: "Of the answers that are called 90% sure, 90 of 100 are right. Fitted by isotonic regression on rows of its own.",
    },
    Term {
        word: "Clopper-Pearson",
        forms: &["clopper"],
        meaning: "An exact bound on a share: the true share is above it in at most so many of 100 cases as the confidence leaves.",
    },
    Term {
        word: "Cohen's kappa",
        forms: &["kappa"],
        meaning: "Agreement beyond chance: 1 is perfect, 0 is what guessing gives. Below 0.6 a judge is a poor stand-in for people.",
    },
    Term {
        word: "corrected with human verdicts",
        forms: &["corrected with human"],
        meaning: "The judge's mean, moved by how far it was off on the rows that people judged (prediction-powered inference).",
    },
    Term {
        word: "precision, recall, F1",
        forms: &["precision", "recall", " f1"],
        meaning: "Of the answers with this label, the share that is right; of the rows with this label, the share that was found; F1 is their harmonic mean. Macro F1 counts every label alike.",
    },
    Term {
        word: "SIM",
        forms: &["simulated"],
        meaning: "A simulated provider made or shaped this number.",
    },
];

/// The meaning of a column's title.
pub(crate) fn explain(title: &str) -> Option<&'static str> {
    let title = title.to_lowercase();
    if title == "p" {
        return TERMS
            .iter()
            .find(|term| term.word == "p")
            .map(|term| term.meaning);
    }
    TERMS
        .iter()
        .find(|term| term.forms.iter().any(|form| title.contains(form)))
        .map(|term| term.meaning)
}

/// The words that the document uses.
pub(super) fn section(document: &Document) -> Option<Section> {
    let mut texts = String::new();
    for line in [&document.meaning, &document.reason, &document.scope] {
        gather(line, &mut texts);
    }
    for part in &document.sections {
        blocks(&part.blocks, &mut texts);
    }
    let texts = texts.to_lowercase();
    let terms: Vec<(&str, &str)> = TERMS
        .iter()
        .filter(|term| term.forms.iter().any(|form| texts.contains(form)))
        .map(|term| (term.word, term.meaning))
        .collect();
    (!terms.is_empty()).then(|| super::section("terms", "Terms", vec![Block::Terms(terms)]))
}

fn gather(line: &Line, texts: &mut String) {
    // Words of the user's rows are no words of the report.
    if !line.quoted {
        texts.push_str(&line.text);
        texts.push('\n');
        if line.simulated {
            texts.push_str("simulated\n");
        }
    }
}

fn blocks(list: &[Block], texts: &mut String) {
    for block in list {
        match block {
            Block::Text(line) => gather(line, texts),
            Block::Items(items) => items.iter().for_each(|item| gather(item, texts)),
            Block::Table(table) => {
                texts.push_str(&table.caption);
                for column in &table.columns {
                    texts.push('\n');
                    texts.push_str(&column.title);
                }
                texts.push('\n');
                table
                    .rows
                    .iter()
                    .flatten()
                    .for_each(|cell| gather(cell, texts));
            }
            Block::Figure { caption, .. } => {
                texts.push_str(caption);
                texts.push('\n');
            }
            Block::Fold {
                summary,
                blocks: inner,
            } => {
                texts.push_str(summary);
                texts.push('\n');
                blocks(inner, texts);
            }
            Block::Matrix(_) | Block::Cases(_) | Block::Command(_) | Block::Terms(_) => {}
        }
    }
}
