"""What `make load` reads and writes, and that what it compares is alike."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benches.load import wrk
from benches.load.bare import granian_settings
from benches.load.bodies import PROMPT, SLACK, bodies, words_of
from benches.load.configuration import policy
from benches.load.errors import Wrong
from benches.load.latency import PacedRow, PacedSample
from benches.load.measuring import Row, Sample
from benches.load.paced import percentile
from benches.load.replies import REQUEST_ID, Raw, constant_of
from benches.load.report import Results, record, text

from kalguard.decision.policy import load_policy
from kalguard.sidecar import main, takeover
from tests.support import ROOT, settings

PRINTED = """Running 1s test @ http://127.0.0.1:1/v1/tool/check
Requests/sec:   1000.00
LOAD {"requests":1000,"bytes":300000,"seconds":1.000000,"p50_ms":1.000,"p99_ms":2.000,"p999_ms":3.000,\
"errors":{"connect":0,"read":0,"write":0,"status":0,"timeout":0}}
"""


def sample(requests: int, cpu_seconds: float | None = 1.0) -> Sample:
    return Sample(requests, 2.0, cpu_seconds, 1.0, 2.0, 3.0, 90.0, 60.0)


def results() -> Results:
    ours = Row("tool call", "(a) KalGuard", [sample(1200), sample(1000), sample(1400)])
    bare = Row("tool call", "(b) Litestar", [sample(1000), sample(500), sample(2800)])  # with a machine that changes
    peer = Row("tool call", "(e) peer", [sample(300, None)] * 3)
    paced = [
        PacedRow("1,000 requests/s", name, [PacedSample(1.0, p99, 9.0, 0.1)])
        for name, p99 in (("(a) KalGuard", 3.0), ("(b) Litestar", 2.0))
    ]
    return Results(throughput=[ours, bare, peer], paced=paced, start_seconds=[1.5], configuration=[ours])


def test_an_outcome_is_found_in_what_wrk_prints() -> None:
    outcome = wrk.read(PRINTED)
    assert (outcome.requests, outcome.bytes, outcome.p999_ms) == (1000, 300_000, 3.0)
    assert wrk.problems(outcome, range(300, 301)) == []
    assert wrk.problems(outcome, None) == []


@pytest.mark.parametrize(
    "printed", ["", "LOAD", PRINTED * 2, PRINTED.replace('"requests":1000', '"requests":0')], ids=str.__len__
)
def test_no_outcome_two_of_them_or_an_empty_one_are_refused(printed: str) -> None:
    with pytest.raises(Wrong):
        wrk.read(printed)


def test_errors_and_replies_of_another_size_are_told() -> None:
    outcome = wrk.read(PRINTED.replace('"status":0', '"status":7'))
    assert wrk.problems(outcome, range(300, 301)) == ["7 errors of kind `status`"]
    assert len(wrk.problems(outcome, range(301, 303))) == 2


def test_only_another_fresh_id_makes_no_difference_to_a_reply() -> None:
    reply = b'{"allowed":true,"requestId":"%s","x":1}'
    expected = constant_of(reply % b"req_aaaaaaaaaaaaaaaaaaaaaaaa")
    assert expected.body == reply % REQUEST_ID
    assert expected.request_id(reply % b"req_bbbbbbbbbbbbbbbbbbbbbbbb") == b"req_bbbbbbbbbbbbbbbbbbbbbbbb"
    assert expected.request_id(reply % b"chosen-by-somebody-else-1234") is None
    assert expected.request_id(reply.replace(b"1}", b"2}") % b"req_bbbbbbbbbbbbbbbbbbbbbbbb") is None
    with pytest.raises(Wrong):
        constant_of(reply.replace(b"true", b"false") % b"req_aaaaaaaaaaaaaaaaaaaaaaaa")


def test_what_is_left_of_a_limit_makes_no_difference_to_the_sizes_of_a_reply() -> None:
    sizes = [
        Raw(200, b'HTTP/1.1 200 OK\r\nratelimit: "agent";%s\r\n\r\n' % state, b"{}").sizes
        for state in (b"r=999999;t=61", b"r=7")
    ]
    assert sizes[0] == sizes[1]
    assert len(Raw(200, b"HTTP/1.1 200 OK\r\n\r\n", b"{}").sizes) == 1


def test_the_bodies_have_the_sizes_that_they_are_named_for() -> None:
    found = {name: len(body.content) for name, body in bodies().items()}
    for name, size in {"small": 281, "medium": 3_800, "long": 55_000, "turn": 55_000}.items():
        assert size - SLACK <= found[name] <= size
    assert all(len(body.path) == len(body.bare_path) for body in bodies().values())


def test_no_prompt_is_like_another_but_in_what_is_always_the_same() -> None:
    prompts = [body for body in bodies().values() if body.path == PROMPT]
    for body in prompts:
        first, second = [json.loads(body.numbered(number))["messages"] for number in (7, 16_777_215)]
        differ = [before != after for before, after in zip(first, second, strict=True)]
        assert differ == [body.name != "turn" or message is first[-1] for message in first]
        assert len(body.numbered(16_777_215)) == len(body.content)
    assert len({words_of(number) for number in range(64**3 - 500, 64**3 + 500)}) == 1_000


def test_the_policy_of_the_large_configuration_is_a_good_one() -> None:
    assert load_policy(json.dumps(policy(30)).encode()).rules.lint() == []


def test_the_yardsticks_run_on_granian_as_the_service_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Given(Exception):
        pass

    def server(_: str, **given: Any) -> None:
        raise Given(given)

    monkeypatch.setattr(takeover, "TakeoverServer", server)
    with pytest.raises(Given) as raised:
        main._serve(settings(port="1"), "127.0.0.1", tmp_path, None, None, in_force=None)
    (ours,) = raised.value.args
    apart = {"serving", "workers_kill_timeout", "log_dictconfig", "log_level", "ssl_cert", "ssl_key"}
    assert {name: value for name, value in ours.items() if name not in apart} == granian_settings("asgi", 1, 1)


def test_the_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 99, 99.9)] == [50.0, 99.0, 100.0]


def test_the_report_gives_medians_and_ratios() -> None:
    lines = {line.split("  ")[0]: line.split() for line in text(results()).splitlines() if line.startswith("(")}
    assert lines["(b) Litestar"][-2:] == ["1.20", "1.20"]  # of 1.2, 2.0 and 0.5, whatever the medians are
    assert lines["(e) peer"][-2:] == ["4.00", "-"]
    assert "33%" in lines["(a) KalGuard"]
    assert lines["(b) Litestar, 1,000 requests/s"][-2:] == ["1.50", "-"]


def test_two_workers_are_compared_with_one_of_the_same_server() -> None:
    rates = {"1 worker": 1000, "2 workers": 1500, "(b) Litestar": 2000, "(b) Litestar, 2 workers": 2200}
    rows = [Row("tool call", name, [sample(requests)]) for name, requests in rates.items()]
    found = [line.split()[-2:] for line in text(Results(workers=rows)).splitlines() if line.split("  ")[0] in rates]
    assert found == [["1.00", "1.00"], ["1.50", "1.50"], ["1.00", "1.00"], ["1.10", "1.10"]]


def test_the_record_holds_all_measurements_and_the_machine(tmp_path: Path) -> None:
    path = record(results(), {"seconds": 2}, tmp_path)
    found = json.loads(path.read_bytes())
    assert len(found["results"]["throughput"][0]["samples"]) == 3
    assert {"cpu", "cores", "kernel", "python", "granian"} <= found["machine"].keys()
    (first, bare, *_) = found["results"]["medians"]
    assert (first["rate"], bare["first_to_this_rate"]) == (600.0, 1.2)


def test_the_plot_names_every_server_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    path = record(results(), {}, tmp_path)
    subprocess.run([sys.executable, "-m", "benches.load.plot", str(path)], cwd=ROOT, check=True)
    written = path.with_suffix(".svg").read_text()
    ElementTree.fromstring(written)
    assert all(row.name in written for row in results().throughput)
    assert not re.search(r"\bsrc=|href=[\"'](?!#)|@import|url\((?!#)", written)
