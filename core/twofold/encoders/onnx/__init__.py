"""Encoders on ONNX Runtime, and their export."""
