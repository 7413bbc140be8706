# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser; skipped if gradio, playwright or Chromium is missing."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.processes import python
from tests.tiny import tiny_config, tiny_model, tiny_processor


sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")  # second, because its import takes two seconds

from trainer.demo import DemoArguments  # noqa: E402
from trainer.serving.demo_page import CSS, QUESTIONS, StreamingParrot, build_page, in_other_languages  # noqa: E402


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> StreamingParrot:
    folder = tmp_path_factory.mktemp("page")
    processor = tiny_processor()
    model = tiny_model(tiny_config(), seed=0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return StreamingParrot(DemoArguments(model=str(folder), max_new_tokens=5))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "red.png"
    Image.new("RGB", (40, 30), "red").save(file)
    return file


def test_an_answer_grows_to_what_generate_gives(parrot: StreamingParrot, picture: Path) -> None:
    with Image.open(picture) as image:
        grown = list(parrot.write(image, "? red"))
        inputs = parrot._inputs(image, ["? red"])
    tokens = parrot.model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert grown[-1] == parrot.processor.decode(tokens, skip_special_tokens=True).strip()
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(grown))


def test_the_page_shows_the_weights_of_the_model_s_router(parrot: StreamingParrot, picture: Path) -> None:
    questions = ["? red", "? kırmızı, daha uzun"]
    with Image.open(picture) as image:
        weights = torch.tensor(parrot.router_weights(image, questions))
        for question, probabilities in zip(questions, weights, strict=True):
            logits = parrot.model(**parrot._inputs(image, [question]), output_router_logits=True).router_logits[0]
            torch.testing.assert_close(probabilities, logits.softmax(-1), atol=1e-5, rtol=1e-5)


def test_an_error_in_generate_is_raised_and_the_page_does_not_hang(
    parrot: StreamingParrot, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_kwargs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(parrot.model, "generate", fail)
    with Image.open(picture) as image, pytest.raises(RuntimeError, match="out of memory"):
        list(parrot.write(image, "? red"))


def test_a_listed_question_is_compared_with_itself_in_other_languages() -> None:
    described = next(question for question in QUESTIONS if question["ru"] == "Что изображено на картинке?")
    assert in_other_languages("что изображено на картинке") == (described, True)
    assert in_other_languages("How many?") == (QUESTIONS[0], False)
    assert all(question.keys() == QUESTIONS[0].keys() for question in QUESTIONS)


@pytest.mark.slow
def test_a_missing_model_is_an_error_of_one_line() -> None:
    run = subprocess.run(
        [python(), "-m", "trainer.demo", "--model", "models/nowhere/at-all"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("error: --model='models/nowhere/at-all': there is no such")


@pytest.fixture(scope="module")
def page(parrot: StreamingParrot, picture: Path) -> Iterator[object]:
    """The page in a browser, when it shows its first question and picture."""
    if not CHROMIUM:
        pytest.skip("no Chromium")
    blocks = build_page(parrot, [str(picture)])
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, css=CSS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(url)
            # The page fills in its first question late. It would overwrite a question that is written earlier.
            sync_api.expect(page.get_by_label("Question")).to_have_value(QUESTIONS[0]["en"], timeout=60_000)
            sync_api.expect(page.locator("img").first).to_be_visible(timeout=60_000)
            page.wait_for_load_state("networkidle")
            yield page
        finally:
            browser.close()
            blocks.close()


@pytest.mark.slow
def test_a_question_in_a_browser_is_answered_beside_the_experts(
    page: object, parrot: StreamingParrot, picture: Path
) -> None:
    question = "Что изображено на картинке?"
    with Image.open(picture) as image:
        *_, expected = parrot.write(image, question)
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask").click()
    sync_api.expect(page.get_by_label("Answer")).to_have_value(expected, timeout=60_000)
    sync_api.expect(page.get_by_test_id("matplotlib").locator("img")).to_be_visible(timeout=60_000)
    if folder := os.environ.get("PARROT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "page.png", full_page=True)


@pytest.mark.slow
def test_the_page_shows_an_error_message(page: object) -> None:
    page.get_by_label("Question").fill(" ")
    page.get_by_role("button", name="Ask").click()
    sync_api.expect(page.get_by_text("Choose a picture and write a question.")).to_be_visible(timeout=60_000)
