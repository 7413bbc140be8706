# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
r"""
Asks a Parrot questions about one picture:

    python -m trainer.ask --model models/demo-parrot --image picture.png \
        --question "What is shown in the picture?" "Что изображено на картинке?"

The model is loaded as its users load it: by the pipeline, with the code in its own folder.
"""

from dataclasses import dataclass, field
from pathlib import Path

import transformers  # transformers imports its parts at their first use, so --help imports no torch.

from trainer import one_line_errors
from trainer.common.command_line import parse_arguments
from trainer.common.pictures import open_picture
from trainer.common.sources import check_parrot


@dataclass
class AskArguments:
    """Arguments of `python -m trainer.ask`."""

    model: str = field(metadata={"help": "Folder or Hub id of a Parrot."})
    image: str = field(metadata={"help": "File or URL of the picture."})
    question: list[str] = field(metadata={"help": "Questions; each is asked in a chat of its own."})
    max_new_tokens: int = field(default=64, metadata={"help": "Longest answer, in tokens."})


def ask(arguments: AskArguments) -> list[str]:
    """
    Asks the questions, prints each with its answer, and returns the answers.

    Raises:
        `ValueError`: if a question is empty, if the model or the picture does not exist, or if the picture cannot be
            read.
    """
    if not all(map(str.strip, arguments.question)):
        raise ValueError(f"--question={arguments.question} has an empty question: write it, or leave it out.")
    check_parrot(arguments.model, "--model")
    is_url = "://" in arguments.image
    if is_url:
        try:
            transformers.image_utils.load_image(arguments.image)
        except Exception as error:  # from the network, Pillow or transformers
            raise ValueError(f"--image {arguments.image} cannot be read: {' '.join(str(error).split())}") from error
    else:
        open_picture(Path(arguments.image), f"--image {arguments.image}", "Give another picture.")
    pipe = transformers.pipeline("image-text-to-text", model=arguments.model, trust_remote_code=True)
    image = {"type": "image", "url" if is_url else "path": arguments.image}
    answers = []
    for question in arguments.question:
        chat = [{"role": "user", "content": [image, {"type": "text", "text": question}]}]
        generate_kwargs = {"max_new_tokens": arguments.max_new_tokens, "do_sample": False}
        (output,) = pipe(text=[chat], return_full_text=False, generate_kwargs=generate_kwargs)
        answers.append(output[0]["generated_text"].strip())
        print(f"{question}\n    {answers[-1]}")
    return answers


if __name__ == "__main__":
    with one_line_errors():
        ask(parse_arguments(AskArguments, __doc__))
