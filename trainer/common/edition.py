# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The version and commit of this project. Results, models and cards name the edition that made them."""

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
    # The pattern does not match an https address with a user name or a token.
    match = re.fullmatch(
        r"(?:https://|git@|ssh://git@)([\w.-]+)[/:]([\w./-]+?)(?:\.git)?/?", _git("remote", "get-url", "origin")
    )
    return f"https://{match[1]}/{match[2]}" if match else None


def _commit() -> str | None:
    # Without --exclude, git may print a tag in place of the commit.
    commit = _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty")
    return f"g{commit}" if commit else None


def _git(*command: str) -> str:
    """The output of git about the checkout. Empty if git fails, or if the checkout is not a repository."""
    if not (REPOSITORY / ".git").exists():  # git would use a repository of another project above it
        return ""
    # Inside a git hook, variables such as GIT_DIR name the repository of the hook, not the checkout.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        output = subprocess.check_output(
            ["git", *command], cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL, text=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, no commit, no origin, or another user's folder
        return ""
    return output.strip()
