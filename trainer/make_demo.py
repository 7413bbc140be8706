# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""
Makes the demo: draws a small world, trains a small Parrot on it in six languages and measures its accuracy. This takes
about nine minutes on two CPU cores.

    python -m trainer.make_demo

Each phase runs commands that can also be run by hand. demo.log has these commands and their output. To resume an
interrupted run from its last checkpoint, run the same command again.
"""

import argparse
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TextIO, cast

from tqdm import tqdm

from trainer import REPOSITORY, HelpFormatter
from trainer.languages import open_questions


EXAMPLE = "data/demo/example.jpg"
QUESTIONS = tuple(open_questions()[0].values())
# In tqdm's progress bars: the finished steps, all steps, and the minutes and seconds so far.
BAR = re.compile(r"(\d+)/(\d+) \[(?:(\d+):(\d+))?")
BETWEEN_BARS, BETWEEN_LINES = 1.0, 30.0  # Seconds after which the progress is shown again.
GOING_ON = re.compile(r"Going on from .*checkpoint-(\d+)")


@dataclass(frozen=True)
class Phase:
    """
    A part of the demo.

    Args:
        name: a short name.
        purpose: what the phase makes, or what is learned in it.
        seconds: how long the phase takes on two idle cores.
        commands: arguments for python, each with the file that exists when the command has finished. The file is
            None if the command itself knows what is left to do.
    """

    name: str
    purpose: str
    seconds: int
    commands: Sequence[tuple[str, str | None]]

    def left(self) -> list[str]:
        """The commands that have not finished."""
        return [command for command, file in self.commands if not file or not (REPOSITORY / file).exists()]


PHASES = (
    Phase(
        "pictures",
        "a world of 50 things, with questions and answers in six languages",
        20,
        [
            (
                "-m trainer.mini_mmmb --output data/demo --concepts 50 --image_size 64 --align_views 3 --captions "
                "--train 12000 --scenes 0.15 --turns 1 --test_per_category 40",
                None,
            )
        ],
    ),
    Phase(
        "language model",
        "it learns from texts in six languages",
        55,
        [
            (
                "-m trainer.demo_base --data data/demo --output models/demo-base --part language_model",
                "models/demo-base/language_model/measures.json",
            )
        ],
    ),
    Phase(
        "vision tower",
        "it learns from English captions, so its features are biased towards English",
        155,
        [
            (
                "-m trainer.demo_base --data data/demo --output models/demo-base --part vision_tower",
                "models/demo-base/vision_tower/measures.json",
            )
        ],
    ),
    Phase(
        "stage 1",
        "a projector learns to show the language model what the tower sees, in English",
        25,
        [
            (
                "-m trainer.compose --vision_tower models/demo-base/vision_tower "
                "--language_model models/demo-base/language_model --moe_intermediate_size 128 "
                "--output models/demo-composed",
                "models/demo-composed/processor_config.json",
            ),
            ("trainer/sft.py --config trainer/recipes/demo_align.yaml", "models/demo-aligned/trainer_state.json"),
        ],
    ),
    Phase(
        "stage 2",
        "projector, experts and language model learn to answer in six languages",
        215,
        [("trainer/sft.py --config trainer/recipes/demo_instruct.yaml", "models/demo-parrot/trainer_state.json")],
    ),
    Phase(
        "benchmark",
        "questions about pictures in a style, and in wordings, that training never showed",
        35,
        [
            (
                "-m trainer.benchmark run --model models/demo-parrot --output models/demo-parrot/benchmark "
                "--benchmark 'data/demo/mini_mmmb_{language}.tsv' --answer score --score_by text "
                "--wordings 'data/demo/mini_mmmb_wordings_{language}.tsv' --max_new_tokens 32 --batch_size 64 "
                "--baselines chance text-only neighbors:data/demo",
                "models/demo-parrot/benchmark/results.md",
            )
        ],
    ),
    Phase(
        "questions",
        f"one question about {EXAMPLE}, in six languages",
        8,
        [(f"-m trainer.ask --model models/demo-parrot --image {EXAMPLE} --question {shlex.join(QUESTIONS)}", None)],
    ),
)


class Clock:
    """Estimates the time left, from the time spent so far and the time that two idle cores need."""

    def __init__(self, seconds: float) -> None:
        self.start = self.last = self.reported_at = time.monotonic()
        self.total, self.done = seconds, 0.0
        self.phase, self.reported = 0.0, 0.0  # seconds that the current phase needs, and how many of them are over

    def begin(self, seconds: float) -> None:
        """Begins a phase that takes so many seconds on two idle cores."""
        self.phase = seconds
        self.report(0.0)

    def report(self, share: float) -> None:
        """Notes which share of the current phase is done."""
        self.reported, self.reported_at = share * self.phase, time.monotonic()

    def forget(self) -> None:
        """Forgets the reports of the current phase, so that only the time measures it."""
        self.reported, self.reported_at = 0.0, self.last

    def finish(self) -> None:
        """Ends the phase. A phase that had nothing to do does not count for the pace."""
        spent = time.monotonic() - self.last
        self.last += spent
        if spent > self.phase / 5:
            self.done += self.phase
        else:
            self.start, self.total = self.start + spent, self.total - self.phase
        self.begin(0.0)

    def share(self) -> float:
        """The share of the current phase that is done. Between two reports, it grows with the time."""
        return self._done_of_phase(time.monotonic()) / self.phase if self.phase else 0.0

    def left(self) -> str:
        """The time left, in words."""
        now = time.monotonic()
        done = self.done + self._done_of_phase(now)
        minutes = round(self._pace(done, now) * (self.total - done) / 60)
        return f"about {minutes} min left" if minutes else "less than a minute left"

    def _done_of_phase(self, now: float) -> float:
        pace = self._pace(self.done + self.reported, self.reported_at)
        return min(0.99 * self.phase, self.reported + (now - self.reported_at) / pace)

    def _pace(self, done: float, now: float) -> float:
        return (now - self.start) / done if done >= 10 else 1.0  # before that, the libraries still load


class Progress:
    """
    Shows how much of a phase is done, and the time left. It is a bar in a terminal; elsewhere, such as in a log, it is
    a line now and then. Both go on while the phase's commands print nothing.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock = name, clock
        self.is_terminal = sys.stdout.isatty()
        self.bar = tqdm(
            total=1,
            desc=name,
            bar_format="  {desc} {percentage:3.0f}%|{bar:20}| {postfix}",
            leave=False,
            disable=not self.is_terminal,
        )
        self.ended = Event()
        self.thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()
        self.bar.close()

    def write(self, text: str) -> None:
        """Prints a line above the bar."""
        self.bar.write(text)

    def _run(self) -> None:
        while not self.ended.wait(BETWEEN_BARS if self.is_terminal else BETWEEN_LINES):
            if self.is_terminal:
                self.bar.n = self.clock.share()
                self.bar.set_postfix_str(self.clock.left())
            else:
                print(f"  {self.name}: {self.clock.share():.0%}, {self.clock.left()}", flush=True)


def run_command(command: str, log: TextIO) -> Iterator[str]:
    """
    Runs python with the arguments in `command`. Writes its output to the log, without the steps of progress bars.

    Yields:
        the lines of its output.

    Raises:
        `subprocess.CalledProcessError`: if the command fails.
    """
    log.write(f"\n$ python {command}\n")
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in cast(TextIO, process.stdout):  # In text mode, the "\r" of a bar ends a line.
                if not BAR.search(line):
                    log.write(line)
                    log.flush()
                yield line
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def share_of_bar(line: str) -> float | None:
    """
    The share of a progress bar that is done. None if the line is no bar, or one of less than two seconds, such as the
    bars of loading and saving weights, which measure nothing of a phase.
    """
    match = BAR.search(line)
    if not match:
        return None
    done, total, minutes, seconds = (int(number or 0) for number in match.groups())
    return done / max(total, done, 1) if 60 * minutes + seconds >= 2 else None


def run_phase(phase: Phase, log: TextIO, clock: Clock) -> list[str]:
    """Runs the unfinished commands of a phase and shows its progress. Returns the lines that they printed."""
    lines, commands = [], phase.left()
    clock.begin(phase.seconds)
    with Progress(phase.name, clock) as progress:
        for number, command in enumerate(commands):
            last_share = 0.0
            for line in run_command(command, log):
                if (share := share_of_bar(line)) is not None:
                    if share >= last_share:
                        last_share = share
                        clock.report((number + share) / len(commands))
                    else:  # The command has several bars, so none of them measures all of it.
                        last_share = math.inf
                        clock.forget()
                elif match := GOING_ON.search(line):
                    progress.write(f"  goes on from step {match[1]}")
                lines.append(line.rstrip())
    clock.finish()
    return lines


def make(log: TextIO) -> list[str]:
    """Runs all phases. Returns the lines that the last phase printed."""
    lines: list[str] = []
    clock = Clock(sum(phase.seconds for phase in PHASES if phase.left()))
    for number, phase in enumerate(PHASES, start=1):
        title = f"{number} of {len(PHASES)}, {phase.name}: {phase.purpose}"
        if not phase.left():
            print(f"{title} (done before)")
            continue
        print(f"{title} ({clock.left()})", flush=True)
        try:
            lines = run_phase(phase, log, clock)
        except KeyboardInterrupt:
            sys.exit(
                f"\nStopped in {phase.name!r}. To go on from its last checkpoint, run the same command again: "
                "make demo, or python -m trainer.make_demo."
            )
        except subprocess.CalledProcessError:
            log.flush()
            last = Path(log.name).read_text(encoding="utf-8").rstrip().splitlines()[-1]
            sys.exit(f"{phase.name!r} failed: {last}\nAll its output is in {log.name}.")
    return lines


def show(lines: Sequence[str]) -> None:
    """Prints the results: a table of accuracies, the answers, and the files to look at."""
    results = (REPOSITORY / "models/demo-parrot/benchmark/results.md").read_text(encoding="utf-8")
    (table,) = (part for part in results.split("\n\n") if part.startswith("| recognition"))
    print(f"\nAccuracy in questions about what a picture shows, in percent (chance is 25):\n\n{table}\n")
    print(f"Asked about {EXAMPLE}:")
    for question, answer in zip(QUESTIONS, lines[lines.index(QUESTIONS[0]) + 1 :: 2], strict=False):
        print(f"  {question} {answer.strip()}")
    print(
        "\nTo look at: data/demo/sheet.png (pictures of the benchmark), models/demo-parrot/loss.png, and in\n"
        "  models/demo-parrot/benchmark: accuracy.png, router.png, and results.md with all tables\n"
        f"To play with: {os.path.relpath(sys.executable)} -m trainer.demo --model models/demo-parrot"
    )


def main(log_file: Path) -> None:
    """Makes the demo, or the phases of it that are left."""
    minutes = round(sum(phase.seconds for phase in PHASES) / 60)
    print(f"A small Parrot of your own, in {minutes} minutes on two idle cores.")
    print(f"The commands and their output: {log_file}")
    with log_file.open("a", encoding="utf-8") as log:
        lines = make(log)
    show(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--log", type=Path, default=REPOSITORY / "demo.log", help="File to append the output to.")
    main(parser.parse_args().log)
