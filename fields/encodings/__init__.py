"""Encodings of points and directions: what lets a small network hold fine detail."""
