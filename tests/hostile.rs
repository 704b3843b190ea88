//! Model files as a stranger could have made them: refused in words, by a process that may not use
//! much memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::fixture::{Job, PIPELINE};

/// Kilobytes of address space that the process may take. It holds the program, its threads' stacks
/// and the embedded model; a header that is believed asks for more.
const ADDRESS_SPACE_KB: u64 = 4 << 20;
/// Far above what a busy machine needs to refuse a file; a template that loops would take years.
const PATIENCE: Duration = Duration::from_mins(1);

const FILES: [&str; 4] = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

fn nano() -> PathBuf {
    crate::repository::root().join("crates/distill-student/assets/nano")
}

/// A job whose base is a folder with the embedded model's files, one of them spoilt.
struct Hostile {
    job: Job,
}

impl Hostile {
    fn new() -> Self {
        let job = Job::new(&PIPELINE.replace("[linear, nano]", "./model"));
        fs::create_dir(job.path().join("model")).unwrap();
        let hostile = Self { job };
        hostile.restore();
        hostile
    }

    fn model(&self) -> PathBuf {
        self.job.path().join("model")
    }

    fn restore(&self) {
        fs::remove_dir_all(self.model()).unwrap();
        fs::create_dir(self.model()).unwrap();
        for file in FILES {
            fs::copy(nano().join(file), self.model().join(file)).unwrap();
        }
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.model().join(file), content).unwrap();
    }

    fn config(&self, change: impl FnOnce(&mut Value)) {
        let path = self.model().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// Whether `check` refuses the model within the bounds, and says one of these words.
    #[track_caller]
    fn refused(&self, what: &str, words: &[&str]) {
        let told = self.check(what, 2);
        assert!(
            words.iter().any(|word| told.contains(word)),
            "{what}: none of {words:?} is in:\n{told}"
        );
        self.restore();
    }

    #[track_caller]
    fn check(&self, what: &str, code: i32) -> String {
        let mut command = Command::new("sh");
        self.job.prepare(&mut command);
        let mut child = command
            .arg("-c")
            .arg(format!(
                "ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" check pipeline.yaml"
            ))
            .arg(env!("CARGO_BIN_EXE_distill"))
            .env("RAYON_NUM_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut stderr, &mut text).map(|_| text)
        });
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("{what}: not refused within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let told = reader.join().unwrap().unwrap();
        assert_eq!(status.code(), Some(code), "{what}:\n{told}");
        told
    }
}

/// A safetensors file with this header and these bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn weights_of_a_stranger() {
    let hostile = Hostile::new();
    hostile.check("the files as they are", 0);
    let whole = fs::read(nano().join("model.safetensors")).unwrap();
    let weights = |what: &str, content: &[u8], words: &[&str]| {
        hostile.write("model.safetensors", content);
        hostile.refused(what, words);
    };
    for cut in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        weights(
            &format!("cut at {cut}"),
            &whole[..cut],
            &["weights", "model.safetensors"],
        );
    }
    for length in [1_u64 << 60, u64::MAX, u64::MAX - 7, 200 << 20, 0] {
        let mut claimed = whole.clone();
        claimed[..8].copy_from_slice(&length.to_le_bytes());
        weights(
            &format!("a header of {length} bytes"),
            &claimed,
            &["header", "Header"],
        );
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0; 64]);
    weights(
        "bytes at the end",
        &longer,
        &["model.safetensors", "weights"],
    );

    let pickle = b"\x80\x02}q\x00X\x05\x00\x00\x00helloq\x01K\x01s.";
    weights("a pickle", pickle, &["model.safetensors", "weights"]);
    weights(
        "a zip archive",
        b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &["weights"],
    );

    let tensor = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for (what, header) in [
        (
            "a shape that overflows",
            tensor("[4294967296,4294967296,4294967296]", "[0,4]"),
        ),
        ("a shape of 2^60", tensor("[1152921504606846976]", "[0,4]")),
        (
            "offsets beyond the file",
            tensor("[1]", "[1000000,1000004]"),
        ),
        ("offsets that run backwards", tensor("[1]", "[8,4]")),
        ("a negative shape", tensor("[-1]", "[0,4]")),
        ("nested beyond measure", "[".repeat(200_000)),
        ("no object", "[]".to_owned()),
    ] {
        weights(what, &safetensors(&header, 4), &["weights"]);
    }
}

#[test]
fn numbers_that_are_none() {
    let hostile = Hostile::new();
    let mut whole = fs::read(nano().join("model.safetensors")).unwrap();
    let end = whole.len();
    // 0x7fff is NaN as bf16 and as half of an f32.
    whole[end - 4..].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f]);
    hostile.write("model.safetensors", &whole);
    hostile.refused("NaN", &["not a finite number", "NaN", "finite"]);
}

#[test]
fn configurations_of_a_stranger() {
    let hostile = Hostile::new();
    let huge = [
        json!(1_u64 << 60),
        json!(u64::MAX),
        json!(1_u64 << 40),
        json!(100_000_000),
        json!(-1),
        json!(0),
        json!(1e300),
        json!("many"),
        json!([]),
    ];
    let sizes = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ];
    for size in sizes {
        for value in &huge {
            // More positions than any model was made for cost nothing until they are asked for.
            if size == "max_position_embeddings" && *value == json!(100_000_000) {
                continue;
            }
            hostile.config(|config| config[size] = value.clone());
            hostile.refused(&format!("{size}: {value}"), &[size, "config", "weights"]);
        }
    }
    hostile.config(|config| config["hidden_size"] = json!(320));
    hostile.refused(
        "shapes of another model",
        &["shape", "hidden_size", "expected"],
    );
    hostile.config(|config| config["fancy_attention"] = json!(true));
    hostile.refused("a field of which nobody knows", &["fancy_attention"]);
    for text in ["", "{", "[]", "null", "\u{0}"] {
        hostile.write("config.json", text);
        hostile.refused("no configuration", &["config"]);
    }
    hostile.write("config.json", "[".repeat(1_000_000));
    hostile.refused("nested beyond measure", &["config"]);
}

#[test]
fn tokenizers_of_a_stranger() {
    let hostile = Hostile::new();
    let whole = fs::read_to_string(nano().join("tokenizer.json")).unwrap();
    let parsed: Value = serde_json::from_str(&whole).unwrap();
    let changed = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut value = parsed.clone();
        change(&mut value);
        hostile.write("tokenizer.json", value.to_string());
        hostile.refused(what, &["tokenizer", "vocabulary", "chat template"]);
    };
    for text in ["", "{}", "[]", &whole[..whole.len() / 2]] {
        hostile.write("tokenizer.json", text);
        hostile.refused("no tokenizer", &["tokenizer"]);
    }
    hostile.write("tokenizer.json", "{\"a\":".repeat(500_000));
    hostile.refused("nested beyond measure", &["tokenizer"]);
    changed("an id beyond the weights", &|value| {
        value["model"]["vocab"]["far"] = json!(4_000_000_000_u64);
    });
    changed("a pattern that is none", &|value| {
        value["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false});
    });
    changed("a merge of nothing", &|value| {
        value["model"]["merges"] = json!([["no", "such"]]);
    });
}

#[test]
fn templates_of_a_stranger() {
    let hostile = Hostile::new();
    let templates = [
        (
            "a loop without end",
            "{% for i in range(1000000000) %}{% for j in range(1000000000) %}x{% endfor %}{% endfor %}",
        ),
        (
            "a template that calls itself",
            "{% macro again(x) %}{{ again(x) }}{{ again(x) }}{% endmacro %}{{ again(1) }}",
        ),
        (
            "text that doubles",
            "{% set ns = namespace(text='x') %}{% for i in range(100) %}{% set ns.text = ns.text ~ ns.text %}{% endfor %}{{ ns.text }}",
        ),
        ("text by multiplication", "{{ 'x' * 100000000000 }}"),
        ("a list by multiplication", "{{ [1] * 100000000000 }}"),
        ("no template", "{% for %}"),
        ("a file of the machine", "{% include '/etc/passwd' %}"),
    ];
    for (what, template) in templates {
        hostile.write("chat_template.jinja", template);
        hostile.refused(what, &["template"]);
    }
    hostile.write(
        "chat_template.jinja",
        "{{ (".to_owned() + &"(".repeat(100_000),
    );
    hostile.refused("nested beyond measure", &["template"]);
}

#[test]
fn an_index_that_leads_astray() {
    let hostile = Hostile::new();
    let index = "model.safetensors.index.json";
    let named = |file: &str| json!({"weight_map": {"model.norm.weight": file}}).to_string();
    let secret = hostile.job.write("secret.safetensors", "not a model's");
    for file in [
        "../secret.safetensors",
        secret.to_str().unwrap(),
        "..",
        ".",
        "",
        index,
        "missing.safetensors",
    ] {
        fs::remove_file(hostile.model().join("model.safetensors")).unwrap();
        hostile.write(index, named(file));
        hostile.refused(
            &format!("an index that names `{file}`"),
            &["index", "weights", "safetensors"],
        );
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"weight_map": 1}"#,
        r#"{"weight_map": {"a": 1}}"#,
    ] {
        hostile.write(index, text);
        hostile.refused("an index that is none", &["index", "weights"]);
    }
    circle(&hostile);
}

#[cfg(unix)]
fn circle(hostile: &Hostile) {
    let path = hostile.model().join("model.safetensors");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(Path::new("model.safetensors"), &path).unwrap();
    hostile.refused("a file that is a link to itself", &["model.safetensors"]);
    // A device has no end.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(Path::new("/dev/zero"), &path).unwrap();
    hostile.refused("a file without an end", &["model.safetensors", "weights"]);
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let path = hostile.model().join(file);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(Path::new("/dev/zero"), &path).unwrap();
        hostile.refused("a file without an end", &["it is a device, not a file"]);
    }
}

/// A pipe to which nobody writes holds up whoever opens it, for ever.
#[cfg(unix)]
#[test]
fn pipes_of_a_stranger() {
    let hostile = Hostile::new();
    let pipe = |path: &Path| {
        let _ = fs::remove_file(path);
        let made = Command::new("mkfifo").arg(path).status();
        made.is_ok_and(|status| status.success())
    };
    if !pipe(&hostile.model().join("config.json")) {
        eprintln!("skipped: pipes_of_a_stranger: `mkfifo` cannot be run here");
        return;
    }
    hostile.refused("config.json", &["it has no config.json"]);
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    ] {
        assert!(pipe(&hostile.model().join(file)));
        hostile.refused(file, &["it is a named pipe, not a file"]);
        let path = hostile.model().join(file);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        hostile.refused(file, &["it is a folder, not a file"]);
    }
    for file in ["train.csv", "pipeline.yaml"] {
        assert!(pipe(&hostile.job.path().join(file)));
        let told = hostile.check(file, 2);
        assert!(
            told.contains(file) && told.contains("it is a named pipe, not a file"),
            "{told}"
        );
        assert!(told.contains("help:"), "{told}");
    }
}

#[cfg(not(unix))]
fn circle(_hostile: &Hostile) {}
