# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The measurements of `trainer.speed`, `trainer.vllm_speed` and `trainer.quantization`."""
