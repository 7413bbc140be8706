# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
A wheel has no entry points; all other settings are in pyproject.toml. The entry points import modules of trainer/.
Only the checkout has these modules, so an editable install keeps the entry points. In a wheel they would make vLLM and
lmms-eval fail at their start.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Wheel(bdist_wheel):
    """A wheel without entry points. The wheel of an editable install keeps them."""

    def write_wheelfile(self, wheelfile_base: str, **kwargs: str) -> None:
        """Removes the entry points. setuptools calls this when the other metadata are complete."""
        super().write_wheelfile(wheelfile_base, **kwargs)
        if "editable_wheel" not in self.distribution.commands:
            Path(wheelfile_base, "entry_points.txt").unlink(missing_ok=True)


setup(cmdclass={"bdist_wheel": Wheel})
