//! The teacher as steps see it: a chain of models behind the gateway, simulated or real.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use distill_chat::{ChatRequest, Role, Task, TaskDefinition, TaskKind};
use distill_gateway::{
    AskError, Estimate, Gateway, GatewaySettings, Journal, Target, TargetOptions, Usd,
    simulate::{self, GoldEntry, SimulatedProvider, SimulatorSettings},
};
use distill_pipeline::hash::ContentHash;
use distill_runner::{StepContext, StepFailure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use crate::rows::Row;

/// One model of the chain, as the spec names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReference {
    pub vendor: String,
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_usd_per_million: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_usd_per_million: Option<f64>,
}

impl ModelReference {
    pub fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.model)
    }

    /// The name and, where the user set one, the address: what tells two models apart.
    pub fn identity(&self) -> String {
        match &self.base_url {
            Some(url) => format!("{}@{url}", self.name()),
            None => self.name(),
        }
    }

    /// Whether the embedded simulated provider answers for this model.
    pub fn is_embedded(&self) -> bool {
        self.base_url.is_none()
            && distill_gateway::vendor(&self.vendor).is_some_and(|vendor| vendor.simulated)
    }

    fn options(&self) -> TargetOptions {
        TargetOptions {
            base_url: self.base_url.clone(),
            api_key_env: self.api_key_env.clone(),
            input_usd_per_million: self.input_usd_per_million,
            output_usd_per_million: self.output_usd_per_million,
            ..TargetOptions::default()
        }
    }
}

/// Everything that a step needs to ask the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Teacher {
    pub chain: Vec<ModelReference>,
    pub budget_usd: f64,
    pub concurrency: usize,
    pub temperature: f64,
    pub max_tokens: u32,
    /// Name of the pipeline: the budget counts all that one pipeline spends on one job.
    pub pipeline: String,
    pub simulator: Option<SimulatorSettings>,
    /// Asks for so many of the likeliest tokens at each place of a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
}

impl Teacher {
    /// What shapes the answers: prices, budget, concurrency, latency and faults do not.
    pub fn answer_settings(&self) -> serde_json::Value {
        let mut settings = json!({
            "chain": self.models(),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "simulator": self.simulator.as_ref().map(simulated_answers),
        });
        // Left out while it is not asked for: keys stay as they were.
        if let Some(count) = self.top_logprobs {
            settings["top_logprobs"] = count.into();
        }
        settings
    }

    pub fn models(&self) -> Vec<String> {
        self.chain.iter().map(ModelReference::identity).collect()
    }

    /// The request that asks about one row.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the row when a template reads a column it does not have.
    pub fn request(&self, task: &Task, row: &Row) -> Result<ChatRequest, StepFailure> {
        let messages = task.messages(&row.fields).map_err(|error| {
            StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id))
                .caused_by(error)
                .hint("the prompt reads a column that this row does not have")
        })?;
        let definition = task.definition();
        Ok(ChatRequest {
            max_tokens: Some(self.max_tokens),
            temperature: Some(self.temperature),
            top_logprobs: self.top_logprobs,
            response_schema: (definition.kind == TaskKind::Extract)
                .then(|| definition.schema.clone())
                .flatten(),
            ..ChatRequest::new(self.chain[0].name(), messages)
        })
    }

    /// Looks whether every model of the chain can be asked, without asking any.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the model, and the variable where a key is missing.
    pub fn check(&self, environment: &Environment) -> Result<(), StepFailure> {
        self.targets(environment).map(drop)
    }

    fn targets(&self, environment: &Environment) -> Result<Vec<Target>, StepFailure> {
        let prices = crate::prices::table(environment)?;
        self.chain
            .iter()
            .map(|model| {
                let options = TargetOptions {
                    prices: prices.clone(),
                    day: Some(crate::prices::day()),
                    ..model.options()
                };
                Target::resolve(&model.vendor, &model.model, &options, environment.as_ref())
                    .map_err(|error| {
                        let hint = error.hint();
                        let failure = StepFailure::bad_input(format!(
                            "the model `{}` cannot be asked",
                            model.name()
                        ))
                        .caused_by(error);
                        match hint {
                            Some(hint) => failure.hint(hint),
                            None => failure,
                        }
                    })
            })
            .collect()
    }
}

/// What of the simulation shapes answers. What was added later is left out while it is not set.
fn simulated_answers(settings: &SimulatorSettings) -> serde_json::Value {
    let mut value = json!({ "accuracy": settings.accuracy, "seed": settings.seed });
    if settings.unsteady > 0.0 {
        value["unsteady"] = settings.unsteady.into();
    }
    let own: serde_json::Map<String, serde_json::Value> = settings
        .models
        .iter()
        .filter_map(|model| Some((model.name.clone(), model.accuracy?.into())))
        .collect();
    if !own.is_empty() {
        value["models"] = own.into();
    }
    value
}

/// Reads an environment variable; the binary hands it in, libraries read none themselves.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The process's connections to teachers: one journal, and one simulated provider per gold table.
pub struct Teachers {
    journal_path: PathBuf,
    /// Where simulated providers keep their books; `None` where nobody is going to be asked.
    simulated_dir: Option<PathBuf>,
    environment: Environment,
    journal: Mutex<Option<Journal>>,
    simulated: Mutex<HashMap<String, Arc<SimulatedProvider>>>,
}

impl Teachers {
    pub fn new(home: &Path, environment: Environment) -> Self {
        Self {
            journal_path: home.join("journal.sqlite"),
            simulated_dir: Some(home.join("simulated")),
            environment,
            journal: Mutex::new(None),
            simulated: Mutex::new(HashMap::new()),
        }
    }

    /// Connections that are looked at and not asked: they leave nothing on disk.
    pub fn to_look_at(home: &Path, environment: Environment) -> Self {
        Self {
            simulated_dir: None,
            ..Self::new(home, environment)
        }
    }

    /// A gateway to the teacher. `gold` are the rows a simulated provider knows the answers of.
    ///
    /// # Errors
    /// A [`StepFailure`] when a model, its key, the journal or the provider cannot be had.
    pub async fn connect(
        &self,
        teacher: &Teacher,
        task: &Task,
        gold: &[Row],
        context: &StepContext,
    ) -> Result<Gateway, StepFailure> {
        let scope = scope(teacher, task.definition(), gold);
        self.connect_within(scope, teacher, task, gold, context)
            .await
    }

    /// The same with a budget's scope of the caller's own, such as one that several models share.
    ///
    /// # Errors
    /// As [`Teachers::connect`].
    pub async fn connect_within(
        &self,
        scope: String,
        teacher: &Teacher,
        task: &Task,
        gold: &[Row],
        context: &StepContext,
    ) -> Result<Gateway, StepFailure> {
        let targets = self.targets(teacher, task, gold).await?;
        let settings = GatewaySettings {
            budget: Some(Usd::from_dollars(teacher.budget_usd)),
            concurrency: teacher.concurrency,
            ..GatewaySettings::new(targets, scope)
        };
        Gateway::new(self.journal().await?, settings, context.cancel().clone()).map_err(|error| {
            StepFailure::failed("the gateway to the teacher could not be made").caused_by(error)
        })
    }

    /// The chain, with the embedded simulated provider started and attached where it answers.
    async fn targets(
        &self,
        teacher: &Teacher,
        task: &Task,
        gold: &[Row],
    ) -> Result<Vec<Target>, StepFailure> {
        let targets = teacher.targets(&self.environment)?;
        if !teacher.chain.iter().any(ModelReference::is_embedded) {
            return Ok(targets);
        }
        let provider = self.provider(teacher, task, gold).await?;
        let attached = targets
            .into_iter()
            .zip(&teacher.chain)
            .map(|(target, model)| {
                if model.is_embedded() {
                    provider.attach(target)
                } else {
                    target
                }
            });
        Ok(attached.collect())
    }

    async fn journal(&self) -> Result<Journal, StepFailure> {
        let mut journal = self.journal.lock().await;
        if let Some(journal) = &*journal {
            return Ok(journal.clone());
        }
        let opened = Journal::open(&self.journal_path).map_err(|error| {
            let hint = error.hint();
            let failure = StepFailure::failed(format!(
                "the label journal `{}` cannot be opened",
                self.journal_path.display()
            ))
            .caused_by(error);
            hint.into_iter().fold(failure, StepFailure::hint)
        })?;
        Ok(journal.insert(opened).clone())
    }

    async fn provider(
        &self,
        teacher: &Teacher,
        task: &Task,
        gold: &[Row],
    ) -> Result<Arc<SimulatedProvider>, StepFailure> {
        let entries = gold_entries(task, gold)?;
        let settings = teacher.simulator.clone().unwrap_or_default();
        let identity = simulate::answer_identity(&entries, &settings);
        let mut simulated = self.simulated.lock().await;
        if let Some(provider) = simulated.get(&identity) {
            return Ok(provider.clone());
        }
        let mut builder = SimulatedProvider::builder(entries, settings);
        if let Some(folder) = &self.simulated_dir {
            std::fs::create_dir_all(folder)
                .map_err(|error| crate::rows::cannot_write(folder, error))?;
            let short: String = identity.chars().take(16).collect();
            builder = builder.state(folder.join(format!("{short}.log")));
        }
        let provider = builder.start().await.map_err(|error| {
            StepFailure::failed("the simulated teacher could not start").caused_by(error)
        })?;
        let provider = Arc::new(provider);
        simulated.insert(identity, provider.clone());
        Ok(provider)
    }

    /// What these requests would cost, without asking anybody; `sample` as in the journal. `gold` are
    /// the rows a simulated provider knows the answers of.
    ///
    /// # Errors
    /// As [`Teachers::connect`].
    pub async fn estimate(
        &self,
        teacher: &Teacher,
        task: &Task,
        requests: &[ChatRequest],
        sample: u32,
        gold: &[Row],
    ) -> Result<Estimate, StepFailure> {
        let targets = self.targets(teacher, task, gold).await?;
        let journal = if self.journal_path.exists() {
            Some(self.journal().await?)
        } else {
            None
        };
        distill_gateway::estimate(
            journal.as_ref(),
            &targets,
            teacher.concurrency,
            requests,
            sample,
        )
        .map_err(|error| StepFailure::failed("the label journal cannot be read").caused_by(error))
    }
}

/// The simulated provider's gold table: the last user message of each row and its gold answer.
///
/// # Errors
/// A [`StepFailure`] when a row cannot be rendered or has no gold answer to simulate with.
pub fn gold_entries(task: &Task, rows: &[Row]) -> Result<Vec<GoldEntry>, StepFailure> {
    rows.iter()
        .map(|row| {
            let messages = task.messages(&row.fields).map_err(|error| {
                StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id)).caused_by(error)
            })?;
            let prompt = messages.into_iter().rfind(|message| message.role == Role::User);
            let gold = row.gold.as_deref().map(|gold| task.definition().kind.first_reference(gold));
            let answer = gold.ok_or_else(|| {
                StepFailure::bad_input(format!("the simulated teacher has no gold answer for row `{}`", row.id))
                    .hint("name the column with the right answers (`data.gold`, `evals.gold`), or use a real teacher")
            })?;
            Ok(GoldEntry {
                prompt: prompt.map(|message| message.content).unwrap_or_default(),
                answer,
            })
        })
        .collect()
}

/// The budget's scope: one job of one pipeline, so that a resumed run goes on counting where the
/// killed one stopped.
fn scope(teacher: &Teacher, task: &TaskDefinition, rows: &[Row]) -> String {
    let job = json!({
        "task": task,
        "answers": teacher.answer_settings(),
        "rows": rows.iter().map(|row| json!([row.id, row.fields])).collect::<Vec<_>>(),
    });
    format!(
        "{}/{}",
        teacher.pipeline,
        ContentHash::of_json(&job).short()
    )
}

/// How a failed question ends a step, where it does.
pub(crate) fn fatal(error: &AskError) -> Option<StepFailure> {
    let failure = match error {
        AskError::BudgetExhausted { .. } => StepFailure::budget(error.to_string()),
        AskError::Cancelled => StepFailure::interrupted(),
        AskError::Journal(journal) => {
            StepFailure::failed("the label journal cannot be used").caused_by(journal.clone())
        }
        AskError::Refused { .. } | AskError::ChainExhausted { .. } | AskError::Deadline { .. } => {
            return None;
        }
    };
    Some(match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}
