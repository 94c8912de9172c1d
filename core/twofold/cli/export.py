"""The verb ``twofold export``: a model as a folder that encodes faster on a CPU."""

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.console import out, print_json, running
from twofold.encoders import OnnxEncoder, distill
from twofold.encoders.model_spec import model_and_options
from twofold.encoders.onnx.manifest import Precision
from twofold.errors import InputError
from twofold.types import EncoderIdentity

_STATIC_DIM = 256


class Form(str, Enum):
    """What a model is exported as."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    STATIC = "static"


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's name or folder, and its options: 'NAME?max_length=128'.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="What is written.")],
    form: Annotated[
        Form,
        typer.Option("--as", help="onnx gives the same vectors, int8 nearly; static is least."),
    ] = Form.ONNX,
    dim: Annotated[
        int | None, typer.Option(help="Dimensions of a static model.", show_default="256")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Write a model as a folder for --encoder: ONNX graphs, or one vector a token."""
    with running():
        if dim is not None and form is not Form.STATIC:
            raise InputError("--dim is for --as static: give 'MODEL?dim=N' for the others")
        started = time.perf_counter()
        identity = _exported(model, to, form, dim if dim is not None else _STATIC_DIM)
        size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
        seconds = time.perf_counter() - started
        summary = {
            "folder": str(to),
            "as": form.value,
            "dim": identity.dim,
            "metric": identity.metric.value,
            "fingerprint": identity.fingerprint,
            "bytes": size,
            "seconds": seconds,
        }
        if as_json:
            print_json(summary)
        else:
            out.print(
                f"{to}: {form.value}, {identity.dim} dimensions, {size / 1e6:.1f} MB, "
                f"in {seconds:.1f} s; use it with --encoder {to}",
                soft_wrap=True,
                markup=False,
            )


def _exported(spec: str, to: Path, form: Form, dim: int) -> EncoderIdentity:
    """Write the folder and return the identity of what is in it."""
    model, options = model_and_options(spec)
    if form is Form.STATIC:
        return distill(model, to, dim=dim, options=options).identity
    precision: Precision = "int8" if form is Form.ONNX_INT8 else "float32"
    return OnnxEncoder.export(model, to, precision=precision, options=options).identity
