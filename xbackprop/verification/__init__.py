"""Observers that hold a gradient to something it was not computed from. They see θ and C(θ), and train nothing."""
