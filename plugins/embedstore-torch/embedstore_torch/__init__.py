"""What plugins with a torch network share. Importing this package imports neither torch nor ONNX Runtime."""

from embedstore_torch.files import FileFactory
from embedstore_torch.loading import check_request
from embedstore_torch.module import ModuleFactory

torchscript_factory = FileFactory("torchscript")
onnx_factory = FileFactory("onnx")

__all__ = ["FileFactory", "ModuleFactory", "check_request", "onnx_factory", "torchscript_factory"]
