"""Outlines are seen by people with any colour vision, on dark and on bright tissue.

Colours are simulated with the matrices of Machado, Oliveira and Fernandes, "A physiologically-
based model for simulation of color vision deficiency", IEEE Transactions on Visualization and
Computer Graphics 15 (2009) 1291-1298, for a severity of 1, which apply to linear RGB. Contrast is
that of the Web Content Accessibility Guidelines 2.2, which ask for 3:1 between parts of a picture.
"""

import numpy as np
import pytest
from PIL import Image

from pumba_pipe.images.drawing import OUTLINE, Canvas, outline_of
from pumba_pipe.images.panels import FOUND_COLOUR, REFERENCE_COLOUR

VISION = {
    'usual': np.eye(3),
    'protanopia': np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    'deuteranopia': np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    'tritanopia': np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
# Linear RGB to XYZ, over the white of daylight (D65)
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])


def seen(colour, vision):
    """Linear RGB of what a person sees of an sRGB colour, 0..255."""
    values = np.asarray(colour, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.clip(VISION[vision] @ linear, 0, 1)


def contrast(one, other, vision):
    bright, dark = sorted((LUMINANCE @ seen(each, vision) for each in (one, other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def lab(colour, vision):
    scaled = XYZ @ seen(colour, vision)
    root = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def drawn(grey, folder):
    """Pixels of an outline on tissue of one grey, left to right: tissue, seam, line, seam."""
    canvas = Canvas(80, 40)
    canvas.grey[:] = grey
    ramp = np.clip(0.5 + (np.arange(80) - 40) / 10, 0, 1).astype(np.float32)
    canvas.draw(outline_of(np.tile(ramp, (40, 1))), 0, 0)
    canvas.save(folder / 'picture.png')
    return np.asarray(Image.open(folder / 'picture.png').convert('RGB'))[20].astype(int)


@pytest.mark.parametrize('vision', VISION)
@pytest.mark.parametrize('grey', [0, 25, 60, 100, 128, 160, 200, 230, 255])
def test_an_outline_is_seen_on_any_tissue(vision, grey, tmp_path):
    row = drawn(grey, tmp_path)
    tissue = row[0]
    assert np.abs(tissue - grey).max() < 3
    line, seam = row[40], row[38]
    assert np.array_equal(row[38:43:4], [seam, seam])  # on either side
    assert contrast(line, seam, vision) > 7  # the line itself
    assert max(contrast(line, tissue, vision), contrast(seam, tissue, vision)) > 3.5


@pytest.mark.parametrize('vision', VISION)
def test_an_outline_is_no_grey(vision):
    """So that it is not taken for fat or bone, which are bright beside something dark as well."""
    lightness, *colour = lab(OUTLINE, vision)
    assert lightness > 70
    assert np.hypot(*colour) > 15


@pytest.mark.parametrize('vision', VISION)
def test_two_masks_in_a_picture_are_told_apart(vision):
    reference, found = (lab(colour, vision) for colour in (REFERENCE_COLOUR, FOUND_COLOUR))
    assert np.linalg.norm(reference - found) > 25  # 2 is just seen
