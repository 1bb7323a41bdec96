"""Ranks that were given different things stop before they work together, and say what differs."""

import json

import pytest

from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.launch import LaunchError
from dptt.runtime import same_input
from dptt.runtime.same_input import check_same_series, check_same_settings


class Ranks(SerialCommunicator):
    """Rank 0 of three, whose peers say what rank 0 says but for `changes`, by rank."""

    size = 3

    def __init__(self, changes: dict[int, dict[str, object]]) -> None:
        self.changes = changes

    def gather_messages(self, message: str) -> list[str]:
        host, found = json.loads(message)
        return [json.dumps([f"n{rank}", found | self.changes.get(rank, {})]) for rank in range(3)]


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(series=tmp_path / "series.h5", run=tmp_path / "run")


def test_ranks_with_the_same_choices_and_series_go_on(config):
    check_same_settings(config, Ranks({}))
    check_same_series(config, "abc", Ranks({}))


def test_another_choice_on_one_rank_is_named_with_its_host(config):
    with pytest.raises(LaunchError) as refused:
        check_same_settings(config, Ranks({2: {"reconstruction.seed": 7}}))
    assert "rank 2 (host n2) has reconstruction.seed = 7, rank 0 (host n0) has 0" in str(refused.value)
    assert "rank 1" not in str(refused.value)


def test_another_version_or_folder_of_results_is_a_difference_too(config, monkeypatch):
    with pytest.raises(LaunchError, match="version of dptt"):
        check_same_settings(config, Ranks({1: {"version of dptt": "0.0"}}))
    with pytest.raises(LaunchError, match="has run = "):
        check_same_settings(config, Ranks({1: {"run": "/elsewhere"}}))


def test_a_section_that_one_rank_lacks_is_a_difference(config):
    with pytest.raises(LaunchError, match=r"has brightfield\.grid = 5, rank 0 \(host n0\) has none"):
        check_same_settings(config, Ranks({1: {"brightfield.grid": 5}}))


def test_of_many_differences_some_are_shown_and_all_counted(config):
    changes = {f"made.up.{number}": number for number in range(9)}
    with pytest.raises(LaunchError, match="and 4 more"):
        check_same_settings(config, Ranks({1: changes}))


def test_a_copy_of_the_series_elsewhere_is_welcome_another_series_is_not(config, monkeypatch):
    sent = []
    monkeypatch.setattr(Ranks, "gather_messages", lambda self, message: sent.append(message) or [message] * 3)
    check_same_settings(config, Ranks({}))
    check_same_settings(config.model_copy(update={"series": config.series.with_name("copy.h5")}), Ranks({}))
    assert sent[0] == sent[1]
    monkeypatch.undo()
    with pytest.raises(
        LaunchError, match='rank 1 .* has a series with the checksum = "def".*Copy the same series.h5'
    ):
        check_same_series(config, "abc", Ranks({1: {"a series with the checksum": "def"}}))


def test_one_process_asks_nobody(config, monkeypatch):
    monkeypatch.setattr(same_input.json, "dumps", None)
    check_same_settings(config, SerialCommunicator())
