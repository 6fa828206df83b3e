"""Every verb on a store whose catalog is a PostgreSQL database, beside the same store on SQLite."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from embedstore.contracts.query import Query
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import VoteRequest, ZeroShotRequest
from embedstore.engine.store import Store, migrate
from embedstore.errors import NotFound, UsageError
from embedstore.storage.database import url_without_password
from tests.unit.storage.conftest import new_database, postgresql, run_sql

__all__ = ["postgresql"]  # a fixture of the storage tests

VOTERS = """
label_set: bright
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  neighbours: {kind: neighbours, column: attr.bright, where: "site = 'A'", k: 3, agreement: 0.6}
  report rules: {kind: rules, finding: opacity}
"""
PROMPTS = "name: c\nfindings: {bright: {present: [There is an opacity.], absent: [No opacity. Normal.]}}\n"


@pytest.fixture(scope="module")
def url(postgresql):
    return new_database(postgresql)


@pytest.fixture(scope="module")
def path(url, cohort, ask, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg") / "store"
    secret = make_url(url).set(password="s3cret").render_as_string(hide_password=False)
    with Store.create(folder, secret) as opened:
        assert opened.ingest(ask(cohort / "images", metadata=(cohort / "table.csv",))).added == 120
    return folder


def test_the_url_is_kept_without_its_password(path):
    kept = json.loads((path / "store.json").read_text())["database"]
    assert kept.startswith("postgresql")
    assert not [file for file in path.rglob("*") if file.is_file() and b"s3cret" in file.read_bytes()]


def test_no_secret_of_a_url_is_written_down():
    url = "postgresql://me:s3cret@db:5433/x?password=s3cret&sslpassword=s3cret&sslmode=require"
    kept = url_without_password(url)
    assert "s3cret" not in kept
    assert kept.endswith("me@db:5433/x?sslmode=require")


def test_the_password_comes_from_the_environment_when_the_store_is_opened_again(
    postgresql, tmp_path, monkeypatch
):
    """On a server that asks for one, as any real server does."""
    person = f"p{uuid.uuid4().hex[:12]}"
    run_sql(postgresql, f"CREATE ROLE {person} LOGIN PASSWORD 's3cret'")
    own = make_url(new_database(postgresql))
    run_sql(postgresql, f"ALTER DATABASE {own.database} OWNER TO {person}")
    ask_for_password(postgresql, person)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "absent"))
    login = own.set(username=person, password="s3cret").render_as_string(hide_password=False)
    with Store.create(tmp_path / "store", login) as store:
        assert store.status().images == 0
    with pytest.raises(NotFound, match="PGPASSWORD"):
        Store.open(tmp_path / "store")
    with Store.open(tmp_path / "store", db=login) as store:
        assert store.verify() == ()
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with Store.open(tmp_path / "store") as store:
        assert store.verify() == ()
    marker = tmp_path / "store" / "store.json"
    assert "***" not in marker.read_text()
    marker.write_text(marker.read_text().replace(f"{person}@", f"{person}:***@"))  # as it was written once
    assert "***" in marker.read_text()
    with Store.open(tmp_path / "store") as store:
        assert store.status().images == 0


def ask_for_password(server: str, person: str) -> None:
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        rules = Path(connection.execute(text("SHOW hba_file")).scalar_one())
        rules.write_text(f"local all {person} scram-sha-256\n" + rules.read_text())
        connection.execute(text("SELECT pg_reload_conf()"))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # the server takes the new rules a moment after it was told
        try:
            run_sql(make_url(server).set(username=person).render_as_string(hide_password=False), "SELECT 1")
        except OperationalError:
            return
    pytest.skip("the PostgreSQL server here does not ask for passwords")


def test_every_verb_answers_as_on_sqlite(path, filled, cohort, ask, tmp_path):
    voters, prompts = tmp_path / "voters.yaml", tmp_path / "prompts.yaml"
    voters.write_text(VOTERS)
    prompts.write_text(PROMPTS)

    def walk(store: Store, mark: str):
        yield sorted((i.path, i.patient, i.columns["site"], i.report) for i in store.items("age < 40"))
        for query in (
            Query(like=store.items("kind = 'image'")[0].id, k=7),
            Query(text="There is an opacity.", within="images", k=5, per="patient", where="site = 'B'"),
            Query(text="There is an opacity.", within="reports", k=5, per="study", exclude_patient="P0"),
            Query(like=store.items("kind = 'image'")[3].id, k=4, where="attr.bright = 1 and age >= 33"),
        ):
            answer = store.search(query)
            yield answer.matched, answer.exact, [(hit.item.path, round(hit.score, 6)) for hit in answer.hits]
        head = store.fit_head(HeadRequest(target="bright", name=f"head {mark}", test_where="site = 'B'"))
        report = store.evaluate_head(head.name)
        yield head.data_sha256, report.metrics["auroc"], report.shuffled, store.apply_head(head.name)
        run = store.run_votes(VoteRequest(voters=voters, label_set=f"bright {mark}".replace(" ", "_")))
        yield [(one.voter, one.voted, one.conflict) for one in run.voters]
        fused = store.fit_label_model(run.label_set, "attr.bright")
        yield fused.model["accuracy"], store.export_labels(run.label_set, tmp_path / f"{mark}.csv")
        scored = store.zeroshot(
            ZeroShotRequest(classes=prompts, where="site = 'B'", calibrate_where="site = 'A'", save=True)
        )
        yield scored.saved_votes, [round(row.scores["bright"], 6) for row in scored.rows]
        again = store.ingest(ask(cohort / "images", metadata=(cohort / "table.csv",)))
        yield again.added, again.known, again.failed, store.failures(), store.skips(), store.conflicts()
        status = store.status()
        yield status.images, status.reports, status.patients, status.sources
        yield store.verify(), len(store.reindex()), store.verify(), store.bridges()

    with Store.open(path) as store:
        for ours, theirs in zip(walk(store, "pg"), walk(filled, "pg"), strict=True):
            assert ours == theirs
    assert migrate(path)[0] == migrate(filled.path)[0]


def test_a_store_can_be_told_its_database_when_it_is_opened(path, url):
    with Store.open(path, db=url) as store:
        assert store.status().images == 60
    with pytest.raises(UsageError, match="PostgreSQL URL"):
        Store.open(path, db="mysql://x/y")
    gone = make_url(url).set(database="nobody").render_as_string(hide_password=False)
    with pytest.raises(NotFound, match="PGPASSWORD"):
        Store.open(path, db=gone)
