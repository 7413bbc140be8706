# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that tests/processes.py forks run as under an interpreter of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import LIBRARIES, python


SHOW = "import os, sys; print(sys.argv, sys.path[0], os.getcwd(), os.environ['OWN'], input(), __name__)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", SHOW, "a", "b"],
        ["-m", "own.show", "--a"],
        ["-u", "own/show.py", "a b"],
        ["-c", "import sys; sys.exit('what is wrong')"],
        ["-c", "import sys; sys.exit(3)"],
        ["-c", "1 / 0"],
        ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
        ["-c", "import atexit, threading as t; atexit.register(print, 'end'); t.Timer(0.1, print, ['last']).start()"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_forked_program_prints_and_ends_as_under_a_new_interpreter(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "show.py").write_text(f"import other\n{SHOW}")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "other.py").touch()
    environment = {"OWN": "mine", "PYTHONPATH": str(tmp_path / "path")}
    forked, usual = (
        subprocess.run(
            [executable, *arguments], cwd=tmp_path, env=environment, input="typed\n", capture_output=True, text=True
        )
        for executable in (python(), sys.executable)
    )
    assert (forked.returncode, forked.stdout) == (usual.returncode, usual.stdout)
    assert forked.stderr.splitlines()[-1:] == usual.stderr.splitlines()[-1:]


@pytest.mark.slow
def test_a_forked_program_begins_without_libraries_that_read_the_environment_and_without_this_repository(
    tmp_path: Path,
) -> None:
    code = "import sys; print(*sys.modules); print(*sys.path, sep=chr(10))"
    modules, *path = subprocess.run(
        [python(), "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert set(LIBRARIES) <= set(modules.split())
    own = {"huggingface_hub", "transformers", "datasets", "accelerate", "modeling_parrot", "trainer", "tests"}
    assert not own & set(modules.split())
    assert not [folder for folder in path if Path(folder) == Path(__file__).parent]


@pytest.mark.slow
def test_signals_reach_a_forked_program(tmp_path: Path) -> None:
    code = "import time; open('begun', 'w').close(); time.sleep(60)"
    process = subprocess.Popen([python(), "-c", code], cwd=tmp_path, env=os.environ)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
