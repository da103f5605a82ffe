"""Turns a document into one HTML file that contains template, style, script and data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any

_ASSETS = files("fls_jax.report") / "assets"
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def page(document: dict[str, Any]) -> str:
    """The HTML of a document (docs/report.md describes the format).

    The document is escaped so that it cannot end its element, and the page's content security policy allows
    only its own script and no loading. Raises ValueError for NaN or infinities.
    """
    script, style = bundle(), _asset("style.css")
    parts = {
        "title": html.escape(document["title"]),
        "policy": html.escape(_policy(script, style)),
        "style": style,
        "script": script,
        "data": as_data(document),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("template.html"))


def as_data(document: dict[str, Any]) -> str:
    """JSON that is safe inside an HTML element: without `<`, so without end tags and comments."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def bundle() -> str:
    """Join the modules into one script: each in its own function, after its imports; main.js last."""
    order: list[str] = []
    _visit("main", order, ())
    return "\n".join(_module(name) for name in order)


def _visit(name: str, order: list[str], above: tuple[str, ...]) -> None:
    """Append a module after its imports."""
    assert name not in above, f"modules import each other in a circle: {' '.join((*above, name))}"
    for _, needed in _IMPORT.findall(_asset(f"{name}.js")):
        if needed not in order:
            _visit(needed, order, (*above, name))
    order.append(name)


def _module(name: str) -> str:
    source = _IMPORT.sub(r"const \1 = _\2;" + "\n", _asset(f"{name}.js"))
    exported = ", ".join(match[1] for match in _EXPORT.findall(source))
    source = _EXPORT.sub(r"\1", source)
    if name == "main":  # it awaits the clip, which is only allowed at the top level of a script
        return source
    return f"const _{name} = (() => {{\n{source}return {{ {exported} }};\n}})();"


def _policy(script: str, style: str) -> str:
    script_hash, style_hash = _hash(script), _hash(style)
    return (
        f"default-src 'none'; script-src '{script_hash}'; style-src '{style_hash}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def shown(text: object) -> str:
    """Make an untrusted name safe to show: control and format characters become their numbers.

    This makes marks of writing direction, line breaks and invisible characters visible.
    """
    return "".join(
        f"⟨U+{ord(letter):04X}⟩" if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else letter
        for letter in str(text)
    )
