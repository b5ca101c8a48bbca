"""Limit laws of the excess risk, standard errors, findings."""
