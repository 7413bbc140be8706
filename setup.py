# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
pyproject.toml says all but this: a wheel has none of the entry points. They lead into trainer/, which lies in the
checkout alone. An editable install keeps them; in a wheel they would break vLLM's and lmms-eval's own start.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Wheel(bdist_wheel):
    """A wheel without entry points, unless it is that of an editable install."""

    def write_wheelfile(self, wheelfile_base: str, **kwargs: str) -> None:
        """Called when the wheel's metadata are complete."""
        super().write_wheelfile(wheelfile_base, **kwargs)
        if "editable_wheel" not in self.distribution.commands:
            Path(wheelfile_base, "entry_points.txt").unlink(missing_ok=True)


setup(cmdclass={"bdist_wheel": Wheel})
