# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Turns LLaVA-style conversation files, such as the paper's data, into a data set that trainer/sft.py reads:

    python -m trainer.convert_llava --json llava_v1_5_mix665k.json sharegpt4v_zh.json --language en zh \
        --image_dir images --output data/instruct

Each file is one JSON array of rows with `conversations` (`from`: human, gpt or system; `value`) and, where pictures
are shown, `image` (a path below --image_dir, or a list of them) and as many `<image>` marks. Files are streamed, so
their size does not matter. The data set holds the paths of the pictures; with --copy_images it holds copies. Each
picture is opened once, so that training meets no unreadable one: this takes about two milliseconds for a photo of
640 x 480. A row that cannot be used stops the run with an error that names its file and index. With --bad_rows FILE,
such rows are written to this file instead, one JSON line each, with what is wrong.
"""

from dataclasses import dataclass, field
from pathlib import Path

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments
from trainer.languages import check_language_in_name


@dataclass
class ConvertArguments:
    """Arguments of `python -m trainer.convert_llava`."""

    json: list[str] = field(metadata={"help": "Conversation files, each one JSON array."})
    image_dir: str = field(metadata={"help": "Folder to which the rows' image paths are relative."})
    output: str = field(metadata={"help": "Folder of the data set; parquet files in its data folder."})
    language: list[str] = field(
        default_factory=lambda: ["en"], metadata={"help": "Language of each file, or one for all: en, zh, pt, ..."}
    )
    copy_images: bool = field(default=False, metadata={"help": "Put the pictures into the data set."})
    bad_rows: str | None = field(
        default=None, metadata={"help": "File for unusable rows; without it, they stop the run."}
    )

    def __post_init__(self) -> None:
        if len(self.language) not in (1, len(self.json)):
            raise ValueError(
                f"{len(self.json)} files and {len(self.language)} languages: give one for each, or one for all."
            )
        for name, language in zip(self.json, self.languages(), strict=True):
            check_language_in_name(name, language, "--language")
            if not Path(name).is_file():
                raise ValueError(f"--json: there is no file {name}.")
        if not Path(self.image_dir).is_dir():
            raise ValueError(f"--image_dir: there is no folder {self.image_dir}.")
        if self.bad_rows and (Path(self.bad_rows).is_dir() or not Path(self.bad_rows).parent.is_dir()):
            raise ValueError(f"--bad_rows: {self.bad_rows} is no file in an existing folder. Give a file.")

    def languages(self) -> list[str]:
        """The language of each file."""
        return self.language * len(self.json) if len(self.language) == 1 else self.language


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(ConvertArguments, __doc__)
        from trainer.training.llava_rows import main

        main(ARGUMENTS)
