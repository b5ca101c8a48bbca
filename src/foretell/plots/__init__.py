"""Charts of theory, fits and simulations."""
