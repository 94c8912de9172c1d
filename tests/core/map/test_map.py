"""The map of a corpus: where points lie, what they say, and what happens where little is known."""

import io
import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from twofold import HashingEncoder, Index
from twofold.cli import app
from twofold.errors import InputError, QueryError
from twofold.map import Categories, CorpusMap, Scale, format_from_path
from twofold.map.colors import MISSING, OTHER

QUERY = "stem cells in embryonic development"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def ids(drawn, links):
    return [drawn.passages[place].id for place in links.positions]


def unsigned(points):
    """Points with axes turned so that the farthest point of each lies on the positive side."""
    farthest = np.abs(points).argmax(axis=0)
    return points * np.sign(points[farthest, [0, 1]])


def own_vectors(tmp_path, vectors, metric="euclidean", analyzer=None):
    index = Index.open(tmp_path / "own", dim=vectors.shape[1], metric=metric, analyzer=analyzer)
    texts = [{"id": str(place), "text": f"word{place}"} for place in range(len(vectors))]
    index.upsert(texts, vectors=vectors)
    return index


def test_points_are_the_principal_components(library):
    drawn = CorpusMap.from_index(library, [QUERY])
    texts = [passage.content for passage in library]
    vectors = HashingEncoder().encode_passages(texts).astype(np.float64)
    mean = vectors.mean(axis=0)
    _, lengths, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    query = HashingEncoder().encode_queries([QUERY]).astype(np.float64)
    expected = (np.concatenate([vectors, query]) - mean) @ axes[:2].T
    points = np.concatenate([drawn.points, drawn.queries[0].point[None]])
    assert [each.id for each in drawn.passages] == [each.id for each in library]
    np.testing.assert_allclose(unsigned(points), unsigned(expected), atol=1e-5)
    shares = lengths[:2] ** 2 / (lengths**2).sum()
    np.testing.assert_allclose(drawn.shares, shares, rtol=1e-5)
    assert f"two axes with {shares.sum():.1%} of the variance" in drawn.html()


def test_hits_are_those_of_the_retriever(library):
    from twofold import Retriever

    drawn = CorpusMap.from_index(library, [QUERY, "patients"], k=7)
    for place in drawn.queries:
        for leg, links in (("dense", place.dense), ("lexical", place.lexical)):
            hits = Retriever(library, mode=leg, k=7).retrieve(place.text)
            assert ids(drawn, links) == hits.ids
            np.testing.assert_allclose(links.scores, hits.scores)
            assert links.ranks.tolist() == list(range(1, len(hits) + 1))


def test_a_sample_keeps_every_hit_and_the_plane(library):
    asked = CorpusMap.from_index(library, [QUERY], sample=40, k=10)
    silent = CorpusMap.from_index(library, sample=40)
    assert len(silent.passages) == 40
    assert len(asked.passages) > 40
    hits = {*ids(asked, asked.queries[0].dense), *ids(asked, asked.queries[0].lexical)}
    assert len(hits) >= 10
    assert hits - {each.id for each in silent.passages}  # which the sample alone lacks
    # What is asked moves no passage.
    where = {each.id: point for each, point in zip(asked.passages, asked.points, strict=True)}
    kept = np.array([where[each.id] for each in silent.passages])
    np.testing.assert_allclose(kept, silent.points, atol=1e-12)
    assert f"{len(asked.passages)} of 300 passages shown" in asked.html()
    other = CorpusMap.from_index(library, sample=40, seed=1)
    assert {each.id for each in other.passages} != {each.id for each in silent.passages}


def test_the_same_arguments_give_the_same_files(library):
    first, second = (CorpusMap.from_index(library, [QUERY], sample=60) for _ in range(2))
    assert first.html() == second.html()
    assert first.png() == second.png()


def test_deleted_passages_are_not_drawn(index):
    index.upsert([{"id": str(n), "text": f"word{n} common"} for n in range(9)])
    index.delete(ids=["3"])
    drawn = CorpusMap.from_index(index, ["word3 common"])
    assert "3" not in {each.id for each in drawn.passages}
    assert (drawn.total, len(drawn.points)) == (8, 8)


def test_passages_are_coloured_by_a_category(index):
    kinds = ["many"] * 5 + ["rare"] + [f"kind {n:02}" for n in range(14) for _ in range(2)] + [None]
    index.upsert(
        {"id": str(n), "text": f"text {n}", "metadata": {"a": {"b": kind}} if kind else {}}
        for n, kind in enumerate(kinds)
    )
    coloring = CorpusMap.from_index(index, color="a.b").coloring
    assert isinstance(coloring, Categories)
    assert coloring.title == "a.b"
    assert coloring.names == ("many", *(f"kind {n:02}" for n in range(11)))
    by_id = coloring.codes.tolist()
    assert by_id[:6] == [0] * 5 + [OTHER]
    assert by_id[-1] == MISSING
    assert [name for _, name, _ in coloring.groups()][-2:] == ["other", "missing"]
    page = CorpusMap.from_index(index, color="a.b").html()
    assert '"symbol":"square"' in page  # the tenth category and on, whose colours are taken


def test_passages_are_coloured_by_numbers_and_booleans(index):
    index.upsert(
        {"id": str(n), "text": f"text {n}", "metadata": metadata}
        for n, metadata in enumerate(
            [
                {"year": 1990, "mixed": 1, "open": True},
                {"year": 2000.5, "mixed": "1", "open": False},
                {"open": True},
            ]
        )
    )
    years = CorpusMap.from_index(index, color="year").coloring
    assert isinstance(years, Scale)
    np.testing.assert_array_equal(years.values, [1990, 2000.5, np.nan])
    assert "cividis" in CorpusMap.from_index(index, color="year").html().lower()
    flags = CorpusMap.from_index(index, color="open").coloring
    assert isinstance(flags, Categories)
    assert (flags.names, flags.codes.tolist()) == (("true", "false"), [0, 1, 0])
    mixed = CorpusMap.from_index(index, color="mixed").coloring
    assert isinstance(mixed, Categories)
    assert (
        CorpusMap.from_index(index, color="year").png()
        != CorpusMap.from_index(index, color="open").png()
    )


def test_an_unknown_field_is_told_with_the_near_one(index):
    index.upsert([{"id": "1", "text": "x", "metadata": {"year": 1, "author": {"name": "A"}}}])
    index.upsert([{"id": "2", "text": "gone", "metadata": {"yeast": 1}}])
    index.delete(ids=["2"])
    with pytest.raises(InputError, match="'yeer'.*'author', 'author.name'.*did you mean 'year'"):
        CorpusMap.from_index(index, color="yeer")
    with pytest.raises(InputError, match="no passage has the field 'yeast'"):
        CorpusMap.from_index(index, color="yeast")


def test_clusters_are_of_what_passages_are_about(index):
    topics = ["violin orchestra symphony", "glacier ice arctic", "volcano lava magma"]
    index.upsert(
        {"id": f"{n:02}", "text": f"the {topics[n % 3]} of the number{n}"} for n in range(30)
    )
    coloring = CorpusMap.from_index(index).coloring
    assert isinstance(coloring, Categories)
    for topic in range(3):
        others = [code for n, code in enumerate(coloring.codes.tolist()) if n % 3 != topic]
        own = set(coloring.codes[topic::3].tolist())
        assert own.isdisjoint(others)
        for code in own:
            words = set(coloring.names[code].split(", "))
            assert words & set(topics[topic].split())
            assert "the" not in words


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_passages_are_drawn_with_the_query_apart(index, count):
    index.upsert([{"id": str(n), "text": f"word{n} shared"} for n in range(count)])
    drawn = CorpusMap.from_index(index, ["word0 unrelated things"])
    assert drawn.points.shape == (count, 2)
    assert np.isfinite(drawn.points).all()
    # Distances to the query are lost only where two axes can't hold them.
    gaps = np.linalg.norm(drawn.points - drawn.queries[0].point, axis=1)
    assert (gaps > 0.1).all()
    if count < 3:
        vectors = HashingEncoder().encode_passages([each.text for each in drawn.passages])
        query = HashingEncoder().encode_queries(["word0 unrelated things"])[0]
        np.testing.assert_allclose(gaps, np.linalg.norm(vectors - query, axis=1), rtol=1e-5)
    assert "plotly" in drawn.html()
    assert drawn.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("method", "said"), [("pca", "PCA: their vectors are all equal"), ("umap", "UMAP")]
)
def test_equal_vectors_lie_in_one_place(tmp_path, method, said):
    with own_vectors(tmp_path, np.ones((6, 4), np.float32)) as index:
        drawn = CorpusMap.from_index(index, method=method)
    assert drawn.shares is None
    np.testing.assert_array_equal(drawn.points, np.zeros((6, 2)))
    assert drawn.coloring.codes.tolist() == [0] * 6
    assert said in drawn.html()
    drawn.png()


def test_vectors_of_one_dimension_lie_on_a_line(tmp_path):
    values = np.array([[3], [1], [2], [7]], np.float32)
    with own_vectors(tmp_path, values) as index:
        drawn = CorpusMap.from_index(index)
    np.testing.assert_allclose(np.abs(drawn.points[:, 0] - drawn.points[0, 0]), [0, 2, 1, 4])
    np.testing.assert_array_equal(drawn.points[:, 1], 0)
    assert drawn.shares == (1.0, 0.0)


def test_what_has_no_vectors_is_refused(tmp_path, index):
    with Index.open(tmp_path / "words", encoder=None) as words:
        words.upsert(["text"])
        with pytest.raises(InputError, match="no vectors to map, only the modes 'lexical'"):
            CorpusMap.from_index(words)
    with pytest.raises(InputError, match="holds no passage with a vector: add passages"):
        CorpusMap.from_index(index)
    index.upsert([{"id": "1", "text": "gone"}])
    index.delete(ids=["1"])
    with pytest.raises(InputError, match="holds no passage with a vector"):
        CorpusMap.from_index(index, ["query"])


def test_vectors_of_the_caller_ask_for_vectors_of_queries(tmp_path):
    vectors = np.random.default_rng(3).normal(size=(12, 5)).astype(np.float32)
    with own_vectors(tmp_path, vectors, "cosine", analyzer="english") as index:
        with pytest.raises(QueryError, match="no encoder for the query 'word4'.*vectors="):
            CorpusMap.from_index(index, ["word4"])
        drawn = CorpusMap.from_index(index, ["word4"], vectors=3 * vectors[7:8], k=2)
        with pytest.raises(QueryError, match="2 texts came with 1 vectors"):
            CorpusMap.from_index(index, ["a", "b"], vectors=vectors[:1])
    assert ids(drawn, drawn.queries[0].dense)[0] == "7"
    assert ids(drawn, drawn.queries[0].lexical) == ["4"]
    # Under cosine a longer query is no other place.
    np.testing.assert_allclose(drawn.queries[0].point, drawn.points[7], atol=1e-5)


def test_a_query_without_lexical_hits_has_dense_ones_only(index, tmp_path):
    index.upsert([{"id": str(n), "text": f"word{n}"} for n in range(5)])
    drawn = CorpusMap.from_index(index, ["zzz"], k=3)
    assert (len(drawn.queries[0].dense.positions), len(drawn.queries[0].lexical.positions)) == (
        3,
        0,
    )
    page = drawn.html()
    assert "dense only (3)" in page
    assert "lexical only" not in page
    with Index.open(tmp_path / "dense", encoder="hashing", analyzer=None) as dense:
        dense.upsert([{"id": str(n), "text": f"word{n}"} for n in range(5)])
        without = CorpusMap.from_index(dense, ["word1"], k=2)
    assert len(without.queries[0].lexical.positions) == 0
    assert "dense only (2)" in without.html()


def test_passages_without_a_vector_are_counted(index):
    with pytest.warns(UserWarning, match="no words"):
        index.upsert([{"id": "1", "text": ""}, {"id": "2", "text": "a"}, {"id": "3", "text": "b"}])
    drawn = CorpusMap.from_index(index)
    assert [each.id for each in drawn.passages] == ["2", "3"]
    assert (drawn.total, drawn.unplaced) == (3, 1)
    assert "2 of 3 passages shown · PCA: two axes with 100.0% of the variance · 1 without a" in (
        unescape(drawn.html())
    )


def test_arguments_that_mean_nothing_are_refused(index):
    index.upsert(["one", "two", "three"])
    for arguments, message in [
        ({"queries": "text"}, "queries must be a list of texts"),
        ({"queries": [" "]}, "must not be blank, got ' '"),
        ({"queries": ["\ud800"]}, "surrogate"),
        ({"method": "tsne"}, "method must be one of 'pca', 'umap', got 'tsne'"),
        ({"sample": 0}, "sample must be .*got 0"),
        ({"k": True}, "k must be .*got True"),
        ({"color": 3}, "no passage has the field 3"),
        ({"method": "umap"}, "UMAP needs 4 passages.*there are 3"),
    ]:
        with pytest.raises(InputError, match=message):
            CorpusMap.from_index(index, **arguments)


def test_the_page_asks_no_machine_for_anything(library):
    page = CorpusMap.from_index(library, [QUERY], sample=50).html()
    assert len(page) > 1_000_000  # plotly.js is in it
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page[:2000] + page[-400_000:])
    assert not [tag for tag in tags if re.search(r"(?:src|href)\s*=", tag)]
    assert "default-src 'none'" in page


def test_text_of_passages_stays_text(index):
    hostile = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
    index.upsert(
        {"id": f"{hostile}{n}", "title": hostile, "text": hostile, "metadata": {"kind": hostile}}
        for n in range(4)
    )
    page = CorpusMap.from_index(index, [hostile], color="kind").html()
    assert "document.title = 'owned'</script>" not in page
    assert "<img" not in page[page.index("Plotly.newPlot(") :]


def test_hover_boxes_are_short(index):
    index.upsert([{"id": "1", "title": "Title", "text": "word " * 400}, {"id": "2", "text": "x"}])
    page = CorpusMap.from_index(index).html()
    hover = json.loads(re.search(r'"hovertext":(\[.*?\])', page)[1])[0]
    lines = hover.split("\u003cbr\u003e")
    assert lines[:2] == ["<i>1</i>", "<b>Title</b>"]
    assert all(len(line) <= 64 for line in lines)
    assert len(" ".join(lines[2:])) <= 300
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("color", [None, "year"])
def test_the_picture_is_a_picture(library, color):
    drawn = CorpusMap.from_index(library, [QUERY, "mice"], color=color, sample=100)
    image = Image.open(io.BytesIO(drawn.png())).convert("RGB")
    assert image.size == (1800, 1080)
    pixels = np.asarray(image).astype(int)
    inked = (pixels.min(axis=2) < 250).mean()
    assert 0.01 < inked < 0.5
    coloured = np.ptp(pixels, axis=2) > 40
    assert coloured[:, :1350].mean() > 0.001
    # The border stays empty: nothing is cut off.
    assert (pixels[:, -3:] > 250).all()
    assert (pixels[:2] > 250).all()


def test_many_queries_leave_the_legend_room(library):
    queries = [f"{QUERY} of mice, rats and fishes in {place}" for place in range(30)]
    drawn = CorpusMap.from_index(library, queries, color="year", k=2)
    pixels = np.asarray(Image.open(io.BytesIO(drawn.png())).convert("RGB")).astype(int)
    assert (pixels[:, -3:] > 250).all()
    # Between the last line of the legend and the colour bar nothing is drawn.
    side = (pixels[:, 1440:] < 250).any(axis=(1, 2))
    assert side[:600].any()
    assert not side[640:670].any()
    assert side[700:].any()


def test_formulas_and_underscores_are_drawn_as_text(index):
    index.upsert(
        {"id": str(n), "text": "t", "metadata": {"k": kind}}
        for n, kind in enumerate([r"$\frac$", "_private", "漢字"])
    )
    drawn = CorpusMap.from_index(index, [r"what is $\frac$ ?"], color="k")
    plain = replace(drawn, coloring=replace(drawn.coloring, names=("", "", "")))
    assert drawn.png() != plain.png()


def test_the_suffix_says_what_is_written(library, tmp_path):
    drawn = CorpusMap.from_index(library, sample=20)
    drawn.write(tmp_path / "map.HTML")
    drawn.write(str(tmp_path / "map.png"))
    assert (tmp_path / "map.HTML").read_text(encoding="utf-8") == drawn.html()
    assert (tmp_path / "map.png").read_bytes() == drawn.png()
    for name in ("map.svg", "map", "png"):
        with pytest.raises(InputError, match=r"written as .html or .png, got"):
            format_from_path(tmp_path / name)


def test_the_command_line_draws(library, tmp_path):
    page, picture = tmp_path / "map.html", tmp_path / "map.png"
    result = run(
        *("map", library.path, "--query", "mice", "--query", QUERY, "--color", "year"),
        *("--sample", 50, "-k", 3, "--out", page, "--json"),
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert 50 <= said.pop("shown") <= 62
    assert said == {"passages": 300, "method": "pca", "file": str(page)}
    assert "1 · mice" in page.read_text(encoding="utf-8")
    result = run("map", library.path, "--out", picture)
    assert result.stdout == f"{picture}: 300 of 300 passages, PCA\n"
    with Image.open(picture) as image:
        assert image.size == (1800, 1080)


def test_the_command_line_says_what_is_wrong(library, tmp_path):
    for arguments, message in [
        ((library.path, "--out", tmp_path / "map.svg"), "must be written as .html or .png"),
        ((library.path, "--out", tmp_path / "a.png", "--color", "yaer"), "did you mean 'year'?"),
        (
            (library.path, "--out", tmp_path / "a.png", "--sample", 0),
            "sample must be an integer >= 1, got 0",
        ),
        ((library.path, "--out", tmp_path / "no" / "a.png"), "No such file"),
        ((tmp_path / "nothing", "--out", tmp_path / "a.png"), "no index"),
    ]:
        result = run("map", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr.replace("\n", " ")
    assert run("map", library.path).exit_code == 2


@pytest.mark.slow
def test_umap_keeps_neighbours_and_repeats_itself(index):
    rng = np.random.default_rng(1)
    words = [[f"{topic}{n}" for n in range(12)] for topic in "abc"]
    index.upsert(
        {"id": f"{n:02}", "text": " ".join(rng.choice(words[n % 3], 8, replace=False))}
        for n in range(90)
    )
    asked = " ".join(words[1])
    first, second = (
        CorpusMap.from_index(index, [asked], method="umap", sample=80, seed=5) for _ in range(2)
    )
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.queries[0].point, second.queries[0].point)
    topics = np.array([int(each.id) % 3 for each in first.passages])
    gaps = np.linalg.norm(first.points[:, None] - first.points[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (topics[gaps.argmin(axis=1)] == topics).mean() > 0.9
    nearest = np.linalg.norm(first.points - first.queries[0].point, axis=1).argsort()[:5]
    assert (topics[nearest] == 1).all()
    assert first.shares is None
    assert "UMAP: neighbours stay near" in first.html()


@pytest.mark.slow
def test_umap_takes_four_passages(index):
    index.upsert([{"id": str(n), "text": f"word{n} shared"} for n in range(4)])
    drawn = CorpusMap.from_index(index, ["word1"], method="umap")
    assert np.isfinite(drawn.points).all()
    assert np.isfinite(drawn.queries[0].point).all()
