"""The strip at the top of a frame, mostly sky, that some networks never see."""


def rows_cut(height: float, crop_top: float, crop_height: float) -> int:
    """Rows that are cut off at the top of an image.

    Args:
        height: Of the image, pixels.
        crop_top: Rows to cut off an image that is ``crop_height`` high, pixels.
        crop_height: Pixels.

    Returns:
        The same share of the image, in whole rows.
    """
    return round(height * crop_top / crop_height)
