# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the commands end as one line."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from modeling_parrot import ParrotConfig
from trainer import HelpFormatter, one_line_errors
from trainer.benchmark import RunArguments
from trainer.common.command_line import parse_arguments


class Rows:
    """Rows that cannot be read."""

    def __init__(self, read: Callable[[], object]) -> None:
        self.read = read

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _index: int) -> object:
        return self.read()


def ours() -> None:
    ParrotConfig(num_experts=0)


def wrapped() -> None:
    try:
        ours()
    except ValueError as error:
        raise RuntimeError("a library's words") from error


def in_a_worker() -> None:
    list(DataLoader(Rows(ours), num_workers=1))


def test_a_config_with_a_value_of_a_wrong_type_ends_as_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: .*'num_experts' expected int, got str"), one_line_errors():
        ParrotConfig(num_experts="six")


@pytest.mark.parametrize("fail", [ours, wrapped, in_a_worker])
def test_an_error_of_our_checks_ends_as_its_one_line(fail: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="num_experts") as original:
        ours()
    with pytest.raises(SystemExit) as ended, one_line_errors():
        fail()
    assert ended.value.code == f"error: {original.value}"


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        ([], ""),
        (["--data", "{}"], "--data "),
        (["--data={}"], "--data "),
        (["--one", "x", "--data", "y", "{}"], "--data "),
        (["--above", "/", "--data", "{}"], "--data "),
    ],
)
def test_a_wrong_path_ends_as_one_line_that_names_its_argument(
    words: list[str], argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, folder, file = tmp_path / "nowhere", tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")

    def fails(path: Path, use: Callable[[], object], reason: str) -> None:
        monkeypatch.setattr(sys, "argv", ["command", *(word.format(path) for word in words)])
        with pytest.raises(SystemExit, match=rf"^error: {argument}{path}\S*(: .+)?: {reason}"), one_line_errors():
            use()

    fails(missing, missing.read_text, r"there is no such file or folder\. Correct the path\.$")
    fails(folder, folder.read_text, r"this is a folder\. Give a file\.$")
    fails(file, file.mkdir, r"there is a file of this name\. Give another folder\.$")
    fails(file, (file / "below").mkdir, r"a file cannot hold other files\. Give a folder\.$")


def test_help_shows_the_defaults_that_say_something_and_no_other() -> None:
    @dataclass
    class Arguments:
        needed: str = field(metadata={"help": "Needed."})
        maybe: str | None = field(default=None, metadata={"help": "Maybe."})
        several: list[str] = field(default_factory=list, metadata={"help": "Several."})
        count: int = field(default=0, metadata={"help": "Count."})
        fast: bool = field(default=True, metadata={"help": "Fast."})

    text = " ".join(HfArgumentParser(Arguments, formatter_class=HelpFormatter).format_help().split())
    assert re.findall(r"(\w+)\. \(default: (\S+)\)", text) == [("Count", "0"), ("Fast", "True")]


def test_an_empty_value_of_a_command_is_an_error_that_names_the_argument() -> None:
    @dataclass
    class Arguments:
        output: str
        question: list[str]

    with pytest.raises(ValueError, match=r"^--output='': a value is empty\. Write it, or leave it out\.$"):
        parse_arguments(Arguments, "", ["--output", "", "--question", "?"])
    with pytest.raises(ValueError, match=r"^--question=\['\?', ''\]: a value is empty"):
        parse_arguments(Arguments, "", ["--output", "here", "--question", "?", ""])


@pytest.mark.parametrize("name", ["max_new_tokens", "batch_size"])
def test_a_number_of_tokens_or_questions_that_is_not_positive_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^--{name}=0: give at least 1\.$"):
        parse_arguments(
            RunArguments, "", ["--model", "chance", "--benchmark", "b.tsv", "--output", "here", f"--{name}", "0"]
        )


def test_a_file_that_a_worker_misses_ends_as_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: \[Errno 2\] No such file or directory: '.*nowhere'$"):  # noqa: SIM117
        with one_line_errors():
            list(DataLoader(Rows((tmp_path / "nowhere").read_bytes), num_workers=1))


def test_an_address_that_does_not_answer_ends_as_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: The network failed: "), one_line_errors():
        HfApi("http://127.0.0.1:9").model_info("org/parrot")


def import_hidden(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports a module as if a package that it needs were not installed."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    importlib.import_module(module)


@pytest.mark.parametrize(
    ("module", "package", "advice"),
    [
        ("trainer.timing.quantization_parts", "bitsandbytes", r'pip install -e "\.\[qlora\]"'),
        ("trainer.timing.vllm_speed_parts", "vllm", r'pip install -e "\.\[vllm\]"'),
        ("trainer.serving.demo_page", "gradio", r'pip install -e "\.\[page\]"'),
        ("trainer.harnesses.vlmevalkit_model", "vlmeval", r"--help and README\.md say how to install it\."),
    ],
)
def test_a_package_that_is_not_installed_ends_as_one_line(
    module: str, package: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=rf"^error: .*{package}.*The command needs {package}: {advice}$"):  # noqa: SIM117
        with one_line_errors():
            import_hidden(module, package, monkeypatch)


def test_a_library_s_advice_to_install_a_package_ends_as_one_line() -> None:
    def fail() -> None:
        raise ImportError("8 bits need bitsandbytes:\npip install bitsandbytes")

    with pytest.raises(SystemExit, match=r"^error: 8 bits need bitsandbytes: pip install bitsandbytes\.$"):  # noqa: SIM117
        with one_line_errors():
            fail()


def test_an_error_under_a_progress_bar_begins_a_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit), one_line_errors():
        for _ in tqdm(range(3), desc="rows"):
            ours()
    bar = capsys.readouterr().err
    assert "rows:   0%" in bar and bar.endswith("\n")


def import_our_missing_module() -> None:
    importlib.import_module("trainer.nothing")


def import_module_with_a_fault() -> None:
    """Fails as transformers does where a module of its own fails."""
    try:
        [].nothing  # noqa: B018
    except AttributeError as error:
        raise ImportError("Could not import module 'x'.") from error


def fail_for_an_error_without_traceback() -> None:
    raise RuntimeError from ValueError("one")


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (lambda: int("one"), ValueError),
        (lambda: {}["key"], KeyError),
        (import_our_missing_module, ImportError),
        (import_module_with_a_fault, ImportError),
        (fail_for_an_error_without_traceback, RuntimeError),
    ],
)
def test_an_error_that_may_be_a_fault_of_the_program_keeps_its_traceback(
    fail: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error), one_line_errors():
        fail()


def test_the_package_imports_no_library() -> None:
    code = "import sys, trainer; assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
