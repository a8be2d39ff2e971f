"""What a reader of the page takes along: addresses of a view, a run's drawer, two rows compared, layers and files."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from ldsmc_bench import toyfaces
from ldsmc_bench.report.page.__main__ import build
from ldsmc_bench.report.table import with_error
from tests.report.browser import ABSENT, complaints, installed, one, texts, wait
from tests.report.stored import stored

pytestmark = pytest.mark.skipif(not installed(), reason=ABSENT)
IDS = toyfaces.ids("test")[:8]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        stored(results, "ldsmc", "box", IDS, seed=seed, particles=5)
        stored(results, "latent_dps", "box", IDS, seed=seed)
    unfinished = stored(results, "dps", "box", IDS[:3])
    (asked := unfinished / "requested.json").write_text(json.dumps(json.loads(asked.read_text()) | {"images": [8]}))
    drawn = stored(results, "psld", "denoise", IDS[:4])
    for folder in ("records", "images"):
        shutil.copytree(drawn / folder, drawn / "draws" / "1" / folder)
    (asked := drawn / "requested.json").write_text(json.dumps(json.loads(asked.read_text()) | {"images": [4, 4]}))
    for i, path in enumerate(sorted(drawn.glob("draws/1/records/*.json"))):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"draw": 1, "metrics": {"psnr": 10.0 + i}}))
    for folder in ("tables", "figures"):  # as calibration and leaderboard leave them
        (results / folder).mkdir()
    medians = [
        "world,calls,method,exact_for,particles,sw1_ratio,low,high,like_best,n",
        "lattice,100,DPS,,1,1.3,1,2,1,6",
    ]
    (results / "tables" / "leaderboard-medians.csv").write_text("\n".join(medians))
    for name in ("leaderboard", "ranks-box"):
        Image.new("RGB", (40, 30)).save(results / "figures" / f"{name}.png")
    build(results)
    return results


@pytest.fixture
def page(driver: WebDriver, results: Path) -> Iterator[WebDriver]:
    complaints(driver)
    show(driver, results, "")
    yield driver
    assert complaints(driver) == []


def show(driver: WebDriver, results: Path, view: str) -> None:
    """Open the page at this address, afresh."""
    driver.get("about:blank")
    driver.get((results / "page" / "index.html").as_uri() + view)


def saved(page: WebDriver, selector: str) -> tuple[str, str]:
    """The name and content of the file that a button saves."""
    page.execute_script("HTMLAnchorElement.prototype.click = function () { window.kept = [this.download, this.href]; }")
    page.execute_script("document.querySelector(arguments[0]).click()", selector)
    name, address = page.execute_script("return window.kept")
    return name, unquote(address.partition(",")[2])


def board(page: WebDriver) -> list[str]:
    return texts(page, "#board-table tbody th")


def address_has(page: WebDriver, *parts: str) -> None:
    wait(page, lambda page: all(part in page.current_url for part in parts))


def test_the_board_ranks_methods_of_one_problem_and_marks_what_is_unfinished(page: WebDriver) -> None:
    assert [row.split()[:2] for row in board(page)] == [["1", "LD-SMC"], ["2", "LDPS"], ["DPS", "3"]]  # DPS unranked
    assert "3 of 8 images" in board(page)[2] and "of 8" not in board(page)[0]
    assert texts(page, "#board-table tbody td:last-child") == ["8", "8", "3"]  # images, not images in each seed
    assert texts(page, "#summary") == ["6 runs · 4 methods · 2 tasks · 8 images"]
    marked = [row for row in texts(page, "#run-table tbody th") if "of 8 images" in row]
    assert len(marked) == 1 and marked[0].startswith("DPS")
    assert texts(page, "#board-choice option:checked")[0].startswith("box inpainting")
    one(page, '.chip input[value="denoise"]').send_keys(Keys.SPACE)
    assert len(board(page)) == 1 and "PSLD" in board(page)[0]
    one(page, "#words").send_keys("no such run")
    assert "No run matches" in texts(page, "#board-table")[0]
    one(page, "#board-table button").click()
    wait(page, lambda page: len(board(page)) == 3)


def test_curves_have_a_point_for_a_row_and_not_for_each_seed(page: WebDriver) -> None:
    page.execute_script("document.querySelector('nav a[href=\"#curves\"]').click()")
    wait(page, lambda page: texts(page, "#curve-plots figure, #curve-plots p"))
    Select(one(page, "#curve-axis")).select_by_visible_text("passes")
    box = "#curve-plots figure:first-child .marker"
    wait(page, lambda page: len(page.find_elements("css selector", box)) == 3)  # of five runs
    values = "PAGE.entries.find((entry) => entry.method === 'latent_dps').values.psnr"
    psnr, error = page.execute_script(f"return {values}")[:2]
    titles = page.execute_script(f"return [...document.querySelectorAll('{box}')].map((mark) => mark.textContent)")
    assert any(f"{psnr:.2f} ± {error:.2f}" in title for title in titles), titles
    wait(page, lambda page: texts(page, "#ess figure:first-child .legend li") == ["LD-SMC"])


def test_an_address_shows_the_same_view_again(page: WebDriver, results: Path) -> None:
    for value in ("ldsmc", "latent_dps"):
        one(page, f'.chip input[value="{value}"]').send_keys(Keys.SPACE)
    for _ in range(2):
        page.execute_script("document.querySelector('#board-table th:nth-child(3) button').click()")
    rows = board(page)
    assert texts(page, "#board-rank") == ["SSIM"] and rows[0].split()[1] == "LDPS"  # the worst first
    page.execute_script("document.querySelector('nav a[href=\"#curves\"]').click()")
    wait(page, lambda page: texts(page, "#curve-plots figure, #curve-plots p"))
    Select(one(page, "#curve-axis")).select_by_visible_text("passes")
    address_has(page, "#curves?", "sort=ssim", "axis=passes", "method=ldsmc,latent_dps")
    view = page.execute_script("return location.hash")
    show(page, results, view)
    assert board(page) == rows and texts(page, "#count") == ["4 of 6 runs"]
    wait(page, lambda page: texts(page, "#curve-axis option:checked") == ["passes"])
    wait(page, lambda page: abs(page.execute_script("return curves.getBoundingClientRect().top")) < 200)
    page.execute_script("document.querySelector('button[type=reset]').click()")
    wait(page, lambda page: "method=" not in page.current_url)


def test_a_drawer_shows_where_a_run_comes_from_and_what_differs(page: WebDriver, results: Path) -> None:
    one(page, "#board-table tbody .link").send_keys(Keys.ENTER)
    wait(page, lambda page: texts(page, "#drawer[open] tbody tr"))
    assert "commit" in texts(page, "#drawer-facts")[0].lower()
    assert ["sample.particles", "5"] in [row.split() for row in texts(page, "#drawer-config tbody tr")]
    [other] = [
        path.name
        for path in (results / "runs").glob("latent_dps-*")
        if "\nseed: 0" in (path / "config.yaml").read_text()
    ]
    Select(one(page, "#drawer-other")).select_by_value(other)
    wait(page, lambda page: "differs" in texts(page, "#drawer-config caption")[0])
    wait(page, lambda page: len(texts(page, "#drawer-config tbody tr")) == 2)
    assert {row.split()[0] for row in texts(page, "#drawer-config tbody tr")} == {"method", "sample.particles"}
    address_has(page, "run=ldsmc-", f"*{other}")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(page, lambda page: "run=" not in page.current_url)


def test_two_rows_are_compared_with_the_images_that_differ_most(page: WebDriver) -> None:
    one(page, "#board-pair").click()
    wait(page, lambda page: texts(page, "#pair-images tbody tr"))
    Select(one(page, "#pair-b")).select_by_visible_text("LDPS")
    wait(page, lambda page: "LDPS" in texts(page, "#pair-numbers thead")[0])
    psnr = next(row for row in texts(page, "#pair-numbers tbody tr") if row.startswith("PSNR"))
    assert "8 of 8 images, 2 seeds" in psnr and psnr.count("+") == 3  # the difference and both ends
    scores = [[float(score) for score in row.split()[-2:]] for row in texts(page, "#pair-images tbody tr")[1:5]]
    gaps = [ours - theirs for ours, theirs in scores]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] > 0
    address_has(page, "pair=ldsmc-", "*latent_dps-")
    page.execute_script("document.querySelector('#pair-images .tile').click()")
    wait(page, lambda page: page.find_elements("css selector", "#compare[open] #layer-right img"))
    assert texts(page, "#tag-left")[0].startswith("LD-SMC") and texts(page, "#tag-right")[0].startswith("LDPS")


def test_a_tile_shows_the_error_of_an_image(page: WebDriver, results: Path) -> None:
    show(page, results, "#pictures?layer=error&task=box")
    wait(page, lambda page: page.find_elements("css selector", "#wall .tile"))
    tile = one(page, f'#wall button[aria-label^="{IDS[0]}, LDPS"] .picture')
    wait(page, lambda page: "url(" in tile.value_of_css_property("background-image"))
    seed = texts(page, "#wall-problem option:checked")[0][-1]
    [run] = [p for p in (results / "runs").glob("latent_dps-*") if f"\nseed: {seed}" in (p / "config.yaml").read_text()]
    with Image.open(run / "images" / f"{IDS[0]}.png") as kept:
        gap = np.abs(np.array(kept, float) - toyfaces.array(IDS[0]))
    expected = Image.fromarray(np.clip(4 * gap.mean(axis=2), 0, 255).astype(np.uint8))

    def alike(_: object) -> bool:
        with Image.open(io.BytesIO(tile.screenshot_as_png)) as shot:
            pair = [
                np.array(one.convert("L").resize((16, 16), Image.Resampling.BOX), float) for one in (shot, expected)
            ]
        level = pair[0].mean() / pair[1].mean()
        return bool(0.95 < level < 1.05 and np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] > 0.97)

    wait(page, alike)


def test_numbers_under_another_draw_are_its_own(page: WebDriver, results: Path) -> None:
    show(page, results, "#pictures?task=denoise")
    wait(page, lambda page: page.find_elements("css selector", "#wall .tile"))
    first = texts(page, "#wall .tile small")
    Select(one(page, "#wall-layer")).select_by_value("draw 1")
    Select(one(page, "#wall-order")).select_by_value("hard")
    wait(page, lambda page: texts(page, "#wall .tile small") == ["10.00", "11.00", "12.00", "13.00"])
    assert len(first) == 4 and not {"10.00", "13.00"} & {*first}


def test_the_board_is_saved_as_csv_and_latex(page: WebDriver) -> None:
    name, text = saved(page, "#board-csv")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert name.endswith(".csv") and [line["method"] for line in lines] == ["ldsmc", "latent_dps", "dps"]
    printed = texts(page, "#board-table tbody tr:first-child td:nth-child(2)")[0]
    assert printed.startswith(f"{float(lines[0]['psnr']):.2f}") and lines[0]["psnr_rank"] == "1"
    assert [(line["images"], line["asked"]) for line in lines] == [("8", "8"), ("8", "8"), ("3", "8")]
    assert (lines[0]["psnr_seeds"], lines[2]["psnr_rank"]) == ("2", "")
    name, text = saved(page, "#board-latex")
    assert name.endswith(".tex") and text.count("\\\\\n") == 4 and r"$\mathbf{" in text
    assert r"DPS (3 of 8 images)" in text and r"\begin{tabular}{lrr" in text


def test_runs_are_saved_with_their_standard_errors(page: WebDriver, results: Path) -> None:
    name, text = saved(page, "#run-csv")
    lines = {line["run_id"]: line for line in csv.DictReader(io.StringIO(text))}
    assert name == "runs.csv" and len(lines) == 6
    for run, line in lines.items():
        records = [json.loads(path.read_text()) for path in (results / "runs" / run / "records").glob("*.json")]
        for key in ("psnr", "ssim"):
            values = [record["metrics"][key] for record in records]
            error = np.std(values, ddof=1) / len(values) ** 0.5
            assert [float(line[key]), float(line[f"{key}_se"])] == pytest.approx([np.mean(values), error])


def test_errors_are_printed_as_in_tables(page: WebDriver) -> None:
    for value, error, digits in (
        (24.127, 0.21, 2),
        (24.127, 0.0049, 2),
        (24.1, 1e-15, 2),
        (812.4, 0.4, 0),
        (0.5, None, 1),
    ):
        shown = page.execute_script(
            "return number(arguments[0], arguments[2]) + plusMinus(...arguments)", value, error, digits
        )
        assert shown == with_error(value, error, digits)


def test_a_plot_is_saved_as_a_drawing_by_itself(page: WebDriver) -> None:
    page.execute_script("document.getElementById('curves').scrollIntoView({behavior: 'instant'})")
    wait(page, lambda page: page.find_elements("css selector", "#curve-axis option"))
    Select(one(page, "#curve-axis")).select_by_visible_text("passes")
    wait(page, lambda page: page.find_elements("css selector", "#curve-plots .file"))
    name, text = saved(page, "#curve-plots .file")
    drawing = ElementTree.fromstring(text)
    assert name.endswith(".svg") and "var(" not in text and "class=" not in text
    assert {"LD-SMC", "LDPS", "DPS"} <= {text.text for text in drawing.findall(".//{*}text")}  # its legend
    assert not page.find_elements("css selector", "#curve-plots .taken")
    assert len(drawing.findall(".//{*}path")) >= 5 and "rgb(" in drawing.find(".//{*}path").get("stroke", "")


@contextmanager
def phone(page: WebDriver) -> Iterator[None]:
    """A window of 390 pixels."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_phone_shows_metrics_beside_the_methods(page: WebDriver, results: Path) -> None:
    with phone(page):
        show(page, results, "")
        for table in ("#board-table", "#run-table"):
            heads = page.find_elements("css selector", f"{table} thead th")
            assert [head.text.strip() for head in heads if head.is_displayed()][:2] == ["Method", "PSNR"]
            right = page.execute_script(
                f"return document.querySelector('{table} td.mean, {table} td.numeric').getBoundingClientRect().right"
            )
            assert right <= 390
        assert not page.execute_script("return document.getElementById('facet-box').open")


VIEWS = {  # what opens them, and what they show then
    "page": ("for (const one of document.querySelectorAll('details')) one.open = true", "#image-table tbody tr"),
    "slider": ("document.querySelector('#wall .tile').click()", "#compare[open] tbody tr"),
    "drawer": ("document.querySelector('#board-table tbody .link').click()", "#drawer[open] tbody tr"),
    "two rows": ("document.getElementById('board-pair').click()", "#pair[open] #pair-images tbody tr"),
}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing(page: WebDriver, results: Path, look: str) -> None:
    axe = files(pytest.importorskip("axe_core_python", reason="no axe-core here: pip install axe-core-python"))
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if look == "dark" else "light"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    with phone(page) if look == "phone" else nullcontext():
        show(page, results, "#curves?axis=passes")
        for section in ("pictures", "exactness", "curves", "images"):
            page.execute_script(f"document.getElementById('{section}').scrollIntoView({{behavior: 'instant'}})")
            drawn = f"#{section} :is(tbody tr, figure)"
            wait(page, lambda page, drawn=drawn: page.find_elements("css selector", drawn))
        page.execute_script((axe / "axe.min.js").read_text("utf-8"))
        found = {}
        for view, (opening, shown) in VIEWS.items():
            page.execute_script(opening)
            wait(page, lambda page, shown=shown: page.find_elements("css selector", shown))
            found[view] = page.execute_async_script(
                "axe.run({resultTypes: ['violations']}).then(({violations}) => arguments[0]("
                "violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' ')}`)))"
            )
            page.execute_script("document.querySelector('dialog[open]')?.close()")
    assert found == {view: [] for view in VIEWS}
