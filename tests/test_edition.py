# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The edition that results, models and cards name: the checkout's version and its commit, if git knows the commit."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.common import edition as module
from trainer.common.edition import edition, project_url


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of another project, which takes the place of this one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    git(folder, "tag", "--annotate", "v9", "--message", "a tag does not hide the commit")
    monkeypatch.setattr(module, "REPOSITORY", folder)
    return folder


def fresh_edition() -> str:
    edition.cache_clear()
    return edition()


@pytest.fixture(autouse=True)
def clear_cache() -> Iterator[None]:
    yield
    edition.cache_clear()


def test_the_edition_is_the_version_and_the_commit(checkout: Path) -> None:
    assert fresh_edition() == f"1.2.3+g{git(checkout, 'rev-parse', '--short=12', 'HEAD')}"


def test_the_edition_is_dirty_if_a_file_differs_from_the_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    assert fresh_edition() == f"1.2.4+g{commit}.dirty"


def test_a_git_hook_of_another_repository_does_not_change_the_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fresh_edition()
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert fresh_edition() == expected


def test_a_copy_inside_another_repository_has_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = checkout / "unpacked"
    copy.mkdir()
    (copy / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    monkeypatch.setattr(module, "REPOSITORY", copy)
    assert fresh_edition() == "1.2.3+unknown"


def test_without_git_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert fresh_edition() == "1.2.3+unknown"


def test_the_edition_does_not_change_while_a_command_runs(checkout: Path) -> None:
    first_edition = fresh_edition()
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    assert edition() == first_edition


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://github.com/org/parrot.git", "https://github.com/org/parrot"),
        ("git@github.com:org/parrot.git", "https://github.com/org/parrot"),
        ("https://user:secret@github.com/org/parrot", None),
        ("/srv/parrot", None),
        (None, None),
    ],
)
def test_the_project_url_is_the_web_address_of_origin(origin: str | None, url: str | None, checkout: Path) -> None:
    if origin:
        git(checkout, "remote", "add", "origin", origin)
    assert project_url() == url
