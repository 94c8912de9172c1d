"""Model folders given by relative paths, and pairs of index and model that move together."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tiny_models import cross_encoder_folder, finished_folder, transformer_folder
from twofold import Index, OnnxEncoder, Retriever
from twofold.encoders import HashingEncoder, encoder_from_name
from twofold.errors import EncoderNotFoundError
from twofold.rerank import reranker_from_name

TEXTS = ["red apple", "plants make food from light", "cells divide"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    plain = transformer_folder(folder / "plain")
    finished_folder(folder / "models" / "first", plain)
    finished_folder(folder / "models" / "a%b", plain, pooling="cls")
    cross_encoder_folder(folder / "models" / "cross")
    OnnxEncoder.export(folder / "models" / "first", folder / "models" / "graph")
    return folder / "models"


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """The current folder, with the models in a subfolder."""
    shutil.copytree(made, tmp_path / "work" / "models")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


SPECS = [
    "models/first",
    "./models/../models/first",
    "models/first?dim=8",
    "models/a%25b?max_length=20",
    "models/a%b",
    "models/graph",
    "models/first | models/a%25b?pooling=mean",
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_relative_model_is_found_from_another_folder(work, monkeypatch, spec):
    with Index.open("index", encoder=spec) as index:
        index.upsert(TEXTS)
        before = Retriever(index, mode="dense").retrieve("apple").scores
    monkeypatch.chdir(work.parent / "other")
    with Index.open(work / "index") as index:
        assert Retriever(index, mode="dense").retrieve("apple").scores.tolist() == before.tolist()
        index.upsert(["how do cells divide"])
    monkeypatch.chdir(work)
    with Index.open("index", encoder=spec) as index:  # by the relative name again
        assert index.reencode(spec) == 0


@pytest.mark.parametrize("spec", SPECS)
def test_an_index_and_the_model_beside_it_may_move(work, monkeypatch, spec):
    with Index.open("index", encoder=spec) as index:
        index.upsert(TEXTS)
        before = Retriever(index, mode="dense").retrieve("apple").scores
    monkeypatch.chdir(work.parent)
    work.rename(work.parent / "moved")
    with Index.open("moved/index") as index:
        assert Retriever(index, mode="dense").retrieve("apple").scores.tolist() == before.tolist()
        index.upsert(["how do cells divide"])
        monkeypatch.chdir("moved")
        assert index.reencode(spec) == 0


@pytest.mark.parametrize("spec", ["link/../first", "link/first", "models/first"])
def test_a_model_behind_a_link_is_the_one_that_was_meant(work, monkeypatch, spec):
    """``link/..`` is the folder above the link's target, as the system has it."""
    Path("link").symlink_to("models/a%b" if ".." in spec else "models")
    Path("first").mkdir()  # what link/../first would be without the link
    with Index.open("index", encoder=spec) as index:
        index.upsert(TEXTS)
    monkeypatch.chdir(work.parent)
    (work.parent / "elsewhere").symlink_to(work)
    work.rename(work.parent / "moved")
    with Index.open("moved/index") as index:
        assert len(Retriever(index, mode="dense").retrieve("apple")) == 3


def test_a_new_encoder_moves_with_the_index_from_its_new_place(work, monkeypatch):
    with Index.open("index", encoder="hashing") as index:
        index.upsert(TEXTS)
    Path("deep").mkdir()
    Path("index").rename("deep/index")
    Path("models").rename("deep/models")
    with Index.open("deep/index") as index:
        index.reencode("deep/models/first")
    Path("deep").rename("again")
    with Index.open("again/index") as index:
        assert len(Retriever(index, mode="dense").retrieve("apple")) == 3


def test_a_model_that_stayed_elsewhere_is_still_used(work, tmp_path_factory):
    apart = tmp_path_factory.mktemp("apart")
    shutil.move("models", apart / "models")
    with Index.open("index", encoder=str(apart / "models" / "first")) as index:
        index.upsert(TEXTS)
    Path("index").rename(work.parent / "other" / "index")
    with Index.open(work.parent / "other" / "index") as index:
        assert len(Retriever(index, mode="dense").retrieve("apple")) == 3


def test_a_model_that_is_gone_is_named(work):
    with Index.open("index", encoder="models/first") as index:
        index.upsert(TEXTS)
    shutil.rmtree("models/first")
    with Index.open("index") as index:
        assert len(Retriever(index, mode="lexical").retrieve("apple")) == 1
        with pytest.raises(EncoderNotFoundError, match=r"there is no model folder .*models/first"):
            Retriever(index, mode="dense").retrieve("apple")


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "|" not in spec])
def test_the_name_of_an_encoder_is_absolute(work, monkeypatch, spec):
    encoder = encoder_from_name(spec)
    monkeypatch.chdir(work.parent / "other")
    again = encoder_from_name(encoder.name)
    assert again.name == encoder.name
    np.testing.assert_array_equal(again.encode_queries(TEXTS), encoder.encode_queries(TEXTS))


def test_the_name_of_a_reranker_is_absolute(work, monkeypatch):
    reranker = reranker_from_name("models/cross?candidates=7")
    monkeypatch.chdir(work.parent / "other")
    again = reranker_from_name(reranker.name)
    assert (again.name, again.candidates) == (reranker.name, 7)
    assert Path(again.name.partition("?")[0]).is_absolute()


def test_a_home_folder_is_expanded(work, monkeypatch):
    monkeypatch.setenv("HOME", str(work))
    assert encoder_from_name("~/models/first").name == str(work / "models" / "first")
    for name in ("~/none", "~no-such-user/none"):
        with pytest.raises(EncoderNotFoundError, match="there is no model folder .*none"):
            encoder_from_name(name)


def test_a_folder_named_as_an_encoder_is_not_taken_for_it(work):
    Path("hashing").mkdir()
    with Index.open("index", encoder="hashing") as index:
        index.upsert(TEXTS)
        assert isinstance(index.encoder, HashingEncoder)
