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
"""Chat templates of Parrot: from the markup that a language model's own template puts around its turns."""

from dataclasses import dataclass, fields
from typing import Any

from transformers import PreTrainedTokenizerBase


# White space at an answer's start is dropped: it could merge with the header's into one token, which hides the header.
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
  {{ raise_exception('Parrot has no place for tools and documents: write them in a message') }}
{%- endif -%}
{%- set state = namespace(opened=false) -%}
{%- for message in messages -%}
  {%- set index = loop.index0 -%}
  {%- for key in ('tool_calls', 'reasoning_content', 'thinking') if message[key] -%}
    {{ raise_exception('Message ' ~ index ~ ' has ' ~ key ~ ', which Parrot does not write: remove it') }}
  {%- endfor -%}
  {%- if message.role == 'system' and loop.first -%}
    {{ system_before ~ text(message, index) ~ system_after }}
    {%- set state.opened = true -%}
  {%- elif message.role == 'user' -%}
    {%- if loop.first -%}
      {{ default_opening }}
    {%- elif not state.opened -%}
      {{ user_before }}
    {%- endif -%}
    {%- set state.opened = false -%}
    {{ text(message, index) ~ user_after }}
  {%- elif message.role == 'assistant' and not loop.first and not state.opened -%}
    {{ assistant_header }}
    {%- generation -%}
      {{ text(message, index).lstrip() ~ assistant_end }}
      {%- if not loop.last -%}{{ assistant_after }}{%- endif -%}
    {%- endgeneration -%}
    {%- if loop.last -%}{{ assistant_after }}{%- endif -%}
  {%- else -%}
    {{ raise_exception('A conversation is an optional system message, then user and assistant turns, a user first; '
       ~ 'got ' ~ message.role ~ ' as message ' ~ index) }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ assistant_header }}{%- endif -%}
"""


@dataclass(frozen=True)
class ChatFormat:
    """What stands around the turns of a conversation. `system_after` includes the first user turn's opening."""

    system_before: str = "<|im_start|>system\n"
    system_after: str = "<|im_end|>\n<|im_start|>user\n"
    # What opens a conversation without a system message; the reference code's own default (its conv_qwen template).
    default_opening: str = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    user_before: str = "<|im_start|>user\n"
    user_after: str = "<|im_end|>\n"
    assistant_header: str = "<|im_start|>assistant\n"
    assistant_end: str = "<|im_end|>"
    assistant_after: str = "\n"

    @classmethod
    def of_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> "ChatFormat":
        """
        Reads the markup off what the tokenizer's own chat template writes around a probe conversation.

        Raises:
            `ValueError`: if the template is not of turns with a header and an end, or if the answer's header differs
                between a prompt and a conversation.
        """

        def render(roles: str, **kwargs: Any) -> str:
            names = {"s": "system", "u": "user", "a": "assistant"}
            messages = [{"role": names[role], "content": f"@{role}{index}@"} for index, role in enumerate(roles)]
            return tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)

        def split(text: str, *contents: str) -> list[str]:
            pieces = []
            for content in contents:
                piece, found, text = text.partition(content)
                if not found:
                    raise ValueError(f"The tokenizer's chat template changes or drops the text of a turn: {text!r}.")
                pieces.append(piece)
            return [*pieces, text]

        written = split(render("uaua"), "@u0@", "@a1@", "@u2@", "@a3@")
        opening, _, tail_and_user, _, tail = written
        user_after = split(render("u"), "@u0@")[1]
        header = split(render("u", add_generation_prompt=True), "@u0@")[1].removeprefix(user_after)
        system_before, system_after, _ = split(render("su"), "@s0@", "@u1@")
        assistant_end = tail.rstrip()
        chat_format = cls(
            system_before=system_before,
            system_after=system_after,
            default_opening=opening,
            user_before=tail_and_user.removeprefix(tail),
            user_after=user_after,
            assistant_header=header,
            assistant_end=assistant_end,
            assistant_after=tail[len(assistant_end) :],
        )
        expected = [opening, user_after + header, tail + chat_format.user_before, user_after + header, tail]
        if written != expected or not header or not assistant_end:
            raise ValueError(f"The tokenizer's chat template writes {written}, which are not turns like {expected}.")
        return chat_format

    def template(self) -> str:
        """
        A Jinja template of these turns: text, images (each followed by a newline, as in the reference code), and
        `{% generation %}` marks around what an answer's loss is taken on, which is the reference code's label mask.
        What it has no place for (tools, documents, tool calls, reasoning, other parts) is an error in it.
        """
        markup = "".join(f"{{%- set {field.name} = {getattr(self, field.name)!r} -%}}\n" for field in fields(self))
        return markup + TEMPLATE.strip()
