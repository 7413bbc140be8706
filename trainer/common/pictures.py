# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Opens a picture, or says in one line which picture cannot be opened, and why. The processor of the published model has
messages of its own (modeling_parrot/processing_parrot.py), because it may not import this package.
"""

import io
from pathlib import Path

from PIL import Image, ImageFile


def open_picture(
    source: bytes | Path, place: str, advice: str = "Repair it or leave its row out."
) -> ImageFile.ImageFile:
    """
    Opens a picture and reads all its pixels.

    Args:
        source: the content of an image file, or its path.
        place: where the picture belongs, such as a file and a row. The error begins with it.
        advice: the end of the error.

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
        raise ValueError(f"{place} cannot be read: {reason}. {advice}") from error


def _in_one_line(error: Exception) -> str:
    for kind, reason in (
        (FileNotFoundError, "there is no such file"),
        (IsADirectoryError, "it is a folder"),
        (PermissionError, "its permissions do not allow it"),
    ):
        if isinstance(error, kind):
            return reason
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
