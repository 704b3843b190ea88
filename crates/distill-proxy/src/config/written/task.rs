//! `tasks` as written.

use distill_chat::TaskKind;
use distill_pipeline::spec::written::JsonSchema;

use super::{At, LimitSection, Named, RedactSection, Size, Switch, Texts, Word};

distill_pipeline::document_section! {
    /// A prompt with a name. Callers send `model: task/NAME` (or `task/NAME@VERSION`) with their variables in `metadata.variables`, or post `{variables: {...}}` to `/v1/tasks/NAME`. The keys of a version may stand here when there is only one.
    TaskSection {
        /// Who answers: a name of `models`, or a target `vendor/model`.
        required route: String,
        /// The version that answers until another is released by `distill proxy task release`. Default: the last of the list.
        optional active: Word,
        /// Versions by name, oldest first. A version that was used is not changed: give a new name.
        optional versions: Named<VersionSection>,
        /// What an answer is: `classify` (one label), `extract` (a flat JSON object), `generate` (free text). Default by what else is given.
        optional kind: TaskKind,
        /// System message: a minijinja template over the variables and `labels`.
        optional system: String,
        /// User message: a minijinja template over the variables. `{{ text }}` is the variable `text`.
        optional prompt: String,
        /// The labels of a classification.
        optional labels: Vec<At<String>>,
        /// JSON schema that a reply holds to.
        optional schema: JsonSchema,
        /// How it samples.
        optional parameters: ParametersSection,
        /// Targets `vendor/model` of the route that may answer; `*` at the end stands for anything. Left out: all.
        optional models: Texts,
        /// Vendors of the route that may answer. Left out: all.
        optional vendors: Texts,
        /// A name of `data_classes`.
        optional data_class: String,
        /// Whether `redaction` is applied, beside what the route says.
        optional redact: Switch<RedactSection>,
        /// Bytes of the variables at most.
        optional max_size: Size,
        /// Who may call it: users, `team:NAME`, `role:admin`. Left out: all whose key allows it.
        optional allow: Texts,
        /// What all calls of it together may use.
        optional limits: LimitSection,
    }
}

distill_pipeline::document_section! {
    /// One version of a task.
    VersionSection {
        /// What an answer is: `classify`, `extract` or `generate`. Default by what else is given.
        optional kind: TaskKind,
        /// System message: a minijinja template over the variables and `labels`.
        optional system: String,
        /// User message: a minijinja template over the variables.
        required prompt: String,
        /// The labels of a classification.
        optional labels: Vec<At<String>>,
        /// JSON schema that a reply holds to.
        optional schema: JsonSchema,
        /// How it samples.
        optional parameters: ParametersSection,
        /// A route of its own, where it differs from the task's.
        optional route: String,
    }
}

distill_pipeline::document_section! {
    /// How a task samples. What is left out is left to the model.
    ParametersSection {
        /// Upper bound of a reply, in tokens.
        optional max_tokens: u64,
        /// Sampling temperature.
        optional temperature: f64,
        /// Nucleus of the sampling.
        optional top_p: f64,
        /// Texts that end a reply.
        optional stop: Texts,
        /// Seed, where the target takes one.
        optional seed: u64,
        /// How hard a reasoning model thinks: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
        optional reasoning: String,
    }
}
