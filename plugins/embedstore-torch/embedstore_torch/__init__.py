"""What plugins with a torch network share. Importing this package imports neither torch nor ONNX Runtime."""

from embedstore_torch.loading import EAGER_PRECISIONS, check_request

__all__ = ["EAGER_PRECISIONS", "check_request"]
