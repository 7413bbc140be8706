# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The types of the benchmark's output: judged answers (predictions.jsonl) and results (results.json)."""

from typing import Any, NotRequired, TypedDict


class Reply(TypedDict, total=False):
    """An answerer's reply to a question; empty if it has none."""

    prompt: str  # the text of the prompt
    prediction: str  # the text of the answer
    letter: str | None  # only if the answerer chose an option instead of writing; None if it chose none
    scores: list[float]  # one for each option
    router: list[float]  # probabilities of the experts (equation 3 of the paper)


class Answer(Reply):
    """A reply, and the question that it answers."""

    index: str
    language: str


_Categories = TypedDict(
    "_Categories", {"category": str, "l2-category": str}
)  # a class cannot have a key with a hyphen


class Row(Answer, _Categories):
    """A judged answer, a line of predictions.jsonl. `letter` and `hit` come from VLMEvalKit's exact matching."""

    picture: str  # id of the picture; questions about the same picture share it
    answer: str  # the right letter
    hit: bool  # for a question with rotations: whether all of them were right
    letter_multilingual: str | None
    hit_multilingual: bool
    plain_hit: NotRequired[bool]  # only for questions with rotations: whether this row was right
    plain_hit_multilingual: NotRequired[bool]


class Share(TypedDict):
    """A share of right answers with its 95% interval."""

    accuracy: float
    low: float
    high: float


class Measured(Share):
    """
    Results on some questions of one language. `accuracy`, `low` and `high` are those of `circular` if there are
    rotations, and otherwise those of `plain`. A question and its rotations count once.
    """

    plain: Share
    plain_multilingual: Share
    circular: NotRequired[Share]
    circular_multilingual: NotRequired[Share]
    count: int  # questions answered
    questions: int  # questions asked
    pictures: int  # different pictures of the answered questions
    in_training: int | None  # questions whose picture is also in `training_data`; None if this is not known
    training_data: str | None
    rows: int  # answers, including answers to rotations
    unparsed: int
    unparsed_multilingual: int
    chance: float  # accuracy of guessing, without rotations


OfLanguage = TypedDict(
    "OfLanguage",
    {"all": Measured | None, "category": dict[str, Measured | None], "l2-category": dict[str, Measured | None]},
)
Results = dict[str, OfLanguage]  # by language


class Router(TypedDict):
    """The router's mean probabilities by language, and how well a linear read-out of them identifies the language."""

    weights: dict[str, list[float]]
    accuracy: NotRequired[float]  # on held-out questions
    count: NotRequired[int]  # held-out questions
    chance: NotRequired[float]  # the share of the most frequent language


class Wordings(TypedDict):
    """Results of written answers to the same questions, in the benchmark's own wording and in other wordings."""

    own: Results
    other: Results
    # By language and l2-category: the share of answers in the question's language.
    in_language: dict[str, dict[str, Share]]


class BenchmarkFile(TypedDict):
    """Identifies a benchmark's file."""

    file: str
    sha256: str
    rows: int
    revision: NotRequired[str]  # the commit, if the file comes from the Hub


class Settings(TypedDict):
    """Settings and versions of a run."""

    model: str
    benchmark: dict[str, BenchmarkFile]  # by language
    weights: NotRequired[dict[str, Any]]  # SHA-256 of a folder's files, or the commit on the Hub
    of: NotRequired[str]  # the name of the model, if `model` is "text-only"
    answer: NotRequired[str]  # how the model answers, such as "generate"
    max_new_tokens: NotRequired[int]
    predictions: NotRequired[dict[str, str]]  # SHA-256 of files with the answers of other programs
    versions: NotRequired[dict[str, str]]
    editions: NotRequired[list[str]]  # versions of this project; several if a run resumed with another version
    matching: NotRequired[str]
    python: NotRequired[str]
    batch_size: NotRequired[int]


class ResultsFile(TypedDict):
    """The content of results.json."""

    settings: Settings
    results: Results
    baselines: dict[str, Results]
    router: Router | None
    wordings: NotRequired[Wordings]
