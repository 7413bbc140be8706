# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Which edition of this project runs: results, models and cards say what they were made by."""

import os
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


def _commit() -> str | None:
    if not (REPOSITORY / ".git").exists():  # git would look for a repository above: that is another project's
        return None
    # Inside of a git hook, such variables name the repository that is being committed to.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty"]
    try:
        described = subprocess.check_output(
            command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL, text=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git, no commit, or a folder of another user's
        return None
    return f"g{described.strip()}"
