"""The commands ``tune`` and ``profiles``."""

from typing import Annotated

from rich.table import Column, Table
from rich.text import Text
from typer import Option

from twofold import tuning
from twofold.backends.remote_index import StoredIndex
from twofold.cli import console
from twofold.cli.measure_tables import format_gain, interval_bounds
from twofold.cli.tables import make_table, number_columns
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.index import DEFAULT, profile_as_dict

_NAME = "Name of the saved profile, which must be new."
_UNUSED = "tuned, or tuned-2, tuned-3 ..."


def tune(
    target: console.Target,
    queries: console.Queries,
    qrels: console.Qrels,
    name: Annotated[str | None, Option(help=_NAME, show_default=_UNUSED)] = None,
    measure: console.Measure = "nDCG@10",
    folds: Annotated[int, Option(help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, Option(help="Seed of the folds.")] = 0,
    dry_run: Annotated[bool, Option("--dry-run", help="Write nothing.")] = False,
    as_json: console.Json = False,
) -> None:
    """Search for a better profile, and activate it only if held-out queries gain.

    Tunes fusion and weight, BM25's k1 and b, the title weight, and the depth.
    """
    with console.open_target(target, read_only=dry_run) as index:
        new_name = index.profiles.new_name(name)  # fail early
        fewest = max(tuning.TuningPlan().min_queries, 2 * folds)
        plan = tuning.TuningPlan(measure=measure, folds=folds, seed=seed, min_queries=fewest)
        texts, judgments = read_queries(queries), read_qrels(qrels)
        before = index.profiles.active
        if not dry_run:
            index.profiles.use(before)  # takes the write lock before the long search
        with console.progress("tuning", 100, quiet=as_json) as report:
            result = tuning.tune(index, texts, judgments, plan=plan, progress=report)
        saved = result.accepted and not dry_run
        if saved:
            index.profiles.save(new_name, result.profile, use=True)
        tables = (_stages_table(result), _folds_table(result)) if result.stages else ()
        value = {**result.to_dict(), "saved": new_name if saved else None}
        text = [str(result)]
        if saved:
            back = console.profiles_command(target, before)
            text.append(f"saved as {new_name!r} and in use; to go back: {back}")
        console.print_result(as_json, value, *tables, *text)


def profiles(
    target: console.Target,
    use: Annotated[str | None, Option(metavar="NAME", help=f"Activate it, or {DEFAULT!r}.")] = None,
    drop: Annotated[str | None, Option(metavar="NAME", help="Delete it and its adapter.")] = None,
    queries: console.OptionalQueries = None,
    qrels: console.OptionalQrels = None,
    measure: console.Measure = "nDCG@10",
    as_json: console.Json = False,
) -> None:
    """List saved search profiles, compare them on judged queries, activate or delete one."""
    read_only = use is None and drop is None
    with console.open_target(target, read_only=read_only) as index:
        if (queries is None) != (qrels is None):
            raise InputError("--queries and --qrels go together: give both, or neither")
        if use is not None:
            index.profiles.use(None if use == DEFAULT else use)
        if drop is not None:
            _drop_profile(index, drop)
        compared: dict[str, tuning.ProfileComparison] = {}
        if queries is not None and qrels is not None:
            texts, judgments = read_queries(queries), read_qrels(qrels)
            found = tuning.compare_profiles(index, texts, judgments, measure=measure)
            compared = {profile.name: profile for profile in found}
        value = {
            "active": index.profiles.active,
            "profiles": {name: profile_as_dict(p) for name, p in index.profiles.items()},
            "compared": {
                name: {"mean": c.mean, "gain": c.gain.mean, "interval": interval_bounds(c.gain)}
                for name, c in compared.items()
            },
        }
        console.print_result(as_json, value, _profiles_table(index, compared, measure))


def _drop_profile(index: StoredIndex, name: str) -> None:
    """Delete a profile, and its query adapter unless another profile uses it."""
    adapter = index.profiles[name].query_adapter if name in index.profiles else None
    index.profiles.drop(name)
    others = {profile.query_adapter for profile in index.profiles.values()}
    if adapter is not None and adapter in index.query_adapters and adapter not in others:
        index.query_adapters.drop(adapter)


def _profiles_table(
    index: StoredIndex, compared: dict[str, tuning.ProfileComparison], measure: str
) -> Table:
    """Return a table of the profiles, a star at the active one, with ``measure`` if compared."""
    heads = ("", "profile", "fusion", "depth", "scoring", "title weight", "query adapter")
    table = make_table(*(Column(head, overflow="fold") for head in heads))
    if compared:
        table.add_column(measure, justify="right")
        table.add_column("gain over the active one", justify="right")
    saved, active = dict(index.profiles), index.profiles.active
    for name in (DEFAULT, *saved):
        cells = ["the library's defaults", "", "", "", ""]
        if name in saved:
            profile = saved[name]
            cells = [
                tuning.describe_fusion(profile.fusion),
                str(profile.depth),
                tuning.describe_scorer(profile),
                str(profile.title_weight),
                profile.query_adapter if profile.query_adapter is not None else "",
            ]
        if name in compared:
            cells += [f"{compared[name].mean:.4f}", format_gain(compared[name].gain)]
        mark = "*" if name == (active if active is not None else DEFAULT) else ""
        table.add_row(mark, Text(name), *cells)
    return table


def _stages_table(result: tuning.TuningResult) -> Table:
    """Return a table with one row per stage of the tuning search over all queries."""
    table = make_table(
        f"on all {result.queries:,} queries, {result.measure}",
        *number_columns("tried", "best", "chosen"),
        Column("profile", overflow="fold"),
    )
    for stage in result.stages:
        values = f"{stage.tried:,}", f"{stage.best:.4f}", f"{stage.chosen:.4f}"
        table.add_row(stage.name, *values, tuning.describe_profile(stage.profile))
    return table


def _folds_table(result: tuning.TuningResult) -> Table:
    """Return a row per fold: the profile chosen on the other folds, measured on this one."""
    table = make_table(
        "held out",
        *number_columns("before", "after"),
        Column("chosen on the other folds", overflow="fold"),
    )
    for fold in result.folds:
        means = f"{fold.before:.4f}", f"{fold.after:.4f}"
        table.add_row(
            f"{len(fold.queries):,} queries", *means, tuning.describe_profile(fold.profile)
        )
    return table
