# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A folder or Hub id that does not exist is an error at once."""

import time
from pathlib import Path

import pytest

from tests.hub import LoopbackHub, run_python
from trainer.common.sources import check_source


def test_a_folder_that_is_there_passes(tmp_path: Path) -> None:
    check_source(str(tmp_path), "--model")


def test_a_misspelt_folder_is_named_with_the_one_that_is_meant(
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
from trainer.common.sources import check_source
try:
    check_source("org/none", "--dataset_name", "dataset")
except ValueError as error:
    print(error)
"""


def test_a_hub_id_is_looked_for_once(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        printed = run_python(CHECK, hub.environment(tmp_path / "home"), tmp_path, with_repository=True)
        assert printed.startswith("--dataset_name='org/none': there is no such folder, and no such dataset on the Hub")
        assert len(hub.requests) == 1


def test_without_a_hub_the_error_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="'org/parrot': there is no such folder, and the Hub cannot be reached"):
        check_source("org/parrot", "--model")


def test_what_the_cache_holds_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--org--parrot" / "snapshots").mkdir(parents=True)
    check_source("org/parrot", "--model")
