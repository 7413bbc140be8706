# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The toy world of emoji: its art and words, and the small models that the demo trains on it."""
