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
"""Opens a picture, or says in one line which picture cannot be opened, and why."""

import io
from pathlib import Path

from PIL import Image, ImageFile


def open_picture(source: bytes | Path, place: str) -> ImageFile.ImageFile:
    """
    Opens a picture and reads all its pixels.

    Args:
        source: the content of an image file, or its path.
        place: where the picture belongs, such as a file and a row. The error begins with it.

    Raises:
        `ValueError`: in one line, if the file does not exist or is not a whole picture.
    """
    try:
        image = Image.open(source if isinstance(source, Path) else io.BytesIO(source))
        image.load()
        return image
    # For damaged files, Pillow's decoders raise OSError, SyntaxError, RuntimeError, struct.error and others:
    # https://github.com/python-pillow/Pillow/issues/6252. When Pillow has one class for them, catch only that class.
    except Exception as error:
        reason = "it is not an image file" if isinstance(error, Image.UnidentifiedImageError) else _in_one_line(error)
        raise ValueError(f"{place} cannot be read: {reason}. Repair it or leave its row out.") from error


def _in_one_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
