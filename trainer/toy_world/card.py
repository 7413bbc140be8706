# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the card of mini-MMMB's data set."""

import shlex
from dataclasses import asdict
from pathlib import Path

from trainer.mini_mmmb import MiniMMMBArguments
from trainer.toy_world.emoji import LANGUAGES, TEST_STYLES, TRAIN_STYLES


HEAD = """---
license: other
license_name: mixed-see-notice
license_link: NOTICE
configs:
- config_name: instruct
  default: true
  data_files:
  - {split: train, path: instruct/train-*.parquet}
  - {split: validation, path: instruct/validation-*.parquet}
- config_name: align
  data_files:
  - {split: train, path: align/train-*.parquet}
"""
TEXT = """---
# mini-MMMB

Emoji, alone and in scenes, with captions, conversations and a multiple-choice benchmark, in these languages:
{languages}. This command made the folder; the same version of the project makes the same data again:

    python -m trainer.mini_mmmb {command}

| files | content | styles of the art |
|---|---|---|
{files}

The sentences are machine-written; no native speaker has reviewed them. The benchmark's compositions (pairs of things,
shapes with colours) are not in the training data; all its words are. `sheet.png` shows some of its pictures.

## Use

`load_dataset` reads the configurations; the default is `instruct`. A row has `messages` (roles with text), `images`,
`language`, and the `category`, `concept` and `style` of its picture.

```python
from datasets import load_dataset

conversations = load_dataset("{output}", "instruct", split="train")
```

The TSV files have MMMB's columns: `index`, `image` (base64), `question`, `A` to `D`, `answer`, `category`,
`l2-category` and `split`. Rows with the same `index` are the same question in each language. Each `*_report.md` says
what was checked in its files. This command measures a Parrot:

    python -m trainer.benchmark run --model MODEL --output RESULTS \\
        --benchmark {benchmark} --languages {languages}

## Licences

`NOTICE` names sources, versions and licences. Art: Noto (Apache-2.0), Twemoji and EmojiOne (CC-BY-4.0), Fluent (MIT),
OpenMoji (CC-BY-SA-4.0, share-alike, only in `mini_mmmb_openmoji_*.tsv`). Names: Unicode License v3.
"""
CAPTIONS_HEAD = """- config_name: captions
  data_files:
  - {split: train, path: captions/train-*.parquet}
"""


def write_data_card(arguments: MiniMMMBArguments) -> None:
    """Writes README.md, the card of the data set. `load_dataset` reads the configurations from its first lines."""
    output = Path(arguments.output)
    words = ["--output", arguments.output]
    for name, value in asdict(arguments).items():
        if value != getattr(MiniMMMBArguments(""), name) and name != "output":
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
    train, fluent, openmoji = (", ".join(styles) for styles in (TRAIN_STYLES, TEST_STYLES[:1], TEST_STYLES[1:]))
    files = {
        "instruct/": (f"{arguments.train} conversations, each about one picture and in one language", train),
        "align/": ("pictures of one thing, with English captions", train),
        "captions/": ("the same, for 300 things or more, to train a vision tower", train),
        "mini_mmmb_<language>.tsv": ("the benchmark: multiple-choice questions, one file for each language", fluent),
        "mini_mmmb_openmoji_<language>.tsv": ("the same benchmark in a harder style", openmoji),
        "mini_mmmb_wordings_<language>.tsv": (
            "half of the benchmark's questions, in wordings that training never has",
            fluent,
        ),
        "mini_mmmb_validation_<language>.tsv": ("a second benchmark, to choose settings with", train),
    }
    rows = [
        f"| `{name}` | {what} | {styles} |"
        for name, (what, styles) in files.items()
        if any(output.glob(name.replace("<language>", "*")))
    ]
    text = TEXT.format(
        languages=" ".join(LANGUAGES),
        command=shlex.join(words),
        files="\n".join(rows),
        output=arguments.output,
        benchmark=shlex.quote(f"{arguments.output}/mini_mmmb_{{language}}.tsv"),
    )
    (output / "README.md").write_text(HEAD + CAPTIONS_HEAD * arguments.captions + text, encoding="utf-8")
