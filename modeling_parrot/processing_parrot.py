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
"""Parrot processor: LLaVA's processor for images of any mode, with errors that name the sample."""

from pathlib import Path
from typing import Any

import torch
from transformers import BatchFeature, LlavaImageProcessorPil, LlavaProcessor, image_utils


class ParrotImageProcessor(LlavaImageProcessorPil):
    """
    A faster `LlavaImageProcessorPil` with bit-identical results: it computes in torch and keeps the memory layout of
    Pillow's images. It is saved under its parent's name.
    """

    def pad_to_square(self, image: Any, background_color: int | tuple[int, int, int] = 0) -> Any:
        """As `LlavaImageProcessorPil.pad_to_square`; the result is channels-last in memory, like Pillow's images."""
        channels, height, width = image.shape
        if height == width or channels != 3 or image.dtype != "uint8":
            return super().pad_to_square(image, background_color)
        side = max(height, width)
        square = torch.empty(side, side, 3, dtype=torch.uint8).numpy()
        square[:] = background_color
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = image.transpose(1, 2, 0)
        return square.transpose(2, 0, 1)

    def rescale(self, image: Any, scale: float, **kwargs: Any) -> Any:
        """As `LlavaImageProcessorPil.rescale`: a float64 product, rounded to float32."""
        return torch.from_numpy(image.astype("float64", order="C")).mul_(scale).float().numpy()

    def normalize(self, image: Any, mean: Any, std: Any, **kwargs: Any) -> Any:
        """As `LlavaImageProcessorPil.normalize`."""
        is_rescaled = image.dtype == "float32" and image.flags.c_contiguous and image.flags.writeable
        if not (is_rescaled and isinstance(mean, list) and isinstance(std, list) and len(image) == len(mean)):
            return super().normalize(image, mean, std, **kwargs)
        pixels = torch.from_numpy(image)
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (mean, std))
        return pixels.sub(mean).div_(std).numpy()

    def to_dict(self) -> dict[str, Any]:
        """As `LlavaImageProcessorPil.to_dict`, with the name under which transformers knows the parent."""
        return super().to_dict() | {"image_processor_type": "LlavaImageProcessor"}


class ParrotProcessor(LlavaProcessor):
    """
    Turns images and text with `<image>` marks into the inputs of [`ParrotForConditionalGeneration`]. Images may be
    one flat list, in the order of the marks, or one list per text. EXIF rotation is applied, transparent images are
    laid over white, and 16-bit grey images (any value above 255) are scaled to 8 bits. Images from a URL are loaded by
    transformers itself, which drops the alpha channel and clips 16-bit values.
    """

    # To find the tokens of the answers, apply_chat_template loops over the character offsets once for each answer.
    # Over a tensor, the loop takes most of a training row's time; over a list, a hundredth of that. The loop is
    # transformers' fix of https://github.com/huggingface/transformers/issues/46559. This line may go when the loop no
    # longer reads single elements.
    skip_tensor_conversion = [*LlavaProcessor.skip_tensor_conversion, "offset_mapping"]

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",
        num_additional_image_tokens: int = 0,
        **kwargs: Any,
    ) -> None:
        if type(image_processor).__name__ in ("LlavaImageProcessor", "LlavaImageProcessorPil"):
            # Where torchvision is installed, transformers would resize with it, and pixel values would differ by up to
            # 0.015. transformers keeps it so on purpose: https://github.com/huggingface/transformers/pull/46496
            image_processor = ParrotImageProcessor.from_dict(image_processor.to_dict())
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            patch_size=patch_size,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            num_additional_image_tokens=num_additional_image_tokens,
            **kwargs,
        )

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """
        As `LlavaProcessor.__call__`, but `offset_mapping` is a list whatever `return_tensors` is.

        Raises:
            `ValueError`: if an image cannot be read or is empty, if a sample has more or fewer marks than images, or
                if truncation would cut an image.
        """
        if images is not None:
            images = _load_images(images, "images")
        # With sanitize_control_tokens, only the parent knows which marks stand for an image, so it counts them.
        if text is not None and not kwargs.get("sanitize_control_tokens"):
            self._check_counts([] if images is None else images, [text] if isinstance(text, str) else text)
        if isinstance(images, list) and all(isinstance(image, list) and not image for image in images):
            images = None  # [] or [[], []]: there are no images
        if not kwargs.get("return_offsets_mapping"):
            return super().__call__(images=images, text=text, videos=videos, audio=audio, **kwargs)
        # The tokenizer does not know skip_tensor_conversion: it would convert offset_mapping, too.
        return_tensors = kwargs.pop("return_tensors", None)
        outputs = super().__call__(images=images, text=text, videos=videos, audio=audio, **kwargs)
        return outputs.convert_to_tensors(return_tensors)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """
        As `LlavaProcessor.save_pretrained`, but without the truncation and padding of the last call. The tokenizer
        would save these as defaults, and the loaded processor would silently truncate every prompt. This may go when a
        call no longer changes the tokenizer: https://github.com/huggingface/transformers/issues/24441.
        """
        if self.tokenizer.is_fast:
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        return super().save_pretrained(save_directory, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As `LlavaProcessor.to_dict`, with the `auto_map`, which a processor loses when it is loaded."""
        return super().to_dict() | {"auto_map": {"AutoProcessor": "processing_parrot.ParrotProcessor"}}

    def _check_counts(self, images: Any, text: list[str]) -> None:
        # The message contains transformers' own wording, for code that looks for it.
        rule = (
            f"The total number of {self.image_token} tokens in the prompts should be the same as the number of images "
            "passed."
        )
        marks = [sample.count(self.image_token) if isinstance(sample, str) else 0 for sample in text]
        images = images if isinstance(images, list) else [images]
        if any(isinstance(image, list) for image in images):
            if len(images) != len(text):
                raise ValueError(f"{len(images)} lists of images were given for {len(text)} texts: give one per text.")
            for index, (num_marks, group) in enumerate(zip(marks, images, strict=True)):
                num_images = len(group) if isinstance(group, list) else 1
                if num_marks != num_images:
                    raise ValueError(
                        f"Sample {index} has {num_marks} {self.image_token} marks and {num_images} images. {rule}"
                    )
        elif all(map(image_utils.is_pil_image, images)) and sum(marks) != len(images):  # an array may hold a batch
            raise ValueError(
                f"The samples have {marks} {self.image_token} marks, and {len(images)} images were given: give one "
                f"list of images per text to learn which sample differs. {rule}"
            )


def _load_images(images: Any, place: str) -> Any:
    """
    Loads images in RGB and applies EXIF rotation. Arrays and tensors are left to transformers.

    Args:
        images: an image, or nested lists of images.
        place: name of `images` in errors, e.g. `images[0]`.

    Raises:
        `ValueError`: if an image cannot be read, in one line that names its place.
    """
    if isinstance(images, (list, tuple)):
        return [_load_images(image, f"{place}[{index}]") for index, image in enumerate(images)]
    image = images
    try:
        if isinstance(image, (str, Path)):
            image = _open(image)
        if image_utils.is_pil_image(image):
            return image_utils.load_image(_to_convertible_mode(image))
        if not image_utils.is_valid_image(image):
            raise ValueError(f"it is a {type(image).__name__}, neither a PIL image, an array, a path nor a URL")
        if 0 in image.shape:
            raise ValueError(f"it is empty, its shape is {tuple(image.shape)}")
        if len(image.shape) == 2:
            raise ValueError(f"its shape is {tuple(image.shape)}, without channels: pass PIL.Image.fromarray(array)")
        return image
    except Exception as error:  # Pillow raises any class: https://github.com/python-pillow/Pillow/issues/6252
        name = " ".join((getattr(image, "filename", "") or repr(images)).split())[:200]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{place} ({name}) cannot be read: {reason}. Repair it or leave it out.") from error


def _open(source: str | Path) -> Any:
    """Opens the image of a URL, a file, a data URL or base64 text."""
    name = str(source)
    if name.startswith(("http://", "https://")):
        return image_utils.load_image(name)
    if _exists(name):
        return image_utils.PIL.Image.open(name)
    is_data = name.startswith("data:")
    encoded = "".join((name.partition(",")[2] if is_data else name).split())
    try:
        image_bytes = image_utils.base64.b64decode(encoded, validate=True)
        return image_utils.PIL.Image.open(image_utils.BytesIO(image_bytes))
    except Exception as error:
        if is_data:
            raise ValueError("its base64 data is not a picture") from error
        may_be_base64 = len(encoded) > 64 and encoded.replace("+", "").replace("/", "").rstrip("=").isalnum()
        raise ValueError(
            f"there is no such file{', and decoded as base64 it is not a picture' if may_be_base64 else ''}"
        ) from error


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # base64 text that is too long for a file name
        return False


def _to_convertible_mode(image: Any) -> Any:
    """Converts a PIL image to a mode that transformers can convert to RGB without a visible loss."""
    if 0 in image.size:
        raise ValueError(f"it is empty, its size is {image.size}")
    if max(image.size) > 2**15:
        raise ValueError(f"its size is {image.size}: padded to a square it takes gigabytes; make it smaller")
    if image.mode in ("RGBa", "La"):  # Pillow's conversion to RGB loses their alpha, or fails
        image = image.convert(f"{image.mode[:-1]}A")
    if image.mode.startswith(("I", "F")):
        return _to_8_bits(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image.copy()  # keeps the EXIF data
        white.paste((255, 255, 255, 255), (0, 0, *image.size))
        white.alpha_composite(image)
        return white
    return image


def _to_8_bits(image: Any) -> Any:
    """
    Converts a grey PIL image of integers or floats to mode "L". Values up to 255 stay as they are, as in LLaVA. An
    image with larger values is scaled from 16 bits; Pillow would clip it:
    https://github.com/python-pillow/Pillow/issues/3011.
    """
    if image.mode != "F":
        image = image.convert("I")  # getextrema fails for "I;16B" and similar modes
    low, high = image.getextrema()
    if image.mode == "F" and not (low >= 0 and (high == 0 or 1 < high <= 255)):
        raise ValueError(
            f"its mode 'F' does not say what white is, and its values go from {low} to {high}; convert it to 'L' or "
            "'RGB'"
        )
    if not 0 <= low <= high < 2**16:
        raise ValueError(f"its values go from {low} to {high}, beyond 16 bits")
    if high > 255:
        image = image.point(lambda value: value * (1 / 257))
    return image.convert("L")


ParrotProcessor.register_for_auto_class()

__all__ = ["ParrotProcessor"]
