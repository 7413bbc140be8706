# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Checks quickly that a model or a data set exists, and that a model is a Parrot. Libraries would look for it on the Hub
for half a minute, or would load half of it.
"""

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open


ADVICE = "Give the folder or Hub id of a Parrot, such as trainer.compose and trainer/sft.py write."
TIMEOUT = 5.0  # Seconds that a request to the Hub may take. Its answer is one line of JSON.


def check_source(
    name: str, argument: str, kind: Literal["model", "dataset"] = "model", revision: str | None = None
) -> None:
    """
    Checks that a folder or a Hub repository exists, or is in the cache.

    Args:
        name: the folder or Hub id.
        argument: the name of the user's argument that holds `name`, for the error.
        kind: the kind of repository.
        revision: branch, tag or commit on the Hub.

    Raises:
        `ValueError`: in one line, if there is neither such a folder nor such a repository.
    """
    path = Path(name)
    if name and path.is_dir():
        return
    if path.is_file():
        raise ValueError(f"{argument}={name!r} is a file: give the {kind}'s folder or its Hub id.")
    beside = [child.name for child in path.parent.iterdir() if child.is_dir()] if path.parent.is_dir() else []
    close = [str(path.parent / sibling) for sibling in get_close_matches(path.name, sorted(beside), cutoff=0.5)]
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    if not _can_be_hub_id(name):
        raise ValueError(f"{argument}={name!r}: there is no such folder.{hint}")
    if _is_cached(name, kind):
        return
    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=TIMEOUT)
    except GatedRepoError:  # The library that downloads it says how to get access.
        return
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"{argument}={name!r}: there is no such folder, and no such {kind} on the Hub, or none that your token "
            f"may read.{hint}"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{argument}={name!r} has no revision {revision!r} on the Hub.") from error
    except HfHubHTTPError:  # The Hub answers with another error: the library that downloads it retries.
        return
    except (HTTPError, OSError) as error:
        raise ValueError(
            f"{argument}={name!r}: there is no such folder, and the Hub cannot be reached to look for such a {kind}. "
            f"Give a folder, or connect to the Hub.{hint}"
        ) from error


def check_file(name: str, argument: str) -> None:
    """
    Checks that a file exists.

    Raises:
        `ValueError`: in one line, if it does not, or if it is a folder.
    """
    if Path(name).is_dir():
        raise ValueError(f"{argument}: {name} is a folder. Give a file.")
    if not Path(name).is_file():
        raise ValueError(f"{argument}: there is no file {name}.")


def check_output(name: str, argument: str) -> None:
    """
    Checks, before the work begins, that a folder can be written.

    Args:
        name: the folder, which may not exist yet.
        argument: the name of the user's argument that holds `name`, for the error.

    Raises:
        `ValueError`: in one line, if the folder or a folder above it is a file.
    """
    for path in (Path(name), *Path(name).parents):
        if path.is_file():
            where = "is a file" if path == Path(name) else f"lies in {path}, which is a file"
            raise ValueError(f"{argument}={name!r} {where}: give a new folder.")


def check_parrot(name: str, argument: str, revision: str | None = None, needs_weights: bool = True) -> None:
    """
    Checks that a folder or a Hub repository holds a Parrot, or an adapter of one. It also checks the files
    of a folder, without reading the weights.

    Args:
        name: the folder or Hub id.
        argument: the name of the user's argument that holds `name`, for the error.
        revision: branch, tag or commit on the Hub.
        needs_weights: whether a folder without weights is an error.

    Raises:
        `ValueError`: in one line, if the model does not exist, is no Parrot, or has missing or damaged files.
    """
    check_source(name, argument, revision=revision)
    config = _read_json(name, "config.json", revision)
    adapter = _read_json(name, "adapter_config.json", revision) if config is None else None
    if adapter:
        base = str(adapter.get("base_model_name_or_path"))
        check_parrot(base, f"base_model_name_or_path of {argument} {name}", adapter.get("revision"), needs_weights)
    elif config is None:
        raise ValueError(f"{argument}={name!r} has no config.json that can be read. {ADVICE}")
    elif config.get("model_type") != "parrot":
        raise ValueError(
            f"{argument}={name!r} is not a Parrot: its config.json has the model_type {config.get('model_type')!r}. "
            f"{ADVICE}"
        )
    if needs_weights and Path(name).is_dir():
        _check_weights(name, argument)
        if config:
            _check_processor(name, argument)


def _read_json(name: str, file: str, revision: str | None) -> dict[str, Any] | None:
    """A JSON file of a folder or Hub repository; None if it is not there."""
    path = Path(name, file)
    if not Path(name).is_dir():
        try:
            path = Path(hf_hub_download(name, file, revision=revision))
        except EntryNotFoundError:
            return None
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): copy it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object: copy it again.")
    return content


def _check_weights(folder: str, argument: str) -> None:
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(f"{argument}={folder!r} has no weights, no *.safetensors. {ADVICE}")
    for file in files:
        try:
            with safe_open(file, framework="np"):  # reads the header, and compares it with the file's size
                pass
        except SafetensorError as error:
            raise ValueError(
                f"{file} is damaged, or not the whole file ({error}): copy or download it again."
            ) from error


def _check_processor(folder: str, argument: str) -> None:
    # Without these files, transformers would make an empty tokenizer.
    for names in (("processor_config.json",), ("tokenizer.json", "tokenizer.model", "vocab.json")):
        if not any(Path(folder, name).is_file() for name in names):
            raise ValueError(f"{argument}={folder!r} has no {' or '.join(names)}: copy the whole folder of the model.")


def _is_cached(name: str, kind: str) -> bool:
    """Whether an earlier download can serve the name without the Hub."""
    repository = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type=kind), "snapshots")
    prepared = Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME, "datasets")), name.replace("/", "___"))
    return repository.is_dir() or (kind == "dataset" and prepared.is_dir())


def _can_be_hub_id(name: str) -> bool:
    """Whether the name has the form of a Hub id. `models/mine` is a path if there is a folder `models`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" not in name or not Path(name).parent.is_dir()
