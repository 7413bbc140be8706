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

    Given to `load_dataset` beside the folder, they and their times are part of what its cache goes by. By itself it
    goes by the folder's last name and the card, and reads what any folder of that name and card held at first
    (datasets 5.2). A card with `dataset_info`, which states sizes and which `load_dataset` heeds without files alone,
    is left to it.
    """
    card = Path(path, "README.md")
    metadata = (metadata_load(card) if card.is_file() else None) or {}
    if "configs" not in metadata or "dataset_info" in metadata:
        return None
    return load_dataset_builder(path, name).config.data_files
