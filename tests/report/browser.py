"""A headless Chromium for the tests: started here, with no door to a network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage",
)  # fmt: skip
REQUIRED = "FLS_BROWSER_TESTS"
"""Where this is set, as on the machine that tests every change, a missing browser is a failure."""


class Browser:
    """A window on one page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, anchor: str = "") -> None:
        """Open a file and wait until its page says that it is ready."""
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.resolve().as_uri() + anchor)
        self.wait("return document.body.dataset.ready === 'yes'")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; a promise is waited for."""
        wrapped = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then("
        answer = self.driver.execute_async_script(
            wrapped + "value => done({value}), error => done({error: String(error)}))", *arguments
        )
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Until a condition, `return ...`, holds."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"waited {seconds} s for: {condition}"
            time.sleep(0.05)

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Another window, light or dark."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def console(self) -> list[str]:
        """What the page has complained of since it was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since it was opened, its own left out."""
        sent = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                sent.append(message["params"]["request"]["url"])
        return [url for url in sent if not url.startswith(("data:", "file:")) and url != "about:blank"]


def chromium() -> str:
    """The browser's path; the test is skipped where there is none, unless it must be there."""
    found = next((path for name in PLACES if (path := shutil.which(name))), None)
    if found is None or shutil.which("chromedriver") is None:
        reason = "needs Chromium and its driver: apt-get install chromium chromium-driver"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def browser() -> Generator[Browser]:
    """A fresh browser, ended at the end of the block."""
    path = chromium()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = path
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.set_script_timeout(120)
            yield Browser(driver)
        finally:
            driver.quit()
