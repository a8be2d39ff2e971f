"""A real browser without a window, for pages from the file system. Only what Debian's chromium packages install."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
ABSENT = "no chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)"


def installed() -> bool:
    return None not in (shutil.which("chromium"), shutil.which("chromedriver"))


@contextmanager
def browser(profile: Path, width: int = 1300, height: int = 900) -> Iterator[WebDriver]:
    """Chromium with an empty profile, which notes what its console says and what it asks the network for."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*QUIET, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield driver
    finally:
        driver.quit()


def complaints(driver: WebDriver) -> list[str]:
    """What the console has said since the last call."""
    return [f"{line['level']}: {line['message']}" for line in driver.get_log("browser")]


def requested(driver: WebDriver) -> list[str]:
    """The addresses that the browser asked for since the last call."""
    messages = (json.loads(line["message"])["message"] for line in driver.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def wait(page: WebDriver, condition: Callable[[WebDriver], object]) -> None:
    WebDriverWait(page, 20).until(condition)


def one(page: WebDriver, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def texts(page: WebDriver, selector: str) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)
