# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The real huggingface_hub client and transformers against tests/hub.py, each in processes of their own."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.hub import LoopbackHub, run_python


FINGERPRINT = """
import hashlib, json
def fingerprint(model):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())).hexdigest()
"""

PUSH = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, head_dim=4
)
old, new = LlamaForCausalLM(config), LlamaForCausalLM(config)
old_sha = old.push_to_hub("org/llama").oid
new.push_to_hub("org/llama")
print(json.dumps({"old_sha": old_sha, "old": fingerprint(old), "new": fingerprint(new)}))
"""

LOAD = """
from transformers import AutoModelForCausalLM, AutoTokenizer
def error_of(name, revision="main"):
    try:
        AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        return str(error)
errors = {"file": error_of("org/llama"), "repo": error_of("org/none"), "revision": error_of("org/llama", "0" * 40)}
old = AutoModelForCausalLM.from_pretrained("org/llama", revision=old_sha)
new = AutoModelForCausalLM.from_pretrained("org/llama")
print(json.dumps({"old": fingerprint(old), "new": fingerprint(new), "errors": errors}))
"""

FOLDER = """
import json
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
api, repo = HfApi(), {"repo_id": "org/data", "repo_type": repo_type}
assert api.whoami()["name"] == "tester"
assert api.create_repo(**repo).repo_id == api.create_repo(**repo, exist_ok=True).repo_id == "org/data"
shas = [api.upload_folder(folder_path="folder", **repo).oid for _ in range(2)]
assert shas == [api.repo_info(**repo).sha] * 2
snapshot = snapshot_download(**repo)
listed = sorted(api.list_repo_files(**repo))
top = sorted(entry.path for entry in api.list_repo_tree(**repo))
lfs = [info.lfs is not None for info in api.get_paths_info(paths=["README.md", "images/a.png"], **repo)]
api.delete_folder("images", **repo)
after = api.list_repo_files(**repo)
errors = []
for kwargs in [{"repo_id": "org/none"}, {"revision": "0" * 40}, {}]:
    try:
        hf_hub_download(**repo | {"filename": "images/a.png"} | kwargs)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        errors.append(type(error).__name__)
print(json.dumps([snapshot, shas[0], listed, top, lfs, after, errors]))
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.mark.slow
def test_a_pushed_model_loads_by_name_and_by_an_older_revision(hub: LoopbackHub, tmp_path: Path) -> None:
    pushed = json.loads(run_python(FINGERPRINT + PUSH, hub.environment(tmp_path / "author"), tmp_path))
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)
    assert hub.files("org/llama", pushed["old_sha"])["config.json"] == hub.files("org/llama")["config.json"]

    hub.requests.clear()
    code = f"{FINGERPRINT}old_sha = {pushed['old_sha']!r}{LOAD}"
    loaded = json.loads(run_python(code, hub.environment(tmp_path / "user"), tmp_path))
    assert (loaded["old"], loaded["new"]) == (pushed["old"], pushed["new"])
    assert pushed["old"] != pushed["new"]
    assert f"GET /org/llama/resolve/{pushed['old_sha']}/model.safetensors" in hub.requests
    assert "Couldn't instantiate the backend tokenizer" in loaded["errors"]["file"]
    assert "not a valid model identifier" in loaded["errors"]["repo"]
    assert "not a valid git identifier" in loaded["errors"]["revision"]


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_a_folder_is_one_commit_that_downloads_the_same(repo_type: str, hub: LoopbackHub, tmp_path: Path) -> None:
    files = {"README.md": b"# Data\n", "empty.txt": b"", "images/a.png": b"\x89PNG", "images/deep/b c.txt": b"text"}
    for path, content in files.items():
        (tmp_path / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / path).write_bytes(content)
    code = f"repo_type = {repo_type!r}{FOLDER}"
    printed = run_python(code, hub.environment(tmp_path / "home"), tmp_path, new_interpreter=True)
    snapshot, sha, listed, top, lfs, after, errors = json.loads(printed)

    assert hub.requests.count(f"POST /api/{repo_type}s/org/data/commit/main") == 2  # the upload and the deletion
    assert listed == sorted([".gitattributes", *files]) == sorted(hub.files("org/data", sha, repo_type))
    assert {path: Path(snapshot, path).read_bytes() for path in files} == files
    assert top == [".gitattributes", "README.md", "empty.txt", "images"]
    assert lfs == [False, True]
    assert sorted(after) == [".gitattributes", "README.md", "empty.txt"]
    assert sorted(after) == sorted(hub.files("org/data", repo_type=repo_type))
    assert errors == ["RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"]


def test_a_range_is_served_and_a_wrong_token_or_an_unknown_address_is_refused(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    def get(path: str, **headers: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", hub.server_port, timeout=10)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()

    code = "from huggingface_hub import create_repo\ncreate_repo('org/name')"
    run_python(code, hub.environment(tmp_path / "home"), tmp_path, new_interpreter=True)
    path, content = "/org/name/resolve/main/.gitattributes", hub.files("org/name")[".gitattributes"]
    assert get(path) == (200, content)
    assert get(path, Range="bytes=2-4") == (206, content[2:5])
    assert get(path, Range="bytes=2-") == (206, content[2:])
    assert get("/api/whoami-v2", Authorization="Bearer hf_other")[0] == 401
    assert get("/api/models/org/name/discussions")[0] == 501
    assert "GET /api/models/org/name/discussions" in hub.requests


def test_a_process_finds_the_repository_only_with_its_argument_and_shows_why_it_fails(tmp_path: Path) -> None:
    code = "from importlib.util import find_spec\nassert find_spec('modeling_parrot'), 'not found'\nprint('found')"
    assert run_python(code, {}, tmp_path, with_repository=True, new_interpreter=True) == "found\n"
    with pytest.raises(RuntimeError, match="AssertionError: not found"):
        run_python(code, {}, tmp_path, new_interpreter=True)
