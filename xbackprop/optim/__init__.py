"""Optimizers, which take θ and its gradient to a new θ, and learning-rate schedules."""
