# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the repository itself: imports, licence headers, recipes, help texts, and the statements of the README."""

import ast
import json
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from trl import TrlParser

from trainer.sft import ParrotModelConfig, ParrotScriptArguments, ParrotSFTConfig


ROOT = Path(__file__).parents[1]
SOURCES = [
    path for folder in ("modeling_parrot", "trainer", "tests") for path in sorted((ROOT / folder).rglob("*.py"))
]
RECIPES = [path for path in sorted((ROOT / "trainer" / "recipes").glob("*.yaml")) if "ablation" not in path.name]
COMMANDS = [path for path in SOURCES if path.read_text(encoding="utf-8").count('\nif __name__ == "__main__":\n')]
COMMANDS = [path for path in COMMANDS if path.parent.name != "tests"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def imported(path: Path) -> set[str]:
    """The names of the packages that a file imports."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots.add(node.module.split(".")[0])
    return roots


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_one_way_and_files_carry_the_licence(path: Path) -> None:
    forbidden = {"modeling_parrot": {"trainer", "tests"}, "trainer": {"tests"}, "tests": set()}
    assert not imported(path) & forbidden[path.relative_to(ROOT).parts[0]]
    is_uploaded = path.parent.name == "modeling_parrot"  # the Hub gets these files without LICENSE
    head = "# Copyright" if is_uploaded else "# SPDX-FileCopyrightText:"
    assert path.read_text(encoding="utf-8").startswith(f"{head} 2026 The Parrot authors")


def test_every_imported_library_is_declared() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    declared = re.findall(r'"([a-z_0-9-]+)[>=]=', project[project.index("dependencies = [") :])
    names = {"PIL": "pillow", "yaml": "pyyaml"}
    libraries = set().union(*map(imported, SOURCES)) - sys.stdlib_module_names
    libraries -= {"modeling_parrot", "trainer", "tests", "vlmeval"}  # VLMEvalKit is not in a package index
    assert {names.get(name, name) for name in libraries} <= {name.replace("-", "_") for name in declared}


def test_every_ignored_type_error_has_a_reason() -> None:
    for path in SOURCES:
        for line in path.read_text(encoding="utf-8").splitlines() if path.parent.name != "tests" else []:
            if "type: ignore" in line:
                assert re.search(r"# type: ignore\[[\w-]+\]  # \w+", line), f"{path}: {line}"


def test_no_two_modules_define_the_same_public_name() -> None:
    """Only `main` may be defined by several modules."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body if path.parent.name != "tests" else []:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name[0] != "_":
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1}.keys() <= {"main"}


def test_no_module_of_the_trainer_hides_a_library() -> None:
    libraries = set().union(*map(imported, SOURCES))
    assert not {path.stem for path in (ROOT / "trainer").glob("*.py")} & libraries


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_parsed_and_a_typo_in_it_is_an_error(recipe: Path, tmp_path: Path) -> None:
    parser = TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig))
    script, training, model = parser.parse_args_and_config(["--config", str(recipe), "--use_cpu", "true"])
    settings = yaml.safe_load(recipe.read_text())
    parsed = vars(model) | vars(training) | vars(script)
    for name in ("model_name_or_path", "dataset_name", "stage", "output_dir", "learning_rate"):
        assert parsed[name] == settings[name]
    typo = tmp_path / "typo.yaml"
    typo.write_text(recipe.read_text() + "\nlerning_rate: 1.0\n")
    with pytest.raises(ValueError, match="lerning_rate"):
        TrlParser((ParrotScriptArguments, ParrotSFTConfig, ParrotModelConfig)).parse_args_and_config(
            ["--config", str(typo), "--use_cpu", "true"]
        )


# The arguments of sft inherit from TRL's, which need torch. modeling_parrot imports torch to register its classes.
NEED_TORCH = ["modeling_parrot.convert_parrot_weights_to_hf", "trainer.sft"]
HELP = """
import contextlib, io, json, runpy, sys
manuals = {}
for name in sys.argv[1:]:
    sys.argv, output = [name, "--help"], io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert "torch" not in sys.modules, name
    manuals[name] = output.getvalue()
print(json.dumps(manuals))
"""


def check_manual(name: str, manual: str) -> None:
    text = manual.replace("\n", " ")
    assert f"python -m {name}" in text or f"-m {name} " in text or f"trainer/{name.partition('.')[2]}.py" in text
    assert name == "trainer.benchmark" or re.search(r"^  --\w+", manual, re.MULTILINE), name


def test_every_command_explains_itself_without_torch() -> None:
    """It takes seconds to import torch, or a library that imports torch."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in COMMANDS]
    light = [name for name in names if name not in NEED_TORCH]
    assert len(light) == len(names) - len(NEED_TORCH)
    process = subprocess.run([sys.executable, "-c", HELP, *light], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    manuals = json.loads(process.stdout)
    assert list(manuals) == light
    for name, manual in manuals.items():
        check_manual(name, manual)


def test_the_work_of_a_command_lies_in_a_room() -> None:
    """A command's file in trainer/ holds its arguments, so that --help imports little and no room imports its work."""
    # sft.py is a whole training script, as TRL's are. ask.py and make_demo.py import nothing that is slow.
    exceptions = {"sft.py", "ask.py", "make_demo.py"}
    for path in COMMANDS:
        if path.parent.name == "trainer" and path.name not in exceptions:
            nodes = ast.parse(path.read_text(encoding="utf-8")).body
            functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
            assert functions <= {"read_command_line"}, path


@pytest.mark.filterwarnings("ignore:.* found in sys.modules")
@pytest.mark.parametrize("name", NEED_TORCH)
def test_a_command_that_needs_torch_explains_itself_too(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        runpy.run_module(name, run_name="__main__")
    check_manual(name, capsys.readouterr().out)


def test_every_path_in_the_readme_and_the_manuals_exists() -> None:
    texts = [README, (ROOT / "Makefile").read_text()]
    texts += [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in SOURCES]
    paths = set(re.findall(r"(?:modeling_parrot|trainer|tests|model_cards|\.ci)/[\w./-]*", "\n".join(texts)))
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path.rstrip(".")).exists(), path
    tree = README[README.index("modeling_parrot/      ") :]
    for folder, files in re.findall(r"^(\w+)/ .*\n((?:  .+\n)*)", tree[: tree.index("```")], re.MULTILINE):
        for name in re.findall(r"^  ([\w.]+)", files, re.MULTILINE):
            assert (ROOT / folder / name).exists(), f"{folder}/{name}"
    for module in re.findall(r"python -m ((?:modeling_parrot|trainer)[\w.]*)", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\S+)", README, re.MULTILINE)) <= set(targets)


def test_the_readme_quotes_the_figures_of_the_demo_s_card() -> None:
    """`trainer.benchmark` wrote the tables of the card, so the README has the same numbers as the run."""
    card = (ROOT / "model_cards" / "parrot-demo" / "README.md").read_text(encoding="utf-8")
    table = re.search(r"(^\|.*\|\n)+", README, re.MULTILINE)[0]
    text = " ".join(README.split())
    assert table.count("\n") == 6
    assert table in card
    recognition = card[card.index(table) :].split("\n\n")[0]
    for row, sentence in (
        ("written answers", r"right in ([\d.]+) to ([\d.]+)% of the benchmark's questions"),
        ("written answers, other wordings", r"never shows, it is right in ([\d.]+) to ([\d.]+)%"),
        ("other wordings, answered in the question's language", r"([\d.]+) to ([\d.]+)% of these answers are in"),
    ):
        cells = re.search(rf"^\| {row} \|(.*)\|$", recognition, re.MULTILINE)[1].split("|")
        values = sorted(map(float, cells))
        assert tuple(map(float, re.search(sentence, text).groups())) == (values[0], values[-1])
    quoted = re.search(r"right in ([\d.]+)% of held-out questions \(chance ([\d.]+)\)", text).groups()
    assert re.search(r"right in ([\d.]+)% of \d+ held-out questions \(chance ([\d.]+)\)", card).groups() == quoted


def test_versions_in_different_files_agree() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    ruff_version = re.search(r"ruff==([\d.]+)", project)[1]
    assert f"rev: v{ruff_version}" in (ROOT / ".pre-commit-config.yaml").read_text()
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]["tests"]
    assert re.search(r"^TORCH \?= (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1] in workflow["env"]["TORCH"]
    assert workflow["steps"][-1] == {"run": ".ci/run"}
    assert "transformers>=5.18" in project
    assert "5.18" in README


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".cff", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(?:tmp|work|root|home)/\w", text), name
