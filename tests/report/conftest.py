"""One report of two agents for all tests, and one browser."""

from __future__ import annotations

import json
import re

import pytest

from fls_jax.report.job import report
from tests.report.browser import browser
from tests.report.runs import write_pair

STEPS, SEED, FRAME = 90, 5, 37


def document_of(path):
    """The document in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Folders of two agents of Breakout."""
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def report_file(pair, tmp_path_factory):
    """Their report: both have played, both have looked."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert report(pair, out, steps=STEPS, seed=SEED) == [out]
    return out


@pytest.fixture(scope="session")
def document(report_file):
    """The document in that report."""
    return document_of(report_file)


@pytest.fixture(scope="session")
def window():
    """A headless browser."""
    with browser() as found:
        yield found


@pytest.fixture
def shown(window, report_file):
    """The report, opened anew at the second clip."""
    window.size(1440)
    window.open(
        report_file, f"#clip=c2&frame={FRAME}&agent=a1&agent2=a2&map2=attention&show=overlay&opacity=1"
    )
    return window
