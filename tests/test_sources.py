# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A folder or Hub id that does not exist, or is no Parrot, is an error at once."""

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.hub import LoopbackHub, run_python
from trainer.common.sources import check_parrot, check_source


def test_a_folder_that_is_there_passes(tmp_path: Path) -> None:
    check_source(str(tmp_path), "--model")


def test_the_error_for_a_misspelt_folder_suggests_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/demo-parrot").mkdir(parents=True)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"'models/demo-parot': there is no such folder\. Did you mean models/demo-"):
        check_source("models/demo-parot", "--model")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("name", ["./mine", "a/b/c", "../x", "~/models", "neighbours:data/demo", ""])
def test_a_name_that_cannot_be_a_hub_id_is_a_missing_folder(name: str) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        check_source(name, "--model")


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="is a file: give the model's folder"):
        check_source(str(tmp_path / "model.safetensors"), "--model")


CHECK = """
from trainer.common.sources import check_parrot, check_source
def check(check, *arguments):
    try:
        check(*arguments)
        print("passes")
    except ValueError as error:
        print(error)
check(check_source, "org/none", "--dataset_name", "dataset")
for name in ("org/empty", "org/qwen", "org/parrot", "org/adapter"):
    check(check_parrot, name, "--model")
"""


def test_a_hub_id_is_looked_for_once_and_must_be_a_parrot_where_a_model_is_needed(tmp_path: Path) -> None:
    models = {
        "org/empty": {"README.md": "# A data set"},
        "org/qwen": {"config.json": '{"model_type": "qwen2"}'},
        "org/parrot": {"config.json": '{"model_type": "parrot"}'},
        "org/adapter": {"adapter_config.json": '{"base_model_name_or_path": "org/parrot"}'},
    }
    with LoopbackHub() as hub:
        for name, files in models.items():
            hub.add_model(name, {file: text.encode() for file, text in files.items()})
        printed = run_python(
            CHECK, hub.environment(tmp_path / "home"), tmp_path, with_repository=True, new_interpreter=True
        )
        assert len([request for request in hub.requests if "org/none" in request]) == 1
    none, empty, qwen, parrot, adapter = printed.splitlines()
    assert none.startswith("--dataset_name='org/none': there is no such folder, and no such dataset on the Hub")
    assert empty.startswith("--model='org/empty' has no config.json")
    assert qwen.startswith("--model='org/qwen' is not a Parrot")
    assert (parrot, adapter) == ("passes", "passes")


def test_without_a_hub_the_error_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="'org/parrot': there is no such folder, and the Hub cannot be reached"):
        check_source("org/parrot", "--model")


def test_a_repository_in_the_cache_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--org--parrot" / "snapshots").mkdir(parents=True)
    check_source("org/parrot", "--model")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no config.json"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "has the model_type None"),
        ('{"model_type": "qwen2"}', "has the model_type 'qwen2'"),
        ('{"model_type": "parrot"}', r"has no weights, no \*\.safetensors"),
    ],
)
def test_a_folder_that_holds_no_parrot_is_named(config: str | None, message: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*{message}"):
        check_parrot(str(tmp_path), "--model")


def test_damaged_weights_are_named(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "model", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    check_parrot(str(tmp_path / "model"), "--model")
    for content in (weights.read_bytes()[:-1], b"version https://git-lfs.github.com/spec/v1\n"):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{weights} is damaged, or not the whole file"):
            check_parrot(str(tmp_path / "model"), "--model")


def test_a_folder_without_its_tokenizer_is_named(world: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "processor_config.json"):
        shutil.copytree(world / "model", tmp_path / name)
        (tmp_path / name / name).unlink()
        with pytest.raises(ValueError, match=rf"{tmp_path / name}.* has no {name}.*: copy the whole folder"):
            check_parrot(str(tmp_path / name), "--model")


def test_an_adapter_passes_if_its_base_does(world: Path, tmp_path: Path) -> None:
    shutil.copy(world / "model" / "model.safetensors", tmp_path / "adapter_model.safetensors")
    adapter = tmp_path / "adapter_config.json"
    adapter.write_text(json.dumps({"base_model_name_or_path": str(world / "model")}))
    check_parrot(str(tmp_path), "--model")
    adapter.write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "none")}))
    with pytest.raises(ValueError, match=r"^base_model_name_or_path of --model .*none': there is no such folder"):
        check_parrot(str(tmp_path), "--model")
