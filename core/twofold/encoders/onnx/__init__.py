"""Encoders run by ONNX Runtime, and their export."""
