# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""A picture is read completely, or an error of one line says where it belongs."""

import io
import random
import zlib
from pathlib import Path

import pytest
from PIL import Image as PILImage

from trainer.common.pictures import open_picture


FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "JPEG2000", "TGA", "PPM")


def encoded(kind: str) -> bytes:
    """A picture of many colours, as bytes of the format."""
    rng = random.Random(0)
    image = PILImage.frombytes("RGB", (32, 32), bytes(rng.randrange(256) for _ in range(3 * 32 * 32)))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Changes some bytes, cuts off the end, or removes or inserts a part."""
    changed = bytearray(content)
    match rng.randrange(4):
        case 0:
            for _ in range(rng.randrange(1, 9)):
                changed[rng.randrange(min(len(changed), 200))] = rng.randrange(256)
        case 1:
            del changed[rng.randrange(len(changed)) :]
        case 2:
            start = rng.randrange(len(changed))
            del changed[start : start + rng.randrange(1, 40)]
        case 3:
            start = rng.randrange(len(changed))
            changed[start:start] = rng.randbytes(rng.randrange(1, 40))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about oddities in files that it can read
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_picture_is_opened_or_refused_by_name(kind: str) -> None:
    content, rng = encoded(kind), random.Random(0)
    assert open_picture(content, "").size == (32, 32)
    for _ in range(12):
        try:
            open_picture(damaged(content, rng), "b.tsv, line 7: the image").convert("RGB")
        except ValueError as error:
            assert str(error).startswith("b.tsv, line 7: the image cannot be read: ")
            assert "\n" not in str(error)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG whose header names this size."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not an image file"),
        (b"<html>404 Not Found</html>", "it is not an image file"),
        (png(1 << 16, 1 << 16, chunk(b"IDAT", b"")), "could be decompression bomb"),  # DecompressionBombError
        (
            png(4, 4, chunk(b"IDAT", zlib.compress(bytes(20))[:5]), b"\x00\x00\x00\x05\x01\x02\x03\x04"),
            "broken PNG file",
        ),
        (png(4, 4, chunk(b"IDAT", zlib.compress(bytes(20))[:-8])), ""),
        # https://github.com/python-pillow/Pillow/issues/6252
        (png(4, 4, b"\x00\x00\x00\x00IHDR\xa8\xa1\xae\x0a"), ""),
        (encoded("JPEG")[:-50], "image file is truncated"),
    ],
)
def test_pillow_s_exceptions_of_every_kind_become_one(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^row 3 cannot be read: .*{reason}.*Repair it or leave its row out\\.$"):
        open_picture(content, "row 3")


def test_a_missing_file_and_a_file_that_is_not_a_picture_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 3 cannot be read: there is no such file"):
        open_picture(tmp_path / "none.png", "row 3")
    with pytest.raises(ValueError, match="row 3 cannot be read: it is a folder"):
        open_picture(tmp_path, "row 3")
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(ValueError, match="row 3 cannot be read: it is not an image file"):
        open_picture(tmp_path / "page.png", "row 3")
