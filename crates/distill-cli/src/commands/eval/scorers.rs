//! `distill eval scorers`: what answers can be scored by.

use std::process::ExitCode;

use clap::Args;
use distill_eval::{METRICS, Metric};
use serde_json::{Value, json};

use crate::arguments::Format;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill eval scorers")]
pub(crate) struct ScorersArguments {
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

pub(crate) fn execute(arguments: &ScorersArguments) -> ExitCode {
    if arguments.format == Format::Json {
        let list: Vec<Value> = METRICS.iter().map(|metric| document(metric)).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&list).expect("a listing serialises")
        );
        return ExitCode::SUCCESS;
    }
    for metric in METRICS {
        println!(
            "{}  ({}, {} is better)",
            metric.name,
            metric.unit.label(),
            metric.direction.label()
        );
        println!("    {}", metric.description);
        for setting in metric.settings {
            let required = if setting.required { ", required" } else { "" };
            println!(
                "    {}: {} ({}{required})",
                setting.name,
                setting.description,
                setting.kind.expected()
            );
        }
    }
    ExitCode::SUCCESS
}

fn document(metric: &Metric) -> Value {
    json!({
        "name": metric.name,
        "unit": metric.unit,
        "direction": metric.direction,
        "kinds": metric.kinds,
        "description": metric.description,
        "scores_rows": metric.scores_rows(),
        "settings": metric.settings.iter().map(|setting| json!({
            "name": setting.name,
            "required": setting.required,
            "takes": setting.kind.expected(),
            "description": setting.description,
        })).collect::<Vec<_>>(),
        "settings": metric.settings.iter().map(|setting| json!({
            "name": setting.name,
            "expects": setting.kind.expected(),
            "required": setting.required,
            "description": setting.description,
        })).collect::<Vec<_>>(),
    })
}
