"""Heads: what is fitted on the features of labeled rows."""

from foretell.heads.linear import LinearHead

__all__ = ["LinearHead"]
