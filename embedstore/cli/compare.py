"""`embedstore compare` and `embedstore head compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.shell import Shell, input_file, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.comparison_records import EncoderComparison, HeadComparison, Measure

without_copies = click.option(
    "--without-copies",
    is_flag=True,
    help="Leave out test images that are near-duplicates of training images.",
)


@click.command()
@click.option(
    "--encoder",
    "encoders",
    metavar="NAME",
    multiple=True,
    help="One to compare; several times. All that the store holds by default.",
)
@click.option(
    "--target", required=True, metavar="COLUMN", help="What to tell: a column, attr.NAME, label:SET."
)
@click.option("--labels", type=input_file(), metavar="CSV", help="Labels (path or id, label) from a file.")
@where_option("Which images take part.")
@click.option("--test-where", metavar="EXPR", help="Images held out by a rule, such as \"site = 'B'\".")
@click.option(
    "--test-fraction",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the patients held out when there is no --test-where.",
)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Neighbours.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of split and probe.")
@without_copies
@click.option(
    "--timed",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Images to measure the cost with; 0 loads no encoder.",
)
@store_options
@click.pass_obj
def compare(shell: Shell, /, **options: Any) -> None:
    """Rank encoders on your own images.

    By their neighbours and a linear probe, beside cost and licence. One is only called better where the
    paired interval of the difference, by patient, excludes 0. The images must be ingested with each encoder.
    """
    from embedstore.engine.comparison_records import EncoderComparisonRequest

    with shell.opened() as store, shell.progress() as bar:
        found = store.compare_encoders(EncoderComparisonRequest(**options), bar)
    shell.answer(found.to_json(), lambda: _ranking(found))


@click.command("compare")
@click.argument("first")
@click.argument("second")
@where_option("Only these of the held-out images.")
@without_copies
@store_options
@click.pass_obj
def compare_heads(shell: Shell, first: str, second: str, where: str | None, without_copies: bool) -> None:
    """Is one head better than another, on the images that neither was fitted on?"""
    with shell.opened() as store, shell.progress() as bar:
        found = store.compare_heads(first, second, where, bar, without_copies=without_copies)
    shell.answer(found.to_json(), lambda: _heads(found))


def _ranking(found: EncoderComparison) -> Iterator[Renderable]:
    from embedstore.cli.output import table

    for name, side in (("Fitted on", found.train), ("Compared on", found.test)):
        per_class = ", ".join(f"{number} of {one}" for one, number in side["per_class"].items())
        yield f"{name} {side['images']} images of {side['patients']} patients: {per_class}."
    yield table(
        ("rank", "encoder", f"P@{found.k}", "neighbours", "linear probe"),
        [
            (
                row.rank,
                row.encoder,
                *(_measure(one) for one in (row.precision_at_k, row.neighbours, row.probe)),
            )
            for row in found.rows
        ],
        widest="encoder",
        longest=30,
        title=f"{found.rows[0].probe.estimate.metric.split()[0]} by patient, 95 % interval",
    )
    for row in found.rows[1:]:
        for one in (row.precision_at_k, row.neighbours, row.probe):
            yield f"{row.encoder}, {_against(found.rows[0].encoder, one)}"
    yield table(
        ("encoder", "seconds per image", "dimension", "bytes per image", "licence"),
        [
            (
                row.encoder,
                row.seconds_per_image,
                row.dim,
                row.bytes_per_image,
                _licence(row.licence, row.forbids),
            )
            for row in found.rows
        ],
        widest="licence",
    )
    yield f"By the linear probe: {found.verdict}."
    yield looked(found.unsealed)
    yield from (f"Note: {note}." for note in found.notes)


def _heads(found: HeadComparison) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table

    counts = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    yield f"'{found.first}' against '{found.second}' for {found.target}: {counts}."
    yield table(
        ("metric", "first", "second", "first minus second", "the first is"),
        [
            (
                one.metric,
                *(estimate(side.to_json()) for side in (one.first, one.second, one.comparison.difference)),
                one.comparison.verdict,
            )
            for one in found.metrics
        ],
    )
    least = found.metrics[0].comparison.to_json()["smallest_detectable"]
    if least is not None:
        yield f"Smallest difference of {found.metrics[0].metric} that is found 8 times in 10: {least:.3f}."
    yield looked(found.unsealed)
    yield from (f"Note: {note}." for note in found.notes)


def _measure(one: Measure) -> str:
    from embedstore.cli.output import estimate

    return estimate(one.estimate.to_json())


def _against(first: str, one: Measure) -> str:
    from embedstore.cli.output import estimate

    assert one.against_first is not None
    difference = one.against_first.difference
    return (
        f"{one.estimate.metric}: {estimate(difference.to_json())} against {first}, "
        f"{one.against_first.verdict} (level {difference.level:.1%})."
    )


def _licence(licence: str, forbids: str) -> str:
    return f"{licence}; not for {forbids}" if forbids else licence


def looked(unsealed: Mapping[str, Any]) -> str:
    """How often these test images were looked at."""
    times = "once" if unsealed["times"] == 1 else f"{unsealed['times']} times"
    return f"These test images were looked at {times} since {unsealed['first'][:10]}, this look counted."
