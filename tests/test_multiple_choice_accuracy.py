# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Reading the letters of answers, and the `evaluate` metric of these letters."""

import runpy
import shutil
import sys
import textwrap
from pathlib import Path

import evaluate
import numpy
import pytest
from transformers import EvalPrediction

import trainer.multiple_choice_accuracy
from tests.tiny import tiny_processor
from trainer.multiple_choice_accuracy import (
    LETTERS,
    MultipleChoiceAccuracy,
    circular_hits,
    read_letter,
    read_letter_multilingual,
)


METRIC = str(Path(__file__).parents[1] / "trainer" / "multiple_choice_accuracy.py")
# Each answer with the letters that exact and multilingual matching read in it; a space stands for no letter.
ANSWERS = [
    (
        {"A": "cat", "B": "dog", "C": "a red car", "D": "car"},
        {
            "A": "AA",
            "B.": "BB",
            "(b)": " B",
            "b)": " B",
            "b": " B",
            "The answer is B": "BB",
            "The correct answer is **B**. Here's why A is wrong": " B",
            "Answer: C": "CC",
            "Option D": "DD",
            "B. dog": "BB",
            "B dog": "BB",
            "dog": "BB",
            "Dog.": "BB",
            "a red car": " C",
            "It is a red car": " C",
            "car": "DD",
            "The picture shows a car.": "DD",
            "A cat sits": "AA",
            "A dog": "AB",
            "A or B": "  ",
            "A, B, C": "  ",
            "": "  ",
            "I cannot tell": "  ",
            "not a dog": "B ",
            "B is correct": "BB",
            "B is the correct answer.": "BB",
            "I choose A because it purrs": "AA",
            "The answer is A cat": "AA",
            "the answer is a dog": "BB",
            "Ｂ": " B",
            "Ⓑ": " B",
            "[C]": "CC",
            "B, because it barks": "BB",
            "I think it's B": "BB",
            "Final answer: (D).": "DD",
            "E": "  ",
            "It's either A or B": "  ",
            "A dog and a cat": "A ",
            "Answer: A dog": "AB",
            "The option is d.": " D",
            "\\boxed{B}": "BB",
            "$B$": " B",
            "The best answer is (C) a red car.": "CC",
            "I would say D.": "DD",
            "It could be B, but A is more likely.": "  ",
            "Based on the image, the animal shown is a dog, so the answer is B.": "BB",
            "B\n\nExplanation: The image shows a dog, not a cat.": "BB",
            "**B**": "BB",
            "Answer:\nB": "BB",
            "<answer>B</answer>": " B",
            "The answer is option B: dog": "BB",
            "Neither A nor B.": "  ",
            "It is not A, it is B.": " B",
            "None of the above": "  ",
            "cats": "A ",
            "A) cat, B) dog": "  ",
            "The animal is a dog (B).": "BB",
            "Option A is wrong; option C is correct.": " C",
            "A: cat": "AA",
            "Choice C": "CC",
            "option (c)": " C",
            "Sorry, I can't help with images of people yet.": "Z ",
            "I'm unable to see the image": "  ",
            "dog or cat": "  ",
            "DOG": "BB",
            "d": " D",
            "A.": "AA",
            "The correct letter is C": "CC",
            'My final answer is "D"': " D",
            "(A) The cat": "AA",
            "In the picture, a red car is parked.": " C",
            "The answer is A": "AA",
            "A is the answer": "AA",
            "a": " A",
            "a dog": "BB",
            "A is wrong, B is correct.": " B",
            "The answer is not A but B": " B",
            "The answer cannot be A, so it must be D.": " D",
            "B and C are wrong, so it is D.": " D",
            "It is A, not B.": " A",
            "B is incorrect": "B ",
            "Not B": "B ",
            "A\nB\nC\nD": "  ",
            "Answer: A\nReason: it is round": "AA",
            "<think>Perhaps A. No.</think>\nC": " C",
            "Both A and B": "  ",
            "The right answer is C, a red car": "CC",
            "D because there is a car": "DD",
            "D seems to be the best answer.": "DD",
            "I am not sure, but I would say C.": "CC",
        },
    ),
    (
        {"A": "猫", "B": "狗", "C": "红色的汽车", "D": "汽车"},
        {
            "答案是A。": " A",
            "A。": " A",
            "选A": " A",
            "选择B": " B",
            "应选择 C 选项": "CC",
            "A选项正确": " A",
            "答案：D": " D",
            "正确答案是（B）。": " B",
            "B：猫": "AB",
            "B、狗": "BB",
            "狗": "BB",
            "图中是一只狗。": "BB",
            "红色的汽车": " C",
            "这是红色的汽车": " C",
            "答案不是A": "  ",
            "A或B": "  ",
            "B选项": " B",
            "答案为Ｃ。": " C",
            "我选C": " C",
            "应该选B。": " B",
            "正确的选项是D": " D",
            "不是狗": "B ",
            "A。猫": "AA",
            "本题选A": " A",
            "B是正确答案": " B",
            "正确答案：A": " A",
            "我认为答案是 C，因为图中有一辆红色的汽车。": " C",
            "根据图片，答案应该是B": " B",
            "答案是（D）": " D",
            "选项B：狗": "BB",
            "选项A不正确，选项B正确": " B",
            "图中的动物是狗，所以选B。": "BB",
            "【答案】C": " C",
            "A 或者 B": "  ",
            "A、B、C都对": "  ",
            "汽车": "DD",
            "这是一辆汽车。": "DD",
            "因此，正确的答案是A. 猫": "AA",
            "无法确定": "  ",
            "以上都不是": "  ",
            "Ａ．猫": "AA",
            "D。汽车": "DD",
            "是猫": "AA",
            "猫咪": "AA",
            "答案選C": " C",
            "故选：B": " B",
            "故选B。": " B",
            "答：A": " A",
            "应为A选项。": " A",
            "选的是A": " A",
            "字母B": " B",
            "不选C": "  ",
            "A错，B错，C对": " C",
            "不是A，是C。": " C",
            "排除A和B，选C。": " C",
            "A、B、C均不正确，故选D": " D",
            "可能是A，也可能是C": "  ",
            "先看A，再看B，答案是C。": " C",
            "我觉得C更合适": " C",
            "不能选A，应选B": " B",
            "C吧": " C",
        },
    ),
    (
        {"A": "кошка", "B": "собака", "C": "красная машина", "D": "машина"},
        {
            "А": " A",
            "В": " B",
            "С": " C",
            "Б": " B",
            "Г": " D",
            "Д": " D",
            "Ответ: А": " A",
            "Ответ: B.": "BB",
            "Правильный вариант — В": " B",
            "Правильный ответ: буква C": "CC",
            "собака": "BB",
            "Это собака.": "BB",
            "красная машина": " C",
            "В кадре машина": "DD",
            "А это кошка": "AA",
            "С собакой": "  ",
            "вариант б": " B",
            "б)": " B",
            "В. собака": "BB",
            "A или B": "  ",
            "не собака": "B ",
            "Я выбираю вариант D": "DD",
            "B — правильный ответ": "BB",
            "Верный ответ: D": "DD",
            "в": " B",
            "Правильный ответ: C.": "CC",
            "Я думаю, что это собака.": "BB",
            "Ответ — В.": " B",
            "Вариант ответа: Д": " D",
            "Ответ (С)": " C",
            "А) кошка": "AA",
            "а) кошка": "AA",
            "а": " A",
            "Ответ: а": " A",
            "Это не кошка, а собака": "  ",
            "Ни один из вариантов": "  ",
            "На картинке изображена красная машина.": " C",
            "Правильный вариант ответа: буква В.": " B",
            "Выбираю B": "BB",
            "С. красная машина": " C",
            "Это вариант A, потому что это кошка": "AA",
            "кошка или собака": "  ",
            "Кошка": "AA",
            "На изображении кошка и собака.": "  ",
            "B, так как на фото собака": "BB",
            "Я бы выбрал D": "DD",
            "К сожалению, я не вижу изображение": "  ",
            "Ответ: собака": "BB",
            "Вариант C неправильный": "C ",
            "Либо A, либо C": "  ",
            "Не A, а C": " C",
            "Варианты A и B неверны, поэтому C": " C",
        },
    ),
    (
        {"A": "kedi", "B": "köpek", "C": "kırmızı araba", "D": "araba"},
        {
            "B": "BB",
            "Cevap B'dir": " B",
            "Cevap: C": "CC",
            "Doğru cevap: C şıkkı": "CC",
            "B şıkkı": "BB",
            "B seçeneği doğrudur": "BB",
            "köpek": "BB",
            "Köpek.": "BB",
            "KIRMIZI ARABA": "DC",
            "kırmızı araba": " C",
            "Bu bir kedi": "AA",
            "O bir köpek": "BB",
            "b)": " B",
            "A veya B": "  ",
            "Doğru seçenek D'dir.": " D",
            "B) kedi": "BB",
            "köpek değil": "B ",
            "Yanıt: A": "AA",
            "Doğru yanıt B seçeneğidir": "BB",
            "Doğru cevap B.": "BB",
            "Cevap A'dır.": " A",
            "Cevap C şıkkıdır.": "CC",
            "Bence cevap D": "DD",
            "Resimde bir köpek var.": "BB",
            "Resimdeki hayvan köpektir.": "B ",
            "B şıkkı doğru": "BB",
            "A şıkkı yanlış, B şıkkı doğru": " B",
            "A) kedi": "AA",
            "a) kedi": "AA",
            "A ya da B": "  ",
            "Hiçbiri": "  ",
            "Kedi.": "AA",
            "KEDİ": "AA",
            "D) Araba": "DD",
            "Bu kırmızı araba.": " C",
            "Seçenek B": "BB",
            "Seçiyorum: C": "CC",
            "b şıkkı": " B",
            "Doğru yanıt: A, çünkü bu bir kedi.": "AA",
            "O, bir kedi": "AA",
            "Görüntüyü göremiyorum": "  ",
            "kedi değil köpek": "  ",
            "Cevap C değil.": "C ",
            "Cevap C değil, D.": " D",
            "A değil B": " B",
            "Ya A ya C": "  ",
            "Ne A ne C": "  ",
            "Hem A hem B": "  ",
            "C'yi seçiyorum": " C",
            "C’dir.": " C",
            "Bence B şıkkı": "BB",
        },
    ),
    (
        {"A": "gato", "B": "cão", "C": "carro vermelho", "D": "carro"},
        {
            "A": "AA",
            "Resposta: A": "AA",
            "A alternativa correta é a letra C": " C",
            "letra B": "BB",
            "a letra b": " B",
            "A resposta é B.": " B",
            "opção D": "DD",
            "cão": "BB",
            "É um cão.": "BB",
            "O gato": "AA",
            "carro vermelho": " C",
            "A ou B": "  ",
            "B) cão": "BB",
            "A resposta correta é: A": "AA",
            "E": "  ",
            "não é um cão": "B ",
            "A opção correta é a A": "AA",
            "a": " A",
            "A resposta correta é a letra A.": "AA",
            "Letra C": "CC",
            "A opção correta é B) cão": "BB",
            "Alternativa D.": "DD",
            "É a opção C": "CC",
            "O animal na imagem é um cão.": "BB",
            "Gato": "AA",
            "Não é possível determinar": "  ",
            "Nenhuma das opções": "  ",
            "b) cão": "BB",
            "A resposta é a A": "AA",
            "A resposta é: carro vermelho": "AC",
            "B, pois é um cão": "BB",
            "A imagem mostra um gato": "AA",
            "A imagem mostra um carro.": "AD",
            "O carro é vermelho": "DD",
            "gato ou cão": "  ",
            "e": "  ",
            "Opção (A)": "AA",
            "A correta é a B": " B",
            "Item C": "CC",
            "(D) carro": "DD",
            "A. gato": "AA",
            "Um gato e um cão": "  ",
            "A letra C está errada.": "  ",
            "Tanto A quanto B": "  ",
            "Não é A nem B, é C": " C",
            "A e B estão erradas, então é C": " C",
        },
    ),
    (
        {"A": "قطة", "B": "كلب", "C": "سيارة حمراء", "D": "سيارة"},
        {
            "أ": " A",
            "ب": " B",
            "ج": " C",
            "د": " D",
            "الإجابة هي أ": " A",
            "الإجابة الصحيحة هي ب": " B",
            "الخيار ج": " C",
            "الجواب: د.": " D",
            "(ب)": " B",
            "A": "AA",
            "الإجابة: B": "BB",
            "كلب": "BB",
            "كلبٌ": "BB",
            "هذا كلب": "BB",
            "سيارة حمراء": " C",
            "أ أو ب": "  ",
            "ب. كلب": "BB",
            "الإجابة هي A.": "AA",
            "إ": " A",
            "ليس كلب": "B ",
            "حرف د": " D",
            "ب) كلب": "BB",
            "الخيار الصحيح هو (ج)": " C",
            "الإجابة الصحيحة هي الخيار ب": " B",
            "كلب و قطة": "  ",
            "الإجابة الصحيحة هي: (أ)": " A",
            "الجواب الصحيح هو ج": " C",
            "الخيار الصحيح هو ب": " B",
            "أ. قطة": "AA",
            "أ) قطة": "AA",
            "الحيوان في الصورة هو كلب": "BB",
            "هذه قطة.": "AA",
            "قطّة": " A",
            "القطة": "AA",
            "الإجابة: د": " D",
            "الإجابة هي الخيار (ب) كلب": "BB",
            "ب.": " B",
            "لا أعرف": "  ",
            "ليس أي منهم": "  ",
            "قطة أو كلب": "  ",
            "C": "CC",
            "الخيار C": "CC",
            "الإجابة الصحيحة هي C.": "CC",
            "أعتقد أن الإجابة هي ب": " B",
            "سيارة": "DD",
            "إنها سيارة حمراء": " C",
            "الخيار أ هو الصحيح": " A",
            "Ａ": " A",
            "حرف ب": " B",
            "د - سيارة": "DD",
            "رقم ج": " C",
            "الخيار ج خاطئ": "  ",
            "الخيار أ خاطئ، والإجابة الصحيحة هي ج": " C",
            "ليس أ بل ج": " C",
            "كل من أ و ب": "  ",
            "قطة وكلب": "  ",
            "الخيار ج صحيح": " C",
        },
    ),
    (
        {"A": "1", "B": "2", "C": "3", "D": "12"},
        {
            "1": "AA",
            "12": " D",
            "There are 2 dogs": "BB",
            "2.": "BB",
            "Answer: 12": " D",
            "3 cats and 2 dogs": "  ",
            "C. 3": "CC",
            "B (2)": "BB",
            "٣": " C",
            "١٢": " D",
            "The answer is 2": "BB",
            "3.5": "C ",
        },
    ),
    (
        {"A": "yes", "B": "no"},
        {
            "Yes": "AA",
            "No.": "BB",
            "yes, it is": "AA",
            "No, it isn't": "BB",
            "A. yes": "AA",
            "The answer is no.": "BB",
            "B) no": "BB",
            "That's a yes": "AA",
        },
    ),
    (dict.fromkeys(LETTERS, "") | {letter: f"option {letter}" for letter in LETTERS}, {"Z": "ZZ", "Answer: Q": "QQ"}),
]


@pytest.mark.parametrize(
    ("answer", "options", "letters"),
    [(answer, options, letters) for options, answers in ANSWERS for answer, letters in answers.items()],
)
def test_each_matching_reads_its_letter_in_an_answer(answer: str, options: dict[str, str], letters: str) -> None:
    read = (read_letter(answer, options), read_letter_multilingual(answer, options))
    assert read == tuple(letter if letter != " " else None for letter in letters)


def test_an_answer_that_loops_is_read_in_the_time_of_its_length() -> None:
    options = {"A": "cat", "B": "dog"}
    assert read_letter_multilingual("A or " * 10_000, options) is None  # 0.4 s; unbounded patterns would take minutes
    assert read_letter_multilingual("A " * 10_000, options) == "A"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # The letters of the releases 2024-01, 2025-07 and 2026-05, found by following VLMEvalKit's steps by hand.
        ("B", "BBB"),
        ("B because it has four legs and barks", "B  "),  # the letter stands too early
        ("The correct answer is **B**. Here's why: it has four legs and barks", "B B"),
        ("The answer is B, not C, for it has four legs", "  B"),  # two letters
        ("The answer is a cat", "A A"),  # 2024-01 finds the text; 2025-07 finds it too long; 2026-05 takes "a"
        ("The answer is a dog", "B A"),
        ("dog " * 20, "B  "),  # longer than twice all options
        ("Cannot determine the answer", "ZZZ"),
        ("Z", "ZZZ"),
        ("Failed to obtain answer via API: B", "   "),
        ("Failed to obtain answer via API, dog", "B  "),
        ("(b)", "   "),
        ("答案是A。", "   "),
        ("A;B", "   "),
        ("{C}#!*[:", "CCC"),
    ],
)
def test_exact_matching_is_that_of_each_release(answer: str, expected: str) -> None:
    options = {"A": "cat", "B": "dog", "C": "owl"}
    letters = [read_letter(answer, options, release) or " " for release in ("2024-01", "2025-07", "2026-05")]
    assert "".join(letters) == expected


def test_exact_matching_refuses_a_release_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="There is no release '2025': give one of 2024-01, 2025-07, 2026-05"):
        read_letter("A", {"A": "cat"}, release="2025")


def test_a_question_and_its_rotations_are_right_together() -> None:
    indices = [1, 2, 1_000_001, 2_000_001, 1_000_002, 1_000_003]
    assert circular_hits(indices, [True, True, True, True, False, True]) == {1: True, 2: False}


def test_the_metric_loads_from_its_path_and_counts_by_both_readings() -> None:
    metric = evaluate.load(METRIC)
    results = metric.compute(
        predictions=["B. dog", "答案是A。", "no idea"],
        references=["B", "A", "C"],
        options=[["cat", "dog"], ["cat", "dog"], ["x1", "x2", "x3"]],
    )
    assert results == {
        "count": 3,
        "accuracy": pytest.approx(1 / 3),
        "unparsed": 2,
        "accuracy_multilingual": pytest.approx(2 / 3),
        "unparsed_multilingual": 1,
    }


def test_large_indices_without_their_questions_are_not_rotations() -> None:
    arguments = {"predictions": ["A", "B"], "references": ["A", "A"], "options": [["x1", "x2"]] * 2}
    results = MultipleChoiceAccuracy().compute(indices=[1, 1_000_002], **arguments)
    assert results["accuracy"] == 0.5 and "circular_accuracy" not in results
    assert MultipleChoiceAccuracy().compute(indices=[1_000_001, 2_000_001], **arguments) == results


def test_the_metric_is_circular_where_there_are_rotations() -> None:
    results = MultipleChoiceAccuracy().compute(
        predictions=["A", "B", "A", "A", "B"],
        references=["A", "B", "A", "B", "B"],
        options=[["x1", "x2"]] * 5,
        indices=[1, 1_000_001, 2, 1_000_002, 3],
    )
    assert (results["accuracy"], results["circular_accuracy"]) == (1, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": ["A", "C"]}, r"Row 1: the reference 'C' is not a letter of its 2 options \['x', 'y'\]"),
        ({"references": ["A", "AB"]}, "Row 1: the reference 'AB' is not a letter"),
        ({"references": ["", "B"]}, "Row 0: the reference '' is not a letter"),
        ({"references": ["A", None]}, "Row 1: the reference None is not a letter"),
        ({"options": [["x"], ["x", "y"]]}, r"Row 0: the options \['x'\] are not 2 to 26 texts"),
        ({"options": [["x", "y"], ["x", None]]}, r"Row 1: the options \['x', None\] are not"),
        ({"predictions": ["A", None]}, "Row 1: the prediction is None"),
        ({"predictions": [], "references": [], "options": []}, "There are 0 predictions"),
        ({"indices": [1, 1]}, "Row 1: row 0 has the index 1, too"),
        ({"indices": [1]}, "1 indices were given for 2 answers"),
        ({"release": "2023"}, "There is no release '2023': give one of 2024-01, 2025-07, 2026-05"),
    ],
)
def test_an_error_names_the_row_that_cannot_be_scored(change: dict, message: str) -> None:
    arguments = {"predictions": ["A", "B"], "references": ["A", "B"], "options": [["x", "y"]] * 2}
    with pytest.raises(ValueError, match=message):
        MultipleChoiceAccuracy(keep_in_memory=True).compute(**(arguments | change))


def test_the_example_of_a_trainer_that_generates_counts_its_decoded_answers() -> None:
    tokenizer = tiny_processor().tokenizer
    example = trainer.multiple_choice_accuracy.__doc__.partition("    def compute_metrics")
    names = {
        "accuracy": MultipleChoiceAccuracy(),
        "letters": ["A", "B"],
        "numpy": numpy,
        "options": [["x", "y"]] * 2,
        "prompt_length": 2,
        "tokenizer": tokenizer,
    }
    exec(textwrap.dedent("".join(example[1:])), names)
    rows = [tokenizer("B B")["input_ids"][:2] + tokenizer(text)["input_ids"] for text in ("A", "it is y")]
    longest = max(map(len, rows))
    predictions = numpy.array([row + [-100] * (longest - len(row)) for row in rows])
    results = names["compute_metrics"](EvalPrediction(predictions=predictions, label_ids=None))
    assert (results["accuracy"], results["unparsed"]) == (1, 0)


def test_a_copy_without_the_languages_files_says_where_it_looked_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copy(METRIC, tmp_path)
    (tmp_path / "multiple_choice_accuracy.json").write_text('{"original file path": "elsewhere/metric.py"}')
    assert runpy.run_path(copied)["PHRASES"]  # the checkout is on the path
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not Path(entry, "trainer").is_dir()])
    with pytest.raises(ValueError, match=r"There is no .*elsewhere/languages, the folder with the phrases of answers"):
        runpy.run_path(copied)
