# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import HfArgumentParser

from trainer.ask import AskArguments
from trainer.benchmark import RunArguments
from trainer.compose import ComposeArguments
from trainer.demo_base import DemoBaseArguments
from trainer.make_demo import PHASES, QUESTIONS, REPOSITORY, Clock, Phase, main, make, run_phase, share_of_bar, show
from trainer.mini_mmmb import MiniMMMBArguments


def command(code: str) -> str:
    return f"-c {shlex.quote(code)}"


@pytest.fixture
def two_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts two short phases in the place of those of the demo."""
    done = tmp_path / "done"
    first = Phase("first", "a file", 20, [(command(f"open({str(done)!r}, 'w'); print('noise')"), str(done))])
    second = Phase(
        "second", "an answer", 30, [(command("print('3/3 [00:01]\\r', 'Going on from x/checkpoint-7.')"), None)]
    )
    monkeypatch.setattr("trainer.make_demo.PHASES", (first, second))
    return tmp_path


def test_each_phase_prints_one_line_and_the_rest_goes_to_the_log(
    two_phases: Path, capsys: pytest.CaptureFixture
) -> None:
    with (two_phases / "demo.log").open("w") as log:
        lines = make(log)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2, first: a file (about 1 min left)",
        "2 of 2, second: an answer (less than a minute left)",
        "  goes on from step 7",
    ]
    assert lines[-1].strip() == "Going on from x/checkpoint-7."
    log_text = (two_phases / "demo.log").read_text()
    assert "$ python -c " in log_text and "\nnoise\n" in log_text
    assert "3/3" not in log_text.split("$")[-1].split("\n", 1)[1]
    with (two_phases / "demo.log").open("a") as log:
        make(log)
    assert "1 of 2, first: a file (done before)" in capsys.readouterr().out
    assert (two_phases / "demo.log").read_text().count("noise\n") == 1


def test_a_failed_phase_prints_its_last_line_and_names_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_command = command("import sys; print('a wall of text'); sys.exit('error: there is no such file')")
    monkeypatch.setattr("trainer.make_demo.PHASES", (Phase("first", "it", 9, [(failing_command, None)]),))
    with pytest.raises(
        SystemExit, match=r"'first' failed: error: there is no such file\nAll its output is in .*demo.log"
    ):
        main(tmp_path / "demo.log")


def test_an_interrupted_run_says_how_to_resume_and_leaves_no_process(tmp_path: Path) -> None:
    beat_file = tmp_path / "beat"
    code = f"import time; [(open({str(beat_file)!r}, 'a').write('.'), time.sleep(0.05)) for _ in range(1200)]"
    program = (
        # A shell's background jobs ignore SIGINT, and so would this program.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pathlib import Path; import trainer.make_demo as demo; "
        f"demo.PHASES = (demo.Phase('first', 'it', 9, [({command(code)!r}, None)]),); "
        f"demo.main(Path({str(tmp_path / 'log')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    while not beat_file.exists():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.strip().splitlines() == [
        "Stopped in 'first'. To go on from its last checkpoint, run the same command again: make demo, or python -m "
        "trainer.make_demo."
    ]
    beats = beat_file.stat().st_size
    time.sleep(0.5)
    assert beat_file.stat().st_size == beats


def test_the_time_left_follows_the_pace_and_moves_between_two_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = Clock(600)
    assert clock.left() == "about 10 min left"
    clock.begin(60)
    now[0] = 60  # s, and the commands have reported nothing
    assert clock.left() == "about 9 min left"
    assert clock.share() == 0.99
    now[0] = 120  # s, for work that takes 60 s on two idle cores
    clock.report(0.99)
    assert clock.left() == "about 18 min left"
    clock.finish()
    assert clock.left() == "about 18 min left"
    clock.begin(240)
    now[0] = 121  # the phase took 1 s, because its files exist
    clock.finish()
    assert clock.left() == "about 10 min left"
    clock.begin(300)
    clock.report(0.5)
    assert clock.share() == 0.5
    now[0] = 181  # 60 s later; so far, 210 s of work took 120 s
    assert clock.share() == pytest.approx((150 + 60 * 210 / 120) / 300)
    now[0] = 721
    clock.finish()
    assert clock.left() == "less than a minute left"


def test_a_bar_measures_a_command_if_it_is_the_only_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real bars: weights are loaded in no time, and a benchmark has a bar for each of its answerers."""
    assert share_of_bar("Loading weights: 100%|##########| 89/89 [00:00<00:00, 29794.32it/s]") is None
    assert share_of_bar("questions:  30%|###       | 3/10 [01:02<02:24, 20.7s/it]") == 0.3
    assert share_of_bar("a line") is None
    shares = []
    monkeypatch.setattr(Clock, "report", lambda _, share: shares.append(share))
    monkeypatch.setattr(Clock, "forget", lambda _: shares.append("time"))
    bars = ["1/1 [00:00", "1/4 [00:05", "4/4 [00:20", "0/4 [00:02", "4/4 [00:09"]
    phase = Phase("first", "it", 9, [(command("pass"), None), (command(f"print(*{bars}, sep='\\r')"), None)])
    with (tmp_path / "log").open("w") as log:
        run_phase(phase, log, Clock(9))
    assert shares == [0.0, 0.625, 1.0, "time", "time", 0.0]  # The phase's begin and end report no share.


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_shown_while_a_command_prints_nothing(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.setattr("trainer.make_demo.BETWEEN_BARS", 0.1)
    monkeypatch.setattr("trainer.make_demo.BETWEEN_LINES", 0.1)
    silent = Phase("parts", "it", 4, [(command("import time; time.sleep(1)"), None)])
    with (tmp_path / "log").open("w") as log:
        run_phase(silent, log, Clock(4))
    printed = capsys.readouterr()
    shares = re.findall(
        r"  parts:? +(\d+)%[^\r\n]* less than a minute left", printed.err if is_terminal else printed.out
    )
    assert len(set(shares)) > 2 and list(map(int, shares)) == sorted(map(int, shares))
    assert bool(printed.out) != is_terminal


def test_each_command_is_parsed_by_its_program() -> None:
    classes = {
        "trainer.mini_mmmb": MiniMMMBArguments,
        "trainer.demo_base": DemoBaseArguments,
        "trainer.compose": ComposeArguments,
        "trainer.ask": AskArguments,
        "trainer.benchmark": RunArguments,
    }
    for phase in PHASES:
        for line, _ in phase.commands:
            words = shlex.split(line)
            if words[0] == "trainer/sft.py":
                assert (REPOSITORY / words[2]).is_file()  # test_sft.py checks its content
            else:
                verbs = [word for word in words[2:3] if word == "run"]
                HfArgumentParser(classes[words[1]]).parse_args_into_dataclasses(words[2 + len(verbs) :])


def test_the_end_shows_the_table_and_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("trainer.make_demo.REPOSITORY", tmp_path)
    folder = tmp_path / "models" / "demo-parrot" / "benchmark"
    folder.mkdir(parents=True)
    table = "| recognition | en |\n|---|---|\n| model | 80.0 |"
    (folder / "results.md").write_text(
        f"# Accuracy on x\n\nAnswers.\n\n| all | en |\n|---|---|\n| model | 70.0 |\n\n{table}\n\n| scene | en |\n"
    )
    show(["Loading", *(line for question in QUESTIONS for line in (question, "    dolphin"))])
    printed = capsys.readouterr().out
    assert f"\n{table}\n" in printed and "70.0" not in printed
    assert re.findall(r"^  (.+) dolphin$", printed, re.MULTILINE) == list(QUESTIONS)
