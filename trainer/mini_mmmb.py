# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""mini-MMMB: a data set and a benchmark of emoji pictures, with questions of 15 categories in many languages.

    python -m trainer.mini_mmmb --output data/mini-mmmb

The command draws emoji, alone and in scenes. It writes a data set that `datasets.load_dataset` reads. The
configuration `align` has pictures with English captions. The configuration `instruct` has conversations about
pictures, each in one language.
The command also writes the benchmark, as TSV files in MMMB's format. Each language has a file, and all files have the
same questions. The pictures of `mini_mmmb_<language>.tsv` are in the Fluent style, those of
`mini_mmmb_openmoji_<language>.tsv` in the harder OpenMoji style. `mini_mmmb_wordings_<language>.tsv` asks half of the
questions about the Fluent pictures in held-out wordings, in the languages that have some.
The training data has neither these two styles nor the compositions (pairs of things, shapes with colours) that the
benchmark asks about. It has all of the benchmark's words. So the benchmark measures how a model handles new styles and
new compositions, not new words.
`sheet.png` shows some pictures of the benchmark, and `example.jpg` is its first. The languages are MMMB's six, unless
`--languages` names others.
"""

from dataclasses import dataclass, field

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments
from trainer.languages import MMMB


@dataclass
class MiniMMMBArguments:
    """What to build, and where."""

    output: str = field(metadata={"help": "Folder to write the data set and the benchmark to."})
    concepts: int | None = field(
        default=None,
        metadata={"help": "Number of things to name, spread evenly over ten categories. By default all 789."},
    )
    image_size: int = field(default=112, metadata={"help": "Side of the pictures in pixels."})
    align_views: int = field(default=8, metadata={"help": "Captioned pictures of each concept in each style."})
    captions: bool = field(
        default=False,
        metadata={
            "help": "Also write a configuration `captions` with pictures of 300 things, to train a vision tower. The "
            "benchmark's things are among them."
        },
    )
    train: int = field(default=24_000, metadata={"help": "Conversations to train on. Each is about one picture."})
    languages: list[str] = field(
        default_factory=lambda: list(MMMB),
        metadata={
            "help": "Languages of the questions. Twenty languages have sentences in trainer/languages. A hundred "
            "others have only names: their questions are in English, their options in the language itself."
        },
    )
    language_shares: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Shares of the languages in the conversations to train on, such as en=0.8 zh=0.04. The other "
            "languages share the rest equally. In validation and benchmark all languages have equal shares."
        },
    )
    scenes: float = field(
        default=0.4, metadata={"help": "Share of conversations about scenes. The others are about one thing."}
    )
    turns: int = field(default=3, metadata={"help": "Maximum number of questions in a conversation."})
    validation: int = field(default=300, metadata={"help": "Conversations to validate on, about other pictures."})
    test_per_category: int = field(default=134, metadata={"help": "Number of benchmark questions in each category."})
    validation_per_category: int = field(
        default=0,
        metadata={
            "help": "Number of questions in each category of a second benchmark, to choose settings with. Its "
            "pictures are in the training styles, its files are mini_mmmb_validation_<language>.tsv."
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of all random choices."})


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(MiniMMMBArguments, __doc__)
        from trainer.toy_world.data_set import build

        build(ARGUMENTS)
