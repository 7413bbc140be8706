# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a benchmark: the verbs `run` and `score` of `trainer/benchmark.py`."""

import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, cast

from accelerate import PartialState
from transformers import AutoModel, AutoProcessor
from transformers.utils.hub import cached_file, extract_commit_hash

from trainer.benchmark import BenchmarkArguments, RunArguments, ScoreArguments
from trainer.common.edition import edition
from trainer.common.plots import draw_accuracies, draw_router, save
from trainer.common.sources import check_file, check_output, check_parrot, check_source
from trainer.evaluation.answerers import (
    Answerer,
    ParrotAnswerer,
    PixelNeighbors,
    Way,
    ask_all,
    captioned_pictures,
)
from trainer.evaluation.benchmark_files import (
    Question,
    find_benchmark,
    first_of_each_category,
    open_image,
    read_answers,
    read_benchmark,
    sha256,
    warn_of_another_edition,
    with_in_training,
)
from trainer.evaluation.benchmark_results import (
    introduction,
    is_circular,
    judge,
    read_out_languages,
    report,
    summarize,
)
from trainer.evaluation.result_types import Answer, BenchmarkFile, Results, ResultsFile, Row, Settings, Wordings
from trainer.evaluation.written_answers import compare_wordings
from trainer.languages import check_language_in_name
from trainer.training.same_run import hashes_of_files


NEIGHBORS = "neighbors:"
PATIENCE = timedelta(days=7)  # a finished process waits for the others; torch's default on GPUs is 10 minutes

Questions = dict[tuple[str, str], Question]


def read_questions(
    arguments: BenchmarkArguments, per_category: int | None = None, to_ask: bool = True
) -> tuple[Questions, dict[str, BenchmarkFile]]:
    """
    Reads a benchmark.

    Args:
        per_category: how many questions of each category to read; all if None.
        to_ask: whether a model will see the questions. Otherwise the benchmark may lack images, and the name of a
            single file may lack its language; the language is then "und" (undetermined).

    Returns:
        the questions by language and index, and a description of each language's file.
    """
    fallback = None if to_ask else "und"
    files = find_benchmark(arguments.benchmark, arguments.languages, arguments.benchmark_revision, fallback)
    questions: Questions = {}
    described: dict[str, BenchmarkFile] = {}
    for language, file in files.items():
        of_language = read_benchmark(file, language, needs_images=to_ask)
        warn_of_another_edition(file)
        is_circular(of_language)  # an error is raised here, before any question is asked
        described[language] = {"file": file.name, "sha256": sha256(file), "rows": len(of_language)}
        if commit := extract_commit_hash(str(file), None):  # only files in the Hub's cache have a commit
            described[language]["revision"] = commit
        if per_category is not None:
            of_language = first_of_each_category(of_language, per_category)
        questions |= {question.key: question for question in with_in_training(of_language, file, language)}
    if to_ask:
        for question in {question.image: question for question in questions.values()}.values():
            open_image(question)  # an error is raised here, before any question is asked
    return questions, described


def weights_of(model: str, revision: str | None = None) -> dict[str, Any]:
    """
    Identifies a model's weights: by the SHA-256 of the files in a folder, or by the commit on the Hub.

    Raises:
        `ValueError`: if the folder has no weights.
    """
    if not Path(model).is_dir():
        return {"commit": extract_commit_hash(cached_file(model, "config.json", revision=revision), None)}
    hashes = hashes_of_files(model)
    if not hashes:
        raise ValueError(f"There are no weights in {model}, no *.safetensors: give the folder of a trained model.")
    return hashes


class Participant(NamedTuple):
    """An answerer that --model or --baselines names."""

    name: str
    settings: dict[str, Any]  # the weights and the way of answering; stored answers with other settings are refused
    load: Callable[[Questions, PartialState], Answerer]
    needs_english: bool = False  # whether it needs each question in English, too


def find_participant(name: str, argument: str, arguments: RunArguments) -> Participant:
    """
    Finds the answerer of a name. The help of --baselines lists the names.

    Raises:
        `ValueError`: if the name is unknown, or if a folder does not exist.
    """
    if name == "chance":
        return Participant(name, {"answer": "choice"}, lambda _questions, _state: Answerer())
    if name.startswith(NEIGHBORS):
        folder = name.removeprefix(NEIGHBORS)
        check_source(folder, f"{argument} {NEIGHBORS}DIR, DIR", "dataset")
        if Path(folder).is_dir():
            captioned_pictures(folder)

        def load(questions: Questions, _state: PartialState) -> Answerer:
            return PixelNeighbors(folder, english_questions(name, questions))

        return Participant(name, {"answer": "choice"}, load, needs_english=True)
    is_blind = name == "text-only"
    path = arguments.model if is_blind else name
    revision = arguments.revision if path == arguments.model else None
    try:
        check_parrot(path, argument, revision)
    except ValueError as error:
        close = get_close_matches(name, ("chance", "text-only"), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"{error} Beside models, {argument} takes chance, text-only and {NEIGHBORS}DIR.{hint}"
        ) from error
    way: Way = arguments.score_by if arguments.answer == "score" else arguments.answer
    way = "text" if is_blind and way == "pmi" else way
    settings: dict[str, Any] = {
        "weights": weights_of(path, revision),
        **({"of": path} if is_blind else {}),
        "answer": way,
    }
    if arguments.answer != "score":
        settings["max_new_tokens"] = arguments.max_new_tokens

    def load_model(_questions: Questions, state: PartialState) -> Answerer:
        source = {"trust_remote_code": True, "revision": revision}
        device_map = "auto" if state.num_processes == 1 else {"": state.device}
        model = AutoModel.from_pretrained(path, device_map=device_map, **source).eval()
        processor = AutoProcessor.from_pretrained(path, **source)
        return ParrotAnswerer(model, processor, way, arguments.max_new_tokens, is_blind)

    return Participant(name, settings, load_model)


def english_questions(name: str, questions: Questions) -> dict[str, Question]:
    """
    Returns the English questions by index.

    Args:
        name: the answerer that needs them.

    Raises:
        `ValueError`: if a question has no English version.
    """
    english = {question.index: question for question in questions.values() if question.language == "en"}
    if missing := {question.index for question in questions.values()} - english.keys():
        raise ValueError(
            f"{name} needs each question in English, because the captions are English, but {len(missing)} questions "
            f"have no English version: add en to --languages, or leave {name} out of --baselines."
        )
    return english


def read_settings(folder: Path) -> Settings | None:
    """Reads the settings of the run whose answers a folder holds; None if it holds none."""
    file = folder / "settings.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def read_stored(folder: Path, settings: Settings) -> dict[tuple[str, str], Answer]:
    """
    Reads the answers that a folder holds from a stopped or finished run. An incomplete last line is left out.

    Raises:
        `ValueError`: if the run had other settings, such as another model or other questions.
    """
    stored = read_settings(folder) or settings
    if differ := [name for name, value in settings.items() if stored.get(name) != value]:
        raise ValueError(
            f"{folder} holds the answers of another run, with other {' and '.join(differ)}: delete it or give another "
            "--output."
        )
    answers: dict[tuple[str, str], Answer] = {}
    for file in [folder / "predictions.jsonl", *sorted(folder.glob("answers-*.jsonl"))]:
        if file.exists():
            whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
            for line in filter(None, whole.split("\n")):
                row: Answer = json.loads(line)
                if settings["answer"] == "generate":
                    row.pop("letter", None)  # `judge` reads the letter from the answer again
                answers[row["language"], row["index"]] = row
    return answers


def run_one(
    participant: Participant,
    folder: Path,
    arguments: RunArguments,
    questions: Questions,
    benchmark: dict[str, BenchmarkFile],
    state: PartialState,
) -> tuple[Settings, list[Row]]:
    """
    Asks an answerer the questions that it has not answered yet.

    Returns:
        its settings and, in the first process, all judged rows.
    """
    versions = {package: version(package) for package in ("torch", "transformers")}
    described = {"model": participant.name, **participant.settings, "benchmark": benchmark, "versions": versions}
    settings = cast(Settings, described)
    folder.mkdir(parents=True, exist_ok=True)
    stored = read_stored(folder, settings)
    earlier = read_settings(folder) if stored else None
    before = earlier.get("editions", ["unknown"]) if earlier else []
    settings["editions"] = list(dict.fromkeys([*before, edition()]))
    if more := stored.keys() - questions.keys():
        raise ValueError(
            f"{folder} holds answers to {len(more)} questions that this run does not ask; it would lose them. Delete "
            "the folder or give another --output."
        )
    state.wait_for_everyone()  # no process writes before all processes have read
    if state.is_main_process:
        write_text(folder / "settings.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    done = questions.keys() & stored.keys()
    if len(done) < len(questions):
        answerer = participant.load(questions, state)
        part = folder / f"answers-{state.process_index}.jsonl"
        if part.exists():  # remove an incomplete last line: the next answer would be appended to it
            part.write_text(part.read_text(encoding="utf-8").rpartition("\n")[0] + "\n", encoding="utf-8")
        with part.open("a", encoding="utf-8") as file:
            share = (state.process_index, state.num_processes)
            for answers in ask_all(answerer, list(questions.values()), done, arguments.batch_size, share):
                file.write("".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
                file.flush()
    state.wait_for_everyone()
    if not state.is_main_process:
        return settings, []
    rows = judge(list(read_stored(folder, settings).values()), questions, arguments.matching)
    write_rows(rows, folder)
    return settings, rows


def write_text(file: Path, text: str) -> None:
    """Writes a file atomically."""
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def write_rows(rows: list[Row], folder: Path) -> None:
    """Writes predictions.jsonl, and then deletes the files of the single processes."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / "predictions.jsonl", text)
    for part in folder.glob("answers-*.jsonl"):
        part.unlink()


def write_results(
    folder: Path,
    settings: Settings,
    rows: list[Row],
    questions: Questions,
    baselines: dict[str, Results],
    wordings: Wordings | None = None,
) -> ResultsFile:
    """Writes results.json, results.md and pictures; prints the tables. Returns the content of results.json."""
    written: ResultsFile = {
        "settings": settings,
        "results": summarize(rows, questions),
        "baselines": baselines,
        "router": read_out_languages(rows),
    }
    if wordings:
        written["wordings"] = wordings
    write_text(folder / "results.json", json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    side_by_side = {"model": written["results"], **baselines}
    markdown = introduction(settings, written["results"], baselines, wordings is not None)
    markdown += "\n" + report(side_by_side, written["router"], wordings)
    write_text(folder / "results.md", markdown)
    save(draw_accuracies(side_by_side), folder / "accuracy.png")
    files = ["results.json", "results.md", "predictions.jsonl", "accuracy.png"]
    if router := written["router"]:
        title = "Each expert's mean weight, by the language of the question"
        if "accuracy" in router:
            title += (
                f"\nA linear read-out of the weights identifies the language of {router['accuracy']:.0%} of questions "
                f"(chance {router['chance']:.0%})"
            )
        save(draw_router(router["weights"], title), folder / "router.png")
        files.append("router.png")
    print(markdown)
    print(f"Results: {', '.join(str(folder / name) for name in files)}")
    return written


def run(arguments: RunArguments) -> ResultsFile | None:
    """
    Asks the model and the baselines, judges their answers and writes the results.

    Returns:
        the content of results.json; None in all processes but the first.

    Raises:
        `ValueError`: if a benchmark's file cannot be read, or the output folder holds the answers of another run.
    """
    titles = [name.partition(":")[0] for name in arguments.baselines]
    if len({"model", *titles}) <= len(titles):
        raise ValueError(f"The baselines {titles} cannot be told apart from each other or from the model.")
    model = find_participant(arguments.model, "--model", arguments)
    others = [find_participant(name, "--baselines", arguments) for name in arguments.baselines]
    check_output(arguments.output, "--output")
    state = PartialState(timeout=PATIENCE)
    questions, benchmark = read_questions(arguments, arguments.per_category)
    for participant in (model, *others):
        if participant.needs_english:
            english_questions(participant.name, questions)
    in_other_words = read_wordings(arguments.wordings, arguments, questions) if arguments.wordings else None
    output = Path(arguments.output)
    settings, rows = run_one(model, output, arguments, questions, benchmark, state)
    baselines = {}
    for title, participant in zip(titles, others, strict=True):
        folder = output / "baselines" / participant.name.replace(":", "-").strip("/").replace("/", "-")
        _, answers = run_one(participant, folder, arguments, questions, benchmark, state)
        baselines[title] = summarize(answers, questions)
    wordings = ask_wordings(*in_other_words, arguments, questions, state) if in_other_words else None
    if not state.is_main_process:
        return None
    settings |= {
        "matching": arguments.matching,
        "python": platform.python_version(),
        "batch_size": arguments.batch_size,
    }
    return write_results(output, settings, rows, questions, baselines, wordings)


def read_wordings(
    wordings: str, arguments: RunArguments, questions: Questions
) -> tuple[Questions, dict[str, BenchmarkFile]]:
    """
    Reads the questions of `--wordings`, before any question is asked.

    Raises:
        `ValueError`: if a file cannot be read, or if the benchmark does not contain one of the questions.
    """
    other, described = read_questions(replace(arguments, benchmark=[wordings], answer="open"))
    if missing := [question.place for key, question in other.items() if key not in questions]:
        raise ValueError(
            f"{missing[0]}: the benchmark has no question with this index ({len(missing) - 1} more indices of "
            "--wordings are missing). Give other wordings of the benchmark's questions, and leave out --per_category."
        )
    return other, described


def ask_wordings(
    other: Questions,
    described: dict[str, BenchmarkFile],
    arguments: RunArguments,
    questions: Questions,
    state: PartialState,
) -> Wordings | None:
    """
    Asks the questions of `--wordings`, and the same questions in the benchmark's words.

    Args:
        other: the questions of `--wordings`.
        described: their files.
        arguments: the arguments of the run.
        questions: the benchmark's questions.
        state: the process.

    Returns:
        the result of `compare_wordings`; None in all processes but the first.
    """
    arguments = replace(arguments, answer="open")
    own = {key: questions[key] for key in other}
    model = find_participant(arguments.model, "--model", arguments)
    folder, judged = Path(arguments.output) / "wordings", {}
    for name, in_wording in (("own", own), ("other", other)):
        _, judged[name] = run_one(model, folder / name, arguments, in_wording, described, state)
    if not state.is_main_process:
        return None
    return compare_wordings((judged["own"], own), (judged["other"], other))


def score(arguments: ScoreArguments) -> ResultsFile:
    """
    Judges answers from files and writes the results. Questions without an answer are left out, as in VLMEvalKit; a
    warning gives their number.

    Returns:
        the content of results.json.

    Raises:
        `ValueError`: if a file cannot be read, or if it answers a question that the benchmark does not contain.
    """
    check_output(arguments.output, "--output")
    for name in arguments.predictions:
        check_file(name, "--predictions")
    questions, benchmark = read_questions(arguments, to_ask=False)
    languages, files = list(benchmark), [Path(name) for name in arguments.predictions]
    if len(files) not in (1, len(languages)):
        raise ValueError(
            f"--predictions has {len(files)} files for the languages {languages}: give one file for each, or a single "
            "one with a column language."
        )
    answers: list[Answer] = []
    is_shared = len(files) < len(languages)
    for language, file in [] if is_shared else zip(languages, files, strict=True):
        check_language_in_name(file, language, "the order of --predictions and --languages")
    for language, file in zip(languages, files * len(languages) if is_shared else files, strict=True):
        for index, prediction in read_answers(file, language, is_shared).items():
            if (language, index) not in questions:
                raise ValueError(
                    f"{file} answers the index {index!r}, but {benchmark[language]['file']} has no such question: "
                    "give the benchmark to which these answers belong."
                )
            answers.append({"index": index, "language": language, "prediction": prediction})
    if len(answers) < len(questions):
        warnings.warn(
            f"{len(questions) - len(answers)} of {len(questions)} questions have no answer and are left out."
        )
    rows = judge(answers, questions, arguments.matching)
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    write_rows(rows, output)
    settings: Settings = {
        "model": ", ".join(arguments.predictions),
        "predictions": {file.name: sha256(file) for file in files},
        "benchmark": benchmark,
        "matching": arguments.matching,
        "editions": [edition()],
    }
    return write_results(output, settings, rows, questions, {})


def end_processes() -> None:
    """
    Destroys the process group. Without this, the process may abort when the interpreter ends:
    https://github.com/pytorch/pytorch/pull/179291. Remove this when torch destroys its groups itself.
    """
    PartialState().destroy_process_group()
