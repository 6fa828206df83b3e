"""RETFound for embedstore: retinal image encoders by masked autoencoding (MAE) and by DINOv2.

Importing this module imports neither torch nor timm.
"""

from embedstore_retfound.factory import RetfoundFactory
from embedstore_retfound.family import DINOV2, MAE

mae_factory = RetfoundFactory(MAE)
dinov2_factory = RetfoundFactory(DINOV2)

__all__ = ["RetfoundFactory", "dinov2_factory", "mae_factory"]
