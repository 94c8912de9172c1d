"""Fine-tuning of encoders and cross-encoders."""
