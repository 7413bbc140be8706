# Copyright 2026 The Parrot authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a data set in a folder is read from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import load_dataset_builder
from huggingface_hub import metadata_load


def data_files(path: str, name: str | None = None) -> Mapping[str, Sequence[str]] | None:
    """
    The files by split of a folder's data set whose card lists configurations; None of any other.

    A workaround: `load_dataset` (datasets 5.2) caches such a folder under its last name and a hash of the card alone,
    so another folder of that name, or changed files, gave the rows that it read first. With the files as an argument,
    their paths and times are part of the hash. It goes when datasets hashes them itself, as
    https://github.com/huggingface/datasets/pull/6493 does for the Hub. A card with `dataset_info` is left alone:
    `load_dataset` heeds its features only without files.
    """
    card = Path(path, "README.md")
    metadata = (metadata_load(card) if card.is_file() else None) or {}
    if "configs" not in metadata or "dataset_info" in metadata:
        return None
    return load_dataset_builder(path, name).config.data_files
