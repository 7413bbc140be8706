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
"""Parrot processor: LLaVA's, with images of any mode and errors that name the sample."""

from pathlib import Path
from typing import Any

from transformers import BatchFeature, LlavaImageProcessorPil, LlavaProcessor, image_utils


class ParrotProcessor(LlavaProcessor):
    """
    Turns images and text with `<image>` marks into the inputs of [`ParrotForConditionalGeneration`]. Images may be
    given flat, in the order of the marks, or nested, one list per text. EXIF rotation is applied, transparency is laid
    over white and 16-bit grey scaled to 8 bits; URLs and base64 are loaded as transformers does, which drops the alpha
    channel and clips.
    """

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
        if type(image_processor).__name__ == "LlavaImageProcessor":
            # Where torchvision is installed, transformers loads its resizing, whose pixels differ by up to 0.015.
            image_processor = LlavaImageProcessorPil.from_dict(image_processor.to_dict())
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
        As `LlavaProcessor.__call__`.

        Raises:
            `ValueError`: if an image cannot be read or is empty, if the marks of a sample and its images differ in
                number, or if truncation would cut an image.
        """
        if images is not None:
            images = _load_images(images, "images")
        if text is not None and not kwargs.get("sanitize_control_tokens"):  # whose own marking is counted by super
            self._check_counts([] if images is None else images, [text] if isinstance(text, str) else text)
        if isinstance(images, list) and not any(not isinstance(image, list) or image for image in images):
            images = None  # [] or [[], []]: text alone
        return super().__call__(images=images, text=text, videos=videos, audio=audio, **kwargs)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> list[str]:
        """
        As `LlavaProcessor.save_pretrained`, without what the last call set: the tokenizer would save the truncation
        and padding of a training run as defaults, and the loaded processor cut every prompt in silence.
        """
        if self.tokenizer.is_fast:
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        return super().save_pretrained(save_directory, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As `LlavaProcessor.to_dict`, with the `auto_map` that a loaded processor has lost."""
        return super().to_dict() | {"auto_map": {"AutoProcessor": "processing_parrot.ParrotProcessor"}}

    def _check_counts(self, images: Any, text: list[str]) -> None:
        marks = [sample.count(self.image_token) if isinstance(sample, str) else 0 for sample in text]
        images = images if isinstance(images, list) else [images]
        if any(isinstance(image, list) for image in images):
            if len(images) != len(text):
                raise ValueError(f"{len(images)} lists of images were given for {len(text)} texts: give one per text.")
            for index, (number, group) in enumerate(zip(marks, images, strict=True)):
                given = len(group) if isinstance(group, list) else 1
                if number != given:
                    raise ValueError(f"Sample {index} has {number} {self.image_token} marks and {given} images.")
        elif all(map(image_utils.is_pil_image, images)) and sum(marks) != len(images):  # an array may hold a batch
            raise ValueError(
                f"The samples have {marks} {self.image_token} marks, and {len(images)} images were given: give one "
                "list of images per text to learn which sample differs."
            )


def _load_images(images: Any, place: str) -> Any:
    """Images in RGB, the right way up; `place` names them in errors. Arrays and tensors are left to transformers."""
    if isinstance(images, (list, tuple)):
        return [_load_images(image, f"{place}[{index}]") for index, image in enumerate(images)]
    try:
        if isinstance(images, (str, Path)):
            if not _is_file(images):
                return image_utils.load_image(str(images))
            images = image_utils.PIL.Image.open(images)
        if image_utils.is_pil_image(images):
            return image_utils.load_image(_flatten(images))
        if not image_utils.is_valid_image(images):
            raise ValueError(f"it is a {type(images).__name__}, neither a PIL image, an array, a path nor a URL")
        if 0 in images.shape:
            raise ValueError(f"it is empty, its shape is {tuple(images.shape)}")
        return images
    except (OSError, SyntaxError, ValueError) as error:
        name = getattr(images, "filename", "") or repr(images)[:200]
        raise ValueError(f"{place} ({name}) cannot be read: {error}. Repair it or leave its row out.") from error


def _is_file(name: str | Path) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # base64, too long for a name
        return False


def _flatten(image: Any) -> Any:
    """A PIL image in a mode whose conversion to RGB loses nothing that a person would see."""
    if 0 in image.size:
        raise ValueError(f"it is empty, its size is {image.size}")
    if image.mode.startswith("I"):  # PIL clips 16-bit grey at 255 instead of scaling it
        image = image.convert("I")
        if not 0 <= image.getextrema()[0] <= image.getextrema()[1] < 2**16:
            raise ValueError(f"its values go from {image.getextrema()}, beyond 16 bits")
        return image.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "F":
        raise ValueError("its mode 'F' does not say what white is; convert it to 'L' or 'RGB'")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image.copy()  # keeps the EXIF data
        white.paste((255, 255, 255, 255), (0, 0, *image.size))
        white.alpha_composite(image)
        return white
    return image


ParrotProcessor.register_for_auto_class()

__all__ = ["ParrotProcessor"]
