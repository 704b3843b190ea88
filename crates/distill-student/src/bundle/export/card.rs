//! The export's `README.md`: what the model is, how it is opened, where it comes from.

use std::fmt::Write as _;

use distill_chat::{TaskDefinition, TaskKind};

use super::{BASE_FOLDER, Done, ExportForm, Manifest, StudentManifest};

/// Labels that are listed.
const LABELS: usize = 200;

pub(super) struct Card<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) origin: &'a [(String, String)],
    pub(super) licence: Option<&'a str>,
    pub(super) done: &'a Done,
}

impl Card<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = self.front_matter();
        let name = &self.manifest.name;
        let _ = write!(text, "# {}\n\n{}\n", one_line(name), self.what());
        let _ = write!(text, "\n## Open it\n\n{}", fenced("python", &self.code()));
        for note in &self.done.notes {
            let _ = write!(text, "\n- {note}");
        }
        if !self.done.notes.is_empty() {
            text.push('\n');
        }
        let _ = write!(
            text,
            "\n## What it is asked\n\n{}",
            asked(&self.manifest.task)
        );
        let _ = write!(text, "\n## Where it comes from\n\n{}", self.lineage());
        let _ = write!(text, "\n## Licence\n\n{}\n", self.licence_text());
        text
    }

    /// What the hub's pages read.
    fn front_matter(&self) -> String {
        let library = match self.done.form {
            ExportForm::Adapter => "peft",
            ExportForm::Model => "transformers",
        };
        let pipeline = match &self.manifest.student {
            StudentManifest::Encoder(_) => "text-classification",
            _ => "text-generation",
        };
        let mut text = format!("---\nlibrary_name: {library}\npipeline_tag: {pipeline}\n");
        // A hub takes the name of a model here and refuses a path.
        if let Some((base, _)) = &self.done.base
            && is_hub_name(base)
        {
            let _ = writeln!(text, "base_model: {}", quoted(base));
        }
        if let Some(licence) = self.licence {
            let _ = writeln!(text, "license: {}", quoted(&licence.to_lowercase()));
        }
        text + "---\n\n"
    }

    fn what(&self) -> String {
        let kind = match self.manifest.task.kind {
            TaskKind::Classify => "gives one label of a fixed set",
            TaskKind::Extract => "writes a JSON object of a fixed schema",
            TaskKind::Generate => "writes text",
        };
        let made = match (&self.manifest.student, self.done.form) {
            (StudentManifest::Encoder(_), ExportForm::Adapter) => {
                "a low-rank adapter for an encoder, with its classification head, in PEFT's format"
            }
            (StudentManifest::Encoder(_), _) => "a fine-tuned encoder with a classification head",
            (_, ExportForm::Adapter) => "a low-rank adapter for a base model, in PEFT's format",
            (_, ExportForm::Model) => "a fine-tuned decoder, whole",
        };
        format!("A small model for one narrow job: it {kind}. It is {made}.")
    }

    fn code(&self) -> String {
        let revision = |revision: &Option<String>| {
            revision.as_ref().map_or_else(String::new, |commit| {
                format!(", revision={}", quoted(commit))
            })
        };
        if let StudentManifest::Encoder(_) = &self.manifest.student {
            return self.code_of_encoder();
        }
        let load = match self.done.form {
            ExportForm::Model => {
                "model = AutoModelForCausalLM.from_pretrained(\"FOLDER\")".to_owned()
            }
            ExportForm::Adapter => {
                let base = match &self.done.base {
                    Some((base, commit)) => format!("{}{}", quoted(base), revision(commit)),
                    None => format!("\"FOLDER/{BASE_FOLDER}\""),
                };
                format!(
                    "base = AutoModelForCausalLM.from_pretrained({base})\n\
                     model = PeftModel.from_pretrained(base, \"FOLDER\")"
                )
            }
        };
        let import = match self.done.form {
            ExportForm::Model => "",
            ExportForm::Adapter => "from peft import PeftModel\n",
        };
        format!(
            "{import}from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             {load}\n\
             tokenizer = AutoTokenizer.from_pretrained(\"FOLDER\")\n\
             messages = [{{\"role\": \"system\", \"content\": \"…\"}}, {{\"role\": \"user\", \"content\": \"…\"}}]\n\
             prompt = tokenizer.apply_chat_template(\n    \
             messages, add_generation_prompt=True, return_dict=True, return_tensors=\"pt\"\n)\n\
             reply = model.generate(**prompt, do_sample=False, max_new_tokens=128)\n\
             print(tokenizer.decode(reply[0, prompt[\"input_ids\"].shape[1]:], skip_special_tokens=True))"
        )
    }

    fn code_of_encoder(&self) -> String {
        let adapter = self.done.form == ExportForm::Adapter;
        let Some((base, commit)) = self.done.base.as_ref().filter(|_| adapter) else {
            return "from transformers import pipeline\n\n\
                    model = pipeline(\"text-classification\", \"FOLDER\")\n\
                    print(model(\"…\"))"
                .to_owned();
        };
        let commit = commit.as_ref();
        let commit = commit.map_or_else(String::new, |c| format!(", revision={}", quoted(c)));
        let labels = serde_json::Value::from(self.manifest.task.labels.clone());
        format!(
            "from peft import PeftModel\n\
             from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n\
             labels = {labels}\n\
             base = AutoModelForSequenceClassification.from_pretrained(\n    \
             {}, num_labels=len(labels){commit}\n)\n\
             model = PeftModel.from_pretrained(base, \"FOLDER\").eval()\n\
             tokenizer = AutoTokenizer.from_pretrained(\"FOLDER\")\n\
             print(labels[int(model(**tokenizer(\"…\", return_tensors=\"pt\")).logits.argmax())])",
            quoted(base)
        )
    }

    fn lineage(&self) -> String {
        let mut text = "| | |\n|---|---|\n".to_owned();
        let mut row = |what: &str, which: &str| {
            let _ = writeln!(text, "| {what} | `{}` |", cell(which));
        };
        row("student", &self.manifest.identity());
        match &self.manifest.student {
            StudentManifest::Linear(_) => {}
            StudentManifest::Encoder(encoder) => {
                row("base", &encoder.base);
                row("sha256 of the base", &encoder.base_sha256);
            }
            StudentManifest::Decoder(decoder) => {
                row("base", &decoder.base);
                row("sha256 of the base", &decoder.base_sha256);
                row("sha256 of tokenizer.json", &decoder.tokenizer_sha256);
            }
        }
        for (what, which) in self.origin {
            row(&cell(what), which);
        }
        if let Some(rows) = self.done.proved_rows {
            let _ = writeln!(
                text,
                "\nRead back from this folder it answered {rows} rows as the student did when it was trained."
            );
        }
        text
    }

    fn licence_text(&self) -> String {
        let base = match self.licence {
            Some(licence) => format!(
                "The base model is listed under {}; this model is made of it, and its terms hold here.",
                one_line(licence)
            ),
            None => {
                "Under which licence the base model is, this program does not know: see where it \
                     came from. Its terms hold for this model."
                    .to_owned()
            }
        };
        format!(
            "{base} What a vendor's model answered in training may be under that vendor's terms."
        )
    }
}

/// The task in the words of its definition.
fn asked(task: &TaskDefinition) -> String {
    let mut text = String::new();
    if let Some(system) = &task.system {
        let _ = write!(text, "System message:\n\n{}\n", fenced("text", system));
    }
    let _ = write!(text, "User message:\n\n{}", fenced("text", &task.prompt));
    if !task.labels.is_empty() {
        let shown: Vec<String> = task
            .labels
            .iter()
            .take(LABELS)
            .map(|label| format!("`{}`", cell(label)))
            .collect();
        let more = task.labels.len().saturating_sub(LABELS);
        let _ = write!(text, "\nLabels: {}", shown.join(", "));
        if more > 0 {
            let _ = write!(text, " and {more} more");
        }
        text.push('\n');
    }
    if let Some(schema) = &task.schema {
        let _ = write!(
            text,
            "\nSchema:\n\n{}",
            fenced("json", &format!("{schema:#}"))
        );
    }
    text
}

/// A block of code that no line of its text ends.
fn fenced(language: &str, text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

/// A string of JSON, which is one of YAML and of Python as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text within code within a table.
fn cell(text: &str) -> String {
    one_line(text).replace('`', "'").replace('|', "\\|")
}

/// Whether a base's name has the form `org/name`.
fn is_hub_name(base: &str) -> bool {
    base.split_once('/').is_some_and(|(owner, name)| {
        !owner.starts_with('.') && !owner.is_empty() && !name.contains('/')
    })
}
