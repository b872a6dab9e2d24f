"""Colours of labels: distinct on white and on black, for colour-blind eyes too, the same in every figure."""

from functools import cache
from typing import Any

import numpy as np

from cellmemory.cells.labels import PERHAPS_NEW

OTHER = "#9aa3aa"
#: What cells without a label to use count under, and its colour: no label has a grey.
NOT_ASSIGNED = {"(ambiguous)": "#b4bcc2", "(unassigned)": "#7d878e", PERHAPS_NEW: "#4d565c"}
#: What figures are drawn with on white and on black: colours by the names that figures give them, and colour scales.
THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "@ink": "#182026", "@muted": "#586570", "@line": "#e3e8eb", "@accent": "#0b6a7c", "@warn": "#d55e00",
        "halo": "rgba(255,255,255,0.78)", "hover": "#ffffff", "reference": "#b3bdc4",
        "scales": {
            "expression": ["#eef1f3", "#bcd3e3", "#6fa6cd", "#2b6fa8", "#123a6b"],
            "strength": ["#b5cfe2", "#6fa6cd", "#2b6fa8", "#123a6b"],
            "attention": ["#f3f1ee", "#f5cf9f", "#e8963f", "#b4560f", "#5e2605"],
            "confidence": ["#fde725", "#6cce59", "#1f9e89", "#31688e", "#440154"],
        },
    },
    "dark": {
        "@ink": "#e6ebee", "@muted": "#9aa7b1", "@line": "#2a3239", "@accent": "#5fc4d4", "@warn": "#f0935b",
        "halo": "rgba(22,27,31,0.78)", "hover": "#232b31", "reference": "#4c5760",
        "scales": {
            "expression": ["#20282e", "#1f4a6e", "#2f7fb8", "#79b8e0", "#dcf0fb"],
            "strength": ["#2b5a80", "#2f7fb8", "#79b8e0", "#dcf0fb"],
            "attention": ["#28241f", "#6b3c14", "#b9681f", "#efa95c", "#fdebd2"],
            "confidence": ["#fde725", "#6cce59", "#1f9e89", "#4a7fb0", "#8a5fb0"],
        },
    },
}  # fmt: skip
# Okabe and Ito's set without its black and yellow, which vanish on one of the two grounds; what follows is computed.
_FIRST = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
#: What a distance counts to most eyes, of which the same colours are farther apart than to others.
_MOST_EYES = 0.6
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB: protanopia, deuteranopia, tritanopia.
_VISIONS = (
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
)
_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def palette(n: int) -> tuple[str, ...]:
    """n colours as #rrggbb, each as far as can be from those before it and from greys, to the kind of eyes that sees least of it.

    The first k of palette(n) are palette(k): a label keeps its colour when labels are added after it.
    """
    candidates = _candidates()
    chosen = list(_rgb(_FIRST[:n]))
    seen = _seen(candidates)
    nearest = np.full(len(candidates), np.inf)
    for colour in (*chosen, *_rgb((OTHER, *NOT_ASSIGNED.values()))):
        nearest = np.minimum(nearest, _distance(seen, _seen(colour[None])))
    while len(chosen) < n:
        best = int(nearest.argmax())
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, _distance(seen, seen[:, best : best + 1]))
    return tuple("#" + "".join(f"{round(255 * channel):02x}" for channel in colour) for colour in chosen)


def _rgb(colours: tuple[str, ...]) -> np.ndarray:
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])


def _candidates() -> np.ndarray:
    """sRGB colours (n, 3), from muted to vivid, as light and as dark as can be seen on black and on white."""
    lightness, chroma, hue = np.meshgrid(
        np.linspace(0.48, 0.82, 11), np.linspace(0.05, 0.17, 5), np.arange(0, 360, 10), indexing="ij"
    )
    angle = np.deg2rad(hue.ravel())
    lab = np.stack([lightness.ravel(), chroma.ravel() * np.cos(angle), chroma.ravel() * np.sin(angle)], axis=1)
    linear = np.linalg.solve(_RGB_TO_LMS, (np.linalg.solve(_LMS_TO_LAB, lab.T)) ** 3).T
    linear = linear[((linear >= 0) & (linear <= 1)).all(axis=1)]
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _seen(rgb: np.ndarray) -> np.ndarray:
    """OKLab coordinates (visions, n, 3) of sRGB colours as each kind of eye sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.stack([np.cbrt(np.clip(linear @ vision.T, 0, 1) @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T for vision in _VISIONS])


def _distance(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Distance (n) of colours to one, to the eyes that tell them apart least."""
    apart = np.linalg.norm(seen - colour, axis=2)
    return np.minimum(_MOST_EYES * apart[0], apart[1:].min(axis=0))
