# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
An executable that runs programs as `python` does, without its seconds of imports:

    subprocess.run([python(), "-m", "trainer.compose", ...])

An interpreter takes 4 seconds of a core to import torch and what transformers imports beside it, and some tests start
ten programs. Here, a server imports these libraries once and forks for each program. The program is a process of its
own with the caller's arguments, environment, working directory and open files, and it ends as any interpreter ends.
The server does not import libraries that read the environment when they are imported, such as huggingface_hub,
transformers and all that import them, and nothing of this repository.

Options of the interpreter and variables that are read at its start (PYTHONUTF8, OMP_NUM_THREADS) have no effect. Tests
of imports, memory or an installation start `sys.executable`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType


LIBRARIES = ("torch", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "scipy.stats", "pandas", "pyarrow")

# The executable sends its files, arguments, environment and folder to the server. It forwards signals to the program,
# and ends as the program ends.
CLIENT = """\
#!{interpreter} -IS
import json, os, signal, socket, sys
signals = (signal.SIGINT, signal.SIGTERM)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"\\n"], [0, 1, 2])
server.sendall(json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode())
server.shutdown(socket.SHUT_WR)
answers = server.makefile()
program = int(answers.readline())
for number in signals:
    signal.signal(number, lambda number, _: os.kill(program, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
code = int(answers.readline())
for number in signals:
    signal.signal(number, signal.SIG_DFL)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def python() -> str:
    """The path of the executable. The first call starts its server, which ends with this process."""
    folder = tempfile.TemporaryDirectory()
    address, client = str(Path(folder.name) / "server"), Path(folder.name) / "python"
    client.write_text(CLIENT.format(interpreter=sys.executable, address=address), encoding="utf-8")
    client.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )

    def end() -> None:
        os.killpg(server.pid, signal.SIGTERM)  # the server and all programs that still run
        server.wait()
        folder.cleanup()

    atexit.register(end)
    assert server.stdout and server.stdout.read(1) == b"\n", "the server of tests/processes.py has not started"
    return str(client)


def serve(address: str) -> list[str]:
    """Forks a process for each client, in which it returns the arguments of the program."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(64)
    signal.signal(signal.SIGCHLD, collect_children)
    os.write(1, b"\n")
    while True:
        connection, _ = server.accept()
        if not os.fork():
            server.close()
            return serve_client(connection)
        connection.close()


def collect_children(*_: object) -> None:
    """Waits for all children that have ended, so that none stays a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def serve_client(connection: socket.socket) -> list[str]:
    """Forks the program, in which it returns. The process that waits for the program ends here."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = socket.recv_fds(connection, 1, 3)[1]
    with connection, connection.makefile() as request:
        (executable, *arguments), environment, folder = json.load(request)
        if program := os.fork():
            connection.sendall(f"{program}\n".encode())
            status = os.waitpid(program, 0)[1]
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if paths := environment.get("PYTHONPATH"):
        sys.path[1:1] = paths.split(os.pathsep)
    sys.executable = executable
    return arguments


def run_program(arguments: list[str]) -> None:
    """Runs what `python` would run."""
    match arguments:
        case ["-u", *rest]:  # torchrun starts its workers with it
            run_program(rest)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(main))
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], os.getcwd()
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [file, *rest]:
            sys.argv, sys.path[0] = [file, *rest], str(Path(file).resolve().parent)
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # collecting garbage would otherwise copy the memory that all processes share
    run_program(serve(sys.argv[1]))
