# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a Hugging Face Space of the page of `trainer/demo.py`: the same files, and the model that it shows."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from trainer import REPOSITORY


MODULES = (  # the page and the modules it imports
    *("__init__", "demo", "common/__init__", "common/command_line", "common/pictures", "common/plots"),
    *("evaluation/__init__", "evaluation/result_types", "common/sources", "serving/__init__", "serving/demo_page"),
)
GRADIO = "6.31.0"
REQUIREMENTS = ("torch>=2.6", "transformers>=5.18", "accelerate>=1.10", "matplotlib>=3.9", "pillow>=11", "jinja2>=3.1")


def write_space(folder: Path, model: str, revision: str | None, pictures: Sequence[str] = ()) -> None:
    """
    Writes the files of a Space.

    Args:
        folder: a new folder for the files.
        model: Hub id of the Parrot that the page shows.
        revision: the model's branch, tag or commit.
        pictures: picture files to choose from on the page.

    Raises:
        `OSError`: if a picture does not exist.
    """
    for name in MODULES:
        (folder / "trainer" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "trainer" / f"{name}.py", folder / "trainer" / f"{name}.py")
    languages = REPOSITORY / "trainer" / "languages"
    shutil.copytree(languages, folder / "trainer" / "languages", ignore=shutil.ignore_patterns("__pycache__"))
    if pictures:
        (folder / "pictures").mkdir()
        for picture in pictures:
            shutil.copy(picture, folder / "pictures")
    (folder / "app.py").write_text(
        "from trainer.demo import DemoArguments\nfrom trainer.serving.demo_page import main\n\n\n"
        f"main(DemoArguments(model={model!r}, revision={revision!r}))\n",
        encoding="utf-8",
    )
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in REQUIREMENTS), encoding="utf-8")
    (folder / "README.md").write_text(
        f"---\ntitle: {model.rpartition('/')[2]}\nemoji: 🦜\nsdk: gradio\nsdk_version: {GRADIO}\napp_file: app.py\n"
        f"models: [{model}]\nlicense: apache-2.0\n---\nA page to play with [{model}](https://huggingface.co/{model}).\n",
        encoding="utf-8",
    )


def upload_space(folder: Path, repo_id: str, private: bool) -> str:
    """Uploads the folder of `write_space` in one commit. Returns the id of the commit."""
    api = HfApi()
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
    return api.upload_folder(repo_id=repo_id, repo_type="space", folder_path=folder, commit_message="The page").oid
