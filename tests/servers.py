# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Servers with OpenAI's interface for tests: they start on a free port of 127.0.0.1 and stop after the test."""

import base64
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image


START_SECONDS = 600  # so long, because the machine may do other work, too
SERVE = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").partition("\n## Serve\n")[2]
SNIPPETS = re.findall(r"```python\n(.+?)```", SERVE.partition("\n## ")[0], re.DOTALL)
ADDRESS = "http://localhost:8000/v1"  # in the snippets
PROGRAMS = {"python": [sys.executable], "transformers": [sys.executable, "-m", "transformers.cli.transformers"]}


def command(beginning: str) -> list[str]:
    """The README's command that begins with these words, run from this environment."""
    program, *arguments = shlex.split(re.search(rf"^{beginning}\b.*$", SERVE, re.MULTILINE)[0])
    return [*PROGRAMS[program], *arguments]


@contextmanager
def server(command: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """
    Runs a server as long as the context lasts, and yields the address of its API.

    Raises:
        `RuntimeError`: if it ends or does not answer in time, with the end of its output.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as lines:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | environment,
            cwd=log.parent,
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen, address: str, log: Path) -> None:
    """Waits until the server answers; a `RuntimeError` if it ends or takes too long."""
    for _ in range(START_SECONDS):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:  # the server does not listen yet
            time.sleep(1)
    raise RuntimeError(f"The server did not start:\n{log.read_text()[-3000:]}")


def question(image: Image.Image, text: str) -> list[dict[str, Any]]:
    """A conversation about an image in a data URL."""
    file = io.BytesIO()
    image.save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
