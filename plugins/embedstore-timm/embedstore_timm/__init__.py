"""Any timm backbone as an image encoder of embedstore, DINOv2 and DINOv3 among them."""

from embedstore_timm.factory import TimmFactory

factory = TimmFactory()

__all__ = ["TimmFactory", "factory"]
