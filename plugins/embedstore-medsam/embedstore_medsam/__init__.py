"""MedSAM and MedSAM2 for embedstore: vectors of whole images and of regions.

Importing this module imports neither torch nor transformers.
"""

from embedstore_medsam.factory import MedsamFactory
from embedstore_medsam.model import MEDSAM, MEDSAM2

medsam_factory = MedsamFactory(MEDSAM)
medsam2_factory = MedsamFactory(MEDSAM2)

__all__ = ["MedsamFactory", "medsam2_factory", "medsam_factory"]
