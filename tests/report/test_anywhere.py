"""The page on any screen, on paper, and with hostile or long content."""

from __future__ import annotations

import json
import time

import pytest
from selenium.webdriver.common.by import By

from experiments.commands.ship import HOME
from fls_jax.agent import load_agent
from fls_jax.film.playing import play
from fls_jax.report.document import report_document
from fls_jax.report.job import report
from fls_jax.report.observing import look, observed
from fls_jax.report.page import page
from fls_jax.report.recording import Recording, clip_record
from fls_jax.report.sources import read_sources
from tests.report.looking import AXE, frame
from tests.report.runs import write_agent
from tests.run_folders import edit_config


def test_hostile_names_do_nothing(window, tmp_path):
    folder = write_agent(tmp_path / "<img src=x onerror=alert(1)>", "cnn", [1, 2])
    edit_config(folder, game="<script>alert(2)</script>", network="'\"><svg onload=alert(3)>" + "w" * 300)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"env_step": 99999, "eprewmean": float("inf"), "sps": float("nan")}) + "\n")
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    window.size(390)
    window.open(path)
    assert window.console() == []
    assert window.requests() == []
    assert (
        window.run("return document.querySelectorAll('main img, main script, main svg:not(.chart)').length")
        == 0
    )
    assert "<script>alert(2)</script>" in window.run("return document.body.innerText")
    assert window.run("return document.documentElement.scrollWidth") == 390


def test_what_was_not_recorded_is_said(window, shown, tmp_path):
    """A page of an agent without a record of training, measurements or clips; the other page has some."""
    folder = write_agent(tmp_path / "run", "cnn", [1, 2])
    (folder / "metrics.jsonl").unlink()
    (path,) = report([folder], tmp_path / "r.html", steps=0)
    note = "return document.querySelector('#measurements > .note').textContent"
    assert "Not measured: attention replaced, saliency methods." in shown.run(note)
    curve = "return document.querySelector('#overview').textContent.includes('No learning curve')"
    assert not shown.run(curve)
    window.open(path)
    assert "Not measured: gaze of people, attention replaced, saliency methods." in window.run(note)
    assert window.run(curve)
    assert window.console() == []


def test_an_index_leads_to_its_pages(window, tmp_path):
    write_agent(tmp_path / "runs/a", "cnn", [1, 2])
    write_agent(tmp_path / "runs/b", "cnn", [1, 2], game="Pong")
    index, *_ = report([tmp_path / "runs"], tmp_path / "site", steps=0)
    window.size(1440)
    window.open(index)
    assert window.console() == []
    window.driver.find_element(By.LINK_TEXT, "Pong").click()
    window.wait("return document.body?.dataset.ready === 'yes' && location.pathname.endsWith('Pong.html')")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_it_fits_and_axe_finds_no_serious_fault(shown, width, dark):
    shown.size(width, dark=dark)
    assert shown.run("return document.documentElement.scrollWidth") <= width
    shown.run("document.querySelectorAll('details').forEach((each) => (each.open = true));")
    shown.driver.execute_script(AXE.read_text())
    found = shown.run("return (await axe.run(document)).violations")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, [
        (each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"]) for each in serious
    ]


def test_it_prints(shown):
    pdf = shown.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(pdf) > 10_000
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    visible = "return getComputedStyle(document.querySelector('SELECTOR')).display !== 'none'"
    try:
        assert shown.run(visible.replace("SELECTOR", ".view canvas"))
        assert shown.run(visible.replace("SELECTOR", "#table-evaluation"))
        assert not shown.run(visible.replace("SELECTOR", ".toolbar"))
    finally:
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_moves_by_itself(shown):
    """No animation, no smooth scrolling: readers who want no motion need not ask for it."""
    before = frame(shown)
    assert shown.run("return document.getAnimations().length") == 0
    assert shown.run("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    time.sleep(0.3)
    assert frame(shown) == before


def test_a_minute_of_two_agents_is_small_and_scrubs_fluently(window, tmp_path):
    """The shipped Pong pair, 60 s on the same frames: what docs/report.md states."""
    folders = [HOME / "Pong" / name for name in ("cnn", "cnn_sparse_fls")]
    agents = [load_agent(folder) for folder in folders]
    clip = play(agents[1], 900, 1000)
    observers = [observed(f"a{n}", agent, clip, look(agent, clip)) for n, agent in enumerate(agents, start=1)]
    record = clip_record(Recording("c1", "Pong", "", "Pong", "a2", 1000, False), clip, agents[1], observers)
    path = tmp_path / "minute.html"
    path.write_text(page(report_document(read_sources(folders), [record], "fls report")))
    assert path.stat().st_size < 700_000
    window.size(1440)
    window.open(path)
    speeds = window.run("""
      const frames = Array.from({length: 150}, (_, i) => (i * 337) % 900);  // back and forth over the clip
      for (let t = 0; t < 900; t += 64) await flsReport.seek(t);
      const speeds = [];
      for (let round = 0; round < 3; round++) {
        const begun = performance.now();
        for (const t of frames) {
          await flsReport.seek(t);
          await new Promise((resolve) => setTimeout(resolve));  // as between two events of a mouse
        }
        speeds.push(frames.length / ((performance.now() - begun) / 1000));
      }
      return speeds;
    """)
    assert frame(window) == (149 * 337) % 900
    assert max(speeds) > 30, speeds  # the best round: the machine may do other things too
