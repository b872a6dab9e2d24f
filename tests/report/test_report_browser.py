"""The report as its readers use it: opened in a headless Chromium, at the width of a desktop and of a phone."""

import base64
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from cellmemory.report.colours import THEMES
from tests.made.report_inputs import NASTY, write_page

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")
DESKTOP, PHONE = (1400, 900), (390, 844)
PATIENCE = 90  # seconds; of itself a script has 30, too few where other work shares the cores
both_widths = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    """A headless Chromium with a fresh profile that saves files to its `downloads`."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium or chromedriver is not on the PATH (on Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(PATIENCE)
    driver.downloads = tmp_path_factory.mktemp("downloads")
    driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(driver.downloads)})
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def run_page(chromium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of two samples with everything that a report can show."""
    return write_page(tmp_path_factory.mktemp("run"), spatial=True, levels=True)


def opened(driver, path: Path, size: tuple[int, int] = DESKTOP):
    """Opens a page and waits until all of its figures are drawn."""
    for saved in driver.downloads.iterdir():
        saved.unlink()
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.get_log("browser")
    driver.get(path.as_uri())
    wait(lambda: driver.execute_script("return document.documentElement.dataset.drawn === 'yes'"))
    return driver


def wait(condition) -> object:
    """Waits until something is true; returns it."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, condition
        time.sleep(0.1)
    return value


def find(driver, css: str):
    """The first element of a selector."""
    from selenium.webdriver.common.by import By

    return driver.find_element(By.CSS_SELECTOR, css)


def choose(driver, css: str, option: str) -> None:
    """Chooses an option of a select by its text, as a user does."""
    from selenium.webdriver.support.select import Select

    Select(find(driver, css)).select_by_visible_text(option)


def click(driver, css: str) -> None:
    """Clicks what a user would first scroll to."""
    driver.execute_script("arguments[0].click()", find(driver, css))


DRAWN = """return [...document.querySelectorAll('.plot')].filter(p => !p.hidden && !p.closest('[hidden], details:not([open])'))
    .filter(p => !p.querySelector('.main-svg') || !p.data || !p.data.length)
    .map(p => p.closest('figure').getAttribute('aria-labelledby'))"""


@both_widths
def test_every_figure_is_drawn_without_an_error(chromium, run_page: Path, size):
    driver = opened(chromium, run_page, size)
    assert driver.execute_script(DRAWN) == []
    assert driver.execute_script("return document.querySelectorAll('.main-svg').length") > 10
    assert driver.get_log("browser") == []
    # Nothing is wider than the screen, but for what scrolls within its own frame.
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    loaded = "return performance.getEntriesByType('resource').filter(e => /^(https?|ftp|ws)/.test(e.name)).map(e => e.name)"
    assert driver.execute_script(loaded) == []


def test_what_is_about_the_model_is_folded_until_it_is_asked_for(chromium, run_page: Path):
    driver = opened(chromium, run_page)
    folded = "return [...document.querySelectorAll('details.advanced section')].map(section => section.id)"
    assert driver.execute_script(folded) == ["confidence", "sets", "slots", "training", "about"]
    assert driver.execute_script("return document.querySelector('details.advanced').open") is False
    click(driver, '.contents a[href="#slots"]')
    width = "return (document.querySelector('[data-figure=slots] .main-svg') || { clientWidth: 0 }).clientWidth"
    wait(lambda: driver.execute_script(width) > 500)
    assert driver.execute_script(DRAWN) == []
    assert driver.get_log("browser") == []


def test_every_choice_of_every_figure_draws(chromium, run_page: Path):
    driver = opened(chromium, run_page)
    driver.execute_script(
        "for (const s of document.querySelectorAll('figure select')) for (const o of s.options)"
        " { s.value = o.value; s.dispatchEvent(new Event('change', { bubbles: true })); }"
    )
    assert driver.get_log("browser") == []


@both_widths
def test_a_table_filters_sorts_and_exports(chromium, run_page: Path, size):
    driver = opened(chromium, run_page, size)
    find(driver, '[data-table="tag_table"] input').send_keys("lyz mono")
    rows = driver.execute_script("return [...document.querySelectorAll('[data-table=tag_table] tbody tr')].map(r => r.innerText)")
    assert rows
    assert all("LYZ" in row and "Monocyte" in row for row in rows)
    click(driver, '[data-table="tag_table"] th:nth-child(5) button')
    assert find(driver, '[data-table="tag_table"] th:nth-child(5)').get_attribute("aria-sort") == "descending"
    click(driver, '[data-table="tag_table"] [data-save=csv]')
    path = chromium.downloads / "Run_of_2_samples.tag_table.csv"
    wait(path.exists)
    saved = pd.read_csv(path)
    assert set(saved["Gene"]) == {"LYZ"}
    assert saved["Attention"].is_monotonic_decreasing
    assert driver.get_log("browser") == []


@both_widths
def test_colours_genes_samples_and_theme_are_switched(chromium, run_page: Path, size):
    from selenium.webdriver.common.keys import Keys

    driver = opened(chromium, run_page, size)
    choose(driver, '[data-explorer="umap"] [data-choice="colour"]', "Confidence")
    scale = "return document.querySelector('[data-explorer=umap] .plot.tall').data.at(-1).marker.cmax"
    assert driver.execute_script(scale) == 1
    choose(driver, '[data-explorer="umap"] [data-choice="reference"]', "hidden")
    assert driver.execute_script("return document.querySelector('[data-explorer=umap] .plot.tall').data.length") == 1

    gene = find(driver, '[data-explorer="umap"] [data-choice="gene"]')
    gene.clear()
    gene.send_keys("nkg7", Keys.TAB)
    title = "return document.querySelector('[data-explorer=umap] .plot.genes').layout.annotations.map(a => a.text)"
    assert driver.execute_script(title) == ["NKG7: expression", "NKG7: attention"]
    gene.clear()
    gene.send_keys("no such gene", Keys.TAB)
    assert "not among them" in find(driver, '[data-explorer="umap"] .gene-part .hint').text

    tissue = "const plot = document.querySelector('[data-explorer=tissue] .plot.{}'); "
    for plot in ("tall", "genes"):
        length, words = driver.execute_script(
            tissue.format(plot) + "const [bar] = plot.layout.shapes; return [bar.x1 - bar.x0, plot.layout.annotations[0].text]"
        )
        assert length == pytest.approx(float(words))

    choose(driver, '[data-figure="tags"] [data-name="Sample"]', "unseen_type")
    followed = "return document.querySelector('[data-figure=slots] [data-name=Sample]').selectedOptions[0].textContent"
    assert driver.execute_script(followed) == "unseen_type"

    button = find(driver, "#theme")
    before = driver.execute_script("return document.querySelector('[data-figure=tags] .plot').layout.font.color")
    while "dark" not in button.text:
        button.click()
    after = driver.execute_script("return document.querySelector('[data-figure=tags] .plot').layout.font.color")
    assert before != after
    assert driver.execute_script("return document.documentElement.dataset.theme") == "dark"
    while "auto" not in button.text:
        button.click()
    assert driver.get_log("browser") == []


IN_THE_BOX = """const plot = document.querySelector('[data-explorer=umap] .plot.tall');
    const { x0, x1, y0, y1 } = plot.layout.selections[0];
    const within = (v, a, b) => v >= Math.min(a, b) && v <= Math.max(a, b);
    const chosen = (trace) => trace.x.filter((x, i) => within(x, x0, x1) && within(trace.y[i], y0, y1));
    return plot.data.filter((trace) => trace.customdata).flatMap((trace) => chosen(trace).map(() => trace.name))"""


def test_cells_are_chosen_with_a_box_and_saved(chromium, run_page: Path):
    from selenium.webdriver.common.action_chains import ActionChains

    driver = opened(chromium, run_page)
    area, said = find(driver, "[data-explorer=umap] .plot.tall .nsewdrag"), find(driver, "[data-explorer=umap] .selected")
    assert not said.is_displayed()
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", area)
    click(driver, "[data-explorer=umap] .plot.tall .modebar-btn[data-val=select]")
    width, height = area.size["width"], area.size["height"]
    drag = ActionChains(driver, duration=50).move_to_element_with_offset(area, 30 - width // 2, 30 - height // 2).click_and_hold()
    for _ in range(5):
        drag.move_by_offset(width // 10, height // 10)
    drag.release().perform()
    wait(said.is_displayed)
    labels = pd.Series(driver.execute_script(IN_THE_BOX)).value_counts()
    assert len(labels) > 1
    traces = "document.querySelector('[data-explorer=umap] .plot.tall').data.filter((trace) => trace.customdata)"
    n = driver.execute_script(f"return {traces}.reduce((sum, trace) => sum + trace.x.length, 0)")
    assert 0 < labels.sum() < n
    text = said.find_element("css selector", "p").text
    assert text.startswith(f"{labels.sum():,} of {n:,} cells drawn: {labels.iloc[0]} {labels.index[0]}, ")
    assert "Highest above the other cells drawn: " in text
    click(driver, "[data-explorer=umap] .selected button")
    path = chromium.downloads / "Run_of_2_samples.umap.cells.csv"
    wait(path.exists)
    saved = pd.read_csv(path)
    assert saved["Label"].value_counts().to_dict() == labels.to_dict()
    assert saved.columns.tolist() == ["Cell", "Sample", "Label", "Best guess", "Confidence", "Status"]
    # In other colours the points are other ones.
    choose(driver, '[data-explorer="umap"] [data-choice="colour"]', "Confidence")
    wait(lambda: not said.is_displayed())
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_figure_is_saved(chromium, run_page: Path, kind: str):
    driver = opened(chromium, run_page)
    click(driver, f"[data-figure=tags] [data-save={kind}]")
    path = chromium.downloads / f"Run_of_2_samples.tags.{kind}"
    wait(path.exists)
    assert path.read_bytes()[:4] in (b"<svg", b"\x89PNG")


def test_it_prints_on_white_and_is_as_before_then(chromium, run_page: Path):
    driver = opened(chromium, run_page)
    while "dark" not in find(driver, "#theme").text:
        click(driver, "#theme")
    # What a print finds: points as shapes, since those of the graphics card come a frame too late.
    driver.execute_script(
        "window.found = []; addEventListener('beforeprint', () => { for (const p of document.querySelectorAll('.plot'))"
        " if (p.data && p.offsetParent) window.found.push([p.layout.font.color, p.layout.width, p.data[0].type]); })"
    )
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert base64.b64decode(printed)[:5] == b"%PDF-"
    found = driver.execute_script("return window.found")
    assert len(found) > 10
    assert {(colour, width) for colour, width, _ in found} == {(THEMES["light"]["@ink"], 700)}
    assert "scattergl" not in {kind for *_, kind in found}
    after = "return document.querySelector('[data-explorer=umap] .plot.tall')"
    wait(lambda: driver.execute_script(f"{after}.data[0].type") == "scattergl")
    assert driver.execute_script(f"{after}.layout.font.color") == THEMES["dark"]["@ink"]
    while "auto" not in find(driver, "#theme").text:
        click(driver, "#theme")
    assert driver.get_log("browser") == []


def test_nasty_names_are_shown_literally(chromium, tmp_path: Path):
    driver = opened(chromium, write_page(tmp_path, samples=("reduced_panel",), rename=NASTY))
    assert driver.execute_script("return window.hacked") is None
    assert driver.execute_script("return document.querySelectorAll('main img').length") == 0
    assert driver.execute_script("return document.querySelectorAll('main b').length") == driver.execute_script(
        "return document.querySelectorAll('.tiles b').length"
    )
    cells = driver.execute_script(
        "return [...document.querySelectorAll('[data-table=reference_labels] tbody td:first-child')]"
        ".map(cell => cell.textContent)"
    )
    assert {NASTY["CD34+"], NASTY["CD56+ NK"], NASTY["Dendritic"], "007"} <= set(cells)
    ticks = driver.execute_script(
        "return [...document.querySelectorAll('[data-figure=confusion] .yaxislayer-above text, "
        "[data-figure=confusion] .ytick text')].map(t => t.textContent)"
    )
    assert any(tick.startswith("<script>window.hacked") for tick in ticks)
    csv = driver.execute_script("return document.querySelector('[data-table=reference_labels]').table.csv()")
    assert "'=cmd" in csv
    assert driver.get_log("browser") == []


def test_the_keyboard_reaches_everything(chromium, run_page: Path):
    driver = opened(chromium, run_page)
    unreachable = driver.execute_script(
        "return [...document.querySelectorAll('button, select, input, a[href]')].filter(e => e.tabIndex < 0).length"
    )
    assert unreachable == 0
    unnamed = driver.execute_script("return [...document.querySelectorAll('select, input')].filter(e => !e.labels.length).length")
    assert unnamed == 0
