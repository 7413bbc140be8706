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
"""What the benchmark writes, key by key: answers, verdicts on them (predictions.jsonl) and results (results.json)."""

from typing import Any, NotRequired, TypedDict


class Reply(TypedDict, total=False):
    """An answerer's reply to a question; empty if it has none."""

    prompt: str  # the question as it was put
    prediction: str  # the answer as it was given
    letter: str | None  # if the answerer chose an option itself and there is nothing to read; None: it chose none
    scores: list[float]  # by option
    router: list[float]  # probabilities of the experts (eq. 3)


class Answer(Reply):
    """A reply, and the question that it answers."""

    index: str
    language: str


class _Category(TypedDict("_L2Category", {"l2-category": str})):
    category: str


class Row(Answer, _Category):
    """A judged answer, a line of predictions.jsonl. `letter` and `hit` are VLMEvalKit's exact matching's."""

    picture: str  # alike in questions about the same picture
    answer: str  # the right letter
    hit: bool  # of a question with rotations: whether all of them were right
    letter_multilingual: str | None
    hit_multilingual: bool
    plain_hit: NotRequired[bool]  # only of questions with rotations: whether the row itself was right
    plain_hit_multilingual: NotRequired[bool]


class Share(TypedDict):
    """A share of right answers with its 95% interval."""

    accuracy: float
    low: float
    high: float


class Measured(Share):
    """
    What the answers to some questions of one language are worth. Its own accuracy is the benchmark's: circular where
    there are rotations, else plain. A rotation counts with its question.
    """

    plain: Share
    plain_multilingual: Share
    circular: NotRequired[Share]
    circular_multilingual: NotRequired[Share]
    count: int  # questions answered
    questions: int  # questions asked
    pictures: int  # pictures that the answered questions are about
    in_training: int | None  # questions with a picture that `training_data` has, too; None if nobody has looked
    training_data: str | None
    rows: int  # answers, with those to rotations
    unparsed: int
    unparsed_multilingual: int
    chance: float  # accuracy of a guess, in a row


OfLanguage = TypedDict(
    "OfLanguage",
    {"all": Measured | None, "category": dict[str, Measured | None], "l2-category": dict[str, Measured | None]},
)
Results = dict[str, OfLanguage]  # by language


class Router(TypedDict):
    """The router's mean probabilities by language, and how well a linear read-out of them tells the languages."""

    weights: dict[str, list[float]]
    accuracy: NotRequired[float]  # on held-out questions
    count: NotRequired[int]  # held-out questions
    chance: NotRequired[float]  # the share of the most frequent language


class Wordings(TypedDict):
    """Written answers to the same questions in the benchmark's own wording and in others."""

    own: Results
    other: Results
    in_language: dict[str, dict[str, Share]]  # by language and l2-category: answers in the question's language


class BenchmarkFile(TypedDict):
    """What tells a benchmark's file from others."""

    file: str
    sha256: str
    rows: int
    revision: NotRequired[str]  # its commit, if it is of the Hub


class Settings(TypedDict):
    """How results came to be."""

    model: str
    benchmark: dict[str, BenchmarkFile]  # by language
    weights: NotRequired[dict[str, Any]]  # SHA-256 of a folder's files, or the commit on the Hub
    of: NotRequired[str]  # the model, if another name stands for it
    answer: NotRequired[str]  # the way to answer
    max_new_tokens: NotRequired[int]
    predictions: NotRequired[dict[str, str]]  # SHA-256 of the files of answers that were given elsewhere
    versions: NotRequired[dict[str, str]]
    editions: NotRequired[list[str]]  # of this project: several if a run that was stopped went on with another
    matching: NotRequired[str]
    python: NotRequired[str]
    batch_size: NotRequired[int]


class ResultsFile(TypedDict):
    """What results.json holds."""

    settings: Settings
    results: Results
    baselines: dict[str, Results]
    router: Router | None
    wordings: NotRequired[Wordings]
