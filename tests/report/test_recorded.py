"""What else was recorded is shown: objects, methods and targets, a person's gaze."""

from __future__ import annotations

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from fls_jax.agent import load_agent
from fls_jax.report.encoding import unpacked, unpacked_pictures
from fls_jax.report.job import report
from fls_jax.saliency.projection import project
from tests.atari_head.synthetic import make_trial, write_v1
from tests.report.conftest import SEED, document_of
from tests.report.looking import AXE, attention_of, pixels


@pytest.fixture(scope="module")
def rich_file(pair, tmp_path_factory):
    """The pair's report with maps of the gradient for two targets, and a person's trial of the game."""
    folder = tmp_path_factory.mktemp("rich")
    data = write_v1(folder / "head", [make_trial(3, game="Breakout")], unpacked=True)
    options = {"methods": ("attention", "gradient"), "targets": ("action", "value"), "atari_head": data}
    report(pair, folder / "report.html", steps=10, seed=SEED, **options)
    return folder / "report.html"


def test_objects_are_boxed_and_weighed(window, rich_file, pair):
    window.size(1440)
    window.open(rich_file, "#clip=c2&frame=4&agent=a2&map=attention")
    labels = window.run("return flsReport.timelines.series.map((each) => each.label)")
    assert not any(label.startswith("mass") for label in labels)
    for kind in ("ball", "paddle"):
        window.driver.find_element(
            By.XPATH, f"//fieldset[@class='kinds']//label[contains(.,'{kind}')]"
        ).click()
    window.wait("return flsReport.state.boxes.length === 2", 5)
    clip = document_of(rich_file)["clips"][1]
    places, names = unpacked_pictures(clip["boxes"]["places"]).astype(float), clip["boxes"]["names"]
    paddle = places[:, names.index("paddle")]
    sides = window.run("""return [...document.querySelectorAll(".view-0 .box")].map((box) =>
        [box.textContent, ...["left", "top", "width", "height"].map((s) => parseFloat(box.style[s]))])""")
    (drawn,) = [numbers for kind, *numbers in sides if kind == "paddle"]
    np.testing.assert_allclose(drawn, 100 * paddle[4] / [160, 210, 160, 210], atol=0.01)
    # A pixel of the input counts by the part of it that lies in the box: counted here on a grid of 20x20.
    maps = np.asarray(project(attention_of(clip, load_agent(pair[1])), load_agent(pair[1]).spec))
    shares, areas = [], []
    for (left, top, width, height), each in zip(paddle, maps, strict=True):
        x, y = (np.arange(84 * 20) + 0.5) / 20 * 160 / 84, (np.arange(84 * 20) + 0.5) / 20 * 210 / 84
        inside = np.outer((y > top) & (y < top + height), (x > left) & (x < left + width))
        part = inside.reshape(84, 20, 84, 20).mean(axis=(1, 3))
        shares.append((each * part).sum() / each.sum())
        areas.append(part.mean())
    series = """return flsReport.timelines.series.find((each) => each.label === "mass on paddle").lines.map(
        ({ values }) => Array.from(values))"""
    mass, area = window.run(series)
    np.testing.assert_allclose(mass, shares, rtol=0.05)
    np.testing.assert_allclose(area, areas, rtol=0.05)
    link = window.run("return flsReport.link();")
    window.open(rich_file, link[link.index("#") :])
    assert window.run("return flsReport.state.boxes") == ["ball", "paddle"]
    assert window.console() == []


def test_a_method_has_a_map_for_every_target(window, rich_file):
    window.size(1440)
    window.open(rich_file, "#clip=c1&frame=4&agent=a1&map=gradient-action&show=map")
    before = pixels(window, 0)
    window.driver.find_element(By.CSS_SELECTOR, ".view-0 option[value=gradient-value]").click()
    window.wait("return flsReport.state.views[0].map === 'gradient-value'", 5)
    record = document_of(rich_file)["clips"][0]["observers"][0]["maps"][1]
    assert (record["id"], record["target"]) == ("gradient-value", "value")
    stored = unpacked_pictures(record["values"])[4].astype(np.float32) / 255
    values = record["low"] + (record["high"] - record["low"]) * stored
    shown = window.run("return Array.from(flsReport.views[0].map.onInput(4))")
    np.testing.assert_allclose(np.reshape(shown, (84, 84)), values.repeat(3, 0).repeat(3, 1), rtol=1e-4)
    assert np.abs(pixels(window, 0).astype(int) - before).max() > 20
    selects = window.driver.find_elements(By.CSS_SELECTOR, ".view-0 select")
    assert [each.get_attribute("value") for each in selects] == ["a1", "gradient", "gradient-value"]


def test_a_persons_gaze_can_be_seen_and_hidden(window, rich_file):
    clip = document_of(rich_file)["clips"][2]
    offsets, points = (unpacked(clip["gaze"][name]) for name in ("offsets", "points"))
    t = int(np.argmax(np.diff(offsets)))
    window.size(1440)
    window.open(rich_file, f"#clip=h3&frame={t}&agent=a1&agent2=a2")
    places = """return [...document.querySelectorAll(".view-1 .gaze")].map(
        (dot) => [parseFloat(dot.style.left), parseFloat(dot.style.top)])"""
    expected = (points.reshape(-1, 2)[offsets[t] : offsets[t + 1]] - 2) / [1.6, 2.1]
    np.testing.assert_allclose(window.run(places), expected, atol=0.05)
    labels = window.run("return flsReport.timelines.series.map((each) => each.label)")
    assert "value" in labels
    assert not {"reward", "P(action)"} & set(labels)
    assert "return" not in window.run("return flsReport.time.textContent")
    window.driver.find_element(By.XPATH, "//label[contains(.,'human gaze')]").click()
    window.wait("return !flsReport.state.gaze", 5)
    assert window.run(places) == []
    assert "gaze=0" in window.run("return flsReport.link();")
    window.run("await flsReport.openClip('c1');")
    assert not window.driver.find_element(By.XPATH, "//label[contains(.,'human gaze')]").is_displayed()
    window.driver.execute_script(AXE.read_text())
    found = window.run("return (await axe.run(document)).violations")
    assert not [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert window.console() == []
