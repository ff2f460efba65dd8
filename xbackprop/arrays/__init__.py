"""One array library on one device: what a backend is, how one is found, and functions that the standard lacks."""
