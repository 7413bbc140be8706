# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The modules of `trainer/compose.py` and `trainer/sft.py`."""
