//! Whether this machine has the memory that a training will take, told before it begins: whoever
//! runs out of memory is killed without a word.

use std::path::{Path, PathBuf};

use distill_pipeline::spec::{DecoderSpec, EncoderSpec};
use distill_runner::StepFailure;
use distill_student::{
    device::DeviceChoice,
    encoder::EncoderWeights,
    weights::{DecoderWeights, Precision},
};
use distill_train::{
    TrainExample, TrainSettings,
    encoder::{self, EncoderExample, EncoderSettings, memory::LargestRows},
    memory::{Estimate, LargestBatch, Saving, estimate, estimate_for, savings},
};

use super::{Recipe, Train, settings};
use crate::base::BaseReference;

/// What takes a smaller share than this of the free memory is not worth a line.
const WORTH_TELLING: f64 = 0.25;

/// What a training will take at most, where its base is on this machine and not the embedded one.
pub(crate) fn foreseen(train: &Train) -> Option<String> {
    let (base, bytes, device, section) = match &train.recipe {
        Recipe::Linear(_) => return None,
        Recipe::Encoder { base, settings, .. } => (
            base,
            encoder_bytes(base, settings, train)?,
            DeviceChoice::Cpu,
            "`adapter: lora` or a smaller `batch_rows` under `train.encoder`",
        ),
        Recipe::Decoder {
            base,
            full,
            settings,
            ..
        } => (
            base,
            decoder_bytes(base, *full, settings, train)?,
            settings::choice(settings.tuning.device),
            "`gradient_checkpointing: true` or a smaller `batch_tokens` under `train.decoder`",
        ),
    };
    let told = format!(
        "training `{}` takes up to about {} of memory",
        base.name(),
        gigabytes(bytes)
    );
    if let Some(card) = card(device) {
        return Some(format!("{told} of {card}, {UNKNOWN_THERE}"));
    }
    Some(match available() {
        Some(free) if bytes > free => format!(
            "{told}, more than the {} that are free: set {section}",
            gigabytes(free)
        ),
        _ => told,
    })
}

fn decoder_bytes(
    base: &BaseReference,
    full: bool,
    spec: &DecoderSpec,
    train: &Train,
) -> Option<u64> {
    let folder = base.folder()?;
    let config = base.decoder_config()?;
    let stored = stored(folder, config.parameter_count())?;
    let settings = settings::settings(spec, full, train.seed, &config, &[]);
    let batch = LargestBatch {
        tokens: spec.batch_tokens,
        targets: spec.batch_tokens,
    };
    Some(estimate(&config, stored, &settings, batch).ok()?.total())
}

/// For rows as long as the model takes, or as anybody's are.
fn encoder_bytes(base: &BaseReference, spec: &EncoderSpec, train: &Train) -> Option<u64> {
    let config = base.encoder_config()?.with_labels(&train.task.labels);
    let longest = config.max_position_embeddings.min(LONG_ROW);
    let batch = LargestRows {
        tokens: spec.batch_rows * longest,
        longest,
    };
    let classifier = ["classifier".to_owned()];
    let settings = super::encoder::settings(spec, train.seed);
    let parts = encoder::memory::estimate(&config, &classifier, &settings, batch).ok()?;
    Some(parts.total())
}

/// Tokens of a row that is long, for an encoder that takes longer ones.
const LONG_ROW: usize = 512;

/// How a checkpoint stores its numbers, by the size of its files.
fn stored(folder: &Path, parameters: usize) -> Option<Precision> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let weights = files.filter(|file| {
        let path = file.path();
        path.extension().is_some_and(|end| end == "safetensors")
    });
    // Files of the cache are links: their targets have the sizes.
    let sizes = weights.filter_map(|file| Some(std::fs::metadata(file.path()).ok()?.len()));
    let bytes: u64 = sizes.sum();
    (bytes > 0).then_some(if bytes > 3 * parameters as u64 {
        Precision::F32
    } else {
        Precision::Bf16
    })
}

/// What this machine's memory says nothing about.
const UNKNOWN_THERE: &str =
    "beside what its operations take in passing; how much is free there is not known";

/// The card that a device stands for, if it does for one.
fn card(device: DeviceChoice) -> Option<DeviceChoice> {
    Some(device.resolved()).filter(|device| *device != DeviceChoice::Cpu)
}

/// Refuses a training that will not fit, with what would make it fit; else tells what it takes,
/// where that is worth a line. On a card it tells: what is free there is not known.
pub(super) fn check(
    weights: &DecoderWeights,
    settings: &TrainSettings,
    rows: &[TrainExample],
) -> Result<Option<String>, StepFailure> {
    let unknown =
        |error| StepFailure::bad_input("the adapter does not fit the model").caused_by(error);
    let parts = estimate_for(weights, settings, rows).map_err(unknown)?;
    if let Some(card) = card(settings.device) {
        let bytes = gigabytes(parts.total());
        return Ok(Some(format!(
            "training takes about {bytes} of memory of {card}, {UNKNOWN_THERE}"
        )));
    }
    fits(&parts, |free| {
        let found = savings(weights, settings, rows, free).map_err(unknown)?;
        Ok(hint(&found))
    })
}

/// [`check`] for an encoder.
pub(super) fn check_encoder(
    weights: &EncoderWeights,
    settings: &EncoderSettings,
    rows: &[EncoderExample],
) -> Result<Option<String>, StepFailure> {
    let parts = encoder::memory::estimate_for(weights, settings, rows).map_err(|error| {
        StepFailure::bad_input("the adapter does not fit the model").caused_by(error)
    })?;
    fits(&parts, |_| Ok(ENCODER_HINT.to_owned()))
}

/// What makes an encoder's training smaller.
const ENCODER_HINT: &str = "under `train.encoder`, set a smaller `batch_rows` (with `accumulation` \
    the steps stay what they were) or `adapter: lora`, or take a smaller model";

/// Refuses what takes more than is free, with the hint for so many free bytes.
fn fits(
    parts: &Estimate,
    hint: impl Fn(u64) -> Result<String, StepFailure>,
) -> Result<Option<String>, StepFailure> {
    let told = format!(
        "training takes about {} of memory",
        gigabytes(parts.total())
    );
    fits_in(parts, available(), &told, hint)
}

/// [`fits`] where so much is free.
fn fits_in(
    parts: &Estimate,
    free: Option<u64>,
    told: &str,
    hint: impl Fn(u64) -> Result<String, StepFailure>,
) -> Result<Option<String>, StepFailure> {
    let Some(free) = free else {
        return Ok(None);
    };
    // The weights are loaded already.
    let beside = parts.total() - parts.weights;
    if beside <= free {
        let worth_telling = beside as f64 > free as f64 * WORTH_TELLING;
        return Ok(worth_telling.then(|| format!("{told}, {} are free", gigabytes(free))));
    }
    let loaded = gigabytes(parts.weights);
    Err(StepFailure::bad_input(format!(
        "{told}, {loaded} of it for the weights that are loaded; {} are free and {} more are \
         needed",
        gigabytes(free),
        gigabytes(beside),
    ))
    .hint(hint(free)?))
}

fn hint(found: &[(Vec<Saving>, u64)]) -> String {
    let choices: Vec<String> = found
        .iter()
        .map(|(changes, bytes)| {
            let names: Vec<String> = changes.iter().map(|change| name(*change)).collect();
            format!("{} ({})", names.join(" with "), gigabytes(*bytes))
        })
        .collect();
    if choices.is_empty() {
        return "take a smaller model, or a machine with more memory".to_owned();
    }
    format!("under `train.decoder`, set {}", choices.join(", or "))
}

fn name(saving: Saving) -> String {
    match saving {
        Saving::GradientCheckpointing => "`gradient_checkpointing: true`".to_owned(),
        Saving::BatchTokens(tokens) => format!("`batch_tokens: {tokens}`"),
        Saving::FourBits => "`base: nf4`".to_owned(),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Memory that this process holds, in bytes. None where the system does not tell.
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = held.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Memory that this process may still take, in bytes: what the machine has free, or less where a
/// control group or the process' own bound on its addresses (`ulimit -v`) sets a limit. None where
/// the system does not tell.
fn available() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = machine_free(&read(Path::new("/proc/meminfo"))?)?;
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = group_folders(&groups).into_iter().filter_map(|folder| {
        let number = |file: &str| read(&folder.join(file))?.trim().parse::<u64>().ok();
        let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
        let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
        // Pages of files count as used and are given back when asked for.
        let files = read(&folder.join("memory.stat")).map_or(0, |text| file_pages(&text));
        Some(limit.saturating_sub(used.saturating_sub(files)))
    });
    let own = read(Path::new("/proc/self/limits"))
        .zip(read(Path::new("/proc/self/status")))
        .and_then(|(limits, status)| addresses_left(&limits, &status));
    Some(limits.chain(own).fold(machine, u64::min))
}

/// Bytes of addresses that this process may still take, from the texts of `/proc/self/limits` and
/// `/proc/self/status`. None where there is no bound.
fn addresses_left(limits: &str, status: &str) -> Option<u64> {
    let bound = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let bound: u64 = bound.split_whitespace().next()?.parse().ok()?;
    let taken = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))?;
    let kilobytes: u64 = taken.split_whitespace().next()?.parse().ok()?;
    Some(bound.saturating_sub(kilobytes * 1024))
}

/// From the text of `/proc/meminfo`.
fn machine_free(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The folders of this process' control groups and of those that hold them, from the text of
/// `/proc/self/cgroup`.
fn group_folders(text: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let root = if controllers.is_empty() {
            Path::new("/sys/fs/cgroup")
        } else if controllers.split(',').any(|name| name == "memory") {
            Path::new("/sys/fs/cgroup/memory")
        } else {
            continue;
        };
        let own = root.join(path.trim_start_matches('/'));
        folders.extend(
            own.ancestors()
                .take_while(|at| at.starts_with(root))
                .map(Path::to_owned),
        );
    }
    folders
}

/// Bytes of cached files that can be dropped, from the text of `memory.stat`.
fn file_pages(text: &str) -> u64 {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    value("inactive_file ").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read_from_the_system_s_own_words() {
        let text = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   2000 kB\n";
        assert_eq!(machine_free(text), Some(2_048_000));
        assert_eq!(machine_free("MemTotal: 1 kB\n"), None);
        assert_eq!(
            file_pages("anon 5\ninactive_file 4096\nactive_file 9\n"),
            4096
        );
    }

    #[test]
    fn a_bound_on_addresses_counts_too() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max address space         4294967296           unlimited            bytes\n";
        let status = "Name:\tdistill\nVmSize:\t 1048576 kB\nVmRSS:\t 5 kB\n";
        assert_eq!(addresses_left(limits, status), Some(3 << 30));
        let unbounded = limits.replace("4294967296", "unlimited");
        assert_eq!(addresses_left(&unbounded, status), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let parts = Estimate {
            weights: 2_000_000_000,
            copies: 0,
            trained: 100_000_000,
            activations: 6_000_000_000,
            loss: 0,
            program: 0,
        };
        let hints = |_| Ok("set `batch_tokens: 512`".to_owned());
        let refused = fits_in(&parts, Some(3_000_000_000), "training takes 8.1 GB", hints);
        let failure = refused.unwrap_err().record();
        assert!(
            failure
                .message
                .contains("3.0 GB are free and 6.1 GB more are needed"),
            "{}",
            failure.message
        );
        assert_eq!(failure.hint.as_deref(), Some("set `batch_tokens: 512`"));
        let fits = fits_in(&parts, Some(7_000_000_000), "training takes 8.1 GB", hints);
        assert!(
            fits.unwrap()
                .is_some_and(|told| told.contains("7.0 GB are free"))
        );
    }

    #[test]
    fn a_card_is_not_measured_by_the_memory_of_its_machine() {
        let config = distill_student::decoder::DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 32,
                "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true}"#,
        )
        .unwrap();
        let weights = DecoderWeights::random(config, 1).unwrap();
        // One batch of four million tokens, for which this machine need not have room.
        let row = TrainExample::new(vec![1; 1 << 12], 1);
        let rows = vec![row; 1 << 10];
        let settings = TrainSettings {
            device: DeviceChoice::Cuda(1),
            batch_tokens: usize::MAX >> 20,
            ..TrainSettings::default()
        };
        let told = check(&weights, &settings, &rows).unwrap().unwrap();
        assert!(told.contains("GB of memory of cuda:1, "), "{told}");
    }

    #[test]
    fn limits_of_outer_groups_count_too() {
        let folders = group_folders("0::/system.slice/job.scope\n");
        let expected = [
            "/sys/fs/cgroup/system.slice/job.scope",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup",
        ];
        assert_eq!(folders, expected.map(PathBuf::from));
        let older = group_folders("5:cpu,cpuacct:/a\n4:memory:/docker/x\n");
        assert_eq!(older[0], Path::new("/sys/fs/cgroup/memory/docker/x"));
        assert_eq!(older.len(), 3);
    }

    #[test]
    fn a_training_that_does_not_fit_says_what_would() {
        let found = [
            (vec![Saving::GradientCheckpointing], 3_000_000_000),
            (vec![Saving::BatchTokens(512)], 2_500_000_000),
        ];
        assert_eq!(
            hint(&found),
            "under `train.decoder`, set `gradient_checkpointing: true` (3.0 GB), or \
             `batch_tokens: 512` (2.5 GB)"
        );
        assert!(hint(&[]).contains("smaller model"));
    }
}
