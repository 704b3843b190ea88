//! The commented pipeline that `distill init` writes.

use super::{Answer, Guess, SEED};

/// More labels than this are not listed: the pipeline takes them from the gold column.
const MOST_LISTED: usize = 30;

/// The pipeline file for a guess.
pub(super) fn write(name: &str, guess: &Guess, train: &str, test: &str) -> String {
    let task = task(guess);
    let gold = guess.label.as_ref().map(|label| {
        format!(
            "  gold: {}          # the column with the human answer\n",
            quoted(label)
        )
    });
    let data_gold = gold.clone().unwrap_or_default();
    let evals_gold = gold.unwrap_or_else(|| {
        "  # No human answers: the teacher's are the reference, and only agreement with it can be shown.\n  # gold: label\n".to_owned()
    });
    let teacher = teacher(guess);
    let target = match guess.answer {
        Answer::Label { .. } => "[linear, nano]   # n-grams and a softmax; the embedded decoder",
        Answer::Object { .. } => "nano   # the embedded decoder",
    };
    format!(
        "\
# Learns the job of {train} and judges the result on {test}.
# `distill check` looks for mistakes, `distill plan` shows steps and spend, `distill run` does it.
name: {name}

task:
{task}
data:
  train: {train}
{data_gold}  validation: 0.1         # share kept apart to choose settings

{teacher}
evals:
  test: {test}
{evals_gold}
student:
  target: {target}

# How students are trained, with the defaults. Every key there is: `distill reference train`.
#train:
#  decoder:
#    variant: lora                 # or rslora, dora, rsdora
#    rank: 16
#    base: auto                    # nf4: the base in four bits, for less memory
#    learning_rate: width          # by the model's width; or a number, or `auto` (a short test)
#    batch_tokens: 4096            # smaller: less memory
#    gradient_checkpointing: false # true: far less memory, a third more time
#  objective: {{kind: cross_entropy}} # or what a local teacher knows: soft_labels, top_k, on_policy

accept:
  margin: 0.03            # how much worse than the teacher is still good enough, absolute
  confidence: 0.95

cost:                     # assumptions: put your own figures here
  usd_per_hour: 0.10      # the machine that will serve
  requests_per_day: 10000

seed: {SEED}
",
        name = quoted(name),
    )
}

fn task(guess: &Guess) -> String {
    let prompt = format!(
        "  prompt: \"{{{{ {} }}}}\"    # a template over the columns\n",
        guess.text
    );
    match &guess.answer {
        Answer::Label { labels } => {
            let system = "  system: \"Choose the label of the text. Answer with one of: {{ labels | join(', ') }}.\"\n";
            let list = if guess.label.is_none() {
                "  labels: [first_label, second_label]   # put your own labels here\n".to_owned()
            } else if labels.len() <= MOST_LISTED {
                let labels: Vec<String> = labels.iter().map(|label| quoted(label)).collect();
                format!("  labels: [{}]\n", labels.join(", "))
            } else {
                format!(
                    "  # The {} labels are those of the gold column.\n",
                    labels.len()
                )
            };
            format!("  kind: classify          # one label of a set\n{system}{prompt}{list}")
        }
        Answer::Object { fields } => {
            let system = "  system: \"Answer with a JSON object of what the text says; leave out what it does not say.\"\n";
            let properties: Vec<String> = fields
                .iter()
                .map(|(name, kind)| format!("      {}: {{type: {kind}}}\n", quoted(name)))
                .collect();
            format!(
                "  kind: extract           # a flat JSON object\n{system}{prompt}  schema:\n    type: object\n    properties:\n{}    additionalProperties: false\n",
                properties.concat()
            )
        }
    }
}

fn teacher(guess: &Guess) -> String {
    let real = "models: [openai/gpt-5-mini, anthropic/claude-haiku-4-5]   # keys: OPENAI_API_KEY, ANTHROPIC_API_KEY";
    if guess.label.is_none() {
        return format!(
            "# Asked in this order; the second answers when the first fails.\nteacher:\n  {real}\n  budget_usd: 2.00        # never exceeded; `distill plan` estimates\n"
        );
    }
    format!(
        "\
# SIMULATED: no model is asked. A provider inside the program answers from the gold column and errs
# in 9 of 100 rows; reports mark what it touched. It shows the way without key or network.
teacher:
  models: [simulated/frontier, simulated/backup]
  budget_usd: 2.00        # never exceeded; `distill plan` estimates
  simulate: {{accuracy: 0.91}}
# A real one: put this in place of `models` and remove `simulate`.
#  {real}
"
    )
}

/// Text as YAML: plain where that is safe.
fn quoted(text: &str) -> String {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let begins = text.starts_with(|character: char| character.is_ascii_alphabetic());
    let special = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if begins && text.chars().all(word) && !special.contains(&text.to_lowercase().as_str()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}
