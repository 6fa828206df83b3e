"""embedstore's offline default encoder: EfficientNet-Lite0 for images, all-MiniLM-L6-v2 for texts."""

from embedstore_starter.factory import StarterFactory

factory = StarterFactory()

__all__ = ["StarterFactory", "factory"]
