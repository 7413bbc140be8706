# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the files of a Parrot, checks them and uploads them to the Hub, for `trainer/publish.py`."""

import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token
from peft import PeftConfig, PeftModel

from modeling_parrot import ParrotForConditionalGeneration, ParrotProcessor
from trainer.publish import PublishArguments
from trainer.publishing.model_card import TEMPLATE, Base, check_card, is_adapter, write_card
from trainer.publishing.space import upload_space, write_space


PUBLISHED = re.compile(
    r"README\.md|(accuracy|router|loss)\.png|\.eval_results/[\w.-]+\.yaml"
    r"|(adapter_)?model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|(config|generation_config|adapter_config|processor_config|preprocessor_config)\.json"
    r"|(configuration|modeling|processing)_parrot\.py|chat_template\.jinja"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|tokenizer\.model|merges\.txt"
)
VOCABULARY = {"vocab.json", "merges.txt", "tokenizer.model"}  # entries of these files may look like paths
TOKEN = re.compile(r"\b(?:hf_|ghp_|github_pat_|glpat-|sk-)[A-Za-z0-9]{20,}")
PATH = re.compile(r"(?<![\w.:/<])(?:file://|~)?/(?:[\w.@+-]+/)+[\w.@+-]+|\b[A-Za-z]:\\+\w[\w.-]*\\")


def write_model(arguments: PublishArguments, folder: Path) -> Base | None:
    """Writes the model, or the adapter with `--adapter keep`. Returns the base that the adapter needs."""
    name = arguments.model
    if not is_adapter(name):
        model = ParrotForConditionalGeneration.from_pretrained(name)
    else:
        adapter = PeftConfig.from_pretrained(name)
        base, revision = adapter.base_model_name_or_path, adapter.revision
        if arguments.adapter == "keep":
            return keep_adapter(arguments, base, revision, folder)
        model = ParrotForConditionalGeneration.from_pretrained(base, revision=revision)
        model = PeftModel.from_pretrained(model, name).merge_and_unload()
    model.save_pretrained(folder, max_shard_size=arguments.max_shard_size)
    ParrotProcessor.from_pretrained(name).save_pretrained(folder)
    return None


def keep_adapter(arguments: PublishArguments, base: str, revision: str | None, folder: Path) -> Base:
    """Copies an adapter. The copy's config names the base's Hub id and commit. Returns the base."""
    if Path(base).exists():
        if not arguments.base_model:
            raise ValueError(f"The adapter's base is {base}: publish the base, too, and give its id as --base_model.")
        base, revision = arguments.base_model[0], None
    config = json.loads((Path(arguments.model) / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": base, "revision": HfApi().model_info(base, revision=revision).sha}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(Path(arguments.model) / "adapter_model.safetensors", folder)
    return Base(base, config["revision"])


def check(folder: Path, *secrets: str) -> list[str]:
    """
    Checks that files may be published.

    Args:
        folder: the folder with the files.
        secrets: texts that no file may contain, such as the token of the login.

    Returns:
        the files' names.

    Raises:
        `ValueError`: if there is an unknown file, or if a file contains a token or a path of this machine.
    """
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    for name in names:
        if not PUBLISHED.fullmatch(name):
            raise ValueError(f"{name} is not on the list of files to publish: delete it from {folder}.")
        text = read_text(folder / name)
        for secret in [*TOKEN.findall(text), *(secret for secret in secrets if secret in text)]:
            raise ValueError(f"{name} holds a text like a token ({secret[:6]}…): take it out, and revoke the token.")
        if name == "tokenizer.json":
            text = json.dumps({key: value for key, value in json.loads(text).items() if key != "model"})
        if name not in VOCABULARY and not name.endswith((".safetensors", ".png")):
            check_paths(name, text)
    card = ModelCard.load(folder / "README.md")
    if not card.data.license or not card.data.pipeline_tag:
        raise ValueError(f"README.md has no license or pipeline_tag in its metadata: see {TEMPLATE}.")
    return names


def check_paths(name: str, text: str) -> None:
    """
    Checks a file's text for paths of this machine.

    Raises:
        `ValueError`: if there is one.
    """
    paths = [match[0] for match in PATH.finditer(text)]
    if name.endswith(".json"):  # a relative path such as "models/parrot" looks like a Hub id
        values = re.findall(r'"\w*name_or_path": "([^"]+)"', text)
        paths += [value for value in values if Path(value).exists()]
    if paths:
        raise ValueError(
            f"{name} holds a path of this machine, {paths[0]!r}: give a Hub id or a bare name in its place."
        )


def read_text(file: Path) -> str:
    """Reads a file's text. Of a safetensors file, it reads the header, because that may hold metadata."""
    with file.open("rb") as content:
        if file.suffix == ".safetensors":
            return content.read(int.from_bytes(content.read(8), "little")).decode()
        return content.read().decode(errors="replace")


def upload(folder: Path, names: list[str], arguments: PublishArguments) -> str:
    """
    Uploads the files in one commit and tags the commit. Returns the commit's hash.

    Raises:
        `ValueError`: if the repository is public despite --private, has the tag already, or holds other files without
            --replace. Then nothing is uploaded.
    """
    api, repo_id = HfApi(), arguments.repo_id
    api.create_repo(repo_id, private=arguments.private or None, exist_ok=True)
    info = api.model_info(repo_id)
    if arguments.private and not info.private:
        raise ValueError(f"{repo_id} exists and is public: make it private in its settings, or leave out --private.")
    if arguments.tag in [tag.name for tag in api.list_repo_refs(repo_id).tags]:
        raise ValueError(f"{repo_id} has a tag {arguments.tag} already. Others may rely on it: give another --tag.")
    others = sorted({file.rfilename for file in info.siblings or []} - {".gitattributes", *names})
    if others and not arguments.replace:
        raise ValueError(f"{repo_id} also holds {', '.join(others)}: delete these files by --replace, or by hand.")
    for name in others:
        print(f"Deleted from {repo_id}: {name}")
    # Since huggingface_hub 1.20, upload_folder makes several commits of a large folder, see
    # https://github.com/huggingface/hub-docs/pull/2580. We need one commit with all files, to tag it.
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(name, folder / name) for name in names] + [CommitOperationDelete(name) for name in others],
        commit_message=f"{repo_id.partition('/')[2]} {arguments.tag}",
        parent_commit=info.sha,
    )
    api.create_tag(repo_id, tag=arguments.tag, revision=commit.oid)
    return commit.oid


def publish(arguments: PublishArguments) -> str | None:
    """
    Writes the files, checks them and uploads them. Returns the commit's hash; None after a dry run.

    Raises:
        `ValueError`: if the model, its results, its files or the repository cannot be used.
    """
    check_card(arguments)
    if not arguments.dry_run:
        HfApi().whoami()  # raises an error without a login, before a model is loaded
    with TemporaryDirectory() as temporary:
        folder = Path(arguments.dry_run or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        base = None if arguments.card_only else write_model(arguments, folder)
        write_card(arguments, base, folder)
        names = check(folder, *filter(None, [get_token()]))
        for name in names:
            print(f"{(folder / name).stat().st_size:>15,} {name}")
        if arguments.dry_run:
            print(f"The files are written to {folder}. Nothing is uploaded.")
            if arguments.space:
                space = Path(f"{folder}-space")
                write_space(space, arguments.repo_id, arguments.tag, arguments.space_pictures)
                print(f"The page of {arguments.space} is written to {space}. Run it there with python app.py.")
            return None
        commit = upload(folder, names, arguments)
    print(f"Published: {arguments.repo_id}, tag {arguments.tag}, commit {commit}")
    if arguments.space:
        with TemporaryDirectory() as temporary:
            write_space(Path(temporary) / "space", arguments.repo_id, arguments.tag, arguments.space_pictures)
            upload_space(Path(temporary) / "space", arguments.space, arguments.private)
        print(f"Published: the page {arguments.space}")
    return commit
