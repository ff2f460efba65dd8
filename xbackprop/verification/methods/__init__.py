"""The methods of verification, one module each."""
