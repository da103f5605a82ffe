"""The page in a browser: it draws what the document says, and asks nobody."""

from __future__ import annotations

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from fls_jax.agent import load_agent
from fls_jax.film.drawing import overlay
from fls_jax.report.encoding import unpacked
from fls_jax.saliency.projection import project, to_screen
from tests.report.conftest import FRAME
from tests.report.looking import attention_of, pixels, screen_of, state


def test_no_complaints_and_nobody_is_asked(shown):
    assert shown.console() == []
    assert shown.requests() == []
    assert shown.run("return document.body.dataset.ready") == "yes"


def test_a_page_that_asks_is_caught(shown):
    """The policy refuses it, and the test above would have told."""
    shown.run("await fetch('https://example.org/').catch(() => {});")
    assert any("example.org" in line for line in shown.console() + shown.requests())


def test_the_game_is_drawn_pixel_by_pixel(shown, document):
    clip = document["clips"][1]
    np.testing.assert_array_equal(pixels(shown, 0), screen_of(clip, FRAME))
    shown.driver.find_element(By.CSS_SELECTOR, "input[name=show][value=original] + span").click()
    np.testing.assert_array_equal(pixels(shown, 1), screen_of(clip, FRAME))


def test_the_overlay_is_the_one_of_our_films(shown, document, pair):
    clip, agent = document["clips"][1], load_agent(pair[1])
    maps = np.asarray(project(attention_of(clip, agent), agent.spec))
    share = np.asarray(to_screen(maps))[FRAME] / maps.max()
    expected = overlay(screen_of(clip, FRAME), share)
    assert np.abs(pixels(shown, 1).astype(int) - expected).max() <= 4  # viridis is interpolated there
    assert np.abs(pixels(shown, 1).astype(int) - screen_of(clip, FRAME)).max() > 20


def test_a_map_less_its_mean_has_both_colours_at_the_right_places(shown, document, pair):
    shown.driver.find_element(By.CSS_SELECTOR, "input[name=show][value=relative] + span").click()
    clip, agent = document["clips"][1], load_agent(pair[1])
    attention = attention_of(clip, agent)
    maps = np.asarray(to_screen(project(attention - attention.mean(axis=0), agent.spec)))[FRAME]
    drawn = pixels(shown, 1).astype(int) - screen_of(clip, FRAME)
    warmer = drawn[..., 0] - drawn[..., 2]
    strong = np.abs(maps) > 0.3 * np.abs(maps).max()
    assert np.corrcoef(warmer[strong], maps[strong])[0, 1] > 0.8


def test_each_frame_can_have_a_scale_of_its_own(shown, document, pair):
    shown.run(
        "flsReport.change({perFrame: true, show: 'map'}); await flsReport.seek(FRAME);".replace(
            "FRAME", str(FRAME)
        )
    )
    clip, agent = document["clips"][1], load_agent(pair[1])
    maps = np.asarray(project(attention_of(clip, agent), agent.spec))[FRAME]
    text = shown.run("return document.querySelector('.view-1 .ends').textContent")
    assert float(text.split()[-1]) == pytest.approx(maps.max(), rel=0.01)
    drawn = pixels(shown, 1).reshape(-1, 3)
    assert (
        np.abs(drawn.astype(int) - (253, 231, 37)).max(axis=1).min() <= 8
    )  # something is as bright as can be


def test_what_is_told_of_a_frame_is_what_was_recorded(shown, document):
    observer = document["clips"][1]["observers"][1]
    told = shown.run("return [...document.querySelectorAll('.view-1 .share')].map((e) => e.textContent)")
    for text, share in zip(told, unpacked(observer["probabilities"])[FRAME], strict=True):
        assert float(text.rstrip("%")) == pytest.approx(100 * share, abs=0.51)
    value = shown.run("return document.querySelector('.view-1 .numbers dd').textContent")
    assert float(value) == pytest.approx(unpacked(observer["values"])[FRAME], rel=0.01)


def test_the_mass_in_a_region(shown, document, pair):
    clip, agent = document["clips"][1], load_agent(pair[1])
    maps = np.asarray(project(attention_of(clip, agent), agent.spec))
    # 80 x 105 pixels of the screen from its corner are the upper left quarter of the input.
    expected = maps[:, :42, :42].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    shown.run("flsReport.setRegion([0, 0, 80, 105], true);")
    script = """const row = flsReport.timelines.series.find((each) => each.label === 'mass in region');
                return Array.from(row.lines[0].values);"""
    np.testing.assert_allclose(shown.run(script), expected, rtol=1e-3)


def test_what_if_shows_the_policy_under_another_map(shown, document):
    each = next(r for r in document["clips"][1]["observers"][1]["replacements"] if r["name"] == "shuffled")
    rows = shown.run("return [...document.querySelectorAll('.whatif tbody tr')].map((r) => r.innerText)")
    assert len(rows) == 5
    shown.run("document.querySelectorAll('.whatif tbody button')[3].click()")
    assert state(shown)["instead"] == "shuffled"
    cells = "[...document.querySelectorAll('.whatif tbody tr')][3].querySelectorAll('td')"
    value, change = shown.run(f"const cells = {cells}; return [cells[2].textContent, cells[3].textContent];")
    assert float(value) == pytest.approx(unpacked(each["values"])[FRAME], rel=0.01, abs=1e-4)
    assert float(change.rstrip("%")) == pytest.approx(100 * unpacked(each["change"])[FRAME], abs=0.51)
    ghosts = shown.run(
        "return [...document.querySelectorAll('.view-1 .ghost')].map((g) => parseFloat(g.style.left))"
    )
    np.testing.assert_allclose(ghosts, 100 * unpacked(each["probabilities"])[FRAME], atol=0.1)
