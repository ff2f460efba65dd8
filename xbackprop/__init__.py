"""xbackprop."""
