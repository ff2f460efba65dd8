"""The command ``xbackprop``."""
