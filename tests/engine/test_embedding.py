"""What a worker process asks of its encoder."""

from __future__ import annotations

from embedstore.encoders import reference
from embedstore.engine.embedding import EmbedWork
from embedstore.engine.encoders import load_encoder
from embedstore.engine.requests import EncoderChoice
from embedstore.settings import Limits


def test_workers_share_weights_and_the_process_that_commits_does_not(monkeypatch):
    asked, load = [], type(reference.factory).load

    def noted(factory, name, request):
        asked.append(request.shared)
        return load(factory, name, request)

    monkeypatch.setattr(type(reference.factory), "load", noted)
    choice = EncoderChoice(name="reference")
    EmbedWork(choice, Limits()).start()
    load_encoder(choice)
    assert asked == [True, False]
