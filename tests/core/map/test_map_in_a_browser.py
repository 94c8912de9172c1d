"""The page of a map, opened from disk in a real browser that has no network."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from twofold import HashingEncoder, Index, Passage
from twofold.map import Categories, CorpusMap

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE = {"width": 1400, "height": 850}
QUERIES = ["stem cells in embryonic development", "breast cancer patients"]
HOSTILE = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    "<a href='javascript:window.owned = 1'>link</a> &lt;b&gt; $x^2$ %{x} "
)


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(
            f"none of {', '.join(BROWSERS)} is on the PATH: install Chromium, on Debian with "
            "'apt-get install chromium' (make test-all does so as root)"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a map; give the page, and what it asked for and complained of."""
    context = chromium.new_context(offline=True, viewport=SIZE)

    def show(drawn):
        page, requests, complaints = context.new_page(), [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda line: complaints.append(line.text) if line.type == "error" else None,
        )
        drawn.write(tmp_path / "map.html")
        page.goto((tmp_path / "map.html").as_uri())
        page.wait_for_selector(".legendtext")
        return page, requests, complaints

    yield show
    context.close()


def middle(element):
    box = element.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def hover(page, element):
    """Move the mouse onto a point, and return the hover box.

    On its way the mouse passes other points, whose box may show first: `expect` waits for the last.
    """
    page.mouse.move(5, 5)
    page.wait_for_selector(".hoverlayer .hovertext", state="detached")
    page.mouse.move(*middle(element), steps=5)
    return page.locator(".hoverlayer .hovertext")


def test_a_page_shows_points_stars_and_lines(opened, library):
    drawn = CorpusMap.from_index(library, QUERIES, sample=80)
    page, requests, complaints = opened(drawn)
    rings = sum(len({*q.dense.positions, *q.lexical.positions}) for q in drawn.queries)
    # Lines have a marker for each end at a hit; those at the query have no size.
    shown = page.evaluate(
        """() => [...document.querySelectorAll('.scatterlayer .point')]
            .filter(e => e.getBoundingClientRect().width > 0).length"""
    )
    assert shown >= len(drawn.passages) + rings + len(QUERIES)
    numbers = page.locator(".scatterlayer .textpoint").all_text_contents()
    assert numbers == ["1", "2"]
    dashes = page.eval_on_selector_all(
        ".scatterlayer .js-line", "all => all.map(e => e.style.strokeDasharray)"
    )
    assert len(dashes) >= 4
    assert any(dashes)  # lexical
    assert not all(dashes)  # dense
    legend = page.locator(".legend").text_content()
    for query in QUERIES:
        assert query.split()[0] in legend
    assert page.locator(".gtitle").text_content().startswith("The passages of")
    assert f"{len(drawn.passages)} of 300 passages shown" in (
        page.locator(".gtitle-subtitle").text_content()
    )
    assert len(requests) == 1
    assert requests[0].startswith("file://")
    assert complaints == []
    buttons = page.eval_on_selector_all(
        ".modebar-btn", "all => all.map(e => e.getAttribute('data-title'))"
    )
    assert any("PNG" in name for name in buttons)
    assert not any("hare" in name or "loud" in name for name in buttons)  # nothing is uploaded


def test_hovering_shows_the_passage_and_its_scores(opened, library):
    drawn = CorpusMap.from_index(library, QUERIES[:1], sample=30, k=3)
    page, _, _ = opened(drawn)
    place = int(drawn.queries[0].dense.positions[2])
    at = page.evaluate(
        """([x, y]) => {
            const axes = document.getElementById('map')._fullLayout;
            const box = document.querySelector('.nsewdrag').getBoundingClientRect();
            return [box.x + axes.xaxis.l2p(x), box.y + axes.yaxis.l2p(y)];
        }""",
        drawn.points[place].tolist(),
    )
    page.mouse.move(*at)
    said = page.wait_for_selector(".hoverlayer .hovertext").text_content()
    passage = drawn.passages[place]
    assert said.startswith(passage.id)
    assert " ".join(passage.title.split()[:4]) in said
    assert " ".join(passage.text.split()[:5]) in said
    assert f"dense rank 3, score {drawn.queries[0].dense.scores[2]:.3f}" in said
    star = page.locator(".scatterlayer .trace").last.locator(".point")
    expect(hover(page, star)).to_have_text("query" + QUERIES[0])


def test_a_legend_entry_hides_and_shows_its_trace(opened, library):
    drawn = CorpusMap.from_index(library, QUERIES[:1], sample=30)
    page, _, _ = opened(drawn)
    entry = page.locator(".legend .traces", has_text="lexical only")
    before = page.locator(".scatterlayer .js-line").count()  # each line is one
    lexical = set(drawn.queries[0].lexical.positions) - set(drawn.queries[0].dense.positions)
    entry.locator(".legendtoggle").click()
    expect(page.locator(".scatterlayer .js-line")).to_have_count(before - len(lexical))
    entry.locator(".legendtoggle").click()
    expect(page.locator(".scatterlayer .js-line")).to_have_count(before)


def test_hostile_text_is_shown_and_never_run(opened, tmp_path):
    with Index.open(tmp_path / HOSTILE.replace("/", "_"), encoder=HashingEncoder()) as index:
        index.upsert(
            {
                "id": f"{n} {HOSTILE}",
                "title": HOSTILE,
                "text": f"{HOSTILE} number{n}",
                "metadata": {"kind": HOSTILE},
            }
            for n in range(5)
        )
        drawn = CorpusMap.from_index(index, [HOSTILE], color="kind")
    page, requests, complaints = opened(drawn)
    box = hover(page, page.locator(".scatterlayer .point").first)
    expect(box).to_contain_text("</script><script>window.owned = 1</script>")
    expect(box).to_contain_text("&lt;b&gt;")
    assert "<script>" in page.locator(".legend").text_content()
    assert page.evaluate("window.owned") is None
    assert page.locator("#map a[href^=javascript], #map img[src=x]").count() == 0
    assert (len(requests), complaints) == (1, [])


def test_the_page_keeps_to_itself_even_where_a_script_would_not(opened, library):
    page, _, _ = opened(CorpusMap.from_index(library, sample=10))
    assert page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'kept')") == "kept"
    blocked = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));
            document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}));
        })"""
    )
    assert blocked == "img-src"


@pytest.mark.parametrize(("color", "times"), [(None, 1), ("year", 1), ("year", 5)])
def test_a_screenshot_is_not_blank_and_nothing_overlaps(opened, library, color, times):
    page, _, complaints = opened(CorpusMap.from_index(library, QUERIES * times, color=color))
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    assert pixels.shape == (850, 1400, 3)
    assert 0.02 < (pixels.min(axis=2) < 250).mean() < 0.6
    assert (np.ptp(pixels, axis=2) > 40).mean() > 0.005
    plot = page.locator(".nsewdrag").bounding_box()
    legend = page.locator(".legend .bg").bounding_box()
    assert legend["x"] >= plot["x"] + plot["width"]
    assert legend["x"] + legend["width"] <= SIZE["width"]
    assert plot["width"] > SIZE["width"] / 2
    for bar in page.locator(".colorbar").all():
        assert bar.bounding_box()["y"] >= legend["y"] + legend["height"]
    assert complaints == []


def test_many_points_are_drawn_by_webgl(opened):
    count = 20_001
    points = np.random.default_rng(2).normal(size=(count, 2))
    passage = Passage(id="1", text="text")
    drawn = CorpusMap(
        title="many",
        method="pca",
        shares=(0.5, 0.5),
        total=count,
        unplaced=0,
        passages=(passage,) * count,
        points=points,
        coloring=Categories("all", ("all",), np.zeros(count, np.int64)),
        queries=(),
    )
    page, _, complaints = opened(drawn)
    expect(page.locator(".gl-canvas").first).to_be_attached()
    expect(page.locator(".scatterlayer .point")).to_have_count(0)
    expect(page.locator("body")).not_to_contain_text("WebGL is not supported")
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert (np.ptp(np.asarray(image).astype(int), axis=2) > 40).mean() > 0.02
    assert complaints == []
