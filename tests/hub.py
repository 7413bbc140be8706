# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
A Hub on 127.0.0.1 for tests: as much of the Hugging Face Hub's HTTP API as the real client needs to push and to load.

    with LoopbackHub() as hub:
        run_python("...; model.push_to_hub('org/name')", hub.environment(home), tmp_path)
        assert "config.json" in hub.files("org/name")
        assert "GET /org/name/resolve/main/config.json" in hub.requests

Model and dataset repositories live in memory; a commit holds all files. There are no branches but `main`, no pull
requests and no Xet. A request that is not implemented is answered with 501 and the request's name. Requests that match
the regular expression `hub.outage` are refused.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.processes import python


REPOSITORY = Path(__file__).resolve().parent.parent
TOKEN = "hf_test"
USER = "tester"
LFS_SUFFIXES = (".arrow", ".bin", ".jpg", ".parquet", ".png", ".safetensors")
# The real Hub also begins each repository with this file.
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()

API = r"/api/(?P<repo_type>model|dataset|space)s/(?P<repo_id>[^/]+/[^/]+)"
WEB = r"/(?:(?P<repo_type>dataset|space)s/)?(?P<repo_id>[^/]+/[^/]+)"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Response:
    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """An answer with an error status; the client chooses its exception by `code`."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message, "X-Error-Code": code, "X-Repo-Commit": commit}
        self.response = Response(
            json.dumps({"error": message}).encode(), status, {key: value for key, value in headers.items() if value}
        )


class Repository:
    """The commits of one repository on `main`, oldest first."""

    def __init__(self, private: bool = False) -> None:
        self.private = private
        self.commits: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.commit({".gitattributes": GIT_ATTRIBUTES})

    @property
    def head(self) -> str:
        return next(reversed(self.commits), "")

    def commit(self, files: dict[str, bytes]) -> str:
        """Adds a commit that holds only these files. Returns its sha."""
        tree = [f"{path} {object_id(path, content)}" for path, content in sorted(files.items())]
        sha = hashlib.sha1("\n".join([self.head, *tree]).encode()).hexdigest()
        self.commits[sha] = files
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]]:
        """The sha of a revision, and its files."""
        sha = self.head if revision == "main" else self.tags.get(revision, revision)
        if sha not in self.commits:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, self.commits[sha]


class LoopbackHub(ThreadingHTTPServer):
    """The server, running inside its `with` block. `requests` are `"METHOD /path"`, in the order of arrival."""

    request_queue_size = 64  # the client uploads and downloads from many threads

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[str] = []
        self.outage: str | None = None
        self._repositories: dict[tuple[str, str], Repository] = {}
        self._objects: dict[str, bytes] = {}  # LFS files by their SHA-256
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._routes: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", r"/api/whoami-v2", self._whoami),
            ("POST", r"/api/validate-yaml", self._validate_yaml),
            ("POST", r"/api/repos/create", self._create),
            ("GET", rf"{API}(?:/revision/(?P<revision>[^/]+))?", self._info),
            ("GET", rf"{API}/refs", self._refs),
            ("POST", rf"{API}/tag/(?P<revision>[^/]+)", self._tag),
            ("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", self._tree),
            ("POST", rf"{API}/paths-info/(?P<revision>[^/]+)", self._paths_info),
            ("POST", rf"{API}/preupload/(?P<revision>[^/]+)", self._preupload),
            ("POST", rf"{API}/commit/(?P<revision>[^/]+)", self._commit),
            ("POST", rf"{WEB}\.git/info/lfs/objects/batch", self._lfs_batch),
            ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self._lfs_upload),
            ("GET", rf"{WEB}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._resolve),
        ]

    def __enter__(self) -> "LoopbackHub":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """The environment variables with which a process takes this server for the Hub; `home` holds its caches."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
        }

    def files(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> dict[str, bytes]:
        """All files of a repository at `main` or a commit's sha."""
        return dict(self._repository(repo_type, repo_id).at(revision)[1])

    def add_model(self, repo_id: str, files: dict[str, bytes]) -> None:
        """Adds a public model with these files."""
        repository = self._repositories["model", repo_id] = Repository()
        repository.commit(files)

    def respond(self, request: Request) -> Response:
        """Notes a request and answers it."""
        with self._lock:
            self.requests.append(f"{request.method} {unquote(request.path)}")
            try:
                return self._route(request)
            except RefusalError as refusal:
                return refusal.response

    def _route(self, request: Request) -> Response:
        if self.outage and re.fullmatch(self.outage, f"{request.method} {request.path}"):
            raise RefusalError(400, "An outage that the test asked for")  # a client tries 5xx again
        authorized = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if not authorized and (request.method == "POST" or request.path == "/api/whoami-v2"):
            raise RefusalError(401, "Invalid credentials in Authorization header")
        for method, pattern, answer in self._routes:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method.replace("HEAD", "GET"):
                return answer(request, **{key: unquote(value) for key, value in match.groupdict().items() if value})
        raise RefusalError(501, f"The loopback Hub does not know {request.method} {request.path}")

    def _repository(self, repo_type: str, repo_id: str) -> Repository:
        if (repo_type, repo_id) not in self._repositories:
            raise RefusalError(404, f"Repository not found: {repo_type} {repo_id}", "RepoNotFound")
        return self._repositories[repo_type, repo_id]

    def _whoami(self, request: Request) -> Response:
        token = {"displayName": "test", "role": "write"}
        return json_response({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": token}})

    def _validate_yaml(self, request: Request) -> Response:
        return json_response({"errors": [], "warnings": []})

    def _create(self, request: Request) -> Response:
        fields = request.json()
        repo_type, repo_id = fields.get("type", "model"), f"{fields.get('organization') or USER}/{fields['name']}"
        url = f"{self.endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"
        if (repo_type, repo_id) in self._repositories:
            return json_response({"error": f"You already created this {repo_type} repo", "url": url}, status=409)
        self._repositories[repo_type, repo_id] = Repository(
            private=fields.get("private") or fields.get("visibility") == "private"
        )
        return json_response({"name": repo_id, "url": url})

    def _info(self, request: Request, repo_type: str, repo_id: str, revision: str = "main") -> Response:
        repository = self._repository(repo_type, repo_id)
        sha, files = repository.at(revision)
        siblings = [entry(path, files) for path in sorted(files)]
        siblings = [{"rfilename": file.pop("path"), "blobId": file.pop("oid"), **file} for file in siblings]
        return json_response(
            {"id": repo_id, "sha": sha, "private": repository.private, "tags": [], "siblings": siblings}
        )

    def _refs(self, request: Request, repo_type: str, repo_id: str) -> Response:
        tags = self._repository(repo_type, repo_id).tags
        refs = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in tags.items()]
        return json_response({"branches": [], "converts": [], "tags": refs})

    def _tag(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
        repository = self._repository(repo_type, repo_id)
        repository.tags[request.json()["tag"]] = repository.at(revision)[0]
        return json_response({})

    def _tree(self, request: Request, repo_type: str, repo_id: str, revision: str, folder: str = "") -> Response:
        sha, files = self._repository(repo_type, repo_id).at(revision)
        prefix = f"{folder}/" if folder else ""
        paths = {path for path in [*files, *folders(files)] if path.startswith(prefix)}
        if folder and not paths:
            raise RefusalError(404, f"{folder} does not exist on {revision}", "EntryNotFound", sha)
        if request.query.get("recursive") != ["true"]:
            paths = {path for path in paths if "/" not in path[len(prefix) :]}
        return json_response([entry(path, files) for path in sorted(paths)])

    def _paths_info(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
        files = self._repository(repo_type, repo_id).at(revision)[1]
        names = parse_qs(request.body.decode())["paths"]
        return json_response([entry(path, files) for path in names if path in files or path in folders(files)])

    def _preupload(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
        files = self._repository(repo_type, repo_id).at(revision)[1]
        answers = []
        for path in (file["path"] for file in request.json()["files"]):
            oid = object_id(path, files[path]) if path in files else None  # the client leaves out what has not changed
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return json_response({"files": answers})

    def _commit(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
        repository = self._repository(repo_type, repo_id)
        if revision != "main" or request.query:
            raise RefusalError(501, f"The loopback Hub commits to main only, not to {revision} {request.query}")
        files = dict(repository.commits[repository.head])
        for line in request.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                if not repository.head.startswith(value.get("parentCommit", "")):
                    raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self._objects[value["oid"]]
            else:  # deletedFile, deletedFolder
                gone = value["path"].rstrip("/")
                files = {path: files[path] for path in files if path != gone and not path.startswith(f"{gone}/")}
        sha = repository.commit(files)
        return json_response({"commitOid": sha, "commitUrl": f"{self.endpoint}/{repo_id}/commit/{sha}"})

    def _lfs_batch(self, request: Request, repo_id: str, repo_type: str = "model") -> Response:
        self._repository(repo_type, repo_id)
        objects = request.json()["objects"]
        for item in objects:
            if item["oid"] not in self._objects:  # without actions, the client takes a file as already uploaded
                item["actions"] = {"upload": {"href": f"{self.endpoint}/lfs/{item['oid']}"}}
        return json_response({"transfer": "basic", "objects": objects})

    def _lfs_upload(self, request: Request, oid: str) -> Response:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise RefusalError(400, f"The content is not that of {oid}")
        self._objects[oid] = request.body
        return Response(b"")

    def _resolve(self, request: Request, repo_id: str, revision: str, path: str, repo_type: str = "model") -> Response:
        sha, files = self._repository(repo_type, repo_id).at(revision)
        if path not in files:
            raise RefusalError(404, f"{path} does not exist on {revision}", "EntryNotFound", sha)
        content, etag = files[path], f'"{object_id(path, files[path])}"'
        response = Response(content, headers={"X-Repo-Commit": sha, "ETag": etag, "Accept-Ranges": "bytes"})
        if path.endswith(LFS_SUFFIXES):
            response.headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        if byte_range := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start, stop = int(byte_range[1]), min(int(byte_range[2] or len(content)) + 1, len(content))
            response.status, response.content = 206, content[start:stop]
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return response


class Handler(BaseHTTPRequestHandler):
    """Reads a request, writes the hub's answer."""

    server: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: the second would wait 40 ms

    def answer(self) -> None:
        url = urlsplit(self.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        response = self.server.respond(Request(self.command, url.path, parse_qs(url.query), headers, body))
        self.send_response(response.status)
        for key, value in {"Content-Length": str(len(response.content)), **response.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (http.server's names)

    def log_message(self, *args: object) -> None:
        """Says nothing: `LoopbackHub.requests` has it."""


def json_response(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


def object_id(path: str, content: bytes) -> str:
    """The id by which the client recognises an unchanged file: the SHA-256 of an LFS file, else git's hash."""
    if path.endswith(LFS_SUFFIXES):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def folders(files: dict[str, bytes]) -> set[str]:
    """All folders in which files lie."""
    return {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}


def entry(path: str, files: dict[str, bytes]) -> dict[str, Any]:
    """The entry of a file or a folder in a listing."""
    if path not in files:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    size, oid = len(files[path]), object_id(path, files[path])
    lfs = {"lfs": {"oid": oid, "sha256": oid, "size": size, "pointerSize": 134}} if path.endswith(LFS_SUFFIXES) else {}
    return {"type": "file", "path": path, "oid": oid, "size": size, **lfs}


def run_python(
    code: str, environment: dict[str, str], cwd: Path, with_repository: bool = False, new_interpreter: bool = False
) -> str:
    """
    Runs code in a fresh process and returns its output. The process can import this repository's packages only
    `with_repository`; otherwise it cannot, even if they are installed. tests/processes.py forks the process after the
    import of torch; code that does not import torch, or does something before, runs in a `new_interpreter`.

    Raises:
        `RuntimeError`: if the process fails, with its output.
    """
    if cwd.resolve().is_relative_to(REPOSITORY):
        raise ValueError(f"{cwd} is in the repository, whose packages would be found there: use tmp_path.")
    # The process must not get the caches, offline switches and proxies of the user who runs the tests.
    foreign = re.compile("HF_.*|HUGGING_?FACE_.*|TRANSFORMERS_.*|PYTHONPATH|.*_proxy", re.IGNORECASE)
    inherited = {key: value for key, value in os.environ.items() if not foreign.fullmatch(key)}
    if with_repository:
        environment = environment | {"PYTHONPATH": str(REPOSITORY)}
    else:
        code = f"import sys\nsys.modules.update(modeling_parrot=None, trainer=None)\n{code}"
    command = [sys.executable if new_interpreter else python(), "-c", code]
    done = subprocess.run(command, env=inherited | environment, cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"The process exited with {done.returncode}.\n{code}\n{done.stdout}\n{done.stderr}")
    return done.stdout
