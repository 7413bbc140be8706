# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that a folder's checkpoints belong to the same run, before the run goes on from them."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from trainer.training.training_rows import SOURCE, as_stored, pictures_of


# Arguments whose names begin with these do not change what is learned. All other arguments define the run.
IGNORED = (
    *("output_dir", "resume_from_checkpoint", "logging_", "log_", "disable_tqdm", "report_to", "run_name", "project"),
    *("trackio_", "eval", "save_", "push_to_hub", "hub_", "per_device_eval_batch_size", "prediction_loss_only"),
    *("include_", "batch_eval_metrics", "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "do_"),
    *("dataset_test_split", "dataset_num_proc", "dataloader_num_workers", "dataloader_p", "dataloader_multi"),
    *("use_cpu", "local_rank", "ddp_", "fsdp", "deepspeed", "accelerator_config", "parallelism_config", "debug"),
    *("activation_", "gradient_checkpointing", "torch_", "tf32", "attn_implementation", "skip_memory_metrics"),
    *("full_determinism", "enable_jit_checkpoint", "restore_callback_states", "trust_remote_code", "use_cache"),
)
# With these schedules, the learning rate of a step does not depend on the number of steps that follow.
OPEN_ENDED = ("constant", "constant_with_warmup", "inverse_sqrt")
ROWS = 10_000  # Number of rows of the training data that are compared; they are evenly spread.
LAST_BYTES = 256  # Number of a picture's last bytes that are compared: in a compressed file, any pixel changes them.
STREAMED_ROWS = 100  # Number of the first rows of streamed data that are compared.


class RunRecord(TrainerCallback, ExportableState):
    """
    Stores the arguments that define a run in `trainer_state.json`, the last file that is written to a checkpoint.

    Args:
        arguments: the run's arguments, from `run_arguments`.
        editions: the editions of this project that have trained the run so far.
    """

    def __init__(self, arguments: dict[str, Any], editions: list[str]) -> None:
        self.arguments, self.editions = arguments, editions

    def state(self) -> dict[str, Any]:
        """The values that transformers writes into `trainer_state.json`."""
        return {"args": {"arguments": self.arguments, "editions": self.editions}, "attributes": {}}


def run_arguments(*groups: Any) -> dict[str, Any]:
    """
    What defines a run, as JSON values: its arguments that are not IGNORED, and a hash of its initial weights.

    Args:
        groups: dataclasses of arguments, `model_name_or_path`, `per_device_train_batch_size` and others among them.
    """
    names = [(group, field.name) for group in groups for field in dataclasses.fields(group)]
    arguments = {name: getattr(group, name) for group, name in names if not name.startswith(IGNORED)}
    # Processes and accumulation steps may share the batch in another way: the optimizer's steps stay the same.
    batch = ("per_device_train_batch_size", "gradient_accumulation_steps")
    size, steps = (arguments.pop(name) for name in batch)
    arguments["batch size of all processes and accumulated steps"] = size * steps * PartialState().num_processes
    if arguments["max_steps"] > 0:
        del arguments["num_train_epochs"]  # max_steps overrides it
    arguments["weights of model_name_or_path"] = hash_of_weights(arguments["model_name_or_path"])
    as_json = json.dumps(
        arguments, default=lambda value: vars(value) if dataclasses.is_dataclass(value) else str(value)
    )
    return json.loads(as_json)


def hash_of_weights(name: str) -> str | None:
    """A hash of the weights files in a folder; None for a Hub id, where `model_revision` identifies the weights."""
    hashes = hashes_of_files(name)
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16] if hashes else None


def hashes_of_files(folder: str | Path) -> dict[str, str]:
    """
    The SHA-256 of each weights file in a folder, by file name. All bytes count, because stage 1 changes few of them.
    This takes one to two seconds per gigabyte on one core.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    return {file.name: _digest(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files}


@lru_cache
def _digest(file: Path, _size: int, _mtime_ns: int) -> str:
    """The SHA-256 of a file, cached until its size or its mtime changes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def hash_of_rows(data: Dataset | IterableDataset) -> str:
    """
    The number of rows and a hash of up to ROWS rows. For streamed data, a hash of the first STREAMED_ROWS rows.

    Args:
        data: rows with undecoded pictures. The hash covers a picture's file name, its size and its last bytes.
    """
    if isinstance(data, Dataset):
        count = f"{len(data)} rows"
        rows = data.select(range(0, len(data), -(-len(data) // ROWS))) if len(data) else data
    else:
        count, rows = f"first {STREAMED_ROWS} rows", data.take(STREAMED_ROWS)

    digest = hashlib.sha256()
    for row in rows:
        pictures = [_picture_identity(picture) for picture in pictures_of(row)]
        # The source is left out, because one folder may have several paths.
        rest = {name: row[name] for name in row.keys() - {SOURCE, "image", "images"}}
        digest.update(json.dumps([rest, pictures], default=_as_json, sort_keys=True).encode())
    return f"{count}, {digest.hexdigest()[:16]}"


def _picture_identity(picture: Any) -> Any:
    """A picture's content and its file name. The folder is left out, because it may have several paths."""
    picture = as_stored(picture)
    path = picture.get("path") if isinstance(picture, dict) else None
    if path is None:
        return picture
    content = picture.get("bytes")
    if content is None and os.path.isfile(path):
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LAST_BYTES))
            content = f"{size} {file.read().hex()}"
    return {"path": os.path.basename(path), "bytes": content}


def _as_json(value: Any) -> str:
    return f"{len(value)} {value[-LAST_BYTES:].hex()}" if isinstance(value, bytes) else str(value)


def check_same_run(arguments: dict[str, Any], output_dir: str | Path, checkpoint: str | None) -> None:
    """
    Checks that the output folder's model and the checkpoint to go on from belong to this run.

    Args:
        arguments: the run's arguments, from `run_arguments`; once the data are loaded, also the hash of their rows.
        output_dir: the run's output folder.
        checkpoint: the checkpoint's folder; None if the run begins anew.

    Raises:
        `ValueError`: if they belong to another run. The message names the folder and each argument that differs.
    """
    if checkpoint and not _read_state(checkpoint):
        raise ValueError(
            f"resume_from_checkpoint: there is no checkpoint in {checkpoint}, because it has no trainer_state.json."
        )
    for folder in [checkpoint, output_dir]:
        state = folder and _read_state(folder)
        if not state:
            continue
        if (record := state.get("stateful_callbacks", {}).get(RunRecord.__name__)) is None:
            raise ValueError(
                f"{folder} was trained without a record of its arguments, so it cannot be compared with this run. "
                "Give another --output_dir."
            )
        old = record["args"]["arguments"]
        ignored = set()
        if old["lr_scheduler_type"] in OPEN_ENDED and (old["warmup_steps"] >= 1 or not old["warmup_steps"]):
            ignored = {"max_steps", "num_train_epochs"}
        # Another release of a library may have more or fewer arguments: only shared ones are compared.
        shared = [name for name in arguments if name in old and name not in ignored]
        changes = [change for name in shared for change in _differences(name, old[name], arguments[name])]
        if changes:
            raise ValueError(
                f"{folder} belongs to another run: {'; '.join(changes)}. To go on with it, give the arguments that it "
                "was trained with; for a new run, give another --output_dir."
            )


def editions_of(checkpoint: str | None) -> list[str]:
    """The editions of this project that trained a checkpoint; "unknown" if the checkpoint does not record them."""
    state = _read_state(checkpoint) if checkpoint else None
    return state["stateful_callbacks"][RunRecord.__name__]["args"].get("editions", ["unknown"]) if state else []


def is_finished(output_dir: str | Path, training_args: TrainingArguments) -> bool:
    """Whether an output folder holds the saved model of a run that has done all its steps or epochs."""
    state = _read_state(output_dir)
    if not state:
        return False
    if training_args.max_steps > 0:
        return state["global_step"] >= training_args.max_steps
    return (state["epoch"] or 0) >= training_args.num_train_epochs


def _read_state(folder: str | Path) -> dict[str, Any] | None:
    path = Path(folder, "trainer_state.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{name}[{index}]", *pair)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new and not _is_same_folder(old, new):
        yield f"{name} was {old!r} and is {new!r}"


def _is_same_folder(old: Any, new: Any) -> bool:
    if not (isinstance(old, str) and isinstance(new, str) and Path(old).exists() and Path(new).exists()):
        return False
    return Path(old).samefile(new)  # one folder may have several paths
