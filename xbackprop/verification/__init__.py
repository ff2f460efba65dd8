"""Gradient checks: compare a gradient with values obtained independently of it.

The independent values are complex steps, differences, torch.autograd and mpmath. Nothing here trains or uses `MLP`.
"""
