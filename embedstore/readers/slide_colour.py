"""Colours of slides: from the scanner's ICC profile to sRGB."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image as Picture
from PIL import ImageCms

_MOST_BYTES = 16 << 20


class ToSrgb:
    """Converts pictures by a scanner's ICC profile, with the rendering intent that the profile asks for.

    state: "none" without a profile, "converted", or "unreadable" when the profile is damaged or not one of
    RGB: then the pixels stay as the scanner stored them.
    """

    def __init__(self, profile: bytes | None) -> None:
        self.state = "none"
        self._transform: Any = None
        if not profile:
            return
        self.state = "unreadable"
        if len(profile) > _MOST_BYTES:
            return
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
            target = ImageCms.createProfile("sRGB")
            self._transform = ImageCms.buildTransform(source, target, "RGB", "RGB", intent)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return
        self.state = "converted"

    def __call__(self, picture: Picture.Image) -> Picture.Image:
        """The picture in sRGB."""
        if self._transform is None:
            return picture
        return ImageCms.applyTransform(picture, self._transform) or picture
