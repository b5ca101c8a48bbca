"""Samples: sources of chunks, tables, and bundled real data."""
