"""The page: one file, whose data cannot become anything but data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from fls_jax.report.page import as_data, bundle, page, shown

HOSTILE = [
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "\u2028\u2029", "'\"`${1}", "&lt;",
    "{{script}}", "\\u003c/script>", "\ud800",
]  # fmt: skip
DOCUMENT = {"title": "a < b", "kind": "report", "names": HOSTILE}


class Reader(HTMLParser):
    """The content of every element of a page, as a browser splits it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict, str]] = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), ""))

    def handle_data(self, data):
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag):
        self.found.append(("", {}, ""))

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


@pytest.fixture(scope="module")
def parsed():
    reader = Reader()
    reader.feed(page(DOCUMENT))
    return reader


def test_hostile_text_stays_in_its_element_and_comes_back(parsed):
    scripts = parsed.all("script")
    assert len(scripts) == 2
    attributes, text = scripts[0]
    assert attributes == {"type": "application/json", "id": "report-data"}
    assert json.loads(text) == DOCUMENT
    assert "<" not in as_data(DOCUMENT)


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        as_data({"value": float("nan")})


def test_nothing_but_the_pages_own_script_and_style_may_run(parsed):
    policy = next(a["content"] for a, _ in parsed.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        text = parsed.all(tag)[-1][1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_named_that_lies_elsewhere():
    for tag, attributes, text in _reader().found:
        if tag not in ("script", "style"):
            continue
        assert "src" not in attributes
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text)


def _reader():
    reader = Reader()
    reader.feed(page(DOCUMENT))
    return reader


def test_modules_stand_behind_what_they_import_and_none_is_left_a_module():
    text = bundle()
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    defined: set[str] = set()
    for line in text.splitlines():
        if match := re.match(r"const (_\w+) = \(\(\) => \{$", line):
            defined.add(match[1])
        elif match := re.match(r"const \{[^}]*\} = (_\w+);$", line):
            assert match[1] in defined, f"{match[1]} is used before it is there"
    assert {"_data", "_player", "_view"} <= defined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/Pong", "runs/Pong"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\nb\x00", "a⟨U+000A⟩b⟨U+0000⟩"),
        ("\u200b\u2066", "⟨U+200B⟩⟨U+2066⟩"),
        ("\udcff", "⟨U+DCFF⟩"),
        ("Ω 日本", "Ω 日本"),
    ],
)
def test_invisible_letters_are_shown(text, expected):
    assert shown(text) == expected
