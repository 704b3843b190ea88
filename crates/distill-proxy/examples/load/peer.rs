//! The gateways that are compared, each as its own users run it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Options, process::Process, upstream::wait_for};

/// A running gateway, or the vendor itself.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) path: &'static str,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
    /// Sent instead where the first vendor is to fail.
    pub(crate) fallback_headers: Vec<(String, String)>,
    pub(crate) model: &'static str,
    pub(crate) fallback_model: &'static str,
    /// Whose use is measured.
    pub(crate) process: Process,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts the vendor in a process of its own.
pub(crate) async fn start_upstream(folder: &Path, faults: f64) -> (Process, u16) {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "upstream",
        "--port",
        &port.to_string(),
        "--faults",
        &faults.to_string(),
    ]);
    let process = Process::start(command, &folder.join("upstream.log"));
    assert!(wait_for(&format!("127.0.0.1:{port}"), Duration::from_secs(10)).await);
    (process, port)
}

fn bearer(key: &str) -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {key}"))]
}

async fn ready(peer: Peer) -> Option<Peer> {
    if wait_for(&peer.address, Duration::from_secs(90)).await {
        return Some(peer);
    }
    eprintln!(
        "{} does not listen; its log is beside its configuration",
        peer.name
    );
    None
}

/// Our own proxy, with its ledger.
pub(crate) async fn distill(options: &Options, folder: &Path, upstream: u16) -> Option<Peer> {
    let program = options.text("distill").unwrap_or("target/release/distill");
    let port = free_port();
    start_distill(program, folder, upstream, port).await
}

/// Starts our proxy on a ledger that may be there already.
pub(crate) async fn start_distill(
    program: &str,
    folder: &Path,
    upstream: u16,
    port: u16,
) -> Option<Peer> {
    let config = folder.join("proxy.yaml");
    let base = format!("http://127.0.0.1:{upstream}/v1");
    let ledger = folder.join("ledger.db");
    fs::write(
        &config,
        format!(
            "listen: 127.0.0.1:{port}\nledger: {ledger}\nvendors:\n  near:\n    like: vllm\n    base_url: {base}\n    price: {{input: 2.5, output: 10}}\nmodels:\n  bench: [near/bench]\n  bench-fallback: [near/fail, near/bench]\n  soak: [near/bench-a, near/bench-b]\n",
            ledger = ledger.display()
        ),
    )
    .unwrap();
    let mut command = Command::new(program);
    command.arg("proxy").arg(&config);
    ready(Peer {
        name: "distill",
        address: format!("127.0.0.1:{port}"),
        path: "/v1/chat/completions",
        headers: bearer("unused"),
        fallback_headers: bearer("unused"),
        model: "bench",
        fallback_model: "bench-fallback",
        process: Process::start(command, &folder.join("distill.log")),
    })
    .await
}

/// The vendor itself: what a request costs that nobody stands before.
pub(crate) async fn direct(folder: &Path) -> Peer {
    let (process, port) = start_upstream(folder, 0.0).await;
    Peer {
        name: "direct",
        address: format!("127.0.0.1:{port}"),
        path: "/v1/chat/completions",
        headers: bearer("unused"),
        fallback_headers: bearer("unused"),
        model: "bench",
        fallback_model: "bench",
        process,
    }
}

/// The proxy of `LiteLLM`: one worker, its own retries and fallbacks.
pub(crate) async fn litellm(program: &str, folder: &Path, upstream: u16) -> Option<Peer> {
    let port = free_port();
    let config = folder.join("litellm.yaml");
    let entry = |name: &str, model: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params: {{model: openai/{model}, api_base: \"http://127.0.0.1:{upstream}/v1\", api_key: unused}}\n"
        )
    };
    fs::write(
        &config,
        format!(
            "model_list:\n{}{}router_settings:\n  fallbacks: [{{\"bench-fallback\": [\"bench\"]}}]\n",
            entry("bench", "bench"),
            entry("bench-fallback", "fail")
        ),
    )
    .unwrap();
    let mut command = Command::new(program);
    command
        .args(["--config", config.to_str().unwrap(), "--host", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--num_workers", "1"])
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LITELLM_TELEMETRY", "False")
        .env("LITELLM_MASTER_KEY", "sk-unused");
    ready(Peer {
        name: "LiteLLM",
        address: format!("127.0.0.1:{port}"),
        path: "/v1/chat/completions",
        headers: bearer("sk-unused"),
        fallback_headers: bearer("sk-unused"),
        model: "bench",
        fallback_model: "bench-fallback",
        process: Process::start(command, &folder.join("litellm.log")),
    })
    .await
}

/// The gateway inside `TensorZero`'s Python package, without a database.
pub(crate) async fn tensorzero(python: &str, folder: &Path, upstream: u16) -> Option<Peer> {
    let config = folder.join("tensorzero.toml");
    let provider = |model: &str| {
        format!(
            "type = \"openai\"\nmodel_name = \"{model}\"\napi_base = \"http://127.0.0.1:{upstream}/v1/\"\napi_key_location = \"none\"\n"
        )
    };
    fs::write(
        &config,
        format!(
            "[gateway]\nobservability.enabled = false\n\n[models.bench]\nrouting = [\"good\"]\n[models.bench.providers.good]\n{good}\n[models.fallback]\nrouting = [\"bad\", \"good\"]\n[models.fallback.providers.bad]\n{bad}\n[models.fallback.providers.good]\n{good}",
            good = provider("bench"),
            bad = provider("fail"),
        ),
    )
    .unwrap();
    let address = folder.join("tensorzero.address");
    drop(fs::remove_file(&address));
    let script = "import sys, time, tensorzero\n\
        gateway = tensorzero._start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)\n\
        open(sys.argv[2] + '.part', 'w').write(gateway.base_url)\n\
        import os; os.rename(sys.argv[2] + '.part', sys.argv[2])\n\
        time.sleep(86400)\n";
    let mut command = Command::new(python);
    command.args(["-c", script]).arg(&config).arg(&address);
    let process = Process::start(command, &folder.join("tensorzero.log"));
    let url = told(&address).await?;
    let rest = url.strip_prefix("http://")?;
    let host = rest.split('/').next()?.replace("0.0.0.0", "127.0.0.1");
    ready(Peer {
        name: "TensorZero",
        address: host,
        path: "/openai/v1/chat/completions",
        headers: bearer("unused"),
        fallback_headers: bearer("unused"),
        model: "tensorzero::model_name::bench",
        fallback_model: "tensorzero::model_name::fallback",
        process,
    })
    .await
}

async fn told(path: &PathBuf) -> Option<String> {
    for _ in 0..600 {
        if let Ok(text) = fs::read_to_string(path) {
            return Some(text);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("TensorZero does not start; its log is beside its configuration");
    None
}

/// Portkey's gateway on node.
pub(crate) async fn portkey(script: &str, folder: &Path, upstream: u16) -> Option<Peer> {
    let port = free_port();
    let mut command = Command::new("node");
    command
        .arg(script)
        .arg(format!("--port={port}"))
        .arg("--headless")
        .env("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost");
    let base = format!("http://127.0.0.1:{upstream}/v1");
    let mut headers = bearer("unused");
    let mut fallback_headers = headers.clone();
    headers.push(("x-portkey-provider".to_owned(), "openai".to_owned()));
    headers.push(("x-portkey-custom-host".to_owned(), base.clone()));
    let target = |model: &str| {
        format!(
            "{{\"provider\":\"openai\",\"api_key\":\"unused\",\"custom_host\":\"{base}\",\"override_params\":{{\"model\":\"{model}\"}}}}"
        )
    };
    let retry = "{\"attempts\":1}";
    fallback_headers.push((
        "x-portkey-config".to_owned(),
        format!(
            "{{\"strategy\":{{\"mode\":\"fallback\"}},\"retry\":{retry},\"targets\":[{},{}]}}",
            target("fail"),
            target("bench")
        ),
    ));
    ready(Peer {
        name: "Portkey",
        address: format!("127.0.0.1:{port}"),
        path: "/v1/chat/completions",
        headers,
        fallback_headers,
        model: "bench",
        fallback_model: "bench",
        process: Process::start(command, &folder.join("portkey.log")),
    })
    .await
}
