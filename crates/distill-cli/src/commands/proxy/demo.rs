//! `distill proxy --demo`: everything to be seen without a key.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use distill_proxy::demo::Demo;

use super::{Source, terminal};
use crate::{environment, failure::Failure};

pub(super) async fn serve(listen: Option<SocketAddr>) -> Result<ExitCode, Failure> {
    let folder = Folder::make()?;
    terminal::say("making two weeks of history");
    let demo = Demo::start(&folder.0).await.map_err(|error| {
        Failure::failed("the demo cannot start")
            .caused_by(error)
            .hint("it keeps its ledger in the system's folder for temporary files")
    })?;
    let demo = Arc::new(demo);
    let path = folder.0.join("proxy.yaml");
    fs::write(&path, demo.config()).map_err(|error| {
        Failure::failed(format!("cannot write {}", path.display())).caused_by(error)
    })?;
    let known = Arc::clone(&demo);
    let usual = environment::reader();
    let source = Source {
        path,
        listen,
        environment: Arc::new(move |name| known.variable(name).or_else(|| usual(name))),
    };
    super::serve(source, move |address, stop| {
        terminal::say(&format!("\n{}", demo.guide(address)));
        let stop = stop.clone();
        tokio::spawn(async move {
            // Without a client there is no traffic; all else can still be tried.
            if let Err(error) = demo.traffic(address, stop).await {
                terminal::say(&format!("no traffic: {error}"));
            }
        });
    })
    .await
}

/// A folder of this demo alone, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path = environment::temporary().join(format!("distill-demo-{}", std::process::id()));
        make_private(&path).map_err(|error| {
            Failure::failed(format!("cannot make {}", path.display())).caused_by(error)
        })?;
        Ok(Self(path))
    }
}

/// Makes a folder that nobody else can read, and none that is there already.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left for the system to clear away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
