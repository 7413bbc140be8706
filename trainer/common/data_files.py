# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files of a data set in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import load_dataset_builder
from huggingface_hub import metadata_load


def data_files(path: str, name: str | None = None) -> Mapping[str, Sequence[str]] | None:
    """
    The files of each split, if `path` is a folder with a card that lists configurations; else None.

    `load_dataset` (datasets 5.2) caches such a folder under the folder's name and a hash of the card only. For
    another folder with the same name and card, or for changed files, it would give the rows that it read first. If it
    gets the files as an argument, their paths and mtimes are part of the hash. This workaround may go when datasets
    hashes the files itself, as https://github.com/huggingface/datasets/pull/6493 does for the Hub. It leaves a card
    with `dataset_info` alone, because `load_dataset` uses the features of such a card only if it gets no files.
    """
    card = Path(path, "README.md")
    metadata = (metadata_load(card) if card.is_file() else None) or {}
    if "configs" not in metadata or "dataset_info" in metadata:
        return None
    return load_dataset_builder(path, name).config.data_files
