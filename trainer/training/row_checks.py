# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Finds rows that cannot be trained on, before training or when their batch is made, and names them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset
from trl.data_utils import prepare_multimodal_messages

from trainer.training.training_rows import SOURCE, open_stored, pictures_of


@contextmanager
def naming_the_row(messages: Any, source: str) -> Iterator[None]:
    """Turns every error into a `ValueError` that names the row's source and quotes its messages."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        message = f"{source}: {kind}{str(error).rstrip('.')}. The row: {str(messages)[:300]}"
        raise ValueError(message) from error


def check_messages(messages: list[dict[str, Any]], mark: str, needs_answer: bool) -> None:
    """
    Checks that no text contains the mark of an image, and that there is an answer if one is needed.

    Raises:
        `ValueError`: if a text contains it, or if the answer is missing.
    """
    for message in messages:
        content = message.get("content")
        texts = [content] if isinstance(content, str) else [part.get("text") for part in content or []]
        if any(mark in text for text in texts if text):
            raise ValueError(
                f"a text holds {mark!r}: remove it. Pictures of the column `images` are put before the first text, or "
                'where the row has a part {"type": "image"}.'
            )
    if needs_answer and not any(message["role"] == "assistant" for message in messages):
        raise ValueError("it has no turn of the role 'assistant' to learn from. Leave the row out.")


def check_rows(splits: Sequence[Dataset | IterableDataset], mark: str, needs_answer: bool) -> None:
    """
    Checks all rows before training: their messages, the number of their pictures, and that the pictures' files exist.
    No picture is read: 100,000 rows take about two seconds. Streamed rows are checked when their batch is made.

    Args:
        splits: data with a column `_source`. A split without a column of messages or of pictures is not checked.
        mark: the text that stands for an image.
        needs_answer: whether each row must have an answer.

    Raises:
        `ValueError`: in one line that names the first bad row.
    """
    for data in splits:
        column = "image" if "image" in (data.column_names or ()) else "images"
        if isinstance(data, Dataset) and {"messages", column} <= {*data.column_names}:
            _check_rows(data, column, mark, needs_answer)


def _check_rows(data: Dataset, column: str, mark: str, needs_answer: bool) -> None:
    @cache  # A network's file system lists a whole folder faster than it looks up each of the folder's files.
    def list_folder(folder: str) -> frozenset[str]:
        return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()

    # Only the paths are read, because the pictures themselves may be larger than the memory.
    all_paths = pa.chunked_array(map(_paths, data.data.column(column).chunks), pa.large_list(pa.string()))
    path_rows = Dataset(pa.table({"paths": all_paths}), indices_table=data._indices)
    text_rows = data.select_columns(["messages", SOURCE])
    for texts, pictures in zip(text_rows.iter(1000), path_rows.iter(1000), strict=True):
        for messages, source, paths in zip(texts["messages"], texts[SOURCE], pictures["paths"], strict=True):
            with naming_the_row(messages, source):  # each of these calls raises an error if something is wrong
                if column == "image" and paths == [None]:
                    pictures_of({"image": None})
                check_messages(messages, mark, needs_answer)
                prepare_multimodal_messages(messages, images=paths)  # checks roles and the number of pictures
                for index, path in enumerate(paths):
                    folder, name = os.path.split(path or "")
                    if path and "://" not in path and name not in list_folder(folder or "."):
                        open_stored(path, f"images[{index}]")


def _paths(pictures: pa.Array) -> pa.LargeListArray:
    """
    The paths of each row's pictures: an empty text for a picture in bytes, None for no picture.

    Args:
        pictures: one picture or a list of pictures per row, as dicts of path and bytes, as paths, or as bytes.
    """
    is_list = pa.types.is_list(pictures.type) or pa.types.is_large_list(pictures.type)
    offsets = pictures.offsets.cast(pa.int64()) if is_list else pa.array(range(len(pictures) + 1), pa.int64())
    stored = pictures.values if is_list else pictures
    if pa.types.is_struct(stored.type):
        paths = pc.if_else(stored.field("bytes").is_valid(), "", pc.cast(stored.field("path"), pa.string()))
    elif pa.types.is_string(stored.type) or pa.types.is_large_string(stored.type):
        paths = pc.cast(stored, pa.string())
    else:
        paths = pc.if_else(stored.is_valid(), "", pa.scalar(None, pa.string()))
    return pa.LargeListArray.from_arrays(offsets, paths)
