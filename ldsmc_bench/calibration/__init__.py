"""Is it the posterior? Scores of several draws of one measurement, and the figures that show them (README.md)."""
