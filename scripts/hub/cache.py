"""Holds that Python's huggingface_hub and `distill` share one cache of models.

    cargo build --release
    python scripts/hub/cache.py target/release/distill

Needs huggingface_hub (checked with 2.4.0). A server on loopback stands for the hub; nothing else is
asked. First `distill` fetches and Python finds the model, then the other way round; then Python
reads with its own client what is served, so that the server is seen to be one it accepts.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = Path(__file__).parents[2] / "crates/distill-student/assets/nano"
FILES = {
    name: (MODEL / name).read_bytes()
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/org/tiny/tree/"):
            tree = [entry(name) for name in FILES]
            return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        if path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": name} for name in FILES]
            model = {"id": "org/tiny", "sha": COMMIT, "siblings": siblings}
            return self.answer(200, json.dumps(model).encode(), Content_Type="application/json")
        for revision in (COMMIT, "main"):
            name = path.removeprefix(f"/org/tiny/resolve/{revision}/")
            if name in FILES:
                return self.file(name)
        if path.removeprefix("/storage/") in FILES:
            return self.storage(path.removeprefix("/storage/"))
        return self.answer(404, X_Error_Code="EntryNotFound")

    def file(self, name):
        body = FILES[name]
        if not name.endswith(".safetensors"):
            digest = hashlib.sha1(body).hexdigest()
            return self.answer(200, body, ETag=f'"{digest}"', X_Repo_Commit=COMMIT)
        return self.answer(
            302,
            ETag='"of the link"',
            Location=f"http://localhost:{self.server.server_port}/storage/{name}",
            X_Linked_Etag=f'"{hashlib.sha256(body).hexdigest()}"',
            X_Linked_Size=str(len(body)),
            X_Repo_Commit=COMMIT,
        )

    def storage(self, name):
        body, wanted = FILES[name], self.headers.get("Range")
        if not wanted:
            return self.answer(200, body)
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        part = body[start:]
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.answer(206, part, Content_Range=span)


def entry(name):
    body = FILES[name]
    found = {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
    if name.endswith(".safetensors"):
        digest = hashlib.sha256(body).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(body), "pointerSize": 130}
    return found


def environment(home, port, offline=False):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "1" if offline else "0",
    }


def run(command, home, port, offline=False):
    done = subprocess.run(
        command, env=environment(home, port, offline), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


SNAPSHOT = "from huggingface_hub import snapshot_download; print(snapshot_download('org/tiny'))"
SCAN = """
from huggingface_hub import scan_cache_dir
found = scan_cache_dir()
assert not found.warnings, found.warnings
repository, = found.repos
revision, = repository.revisions
print(repository.repo_id, revision.commit_hash, sorted(revision.refs), repository.nb_files)
"""


def main():
    distill = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        name, path = run([distill, "models", "fetch", "org/tiny"], ours, port).split(" ", 1)
        assert name == f"org/tiny@{COMMIT}", name
        found = run([sys.executable, "-c", SNAPSHOT], ours, port, offline=True)
        assert Path(found).samefile(path), (found, path)
        scanned = run([sys.executable, "-c", SCAN], ours, port, offline=True)
        assert scanned == f"org/tiny {COMMIT} ['main'] {len(FILES)}", scanned
        print("what distill fetched, huggingface_hub finds:", scanned)

        path = run([sys.executable, "-c", SNAPSHOT], theirs, port)
        name, found = run(
            [distill, "models", "fetch", "org/tiny"], theirs, port, offline=True
        ).split(" ", 1)
        assert name == f"org/tiny@{COMMIT}" and Path(found).samefile(path), (name, found, path)
        print("what huggingface_hub fetched, distill finds:", name)


main()
