# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a Space run by themselves, without the repository on the path."""

import ast
import os
import subprocess
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from tests.hub import LoopbackHub
from tests.processes import python
from tests.tiny import tiny_model, tiny_processor
from trainer.languages import languages
from trainer.publishing.space import MODULES, write_space


ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
def test_a_space_opens_the_page_with_its_own_files_alone(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    space = tmp_path / "space"
    write_space(space, str(tmp_path / "model"), None, [str(tmp_path / "red.png")])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_PORT": "7993", "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [python(), "app.py"], cwd=space, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        while "Running on" not in (tmp_path / "log").read_text() and process.poll() is None:
            time.sleep(0.2)
        assert process.poll() is None, (tmp_path / "log").read_text()
        with urllib.request.urlopen("http://127.0.0.1:7993/config") as answer:
            config = answer.read().decode()
    finally:
        process.terminate()
        process.wait()
    assert "red.png" in config and "Parrot" in config


UPLOAD = """
from pathlib import Path
from trainer.publishing.space import upload_space
upload_space(Path("space"), "org/page", private=False)
"""


def test_a_space_is_uploaded_in_one_commit(tmp_path: Path) -> None:
    write_space(tmp_path / "space", "org/parrot", "v1.0")
    with LoopbackHub() as hub:
        environment = os.environ | hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        subprocess.run([python(), "-c", UPLOAD], cwd=tmp_path, env=environment, check=True)
        files = hub.files("org/page", repo_type="space")
        assert len(hub._repository("space", "org/page").commits) == 2
    assert files["app.py"] == (tmp_path / "space" / "app.py").read_bytes()
    assert files["trainer/demo.py"] == (ROOT / "trainer" / "demo.py").read_bytes()


def test_a_space_says_what_it_shows_and_needs(tmp_path: Path) -> None:
    write_space(tmp_path / "space", "org/parrot", "v1.0")
    files = {str(file.relative_to(tmp_path / "space")) for file in (tmp_path / "space").rglob("*") if file.is_file()}
    page = {f"trainer/{name}.py" for name in MODULES}
    page |= {f"trainer/languages/{name}" for name in ("__init__.py", *(f"{code}.json" for code in languages()))}
    assert files == {"README.md", "app.py", "requirements.txt", *page}
    card = (tmp_path / "space" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and "models: [org/parrot]" in card
    assert "model='org/parrot', revision='v1.0'" in (tmp_path / "space" / "app.py").read_text()


def test_a_space_has_every_module_that_its_files_import(tmp_path: Path) -> None:
    write_space(tmp_path / "space", "org/parrot", "v1.0")
    imported = set()
    for file in (tmp_path / "space").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    files = {
        file.relative_to(ROOT)
        for name in imported
        for file in (ROOT / f"{name.replace('.', '/')}.py", ROOT / name.replace(".", "/") / "__init__.py")
        if file.is_file()
    }
    assert Path("trainer", "serving", "demo_page.py") in files
    assert not [file for file in files if not (tmp_path / "space" / file).exists()]
