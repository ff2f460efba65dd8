"""Exports of trained networks: ONNX, torch, scikit-learn, and plain NumPy as source."""
