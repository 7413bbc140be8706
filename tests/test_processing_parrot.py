# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The processor: images of every mode, counts of images and marks, templates, saving."""

import base64
import io
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jinja2 import TemplateError
from PIL import Image
from transformers import BatchFeature, LlavaImageProcessorPil, LlavaProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_parrot import ParrotProcessor
from modeling_parrot.processing_parrot import ParrotImageProcessor
from tests.tiny import IMAGE_TOKEN, NUM_IMAGE_TOKENS, tiny_processor


MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def processor() -> ParrotProcessor:
    return tiny_processor()


def seen(processor: ParrotProcessor, image: object) -> np.ndarray:
    """The picture that reaches the model, as (28, 28, 3) values from 0 to 255."""
    pixels = processor(images=[image], text="<image>", return_tensors="pt")["pixel_values"][0]
    return (pixels.permute(1, 2, 0).double().numpy() * STD + MEAN) * 255


RED = Image.new("RGB", (28, 28), (200, 30, 40))


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "YCbCr", "HSV"])
def test_colour_modes_look_the_same(mode: str, processor: ParrotProcessor) -> None:
    image = RED.quantize() if mode == "P" else RED.convert(mode)
    np.testing.assert_allclose(seen(processor, image), seen(processor, RED), atol=4)


def test_grey_of_8_and_16_bits_look_the_same(processor: ParrotProcessor, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 28 * 28).reshape(28, 28)
    eight = Image.fromarray(ramp.astype(np.uint8))
    sixteen = Image.fromarray((ramp * 257).astype(np.uint16))
    assert sixteen.mode.startswith("I")
    sixteen.save(tmp_path / "grey.png")
    for image in (sixteen, str(tmp_path / "grey.png"), tmp_path / "grey.png"):
        np.testing.assert_allclose(seen(processor, image), seen(processor, eight), atol=1.5)
    one_bit = Image.new("1", (28, 28), 1)
    np.testing.assert_allclose(seen(processor, one_bit), 255, atol=1)


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B", "LA", "La"])
def test_grey_of_8_bits_looks_the_same_in_any_mode(mode: str, processor: ParrotProcessor) -> None:
    eight = Image.fromarray(np.linspace(0, 255, 28 * 28).reshape(28, 28).astype(np.uint8))
    image = eight.convert("LA").convert(mode) if mode == "La" else eight.convert(mode)
    np.testing.assert_allclose(seen(processor, image), seen(processor, eight), atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGBa"])
def test_transparency_is_seen_over_white(mode: str, processor: ParrotProcessor, tmp_path: Path) -> None:
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    if mode == "P":
        image = Image.new("P", (28, 28), 0)
        image.info["transparency"] = 0
    elif mode != "RGBA":
        image = image.convert(mode)
    np.testing.assert_allclose(seen(processor, image), 255, atol=1)
    if mode == "RGBa":  # no file has premultiplied alpha
        return
    image.save(tmp_path / "clear.png")
    text = base64.b64encode((tmp_path / "clear.png").read_bytes()).decode()
    for source in (str(tmp_path / "clear.png"), text):
        np.testing.assert_allclose(seen(processor, source), 255, atol=1)


def test_exif_rotation_is_applied(processor: ParrotProcessor, tmp_path: Path) -> None:
    for mode, suffix in (("RGB", "jpg"), ("RGBA", "png")):
        upright = Image.new(mode, (28, 28), "black")
        upright.paste("white", (0, 0, 14, 28))
        exif = Image.Exif()
        exif[0x0112] = 6  # a viewer turns it by 90 degrees clockwise
        file = tmp_path / f"rotated.{suffix}"
        upright.rotate(90).save(file, exif=exif)
        np.testing.assert_allclose(seen(processor, Image.open(file)), seen(processor, upright), atol=12)
        np.testing.assert_allclose(seen(processor, str(file)), seen(processor, upright), atol=12)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 3)])
def test_tiny_and_narrow_images_are_padded_in_the_mean_colour(
    size: tuple[int, int], processor: ParrotProcessor
) -> None:
    picture = seen(processor, Image.new("RGB", size, "white"))
    assert picture.shape == (28, 28, 3)
    if size[0] != size[1]:
        np.testing.assert_allclose(picture[0, 0], MEAN * 255, atol=2)


@pytest.mark.parametrize("side", [1, 28, 200])
def test_base64_is_not_taken_for_a_path_however_long_it_is(side: int, processor: ParrotProcessor) -> None:
    png = io.BytesIO()
    Image.effect_noise((side, side), 50).save(png, "PNG")
    text = base64.b64encode(png.getvalue()).decode()
    for source in (text, f"data:image/png;base64,{text}"):
        np.testing.assert_allclose(seen(processor, source), seen(processor, Image.open(png)), atol=1)


def test_arrays_and_tensors_pass(processor: ParrotProcessor) -> None:
    array = np.asarray(RED)
    np.testing.assert_allclose(seen(processor, array), seen(processor, RED), atol=1)
    np.testing.assert_allclose(seen(processor, torch.tensor(array).permute(2, 0, 1)), seen(processor, RED), atol=1)


def test_each_mark_becomes_the_tokens_of_an_image(processor: ParrotProcessor) -> None:
    inputs = processor(
        images=[[RED, RED], [], [RED]], text=["<image>a<image>", "b", "c<image>"], padding=True, return_tensors="pt"
    )
    counts = (inputs["input_ids"] == IMAGE_TOKEN).sum(1).tolist()
    assert counts == [2 * NUM_IMAGE_TOKENS, 0, NUM_IMAGE_TOKENS]
    assert inputs["pixel_values"].shape == (3, 3, 28, 28)
    for images in (None, [], [[]]):
        assert processor(images=images, text="b", return_tensors="pt").keys() == {"input_ids", "attention_mask"}
    batch = processor(images=torch.zeros(2, 3, 28, 28), text=["<image>", "<image>"], return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 3, 28, 28)


def test_the_error_for_different_counts_names_the_sample_and_both_counts(processor: ParrotProcessor) -> None:
    with pytest.raises(ValueError, match="Sample 1 has 1 <image> marks and 2 images"):
        processor(images=[[RED, RED], [RED, RED]], text=["<image><image>", "<image>"])
    with pytest.raises(
        ValueError, match="The total number of <image> tokens in the prompts should be the same as the"
    ):
        processor(images=[[RED, RED]], text=["<image>"])
    with pytest.raises(ValueError, match=r"\[1, 2\] <image> marks, and 2 images"):
        processor(images=[RED, RED], text=["<image>", "<image><image>"])
    with pytest.raises(ValueError, match="1 lists of images were given for 2 texts"):
        processor(images=[[RED]], text=["<image>", "a"])
    with pytest.raises(ValueError, match=r"\[1\] <image> marks, and 0 images"):
        processor(text=["<image>"])


def test_truncation_that_would_cut_an_image_is_an_error(processor: ParrotProcessor) -> None:
    with pytest.raises(ValueError, match="max_length"):
        processor(images=[RED], text="<image> and more", truncation=True, max_length=3)


def test_images_that_cannot_be_read_are_named(processor: ParrotProcessor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images\[1\].*empty, its size is \(0, 3\)"):
        processor(images=[RED, Image.new("RGB", (0, 3))], text="<image><image>")
    unreadable = {
        "empty, its shape": np.zeros((0, 3, 3), np.uint8),
        "mode 'F'": Image.new("F", (9, 9), 0.5),
        "beyond 16 bits": Image.new("I", (9, 9), 2**17),
        "without channels": np.zeros((9, 9), np.uint8),
        "padded to a square it takes gigabytes": Image.new("1", (2**15 + 1, 1)),
        "it is a NoneType": None,
        "it is a dict": {"bytes": b""},
    }
    for message, image in unreadable.items():
        with pytest.raises(ValueError, match=rf"images\[0\] .*{message}"):
            processor(images=[image], text="<image>")
    cut = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:500])
    for image in (str(cut), Image.open(cut)):
        with pytest.raises(ValueError, match=r"images\[0\]\[1\] .*cut.png.* cannot be read"):
            processor(images=[[RED, image]], text=["<image><image>"])
    bomb = bytearray((tmp_path / "cut.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 20000, 20000)  # the size in a PNG's header, followed by a checksum
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(
        ValueError, match=r"images\[0\] \(.*bomb.png.* cannot be read: Image size \(400000000 pixels\)"
    ):
        processor(images=[str(tmp_path / "bomb.png")], text="<image>")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text.png.* cannot be read"):
        processor(images=[str(tmp_path / "text.png")], text="<image>")


def test_the_error_for_a_missing_file_says_that_it_is_missing(processor: ParrotProcessor, tmp_path: Path) -> None:
    names = {
        "no_such_file.png": "there is no such file",
        Path("photos/giraffe"): "there is no such file",
        "photos/no such file": "there is no such file",
        "a\0b.png": "there is no such file",
        "x" * 5000: "there is no such file, and decoded as base64 it is not a picture",
        "data:image/png;base64,eHh4": "its base64 data is not a picture",
        "['aGVsbG8=', 'aGVsbG8=']": "there is no such file",
        str(tmp_path): "Is a directory",
        "": "there is no such file",
    }
    for name, reason in names.items():
        with pytest.raises(ValueError, match=rf"images\[0\] \(.*\) cannot be read: .*{reason}.* Repair it") as error:
            processor(images=[name], text="<image>")
        assert "\n" not in str(error.value)


def test_damaged_pictures_are_read_or_refused_by_name(processor: ParrotProcessor) -> None:
    chance, noise = random.Random(0), Image.effect_noise((20, 20), 50)
    refused = 0
    for file_format in ("PNG", "JPEG", "GIF", "WEBP"):
        whole = io.BytesIO()
        noise.save(whole, file_format)
        for _ in range(40):
            damaged = bytearray(whole.getvalue())
            for _ in range(4):
                damaged[chance.randrange(30, 150)] = chance.randrange(256)  # not the size: it could become huge
            try:
                processor(images=[[base64.b64encode(damaged).decode()]], text="<image>")
            except ValueError as error:
                assert str(error).startswith("images[0][0] (") and "\n" not in str(error)
                refused += 1
    assert refused > 50


def test_the_pixels_do_not_depend_on_torchvision(processor: ParrotProcessor) -> None:
    torchvision_one = type("LlavaImageProcessor", (LlavaImageProcessorPil,), {})(**processor.image_processor.to_dict())
    ours = ParrotProcessor(torchvision_one, processor.tokenizer, patch_size=14, chat_template=processor.chat_template)
    assert type(ours.image_processor) is ParrotImageProcessor
    before, after = (p.to_dict() | {"image_processor_type": ""} for p in (torchvision_one, ours.image_processor))
    assert after == before


CALL = {"type": "function", "function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ([{"role": "user", "content": [{"type": "video"}]}], {}, "Parrot reads text and images, not video"),
        ([{"role": "user", "content": ["x"]}], {}, "Parrot reads text and images, not x"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], {}, "Message 0 has a part of type text"),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "Message 0 has a part of type text without a text"),
        ([{"role": "user", "content": None}], {}, r"Message 0 \(user\) has no content"),
        ([{"role": "user"}], {}, r"Message 0 \(user\) has no content"),
        ([{"role": "user", "content": 5}], {}, r"Message 0 \(user\) has no content"),
        ([{"role": "assistant", "content": "x"}], {}, "got assistant as message 0"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}],
            {},
            "Message 1 has tool_calls, which Parrot does not support",
        ),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "z"}],
            {},
            "Message 1 has reasoning_content, which Parrot does not support",
        ),
        ([{"role": "user", "content": "x"}], {"tools": [CALL]}, "does not support tools and documents"),
        (
            [{"role": "user", "content": "x"}],
            {"documents": [{"title": "x", "text": "y"}]},
            "does not support tools and documents",
        ),
    ],
)
def test_what_the_template_cannot_write_is_an_error(
    messages: list, options: dict[str, Any], message: str, processor: ParrotProcessor
) -> None:
    with pytest.raises(TemplateError, match=message) as error:
        processor.apply_chat_template(messages, **options)
    assert "\n" not in str(error.value)


def test_empty_messages_tools_and_images_are_not_an_error(processor: ParrotProcessor) -> None:
    chat = [{"role": "user", "content": "x", "tool_calls": None, "reasoning_content": ""}]
    assert "x" in processor.apply_chat_template(chat, tools=[], documents=None)


def test_a_loaded_processor_writes_what_the_saved_one_writes_whatever_it_was_called_with(
    processor: ParrotProcessor, tmp_path: Path
) -> None:
    processor(text="as a trainer calls it", truncation=True, max_length=3, padding="max_length")
    processor.save_pretrained(tmp_path)
    loaded = ParrotProcessor.from_pretrained(tmp_path)
    content = [{"type": "image", "image": RED}, {"type": "text", "text": "Bu ne?"}]
    chat = [{"role": "system", "content": "تكلم"}, {"role": "user", "content": content}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    before, after = (p.apply_chat_template(chat, **options) for p in (processor, loaded))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_pad": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_resize": False, "do_center_crop": False},
        {"image_mean": 0.5, "image_std": 0.25, "do_pad": False},
        {"do_resize": False, "do_rescale": False, "do_normalize": False},
    ],
    ids=str,
)
def test_pixels_are_bit_identical_to_transformers(options: dict[str, object], processor: ParrotProcessor) -> None:
    ours = processor.image_processor
    theirs = LlavaImageProcessorPil.from_dict(ours.to_dict())
    for size in ((28, 28), (112, 84), (37, 91), (5, 40)):
        array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        array.flags.writeable = False
        kinds = [Image.fromarray(array), array, array[::-1], torch.from_numpy(array.copy()), array.astype(np.float32)]
        for image in kinds:
            expected, pixels = (p(image, **options)["pixel_values"][0] for p in (theirs, ours))
            assert pixels.dtype == expected.dtype
            np.testing.assert_array_equal(pixels, expected)


def test_the_processor_is_saved_with_an_image_processor_that_transformers_knows(processor: ParrotProcessor) -> None:
    assert processor.to_dict()["image_processor"]["image_processor_type"] == "LlavaImageProcessor"


CHATS = [
    [("user", "? é 图 " * 6), ("assistant", "eine Antwort"), ("user", "? x"), ("assistant", "图中是什么 " * 9)],
    [("user", "?"), ("assistant", "a")],
    [("system", "s"), ("user", "no picture"), ("assistant", "b " * 40)],
]


def collate(processor: LlavaProcessor, max_length: int | None, repeats: int = 1) -> BatchFeature:
    """TRL's batch of chats of one, two and no pictures."""
    images = [Image.effect_noise((60 + 9 * index, 41), 90).convert("RGB") for index in range(3)]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in chat], "images": shown}
        for chat, shown in zip(CHATS * repeats, [images[:1], images[1:], []] * repeats, strict=True)
    ]
    collator = DataCollatorForVisionLanguageModeling(processor, max_length=max_length, assistant_only_loss=True)
    return collator(rows)


@pytest.fixture(scope="module")
def plain(processor: ParrotProcessor) -> LlavaProcessor:
    """LLaVA's own processor with the same parts."""
    return LlavaProcessor(
        image_processor=LlavaImageProcessorPil.from_dict(processor.image_processor.to_dict()),
        tokenizer=processor.tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=processor.chat_template,
    )


@pytest.mark.parametrize("max_length", [None, 50])
def test_training_batches_are_those_of_the_plain_processor(
    max_length: int | None, processor: ParrotProcessor, plain: LlavaProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (41, 100, 3), dtype=np.uint8)
    monkeypatch.setattr(Image, "effect_noise", lambda size, _sigma: Image.fromarray(noise[:, : size[0]]))
    expected, batch = (collate(p, max_length) for p in (plain, processor))
    assert batch.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(batch[name], expected[name], rtol=0, atol=0)
    assert 0 < (batch["labels"] != -100).sum() < batch["attention_mask"].sum()


def test_a_training_batch_takes_less_than_half_the_time_of_the_plain_processor(
    processor: ParrotProcessor, plain: LlavaProcessor
) -> None:
    seconds = {}
    for name, each in {"plain": plain, "ours": processor}.items():
        times = []
        for _ in range(5):
            start = time.process_time()
            collate(each, None, repeats=4)
            times.append(time.process_time() - start)
        seconds[name] = min(times)
    assert seconds["ours"] < seconds["plain"] / 2
