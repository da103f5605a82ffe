"""The page in a browser answers mouse, keyboard and links."""

from __future__ import annotations

import time

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.report.conftest import FRAME, STEPS
from tests.report.looking import frame, pixels, state


def test_it_plays_at_the_speed_of_the_game_and_stops(shown):
    # Timed by the page: what lies between two commands of a driver may take seconds on a busy machine.
    speed, still = shown.run("""
      const button = document.querySelector(".play");
      button.click();
      const begun = [flsReport.drawn, performance.now()];
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const ended = [flsReport.drawn, performance.now()];
      button.click();
      return [1000 * (ended[0] - begun[0]) / (ended[1] - begun[1]), flsReport.state.frame];
    """)
    assert 8 < speed < 20  # 15 frames a second, on a machine that does other things too
    time.sleep(0.3)
    assert frame(shown) == still > FRAME


def test_the_keyboard(shown):
    shown.run("document.activeElement.blur();")
    for key, expected in (
        (".", FRAME + 1), (",", FRAME), (Keys.ARROW_RIGHT, FRAME + 15), (Keys.ARROW_LEFT, FRAME), ("5", 45),
        ("1", 9), (Keys.END, STEPS - 1), (".", STEPS - 1), (Keys.HOME, 0), (",", 0),
    ):  # fmt: skip
        shown.press(key)
        shown.wait(f"return flsReport.drawn === {round(expected)}", 5)
    shown.press(" ")
    shown.wait("return flsReport.playing && flsReport.drawn > 2", 10)
    shown.press(" ")
    shown.wait("return !flsReport.playing", 5)


def test_keys_belong_to_fields_and_can_be_switched_off(shown):
    shown.run("flsReport.element.querySelector('.region-form').open = true;")
    field = shown.driver.find_element(By.CSS_SELECTOR, ".region-form input")
    field.send_keys("5")
    assert frame(shown) == FRAME
    shown.run("flsReport.keys.input.checked = false;")
    shown.run("document.activeElement.blur();")
    shown.press("5")
    assert frame(shown) == FRAME


def test_scrubbing_and_bookmarks(shown, document):
    shown.run("flsReport.bar.value = 60; flsReport.bar.dispatchEvent(new Event('input'));")
    shown.wait("return flsReport.drawn === 60", 5)
    first = document["clips"][1]["bookmarks"][0]
    shown.driver.find_element(By.CSS_SELECTOR, ".bookmark").click()
    shown.wait(f"return flsReport.drawn === {first['frame']}", 5)
    plot = shown.driver.find_element(By.CSS_SELECTOR, ".plot svg")
    plot.click()  # in its middle
    shown.wait(f"return Math.abs(flsReport.drawn - {STEPS / 2}) <= 2", 5)


def test_agents_games_and_views_can_be_switched(shown):
    selects = shown.driver.find_elements(By.CSS_SELECTOR, ".view-0 select")
    selects[0].find_element(By.CSS_SELECTOR, "option[value=a2]").click()
    shown.wait(
        "return flsReport.state.views[0].agent === 'a2' && flsReport.state.views[0].map === 'attention'", 5
    )
    np.testing.assert_array_equal(pixels(shown, 0), pixels(shown, 1))
    shown.driver.find_element(By.CSS_SELECTOR, ".view-1 .close").click()
    shown.wait("return flsReport.views.length === 1", 5)
    shown.driver.find_element(By.XPATH, "//button[text()='Add a view']").click()
    shown.wait("return flsReport.views.length === 2 && flsReport.state.views[1].agent === 'a1'", 5)
    shown.driver.find_element(By.CSS_SELECTOR, "#player .toolbar option[value=c1]").click()
    shown.wait("return flsReport.state.clip === 'c1'", 5)
    assert shown.console() == []


def test_a_link_brings_back_the_moment(shown, report_file):
    shown.run(
        "flsReport.change({opacity: 0.4, show: 'map', region: [10, 20, 30, 40]}); await flsReport.seek(71);"
    )
    before, link = state(shown), shown.run("return flsReport.link();")
    shown.open(report_file, link[link.index("#") :])
    assert state(shown) == before
    shown.wait("return location.hash === new URL(flsReport.link()).hash", 5)


@pytest.mark.parametrize(
    "anchor",
    [
        "#frame=99999",
        "#clip=nope&frame=-3",
        "#agent=%3Cscript%3E&map=x",
        "#show=everything&opacity=7&region=a,b",
    ],
)
def test_links_that_lead_nowhere_do_no_harm(window, report_file, anchor):
    window.open(report_file, anchor)
    assert window.run("return flsReport.drawn < flsReport.clip.steps && flsReport.views.length") == 2
    assert window.console() == []


def test_dragging_marks_a_region(shown):
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = shown.driver.find_element(By.CSS_SELECTOR, ".view-1 canvas")
    drag = ActionChains(shown.driver).move_to_element_with_offset(canvas, -40, -40)
    drag.click_and_hold().move_by_offset(60, 50).release().perform()
    scale = shown.run("return 160 / document.querySelector('.view-1 canvas').getBoundingClientRect().width")
    _, _, width, height = state(shown)["region"]
    assert (width, height) == pytest.approx((60 * scale, 50 * scale), abs=2)


def test_tables_sort_and_keep_controls_apart(shown):
    def column(n):
        return shown.run(f"""return [...document.querySelectorAll('#table-gaze-1-0 tbody tr')].map(
            (row) => [row.className, row.children[{n}].textContent])""")

    assert [kind for kind, _ in column(0)] == ["agent", "control"]
    head = shown.driver.find_elements(By.CSS_SELECTOR, "#table-evaluation thead button")[5]

    def means():
        return shown.run("""return [...document.querySelectorAll('#table-evaluation tbody tr')].map(
            (row) => parseFloat(row.children[5].textContent))""")

    shown.run("document.querySelectorAll('#table-evaluation thead button')[5].click()")
    assert means() == sorted(means(), reverse=True)
    shown.run("document.querySelectorAll('#table-evaluation thead button')[5].click()")
    assert means() == sorted(means())
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    assert "★" in shown.run("return document.querySelector('#table-evaluation').textContent")


def test_commands_are_copied(shown):
    shown.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    button = shown.driver.find_element(By.CSS_SELECTOR, "#provenance .copy")
    shown.run("document.querySelector('#provenance .copy').scrollIntoView();")
    button.click()
    shown.wait("return document.querySelector('#provenance .copy').textContent !== 'Copy'", 5)
    assert button.text == "Copied"
