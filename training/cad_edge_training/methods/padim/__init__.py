"""PaDiM: one Gaussian per patch position, in closed form."""
