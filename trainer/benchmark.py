# Copyright 2026 The Parrot authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
r"""
Measures a Parrot on multiple-choice questions about pictures, in several languages:

    python trainer/benchmark.py run --model models/parrot --output models/parrot/benchmark \
        --benchmark "data/mini-mmmb/mini_mmmb_{language}.tsv" --languages en zh pt ar tr ru

A benchmark is a TSV file a language, of MMMB's shape: index, image (base64), question, A, B, C, ..., answer, category,
l2-category. The model chooses the option whose text it finds most likely after the question: by its mean
log-likelihood a token (`--score_by text`), or by how much more likely the picture makes it (`--score_by pmi`: the
log-likelihood less that without the picture). Beside it stand the other of the two, chance, the same choice without
the picture (blind), and what `--baselines` answered. Writes predictions.jsonl, results.json, results.md and
accuracy.png; a run that was stopped goes on where it was.
"""

import base64
import csv
import hashlib
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from matplotlib import pyplot
from PIL import Image
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoProcessor, HfArgumentParser, PreTrainedModel, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling


if __name__ == "__main__":  # run as a file, it finds its own folder on the path and not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer import HelpFormatter


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IMAGES_AT_ONCE = 64  # whose features are in memory together, for all their questions in all languages


@dataclass
class RunArguments:
    """Arguments of `trainer/benchmark.py run`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    benchmark: str = field(metadata={"help": "TSV file, with {language} in the place of the language."})
    output: str = field(metadata={"help": "Folder of the results."})
    languages: list[str] = field(
        default_factory=lambda: ["en", "zh", "pt", "ar", "tr", "ru"], metadata={"help": "Languages to ask in."}
    )
    score_by: Literal["text", "pmi"] = field(
        default="text",
        metadata={"help": "text: mean log-likelihood a token. pmi: log-likelihood less that without the picture."},
    )
    per_category: int | None = field(
        default=None, metadata={"help": "Ask the first so many questions of each category alone; all if not given."}
    )
    baselines: list[str] = field(
        default_factory=list,
        metadata={"help": "TSV files with index and prediction (a letter), named by what answered, to set beside it."},
    )
    batch_size: int = field(default=16, metadata={"help": "Questions that are scored together."})


@dataclass(frozen=True)
class Question:
    """A row of a benchmark."""

    index: str
    language: str
    image: str  # base64
    text: str
    options: tuple[str, ...]
    answer: str
    category: str
    l2_category: str

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other."""
        return self.language, self.index


def read_benchmark(file: Path, language: str, per_category: int | None = None) -> list[Question]:
    """
    The questions of a TSV file.

    Args:
        file: of MMMB's shape.
        language: of its questions.
        per_category: how many of each category, the first ones; all if None.

    Raises:
        `ValueError`: naming the file, the row and the column that cannot be read.
    """
    csv.field_size_limit(2**31 - 1)
    questions, asked, lines_of = [], defaultdict(int), {}
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        for row in reader:
            place = f"{file}, line {reader.line_num}"
            question = _question(row, language, place)
            if question.index in lines_of:
                raise ValueError(
                    f"{place}: the index {question.index!r} stands in line {lines_of[question.index]}, too."
                )
            lines_of[question.index] = reader.line_num
            asked[question.category] += 1
            if per_category is None or asked[question.category] <= per_category:
                questions.append(question)
    return questions


def _question(row: dict[str, str], language: str, place: str) -> Question:
    missing = [name for name in ("index", "image", "question", "A", "B", "answer") if not row.get(name)]
    if missing:
        raise ValueError(f"{place}: the column {missing[0]!r} is empty or missing. Repair it.")
    letters = [letter for letter in LETTERS if row.get(letter)]
    if letters != list(LETTERS[: len(letters)]):
        raise ValueError(f"{place}: there are options {letters}, but none before the last may be missing. Repair it.")
    if row["answer"] not in letters:
        raise ValueError(f"{place}: the answer {row['answer']!r} is no letter of its options {letters}. Repair it.")
    return Question(
        index=row["index"],
        language=language,
        image=row["image"],
        text=row["question"],
        options=tuple(row[letter] for letter in letters),
        answer=row["answer"],
        category=row.get("category") or "all",
        l2_category=row.get("l2-category") or "",
    )


class OptionScorer:
    """
    Scores the options of questions by their text.

    Args:
        model: a Parrot in eval mode.
        processor: its processor.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        self.model, self.processor = model, processor

    @torch.no_grad()
    def encode(self, question: Question) -> torch.Tensor:
        """
        A picture's tokens H (eq. 1), of shape (K, C), before any prompt has guided the experts.

        Raises:
            `ValueError`: naming the question whose picture cannot be read.
        """
        try:
            picture = Image.open(io.BytesIO(base64.b64decode(question.image)))
            inputs = self.processor(images=[picture], text=self.processor.image_token, return_tensors="pt")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"The image of index {question.index!r} in {question.language!r} cannot be read ({error}): give an "
                "image file in base64."
            ) from error
        pixel_values = inputs["pixel_values"].to(self.model.device, self.model.dtype)
        return self.model.get_image_features(pixel_values, return_dict=True).pooler_output[0]

    def _prompt(self, question: Question, is_blind: bool) -> str:
        content = [{"type": "image"}] * (not is_blind) + [{"type": "text", "text": question.text}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        mark = self.processor.image_token
        return prompt.replace(mark, mark * self.model.config.image_seq_length)

    @torch.no_grad()
    def score(self, questions: list[Question], features: list[torch.Tensor] | None) -> list[list[list[float]]]:
        """
        Log-likelihoods of options, each with the end of its turn.

        Args:
            questions: B questions.
            features: of `encode`, one for each; None to ask without pictures.

        Returns:
            for each question and each of its options the log-likelihoods of its tokens, in nats.
        """
        tokenizer, device = self.processor.tokenizer, self.model.device
        prompts = [self._prompt(question, features is None) for question in questions]
        inputs = tokenizer(prompts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        inputs = inputs.to(device)
        images = {} if features is None else {"image": BaseModelOutputWithPooling(pooler_output=features)}
        prompt_mask = inputs["attention_mask"]  # (B, L)
        prompted = self.model.base_model(
            input_ids=inputs["input_ids"],
            attention_mask=prompt_mask,
            position_ids=(prompt_mask.cumsum(1) - 1).clamp(min=0),
            mm_encoder_outputs=images or None,
            use_cache=True,
        )
        texts = [option for question in questions for option in question.options]
        ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
        length = max(map(len, ids))
        answers = torch.tensor([row + [tokenizer.eos_token_id] * (length - len(row)) for row in ids], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids], device=device)  # (O, T)
        counts = torch.tensor([len(question.options) for question in questions])
        rows = torch.arange(len(questions)).repeat_interleave(counts).to(device)  # (O,)
        cache_name = "cache" if "cache" in prompted else "past_key_values"  # before transformers 5.24
        prompted[cache_name].batch_select_indices(rows)
        whole_mask = torch.cat([prompt_mask[rows], mask], dim=1)
        continued = self.model.base_model(
            input_ids=answers,
            attention_mask=whole_mask,
            position_ids=(whole_mask.cumsum(1) - 1)[:, -length:],
            **{cache_name: prompted[cache_name]},
        )
        before = [prompted.last_hidden_state[rows, -1:], continued.last_hidden_state[:, :-1]]
        # The head sees what is to be predicted alone: with a large vocabulary it is most of the work.
        logits = self.model.get_output_embeddings()(torch.cat(before, dim=1)[mask.bool()]).float()  # (tokens, V)
        losses = F.cross_entropy(logits, answers[mask.bool()], reduction="none")
        scores = iter((-losses).split([len(row) for row in ids]))
        return [[next(scores).tolist() for _ in question.options] for question in questions]


def choose(seen: list[list[float]], blind: list[list[float]]) -> dict[str, str]:
    """
    The letters of the options that are likeliest.

    Args:
        seen: log-likelihoods of each option's tokens, after the question and its picture.
        blind: the same after the question alone.

    Returns:
        letters by `text` (mean log-likelihood a token), `pmi` (log-likelihood less the blind one) and `blind` (mean).
    """
    scores = {
        "text": [sum(tokens) / len(tokens) for tokens in seen],
        "pmi": [sum(tokens) - sum(without) for tokens, without in zip(seen, blind, strict=True)],
        "blind": [sum(tokens) / len(tokens) for tokens in blind],
    }
    return {way: LETTERS[int(np.argmax(values))] for way, values in scores.items()}


def answer(scorer: OptionScorer, questions: list[Question], batch_size: int) -> Iterator[dict[str, Any]]:
    """One prediction a question. A picture is encoded once for all that is asked about it, in any language."""
    by_image: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_image[question.image].append(question)
    images = list(by_image)
    with tqdm(total=len(questions), desc="questions") as progress:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            group = images[start : start + IMAGES_AT_ONCE]
            features = {image: scorer.encode(by_image[image][0]) for image in group}
            asked = [question for image in group for question in by_image[image]]
            asked.sort(key=lambda question: len(question.text))
            for first in range(0, len(asked), batch_size):
                batch = asked[first : first + batch_size]
                seen = scorer.score(batch, [features[question.image] for question in batch])
                blind = scorer.score(batch, None)
                for question, with_picture, without in zip(batch, seen, blind, strict=True):
                    yield {
                        "index": question.index,
                        "language": question.language,
                        "category": question.category,
                        "answer": question.answer,
                        "letters": choose(with_picture, without),
                    }
                progress.update(len(batch))


def accuracy(hits: list[bool]) -> dict[str, Any]:
    """The share of hits with its 95% bootstrap interval, and how many there are."""
    share = sum(hits) / len(hits)
    # Resampling ones and zeros is drawing their number from a binomial.
    resampled = np.random.default_rng(0).binomial(len(hits), share, 10_000) / len(hits)
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return {"accuracy": share, "low": low, "high": high, "count": len(hits)}


def read_answers(file: Path) -> dict[str, str]:
    """The letter that another answerer gave to each index, whatever the language."""
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["index"]: row["prediction"] for row in csv.DictReader(lines, delimiter="\t")}


def summarize(
    predictions: list[dict[str, Any]],
    questions: dict[tuple[str, str], Question],
    score_by: str,
    baselines: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """
    Accuracies: `results[answerer][language][what]`, where what is `all`, a category or an l2-category, and answerer
    `model`, the way of scoring that was not asked for, `blind`, `chance` or a baseline, where it answers all of it.
    """
    hits: dict[str, dict[str, dict[str, list[Any]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in predictions:
        question = questions[row["language"], row["index"]]
        letters = dict(row["letters"])
        letters = {"model": letters.pop(score_by)} | letters
        letters |= {name: given[row["index"]] for name, given in baselines.items() if row["index"] in given}
        found = {answerer: letter == question.answer for answerer, letter in letters.items()}
        for answerer, hit in (found | {"chance": 1 / len(question.options)}).items():
            for what in {"all", question.category, question.l2_category} - {""}:
                hits[answerer][row["language"]][what].append(hit)
    results: dict[str, Any] = {}
    for answerer in ("model", *sorted(hits.keys() - {"model"})):
        measure = accuracy if answerer != "chance" else lambda shares: {"accuracy": float(np.mean(shares))}
        results[answerer] = {
            language: {
                what: measure(shares)
                for what, shares in sorted(hits[answerer][language].items())
                if len(shares) == len(hits["model"][language][what])
            }
            for language in dict.fromkeys(language for language, _ in questions)
        }
    return results


def percent(results: dict[str, Any], answerer: str, language: str, what: str) -> str:
    """An accuracy in percent; a dash where there is none."""
    found = results[answerer][language].get(what)
    return f"{100 * found['accuracy']:.1f}" if found else "–"


def report(results: dict[str, Any], l2_categories: list[str], categories: list[str]) -> str:
    """The results in Markdown, in percent: each kind of question with its baselines, then every category."""
    languages = list(results["model"])
    rule = "|---" * (len(languages) + 1) + "|"
    lines = []
    for what in dict.fromkeys(["all", *l2_categories]):
        lines += [f"| {what} | " + " | ".join(languages) + " |", rule]
        for answerer in results:
            cells = [percent(results, answerer, language, what) for language in languages]
            if set(cells) != {"–"}:
                lines.append(f"| {answerer} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["| category | " + " | ".join(languages) + " |", rule]
    for category in categories:
        cells = [percent(results, "model", language, category) for language in languages]
        lines.append(f"| {category} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], categories: list[str], file: Path) -> None:
    """Draws the accuracy of each language with its interval over the baselines, and of each category and language."""
    languages = list(results["model"])
    figure, (bars, heat) = pyplot.subplots(
        1, 2, figsize=(12, max(4, 0.35 * len(categories) + 1)), layout="constrained"
    )
    answerers = [name for name in results if any("all" in found for found in results[name].values())]
    width = 0.8 / len(answerers)
    for number, answerer in enumerate(answerers):
        for place, language in enumerate(languages):
            if (share := results[answerer][language].get("all")) is None:
                continue
            height = share["accuracy"]
            error = [[height - share["low"]], [share["high"] - height]] if "low" in share else None
            where = place + (number - (len(answerers) - 1) / 2) * width
            label = answerer if place == 0 else None
            bars.bar(where, height, width, label=label, color=f"C{number}", yerr=error)
    bars.set_xticks(range(len(languages)), languages)
    bars.set(ylim=(0, 1), ylabel="accuracy")
    bars.legend()
    shares = [
        [results["model"][language].get(name, {"accuracy": np.nan})["accuracy"] for language in languages]
        for name in categories
    ]
    heat.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    heat.set_xticks(range(len(languages)), languages)
    heat.set_yticks(range(len(categories)), categories)
    for row, found in enumerate(shares):
        for column, share in enumerate(found):
            color = "black" if share > 0.6 else "white"
            heat.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def weights_of(model: str) -> dict[str, Any]:
    """What tells a model's weights from others under the same name: its files' times, or its commit on the Hub."""
    if Path(model).is_dir():
        return {file.name: file.stat().st_mtime_ns for file in sorted(Path(model).glob("*.safetensors"))}
    return {"commit": AutoConfig.from_pretrained(model, trust_remote_code=True)._commit_hash}


def read_predictions(output: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """
    The answers of a run that was stopped; a line that was cut is left out, to be asked again.

    Raises:
        `ValueError`: if they were given by another model or to other questions.
    """
    settings_file, file = output / "settings.json", output / "predictions.jsonl"
    found = json.loads(settings_file.read_text()) if settings_file.exists() else settings
    if differ := [name for name in settings if found.get(name) != settings[name]]:
        raise ValueError(
            f"{output} holds answers that were given with another {' and '.join(differ)}: delete it or give another "
            "--output."
        )
    settings_file.write_text(json.dumps(settings, indent=2) + "\n")
    if not file.exists():
        return []
    whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")
    mended = file.with_suffix(".part")
    mended.write_text(whole + "\n" * bool(whole), encoding="utf-8")
    mended.replace(file)
    return [json.loads(line) for line in whole.splitlines()]


def run(arguments: RunArguments) -> dict[str, Any]:
    """
    Asks, counts and writes.

    Raises:
        `ValueError`: if a benchmark's file cannot be read, or the output folder holds the answers of another run.
    """
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    files = {language: Path(arguments.benchmark.format(language=language)) for language in arguments.languages}
    settings = {
        "model": arguments.model,
        "weights": weights_of(arguments.model),
        "benchmark": {language: hashlib.sha256(file.read_bytes()).hexdigest() for language, file in files.items()},
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    predictions = read_predictions(output, settings)
    found = [
        question
        for language, file in files.items()
        for question in read_benchmark(file, language, arguments.per_category)
    ]
    questions = {question.key: question for question in found}
    predictions = [row for row in predictions if (row["language"], row["index"]) in questions]
    done = {(row["language"], row["index"]) for row in predictions}
    if open_questions := [question for key, question in questions.items() if key not in done]:
        model = AutoModel.from_pretrained(arguments.model, trust_remote_code=True, device_map="auto").eval()
        processor = AutoProcessor.from_pretrained(arguments.model, trust_remote_code=True)
        with (output / "predictions.jsonl").open("a", encoding="utf-8") as file:
            for row in answer(OptionScorer(model, processor), open_questions, arguments.batch_size):
                file.write(json.dumps(row) + "\n")
                file.flush()
                predictions.append(row)

    baselines = {Path(name).stem: read_answers(Path(name)) for name in arguments.baselines}
    results = summarize(predictions, questions, arguments.score_by, baselines)
    categories = list(dict.fromkeys(question.category for question in found))
    l2_categories = [name for name in dict.fromkeys(question.l2_category for question in found) if name]
    written = {"settings": settings | {"score_by": arguments.score_by}, "results": results}
    (output / "results.json").write_text(json.dumps(written, indent=2) + "\n")
    markdown = report(results, l2_categories, categories)
    (output / "results.md").write_text(markdown)
    draw(results, categories, output / "accuracy.png")
    print(markdown)
    print(f"Results: {output / 'results.json'}, {output / 'results.md'}, {output / 'accuracy.png'}")
    return results


if __name__ == "__main__":
    if sys.argv[1:2] not in (["run"], ["--help"], ["-h"]):
        raise SystemExit(f"{__doc__}\nGive the verb 'run', and --help after it for its arguments.")
    verb = HfArgumentParser(RunArguments, description=__doc__, formatter_class=HelpFormatter, prog="benchmark.py run")
    run(verb.parse_args_into_dataclasses(sys.argv[2:] if sys.argv[1] == "run" else sys.argv[1:])[0])
