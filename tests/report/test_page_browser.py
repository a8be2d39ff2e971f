"""The page in a real browser: what a reader sees, sorts, filters and compares."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from ldsmc_bench import toyfaces
from ldsmc_bench.report.page.__main__ import build
from ldsmc_bench.text import number
from tests.report.browser import ABSENT, complaints, installed, one, requested, texts, wait
from tests.report.stored import stored

pytestmark = pytest.mark.skipif(not installed(), reason=ABSENT)
IDS = toyfaces.ids("test")[:66]  # more than a sheet of small pictures holds
LOST = IDS[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    stored(results, "ldsmc", "box", IDS, particles=5)
    stored(results, "ldsmc", "box", IDS[:4], particles=1)
    stored(results, "dps", "box", IDS, lost={LOST: "the result is not finite"})
    stored(results, "psld", "denoise", IDS[:4])
    build(results)
    return results


@pytest.fixture
def page(driver: WebDriver, results: Path) -> Iterator[WebDriver]:
    """The page, freshly opened. Whatever a test does with it, the console stays silent and no network is asked."""
    driver.get("about:blank")
    complaints(driver), requested(driver)
    driver.get((results / "page" / "index.html").as_uri())
    yield driver
    assert complaints(driver) == []
    addresses = requested(driver)
    assert addresses and {address.partition(":")[0] for address in addresses} <= {"file", "data"}
    assert all(results.name in address for address in addresses if address.startswith("file"))


def column(page: WebDriver, heading: str) -> list[float]:
    """The numbers of a column of the table of runs."""
    place = [text.strip() for text in texts(page, "#run-table thead button")].index(heading) + 1
    return [float(text.split(" ")[0]) for text in texts(page, f"#run-table tbody tr > :nth-child({place})")]


def heading(page: WebDriver, text: str) -> WebElement:
    buttons = page.find_elements(By.CSS_SELECTOR, "#run-table thead button")
    return next(button for button in buttons if button.text.strip() == text)


def chip(page: WebDriver, value: str) -> WebElement:
    return one(page, f'.chip input[value="{value}"]')


def show(page: WebDriver, section: str, ready: str) -> None:
    """Scroll to a section, which draws it, and wait until it is there."""
    page.execute_script("document.getElementById(arguments[0]).scrollIntoView({behavior: 'instant'})", section)
    wait(page, lambda page: page.find_elements(By.CSS_SELECTOR, ready))


def tile(page: WebDriver, image_id: str, name: str) -> WebElement:
    return one(page, f'#wall button[aria-label^="{image_id}, {name}"]')


def shown(page: WebDriver, image_id: str, name: str) -> str:
    """The style that makes a tile show its picture."""
    return str(tile(page, image_id, name).find_element(By.TAG_NAME, "span").get_attribute("style"))


def test_the_runs_are_there_at_once_and_a_heading_sorts_them(page: WebDriver) -> None:
    assert len(texts(page, "#run-table tbody tr")) == 4
    assert texts(page, "#count") == ["4 of 4 runs"]
    button = heading(page, "PSNR")
    button.click()
    values = column(page, "PSNR")
    assert values == sorted(values, reverse=True) and len(set(values)) == 4  # the best first
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)  # it has kept the focus
    assert column(page, "PSNR") == values[::-1]
    assert len(page.find_elements(By.CSS_SELECTOR, "#run-table th[aria-sort]")) == 1
    heading(page, "N").click()
    assert column(page, "N") == [1, 1, 1, 5]


def test_filters_say_how_many_runs_are_left(page: WebDriver) -> None:
    chip(page, "ldsmc").send_keys(Keys.SPACE)
    assert texts(page, "#count") == ["2 of 4 runs"]
    assert all("LD-SMC" in row for row in texts(page, "#run-table tbody tr"))
    chip(page, "psld").send_keys(Keys.SPACE)
    assert len(texts(page, "#run-table tbody tr")) == 3
    chip(page, "denoise").send_keys(Keys.SPACE)
    assert len(texts(page, "#run-table tbody tr")) == 1
    one(page, "button[type=reset]").click()
    wait(page, lambda page: texts(page, "#count") == ["4 of 4 runs"])
    one(page, "#words").send_keys("box n=5")
    assert texts(page, "#count") == ["1 of 4 runs"]
    assert one(page, "#count").get_attribute("aria-live") == "polite"
    one(page, "#words").send_keys(" no such run")
    assert texts(page, "#count") == ["0 of 4 runs"] and not texts(page, "#run-table tbody tr")


def test_the_wall_has_a_row_an_image_and_loads_what_is_near(page: WebDriver) -> None:
    assert not page.find_elements(By.CSS_SELECTOR, "#image-table tr")  # nothing before it comes near
    show(page, "pictures", "#wall tbody tr")
    head = texts(page, "#wall thead th")
    assert head == ["image", "truth", "measurement", "DPS", "LD-SMC N=1", "LD-SMC N=5"]
    assert len(texts(page, "#wall tbody tr")) == 16
    assert "failed" in texts(page, "#wall tbody tr:nth-child(3)")[0]
    assert texts(page, "#wall .pager span") == ["1–16 of 66"]
    assert "url(" not in shown(page, IDS[15], "truth")
    wait(page, lambda page: "url(" in shown(page, IDS[0], "truth"))
    Select(one(page, "#wall-problem")).select_by_index(1)
    wait(page, lambda page: len(texts(page, "#wall tbody tr")) == 4)


def test_the_wall_follows_the_filters(page: WebDriver) -> None:
    show(page, "pictures", "#wall tbody tr")

    def head() -> list[str]:
        return texts(page, "#wall thead th")

    page.execute_script("arguments[0].click()", chip(page, "denoise"))
    wait(page, lambda page: head() == ["image", "truth", "measurement", "PSLD"])
    page.execute_script("arguments[0].click()", chip(page, "denoise"))
    page.execute_script("arguments[0].click()", chip(page, "box"))
    wait(page, lambda page: head() == ["image", "truth", "measurement", "DPS", "LD-SMC N=1", "LD-SMC N=5"])
    assert len(texts(page, "#wall-problem option")) == 1
    one(page, "#words").send_keys("no such run")
    wait(page, lambda page: texts(page, "#wall") == ["No run with pictures is shown."])
    page.execute_script("document.querySelector('button[type=reset]').click()")
    wait(page, lambda page: len(texts(page, "#wall tbody tr")) == 16)
    assert len(texts(page, "#wall-problem option")) == 2


def test_rows_of_images_follow_the_filters(page: WebDriver) -> None:
    show(page, "images", "#image-table tbody tr")
    one(page, "#words").send_keys("no such run")
    wait(page, lambda page: texts(page, "#image-table") == ["No run is shown."])
    assert texts(page, "#image-count") == [""] and texts(page, "#image-run option") == []
    page.execute_script("document.querySelector('button[type=reset]').click()")
    wait(page, lambda page: texts(page, "#image-table tbody tr"))
    page.execute_script(  # asked for and taken back before the rows have come
        "const words = document.getElementById('words'); waiting.clear();"
        "for (const text of ['psld', 'no such run']) { words.value = text; words.dispatchEvent(new Event('input')); }"
    )
    page.execute_async_script("Promise.all([...waiting.values()].map((entry) => entry.promise)).then(arguments[0])")
    assert texts(page, "#image-table") == ["No run is shown."] and texts(page, "#wall tbody tr") == []


def test_arrow_keys_move_between_pictures_of_which_one_is_a_tab_stop(page: WebDriver) -> None:
    show(page, "pictures", "#wall tbody tr")
    tile(page, IDS[0], "truth").send_keys(Keys.ARROW_DOWN)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    label = page.switch_to.active_element.get_attribute("aria-label")
    assert label == f"{IDS[1]}, measurement"
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)  # over the picture that failed
    assert page.switch_to.active_element.get_attribute("aria-label").startswith(f"{LOST}, LD-SMC N=1")
    assert len(page.find_elements(By.CSS_SELECTOR, '#wall button[tabindex="0"]')) == 1


def test_the_slider_shows_one_picture_or_the_other(page: WebDriver, results: Path) -> None:
    show(page, "pictures", "#wall tbody tr")
    image_id = IDS[65]  # of the second sheet, on the last page
    for _ in range(4):
        page.execute_script("document.querySelector('#wall .pager button:last-child').click()")
        before = texts(page, "#wall tbody th")
        wait(page, lambda page, before=before: page.execute_script("return document.readyState") and before)
    wait(page, lambda page: image_id in texts(page, "#wall tbody th"))
    tile(page, image_id, "LD-SMC N=5").send_keys(Keys.ENTER)
    wait(page, lambda page: page.find_elements(By.CSS_SELECTOR, "dialog[open] #layer-right img"))
    wait(page, lambda page: page.execute_script("return document.querySelector('#layer-right img').naturalWidth") == 64)
    slider = page.switch_to.active_element
    assert slider.get_attribute("id") == "slider" and slider.get_attribute("type") == "range"
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("value") == "51"
    assert slider.get_attribute("aria-valuetext") == "51 % truth, 49 % LD-SMC N=5"
    wait(page, lambda page: "url(" in one(page, "#layer-left span").get_attribute("style"))
    [run] = [path for path in (results / "runs").glob("ldsmc-box-*") if (path / "images" / f"{image_id}.png").exists()]
    with Image.open(run / "images" / f"{image_id}.png") as kept:
        restored = np.array(kept, dtype=float)
    truth = toyfaces.array(image_id).astype(float)
    slider.send_keys(Keys.HOME)
    assert apart(stage(page), restored) < 0.5 * apart(stage(page), truth)
    slider.send_keys(Keys.END)
    wait(page, lambda page: apart(stage(page), truth) < 0.5 * apart(stage(page), restored))
    one(page, "#compare-next").click()
    assert one(page, "#compare-title").text == IDS[0]
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find_elements(By.CSS_SELECTOR, "dialog[open]")


def stage(page: WebDriver) -> np.ndarray:
    """What the slider's stage shows, without its lower edge with the captions and the middle with the knob."""
    with Image.open(io.BytesIO(one(page, ".stage").screenshot_as_png)) as shot:
        return np.array(shot.convert("RGB").resize((64, 64), Image.Resampling.BOX), dtype=float)


def apart(shown: np.ndarray, picture: np.ndarray) -> float:
    return float(np.abs(shown - picture)[4:26, 8:56].mean())


def test_rows_of_one_run_sort_and_say_why_an_image_failed(page: WebDriver) -> None:
    show(page, "images", "#image-table tbody tr")
    Select(one(page, "#image-run")).select_by_visible_text("box inpainting: DPS")
    wait(page, lambda page: texts(page, "#image-count") == ["66 of 66 images"])
    assert len(texts(page, "#image-table tbody tr")) == 25
    one(page, "#image-words").send_keys(LOST)
    wait(page, lambda page: texts(page, "#image-count") == ["1 of 66 images"])
    assert "failed: the result is not finite" in texts(page, "#image-table tbody tr")[0]


def test_numbers_are_printed_as_in_the_terminal(page: WebDriver) -> None:
    draw = np.random.default_rng(0)
    values = [24.12499, 24.125, 24.135, 12345.675, 0.5, 1.5, -0.001, -2.5, -1.005, 1e-9, 0, 312.5, 1e12, 5e-324]
    cases = [(value, digits) for value in [*values, *draw.normal(0, 30, 100)] for digits in range(5)]
    printed = page.execute_script("return arguments[0].map(([value, digits]) => number(value, digits))", cases)
    assert printed == [number(value, digits).replace("-", "−") for value, digits in cases]


def test_curves_of_what_varies_and_of_what_it_costs(page: WebDriver) -> None:
    show(page, "curves", "#curve-plots figure")
    axis = Select(one(page, "#curve-axis"))
    assert [option.text for option in axis.options] == ["particles N", "s/image", "passes"]
    assert len(texts(page, "#curve-plots figure")) == 1  # one task has runs that differ in nothing else
    axis.select_by_visible_text("passes")
    wait(page, lambda page: "Pareto front" in one(page, "#curve-note").text)
    marks = page.find_elements(By.CSS_SELECTOR, "#curve-plots figure:first-child .marker")
    assert len(marks) == 3
    wait(page, lambda page: page.find_elements(By.CSS_SELECTOR, "#ess figure .line"))


def test_every_control_has_a_name_and_every_table_a_caption(page: WebDriver) -> None:
    for section, ready in (("pictures", "#wall tr"), ("curves", "#curve-plots svg"), ("images", "#image-table tr")):
        show(page, section, ready)
    nameless = page.execute_script(
        "return [...document.querySelectorAll('input, select, button')].filter(e => e.checkVisibility() && "
        "!(e.ariaLabel || e.innerText || [...(e.labels ?? [])].some(l => l.innerText.trim()))).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.execute_script("return [...document.querySelectorAll('main table')].every(t => t.caption?.innerText)")
    assert page.execute_script("return [...document.querySelectorAll('svg[role=img]')].every(e => e.ariaLabel)")
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_a_page_without_runs_is_a_page(driver: WebDriver, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    driver.get(build(tmp_path).as_uri())
    assert texts(driver, "#count") == ["0 of 0 runs"] and complaints(driver) == []


@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_but_tables_is_wider_than_the_window(page: WebDriver, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        show(page, "pictures", "#wall tbody tr")
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
