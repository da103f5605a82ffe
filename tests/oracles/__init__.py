"""Plain NumPy float64 references that the package is compared with; they share no code with it."""
