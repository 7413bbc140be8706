# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The model card, the demo Space and the upload of `trainer/publish.py`."""
