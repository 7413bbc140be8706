# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Finds rows that cannot be trained on, before training or when their batch is made, and names them."""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset
from trl.data_utils import prepare_multimodal_messages

from modeling_parrot import ParrotProcessor
from trainer.training.training_rows import SOURCE, check_turns, naming_the_row, open_stored, pictures_of


def check_messages(messages: Any, mark: str, needs_answer: bool) -> None:
    """
    Checks that messages have roles and contents, that no text contains the mark of an image, and that there is an
    answer if one is needed.

    Raises:
        `ValueError`: as in `check_turns`, if a text contains the mark, or if the answer is missing or empty.
    """
    check_turns(messages)
    answers: list[str] = []
    for message in messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
        if any(mark in text for text in texts):
            raise ValueError(
                f"a text holds {mark!r}: remove it. Pictures of the column `images` are put before the first text, or "
                'where the row has a part {"type": "image"}.'
            )
        answers += texts if message["role"] == "assistant" else []
    if needs_answer and not any(text.strip() for text in answers):
        raise ValueError("it has no turn of the role 'assistant' to learn from. Leave the row out.")


def check_rows(
    data: Dataset | IterableDataset, processor: ParrotProcessor, needs_answer: bool
) -> Dataset | IterableDataset:
    """
    Checks all rows before training: their messages, the number of their pictures, and that the pictures' files exist.
    No picture is read: 100,000 rows take about two seconds.

    Args:
        data: rows with a column `_source`.
        processor: its chat template and its image mark are those of training.
        needs_answer: whether each row of `messages` must have an answer.

    Returns:
        the same rows. Streamed rows are checked when they are read.

    Raises:
        `ValueError`: in one line that names the first bad row.
    """
    check_row = _row_checker(processor, needs_answer)
    list_files = cache(_list_files)  # A network's file system lists a folder faster than it looks up each file.
    names = data.column_names or list(next(iter(data)))
    if isinstance(data, IterableDataset):

        def check_streamed(row: dict[str, Any]) -> dict[str, Any]:
            with naming_the_row(row["messages"], row[SOURCE]):
                check_row(row["messages"], pictures_of(row))
            return {}

        return data.map(check_streamed, features=data.features) if "messages" in names else data
    text_rows = data.select_columns([name for name in ("messages", SOURCE) if name in names])
    for texts, pictures in zip(text_rows.iter(1000), _picture_paths(data).iter(1000), strict=True):
        all_messages = texts.get("messages", [None] * len(texts[SOURCE]))
        for messages, source, paths in zip(all_messages, texts[SOURCE], pictures["paths"], strict=True):
            with naming_the_row(messages, source):  # each of these calls raises an error if something is wrong
                if "image" in names and not paths:
                    pictures_of({"image": None})
                if "messages" in names:
                    check_row(messages, paths)
                for index, path in enumerate(paths):
                    folder, name = os.path.split(path or "")
                    needs_file = path != "" and "://" not in (path or "")
                    if needs_file and name not in list_files(folder or "."):
                        open_stored(path, f"images[{index}]")
    return data


def _row_checker(processor: ParrotProcessor, needs_answer: bool) -> Callable[[Any, Sequence[Any]], None]:
    accepted = set()  # The template depends on the roles and kinds of parts: one conversation of each form is enough.

    def check_row(messages: Any, pictures: Sequence[Any]) -> None:
        check_messages(messages, processor.image_token, needs_answer)
        turns = prepare_multimodal_messages(messages, images=list(pictures))  # checks the number of pictures
        form = tuple(
            (turn["role"], *((part["type"], part.get("text") is None) for part in turn["content"])) for turn in turns
        )
        if form not in accepted:
            processor.apply_chat_template(turns, tokenize=False)
            accepted.add(form)

    return check_row


def _list_files(folder: str) -> frozenset[str]:
    if not os.path.isdir(folder):
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_file())


def _picture_paths(data: Dataset) -> Dataset:
    """The paths of each row's pictures: an empty text for bytes or base64, None for a picture that is missing."""
    column = next((name for name in ("image", "images") if name in data.column_names), None)
    if column is None:
        return Dataset.from_dict({"paths": [[]] * len(data)})
    # Only the paths are read, because the pictures themselves may be larger than the memory.
    chunks = [_paths(chunk) for chunk in data.data.column(column).chunks]
    return Dataset(
        pa.table({"paths": pa.chunked_array(chunks, pa.large_list(pa.string()))}), indices_table=data._indices
    )


def _paths(pictures: pa.Array) -> pa.LargeListArray:
    """The paths of each row's picture or list of pictures. These are dicts of path and bytes, paths, or bytes."""
    kind = pictures.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    stored = pictures.flatten() if is_list else pictures
    if is_list:
        lengths = pc.fill_null(pc.list_value_length(pictures), 0)
        paths = _path_of_each(stored)
    else:
        lengths = pc.cast(stored.is_valid(), pa.int64())
        paths = _path_of_each(stored).filter(stored.is_valid())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(pc.cast(lengths, pa.int64()))])
    return pa.LargeListArray.from_arrays(offsets, paths)


def _path_of_each(stored: pa.Array) -> pa.StringArray:
    kind, none = stored.type, pa.nulls(len(stored), pa.string())
    keys = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    if {"path", "bytes"} & keys:
        paths = pc.cast(stored.field("path"), pa.string()) if "path" in keys else none
        return pc.if_else(stored.field("bytes").is_valid(), "", paths) if "bytes" in keys else paths
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.cast(pc.if_else(pc.greater(pc.binary_length(stored), 1000), "", stored), pa.string())
    return pc.if_else(stored.is_valid(), "", none)  # bytes, or values of several types, which are stored as JSON
