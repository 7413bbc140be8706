# SPDX-FileCopyrightText: 2026 The Parrot authors
# SPDX-License-Identifier: Apache-2.0
"""The world of emoji: its art, and the small parts that the demo trains on it."""
