"""Acceptance of a GPU: parts that run one after the other within a time, each a process of its own."""
