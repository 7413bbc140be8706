# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Publishes a Parrot on the Hugging Face Hub in one commit, with a card that describes the model and its results:

    python -m trainer.publish --model models/parrot --repo_id org/parrot --license apache-2.0 \
        --results models/parrot/benchmark --base_model openai/clip-vit-large-patch14-336 Qwen/Qwen2-7B-Instruct

The upload has safetensors weights in shards, the model's code, processor, chat template and generation config, as
save_pretrained writes them, and the card with its pictures. No other file of --model is uploaded. A file that
contains a path of this machine or a token is an error. `--dry_run DIR` writes the same files to a folder and uploads
nothing; with `--card_only`, it writes only the card and its pictures. An adapter is merged into its base. With
`--adapter keep`, it is published by itself, with the Hub id and the commit of its base.

The card is model_cards/model_card_template.md, filled from the config, the `training.json` of trainer/sft.py and the
results.json of trainer/benchmark.py. The code on the card names the tag of the commit (`--tag`).

Repeat the command to continue an interrupted upload. The weights are uploaded first; weights that have arrived are not
sent again, and the commit is made last. Log in with `hf auth login`.
"""

import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id


if __name__ == "__main__":  # Python puts this file's folder on the path; the imports need the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments


# The Hub's names of licences, as https://huggingface.co/docs/hub/repositories-licenses lists them. The Hub refuses
# other names only when it gets the card, after the weights.
LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community h-research
intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit
mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql
unknown unlicense wtfpl zlib
"""


@dataclass(kw_only=True)
class CardArguments:
    """Arguments from which a card is written."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot, or folder of an adapter."})
    repo_id: str = field(metadata={"help": "Repository to publish to, such as org/parrot."})
    license: str = field(
        metadata={"help": "The licence's name on the Hub, or other. Mind the licences of the model's parts."}
    )
    license_name: str | None = field(default=None, metadata={"help": "Name of the licence, if --license is other."})
    license_link: str | None = field(default=None, metadata={"help": "URL of the licence, if --license is other."})
    results: str | None = field(default=None, metadata={"help": "Folder that trainer/benchmark.py wrote."})
    benchmark_id: str | None = field(
        default=None,
        metadata={
            "help": "Hub id of the benchmark's data set. Its leaderboard reads the .eval_results that we write."
        },
    )
    quoted: str | None = field(
        default=None,
        metadata={"help": "JSON file with published figures of others: source, url, languages and results."},
    )
    base_model: list[str] = field(
        default_factory=list, metadata={"help": "Hub ids of the models that it was made of."}
    )
    dataset: list[str] = field(default_factory=list, metadata={"help": "Hub ids of its training data."})
    tag: str = field(default="v1.0", metadata={"help": "Git tag of the commit. It must be new."})

    def __post_init__(self) -> None:
        for repo_id in [self.repo_id, *self.base_model, *self.dataset, *filter(None, [self.benchmark_id])]:
            try:
                validate_repo_id(repo_id)
            except HFValidationError as error:
                raise ValueError(f"{repo_id!r} is not a Hub id: {error}") from error
            if "/" not in repo_id or Path(repo_id).exists():
                raise ValueError(f"{repo_id!r} is not an owner/name on the Hub, or is a local folder: give a Hub id.")
        if self.license not in LICENSES.split():
            close = get_close_matches(self.license.lower(), LICENSES.split(), n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise ValueError(
                f"The Hub knows no license={self.license!r}. {hint}For a licence that the Hub does not know, give "
                "other with license_name and license_link."
            )
        if (self.license == "other") != bool(self.license_name and self.license_link):
            raise ValueError(
                f"license={self.license!r}, license_name={self.license_name!r}, license_link={self.license_link!r}: "
                "give license_name and license_link if and only if license is 'other'."
            )


@dataclass(kw_only=True)
class PublishArguments(CardArguments):
    """Arguments of `trainer/publish.py`."""

    adapter: Literal["merge", "keep"] = field(
        default="merge", metadata={"help": "keep: publish an adapter by itself. Its base must be on the Hub."}
    )
    max_shard_size: str = field(default="5GB", metadata={"help": "Size limit of a file of weights."})
    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    replace: bool = field(
        default=False, metadata={"help": "Delete all other files of the repository in the same commit."}
    )
    dry_run: str | None = field(default=None, metadata={"help": "Write to this new folder and upload nothing."})
    card_only: bool = field(default=False, metadata={"help": "With --dry_run: write only the card and its pictures."})
    space: str | None = field(
        default=None, metadata={"help": "Also upload a page to try the model to the Space of this name."}
    )
    space_pictures: list[str] = field(default_factory=list, metadata={"help": "Pictures to choose from on that page."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.card_only and not self.dry_run:
            raise ValueError("card_only writes to a folder: give the folder as dry_run.")
        if self.dry_run and not self.card_only and Path(self.dry_run).exists() and any(Path(self.dry_run).iterdir()):
            raise ValueError(f"dry_run={self.dry_run} holds files already: give a new folder.")


if __name__ == "__main__":
    with one_line_errors():
        ARGUMENTS = parse_arguments(PublishArguments, __doc__)
        from trainer.publishing.publication import publish

        publish(ARGUMENTS)
