# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark questions, the models and baselines that answer them, and the results."""
