# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Which edition of this project runs: results, models and cards say what they were made by."""

import os
import re
import subprocess
from functools import cache

import tomllib

from trainer import REPOSITORY


@cache
def edition() -> str:
    """
    The version of pyproject.toml and the checkout's commit at the first call, such as 0.1.0+g0123456789ab. It ends
    with `.dirty` if a tracked file differs from the commit, and with `+unknown` where git cannot tell the commit.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['version']}+{_commit() or 'unknown'}"


def project_url() -> str | None:
    """The web address of the repository that the checkout was cloned from; None if git knows no such address."""
    # An address with a user or a token in it does not match.
    web = re.fullmatch(
        r"(?:https://|git@|ssh://git@)([\w.-]+)[/:]([\w./-]+?)(?:\.git)?/?", _git("remote", "get-url", "origin")
    )
    return f"https://{web[1]}/{web[2]}" if web else None


def _commit() -> str | None:
    # --exclude: a tag does not hide the commit.
    described = _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty")
    return f"g{described}" if described else None


def _git(*command: str) -> str:
    """What git prints about the checkout; nothing if git fails, or if the checkout is not a repository."""
    if not (REPOSITORY / ".git").exists():  # git would look for a repository above: that is another project's
        return ""
    # Inside of a git hook, such variables name the repository that is being committed to.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        printed = subprocess.check_output(
            ["git", *command], cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL, text=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, no commit, no origin, or a folder of another user's
        return ""
    return printed.strip()
