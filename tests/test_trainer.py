# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the commands end as one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from torch.utils.data import DataLoader

from modeling_parrot import ParrotConfig
from trainer import one_line_errors


class Rows(list):
    def __getitem__(self, _index: int) -> None:
        ParrotConfig(num_experts=0)


def ours() -> None:
    ParrotConfig(num_experts=0)


def wrapped() -> None:
    try:
        ours()
    except ValueError as error:
        raise RuntimeError("a library's words") from error


def in_a_worker() -> None:
    list(DataLoader(Rows([0]), num_workers=1))


@pytest.mark.parametrize("fail", [ours, wrapped, in_a_worker])
def test_an_error_of_our_checks_ends_as_its_one_line(fail: object) -> None:
    with pytest.raises(ValueError, match="num_experts") as original:
        ours()
    with pytest.raises(SystemExit) as ended, one_line_errors():
        fail()
    assert ended.value.code == f"error: {original.value}"


def test_a_missing_file_ends_as_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*No such file or directory: '.*nowhere'$"), one_line_errors():
        (tmp_path / "nowhere").read_text()


def test_an_address_that_does_not_answer_ends_as_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: The network failed: "), one_line_errors():
        HfApi("http://127.0.0.1:9").model_info("org/parrot")


@pytest.mark.parametrize("fail", [lambda: int("one"), lambda: {}["key"]], ids=["ValueError", "KeyError"])
def test_an_error_that_may_be_a_fault_of_the_program_keeps_its_traceback(fail: object) -> None:
    with pytest.raises((ValueError, KeyError)), one_line_errors():
        fail()


def test_the_package_imports_no_library() -> None:
    code = "import sys, trainer; assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
