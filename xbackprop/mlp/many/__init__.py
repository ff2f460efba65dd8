"""Many networks in one run."""
