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
"""Builds Parrot's chat template from the markup that a language model's own template puts around the turns."""

from dataclasses import dataclass, fields
from typing import Any

from transformers import PreTrainedTokenizerBase


# White space at the start of an answer is stripped: it could merge with the end of the header into one token, and the
# header's token ids would no longer be in the prompt.
TEMPLATE = """
{%- macro text(message, index) -%}
  {%- if message.content is string -%}
    {{ message.content }}
  {%- elif message.content is defined and message.content is sequence and message.content is not mapping -%}
    {%- for part in message.content -%}
      {%- if part.type == 'image' -%}
        {{ '<image>\\n' }}
      {%- elif part.type == 'text' and part.text is string -%}
        {{ part.text }}
      {%- elif part.type == 'text' -%}
        {{ raise_exception('Message ' ~ index ~ ' has a part of type text without a text: ' ~ part) }}
      {%- else -%}
        {{ raise_exception('Parrot reads text and images, not ' ~ (part.type or part)) }}
      {%- endif -%}
    {%- endfor -%}
  {%- else -%}
    {{ raise_exception('Message ' ~ index ~ ' (' ~ message.role ~ ') has no content: give text or a list of parts') }}
  {%- endif -%}
{%- endmacro -%}

{%- if tools or documents -%}
  {{ raise_exception('Parrot does not support tools and documents: write them in a message') }}
{%- endif -%}
{%- set state = namespace(user_turn_open=false) -%}
{%- for message in messages -%}
  {%- set index = loop.index0 -%}
  {%- for key in ('tool_calls', 'reasoning_content', 'thinking') if message[key] -%}
    {{ raise_exception('Message ' ~ index ~ ' has ' ~ key ~ ', which Parrot does not support: remove it') }}
  {%- endfor -%}
  {%- if message.role == 'system' and loop.first -%}
    {{ system_before ~ text(message, index) ~ system_after }}
    {%- set state.user_turn_open = true -%}
  {%- elif message.role == 'user' -%}
    {%- if loop.first -%}
      {{ default_opening }}
    {%- elif not state.user_turn_open -%}
      {{ user_before }}
    {%- endif -%}
    {%- set state.user_turn_open = false -%}
    {{ text(message, index) ~ user_after }}
  {%- elif message.role == 'assistant' and not loop.first and not state.user_turn_open -%}
    {{ assistant_header }}
    {%- generation -%}
      {{ text(message, index).lstrip() ~ assistant_end }}
      {%- if not loop.last -%}{{ assistant_after }}{%- endif -%}
    {%- endgeneration -%}
    {%- if loop.last -%}{{ assistant_after }}{%- endif -%}
  {%- else -%}
    {{ raise_exception('A conversation is an optional system message, then user and assistant turns that begin with '
       ~ 'a user; got ' ~ message.role ~ ' as message ' ~ index) }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ assistant_header }}{%- endif -%}
"""


@dataclass(frozen=True)
class ChatFormat:
    """The markup around the turns of a conversation. `system_after` includes the opening of the first user turn."""

    system_before: str = "<|im_start|>system\n"
    system_after: str = "<|im_end|>\n<|im_start|>user\n"
    # Opens a conversation without a system message. This is the reference code's default (its conv_qwen template).
    default_opening: str = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    user_before: str = "<|im_start|>user\n"
    user_after: str = "<|im_end|>\n"
    assistant_header: str = "<|im_start|>assistant\n"
    assistant_end: str = "<|im_end|>"
    assistant_after: str = "\n"

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> "ChatFormat":
        """
        Derives the markup from what the tokenizer's own chat template writes around the turns of a test conversation.

        Raises:
            `ValueError`: if the template does not write turns with a header and an end, or if its assistant header at
                the end of a prompt differs from the one within a conversation.
        """

        def render(roles: str, **kwargs: Any) -> str:
            names = {"s": "system", "u": "user", "a": "assistant"}
            messages = [{"role": names[role], "content": f"@{role}{index}@"} for index, role in enumerate(roles)]
            return tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)

        def split(text: str, *contents: str) -> list[str]:
            pieces = []
            for content in contents:
                piece, separator, text = text.partition(content)
                if not separator:
                    raise ValueError(f"The tokenizer's chat template changes or drops the text of a turn: {text!r}.")
                pieces.append(piece)
            return [*pieces, text]

        markup = split(render("uaua"), "@u0@", "@a1@", "@u2@", "@a3@")
        opening, _, closing_and_user, _, closing = markup
        user_after = split(render("u"), "@u0@")[1]
        header = split(render("u", add_generation_prompt=True), "@u0@")[1].removeprefix(user_after)
        system_before, system_after, _ = split(render("su"), "@s0@", "@u1@")
        assistant_end = closing.rstrip()
        chat_format = cls(
            system_before=system_before,
            system_after=system_after,
            default_opening=opening,
            user_before=closing_and_user.removeprefix(closing),
            user_after=user_after,
            assistant_header=header,
            assistant_end=assistant_end,
            assistant_after=closing[len(assistant_end) :],
        )
        expected = [opening, user_after + header, closing + chat_format.user_before, user_after + header, closing]
        if markup != expected or not header or not assistant_end:
            raise ValueError(
                "The tokenizer's chat template does not write every turn alike: around the turns of a conversation it "
                f"writes {markup}, where its markup for single turns gives {expected}."
            )
        return chat_format

    def template(self) -> str:
        """
        The Jinja chat template of this format. It writes text and images; a newline follows each image, as in the
        reference code. `{% generation %}` encloses the tokens that the loss is computed on: those of the reference
        code. Tools, documents, tool calls, reasoning and other parts raise an error.
        """
        markup = "".join(f"{{%- set {field.name} = {getattr(self, field.name)!r} -%}}\n" for field in fields(self))
        return markup + TEMPLATE.strip()
