"""Masked self-supervised regression in the proportional regime."""
