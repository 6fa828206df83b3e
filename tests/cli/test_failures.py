"""One line on stderr, a status by class, nothing on stdout, and a traceback only with --debug."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedstore import errors
from embedstore.cli.failures import explain
from tests.cli.conftest import Ran
from tests.cli.fake_store import HOSTILE, FakeStore

RAISED = [
    (errors.UsageError("say what"), 2),
    (errors.FilterError("no column is called 'ag'; did you mean 'age'?"), 2),
    (errors.NotFound("no item 7"), 3),
    (errors.BridgeMissing("no bridge joins the spaces; run 'embedstore bridge fit'"), 4),
    (errors.StoreBusy("another embedstore (pid 12) is writing"), 5),
    (errors.StoreDamaged("segments/1.seg: checksum"), 6),
    (errors.SchemaMismatch("made by a newer embedstore"), 7),
    (errors.StorageFull("the disk is full"), 8),
    (errors.ReadFailure("truncated"), 9),
    (OSError(errno.ENOSPC, "No space left on device"), 8),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), 8),
    (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 1),
    (MemoryError(), 1),
    (KeyboardInterrupt(), 130),
    (ValueError("a message that quotes DOE^JANE"), 1),
    (errors.UsageError(HOSTILE), 2),
]


@pytest.mark.parametrize(("error", "status"), RAISED, ids=lambda value: type(value).__name__)
def test_an_error_is_one_line_and_its_status(
    error: BaseException, status: int, fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    fake_store.raises = error
    ran = embedstore("search", "--text", "x", "--json")
    assert ran.status == status
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("embedstore: ")
    assert "\x1b" not in ran.err
    assert "\x07" not in ran.err
    assert "Traceback" not in ran.err


def test_an_unexpected_error_does_not_quote_its_message(
    fake_store: type[FakeStore], embedstore: Callable[..., Ran]
) -> None:
    fake_store.raises = ValueError("DOE^JANE")
    ran = embedstore("search", "--text", "x")
    assert "DOE" not in ran.err
    assert "--debug" in ran.err
    assert "unexpected ValueError in " in ran.err


def test_debug_shows_the_traceback(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    fake_store.raises = ValueError("inner")
    for arguments in (("--debug", "search", "--text", "x"), ("search", "--text", "x", "--debug")):
        ran = embedstore(*arguments)
        assert ran.status == 1
        assert "Traceback" in ran.err


def _all_errors(base: type[errors.EmbedstoreError]) -> Iterator[type[errors.EmbedstoreError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _all_errors(kind)


@pytest.mark.parametrize("kind", list(_all_errors(errors.EmbedstoreError)), ids=lambda kind: kind.__name__)
def test_every_error_keeps_its_status_and_words(kind: type[errors.EmbedstoreError]) -> None:
    failure = explain(kind("what, which file, what to do"))
    assert (failure.line, failure.status) == ("what, which file, what to do", kind.exit_status)


MISUSED = [
    ("serch",),
    ("search",),
    ("search", "chest", "film"),
    ("search", "7"),
    ("search", "--text", "a", "--like", "3"),
    ("search", "--like", "seven"),
    ("search", "--text", "a", "-k", "0"),
    ("search", "--text", "a", "--per", "hospital"),
    ("ingest",),
    ("ingest", "x", "--map", "report"),
    ("ingest", "x", "--weights", "."),
    ("ingest", "x", "--reports", "absent.csv"),
    ("zeroshot",),
    ("label", "export", "effusion", "out.xls"),
    ("head", "fit"),
    ("head", "fit", "--target", "label", "--test-fraction", "2"),
]


@pytest.mark.parametrize("arguments", MISUSED, ids=" ".join)
def test_a_senseless_command_line_is_one_line_with_a_remedy(
    arguments: tuple[str, ...], fake_store: type[FakeStore], embedstore: Callable[..., Ran], golden: Callable
) -> None:
    ran = embedstore(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert fake_store.asked == []
    golden(ran.err, append="errors.txt", key=" ".join(arguments))


def test_a_store_that_is_not_there(fake_store: type[FakeStore], embedstore: Callable[..., Ran]) -> None:
    ran = embedstore("--store", "absent", "status")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err == "embedstore: no store in 'absent'; create one with 'embedstore init'\n"


def test_a_closed_pipe_is_quiet() -> None:
    script = "from embedstore.cli.main import main; main()"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", script, "encoders", "show", "reference"],
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


WAITING = """
import signal, sys, threading, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
module = types.ModuleType("embedstore.engine.store")
class Store:
    def open(path):
        print("ready", flush=True)
        threading.Event().wait()
module.Store = Store
sys.modules["embedstore.engine.store"] = module
from embedstore.cli.main import main
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_one_line(number: signal.Signals, status: int, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", WAITING, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == status
    assert err.count("\n") == 1
    assert "store is intact" in err
