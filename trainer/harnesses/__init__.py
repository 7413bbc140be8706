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
"""Parrot and its benchmarks in the field's own evaluation harnesses: lmms-eval, VLMEvalKit, inspect-ai.

A module needs its harness. The harnesses' requirements conflict, so each harness needs an environment of its own:
`make test-lmms-eval`, `make test-vlmevalkit` and `make test-inspect` show how to make them.
"""

MAX_NEW_TOKENS = 512  # the same as in trainer/benchmark.py and in the reference's wrapper for VLMEvalKit
