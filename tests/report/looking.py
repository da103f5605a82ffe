"""What the page in a browser shows, and what it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fls_jax.report.encoding import unpacked_pictures

AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"


def pixels(window, view):
    """What a view shows: uint8 [210, 160, 3]."""
    script = """
      const canvas = document.querySelectorAll(".view canvas[role=img]")[VIEW];
      const data = canvas.getContext("2d").getImageData(0, 0, 160, 210).data;
      return Array.from(data);
    """
    flat = window.run(script.replace("VIEW", str(view)))
    return np.array(flat, np.uint8).reshape(210, 160, 4)[..., :3]


def screen_of(clip, t):
    return np.array(clip["palette"], np.uint8)[unpacked_pictures(clip["frames"])[t]]


def attention_of(clip, agent):
    """The attention of the second observer: float [T, h, w]."""
    record = clip["observers"][1]["maps"][0]
    stored = unpacked_pictures(record["values"]).astype(np.float32)
    return record["low"] + (record["high"] - record["low"]) * stored / 65535


def state(window):
    return window.run("const { clip, ...rest } = flsReport.state; return { clip, ...rest };")


def frame(window):
    return window.run("return flsReport.drawn;")
