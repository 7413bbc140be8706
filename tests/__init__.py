# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The tests. They are a package, so that imports find them before a package `tests` that some libraries install."""
