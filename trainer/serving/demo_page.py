# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The page that `python -m trainer.demo` opens."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image
from transformers import AutoModel, AutoProcessor, BatchFeature, TextIteratorStreamer
from transformers.modeling_outputs import BaseModelOutputWithPooling

from trainer.common.pictures import open_picture
from trainer.common.plots import draw_router
from trainer.common.sources import check_parrot
from trainer.demo import DemoArguments
from trainer.languages import open_questions


# Each entry is one question in several languages. A question that is not listed is compared with the first entry.
QUESTIONS = open_questions()
# Text begins at the left or the right, as its script does.
CSS = "textarea {unicode-bidi: plaintext; text-align: start}"


class StreamingParrot:
    """A model that streams its answers and gives the weights of its experts."""

    def __init__(self, arguments: DemoArguments) -> None:
        source = {"trust_remote_code": True, "revision": arguments.revision}
        self.model = AutoModel.from_pretrained(arguments.model, device_map="auto", **source).eval()
        self.processor = AutoProcessor.from_pretrained(arguments.model, **source)
        self.max_new_tokens = arguments.max_new_tokens

    def _inputs(self, picture: Image.Image, questions: list[str]) -> BatchFeature:
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": question}]}]
            for question in questions
        ]
        inputs = self.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return inputs.to(self.model.device, self.model.dtype)

    @torch.inference_mode()
    def router_weights(self, picture: Image.Image, questions: list[str]) -> list[list[float]]:
        """The router's probabilities (eq. 3) for a picture with each question; the language model does not run."""
        inputs = self._inputs(picture, questions)
        parrot, ids = self.model.base_model, inputs["input_ids"]
        (features,) = parrot.get_image_features(inputs["pixel_values"][:1], return_dict=True).pooler_output
        outputs = parrot.condition_image_features(
            BaseModelOutputWithPooling(pooler_output=[features] * len(questions)),
            ids,
            parrot.get_input_embeddings()(ids),
            inputs["attention_mask"],
        )
        return outputs.router_logits.float().softmax(dim=-1).tolist()

    def write(self, picture: Image.Image, question: str) -> Iterator[str]:
        """Yields the answer as far as it is written."""
        inputs = self._inputs(picture, [question])
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)

        def generate() -> None:
            try:
                self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False, streamer=streamer)
            finally:
                streamer.end()  # otherwise the loop below would wait for ever

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(generate)
            text = ""
            for piece in streamer:
                text += piece
                yield text.strip()
            running.result()  # raises the exception of generate(), if there was one


def in_other_languages(question: str) -> tuple[dict[str, str], bool]:
    """The question in all languages and True if it is listed, else the first listed question and False."""

    def plain(text: str) -> str:
        return text.strip(" ?？؟.。").casefold()

    for translations in QUESTIONS:
        if plain(question) in map(plain, translations.values()):
            return translations, True
    return QUESTIONS[0], False


def draw_experts(parrot: StreamingParrot, picture: Image.Image, question: str) -> Figure:
    """Draws the experts' weights for the user's question, and for a listed question in several languages."""
    others, is_same = in_other_languages(question)
    weights = parrot.router_weights(picture, [question, *others.values()])
    quoted = "the same question" if is_same else f"“{others['en']}”"
    figure = draw_router(
        dict(zip(["yours", *others], weights, strict=True)),
        f"Each expert's weight, for your question\nand for {quoted} in other languages",
    )
    pyplot.close(figure)  # the page shows it
    return figure


def build_page(parrot: StreamingParrot, pictures: list[str]) -> gradio.Blocks:
    """Builds the page: a picture and a question, beside them the answer and the experts' weights."""

    def answer(picture: Image.Image | None, question: str) -> Iterator[tuple[str, Figure | None]]:
        if picture is None or not question.strip():
            raise gradio.Error("Choose a picture and write a question.", print_exception=False)
        try:
            experts = draw_experts(parrot, picture, question)
            for text in parrot.write(picture, question):
                yield text, experts
        except ValueError as error:  # e.g. for a question that contains the mark of an image
            raise gradio.Error(str(error), print_exception=False) from error

    with gradio.Blocks(title="Parrot") as page:
        gradio.Markdown("# Parrot\nA picture, a question in your language, an answer in it.")
        with gradio.Row():
            with gradio.Column():
                picture = gradio.Image(pictures[0] if pictures else None, type="pil", label="Picture", height=320)
                question = gradio.Textbox(QUESTIONS[0]["en"], label="Question")
                button = gradio.Button("Ask", variant="primary")
                gradio.Examples(list(QUESTIONS[0].values()), question, label="The same in other languages")
                if len(pictures) > 1:
                    gradio.Examples(pictures, picture, label="Pictures")
            with gradio.Column():
                text = gradio.Textbox(label="Answer")
                experts = gradio.Plot(show_label=False)
        for ask in (button.click, question.submit):
            ask(answer, [picture, question], [text, experts])
    return page


def main(arguments: DemoArguments) -> None:
    """Loads the model and opens the page."""
    check_parrot(arguments.model, "--model", revision=arguments.revision)
    for picture in arguments.pictures:
        open_picture(Path(picture), f"--pictures {picture}", "Give another picture.")
    page = build_page(StreamingParrot(arguments), arguments.pictures)
    page.launch(server_port=arguments.port, css=CSS)
