"""The commands ``export`` and ``map``, which write indexes, models and pictures."""

import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from twofold.cli.console import (
    Json,
    Target,
    open_index,
    open_target,
    print_result,
)
from twofold.encoders import OnnxEncoder, distill
from twofold.encoders.model_spec import parse_spec
from twofold.encoders.onnx_folder import Precision
from twofold.errors import InputError
from twofold.index.layout import Layout
from twofold.protocols import Encoder

_SOURCE = "Folder of an index, or a model's name or folder; 'NAME?max_length=128' sets options."
_FORM = "Of a model: onnx gives equal vectors, onnx-int8 similar ones; static is smallest."
_TARGET = "The page (.html) or picture (.png) to write."
_QUERY = "Query to show with its hits; repeatable."


class Form(str, Enum):
    """The formats of an exported model."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    STATIC = "static"


def export(
    source: Annotated[str, Argument(metavar="DIR|MODEL", help=_SOURCE)],
    to: Annotated[Path, Option("--to", metavar="FOLDER", help="The folder to write.")],
    form: Annotated[Form | None, Option("--as", help=_FORM, show_default="onnx")] = None,
    dim: Annotated[int | None, Option(help="Dimensions, for static.", show_default="256")] = None,
    as_json: Json = False,
) -> None:
    """Export an index as JSON lines and vectors, or a model that encodes faster on a CPU.

    `twofold import` makes an index of the former, in any version. Models are exported as ONNX or as
    a static model.
    """
    if Layout(Path(source)).catalog.is_file():
        if form is not None or dim is not None:
            raise InputError(f"--as and --dim are for models, and {source} is an index")
        _export_index(Path(source), to, as_json=as_json)
    else:
        _export_model(source, to, form if form is not None else Form.ONNX, dim, as_json=as_json)


def _export_index(folder: Path, to: Path, *, as_json: bool) -> None:
    with open_index(folder, read_only=True) as index:
        exported = index.export(to)
    text = f"{to}: {exported.passages:,} passages and {exported.vectors:,} vectors exported"
    print_result(as_json, {"folder": str(to), **asdict(exported)}, text)


def _export_model(model: str, to: Path, form: Form, dim: int | None, *, as_json: bool) -> None:
    if dim is not None and form is not Form.STATIC:
        raise InputError("--dim is for --as static: for ONNX, pass MODEL as 'NAME?dim=N'")
    started = time.perf_counter()
    name, options, backend = parse_spec(model)
    if backend is not None:
        raise InputError(f"an export has no backend: use --as instead of backend={backend}")
    encoder: Encoder
    if form is Form.STATIC:
        encoder = distill(name, to, dim=256 if dim is None else dim, options=options)
    else:
        precision: Precision = "int8" if form is Form.ONNX_INT8 else "float32"
        encoder = OnnxEncoder.export(name, to, precision=precision, options=options)
    identity = encoder.identity
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    seconds = time.perf_counter() - started
    print_result(
        as_json,
        {
            "folder": str(to),
            "as": form.value,
            "dim": identity.dim,
            "metric": identity.metric.value,
            "fingerprint": identity.fingerprint,
            "bytes": size,
            "seconds": seconds,
        },
        f"{to}: {form.value}, {identity.dim} dimensions, {size / 1e6:.1f} MB, "
        f"in {seconds:.1f} s; use it with --encoder {to}",
    )


class MethodName(str, Enum):
    """The projection methods."""

    PCA = "pca"
    UMAP = "umap"


def draw_map(
    source: Target,
    target: Annotated[Path, Option("--out", metavar="FILE", help=_TARGET)],
    query: Annotated[list[str] | None, Option(metavar="TEXT", help=_QUERY)] = None,
    color: Annotated[
        str | None, Option(metavar="FIELD", help="Metadata field. Default: clusters.")
    ] = None,
    method: Annotated[MethodName, Option(help="Projection method.")] = MethodName.PCA,
    sample: Annotated[int, Option(help="Number of passages shown, besides hits.")] = 5000,
    k: Annotated[int, Option("-k", help="Hits per leg.")] = 10,
    as_json: Json = False,
) -> None:
    """Draw the passages of an index in two dimensions, with queries and their hits."""
    from twofold.map import CorpusMap, format_from_path  # may lack its extra

    format_from_path(target)
    with open_target(source, read_only=True) as index:
        drawn = CorpusMap.from_index(
            index, query or (), color=color, method=method.value, sample=sample, k=k
        )
    drawn.write(target)
    shown, total = len(drawn.passages), drawn.total
    print_result(
        as_json,
        {"shown": shown, "passages": total, "method": drawn.method, "file": str(target)},
        f"{target}: {shown:,} of {total:,} passages, {drawn.method.upper()}",
    )
