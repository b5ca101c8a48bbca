"""Positive-pair graphs: spectra, partitions, probes."""
