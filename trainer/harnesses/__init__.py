# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Parrot and its benchmarks in the field's own evaluation harnesses: lmms-eval, VLMEvalKit, inspect-ai.

Each module imports its harness. The requirements of the harnesses conflict, so each harness needs an environment of
its own: `make test-lmms-eval`, `make test-vlmevalkit` and `make test-inspect` show how to make them.
"""

MAX_NEW_TOKENS = 512  # the same as in trainer/benchmark.py and in the reference's wrapper for VLMEvalKit
