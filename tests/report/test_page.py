from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from fake_run import write_fake_run
from page_reader import change, report

from ghostfit.report import write_report
from ghostfit.report.sections import SECTIONS
from ghostfit.report.units import SPACE

FILES = ["data", "limits", "arch", "start", "gene_time", "paid", "test", "block_time", "bench", "clock"]
IDS = [
    "result",
    "tradeoff",
    "paid",
    "network",
    "timing",
    "shrinking",
    "training",
    "confusion",
    "confidence",
    "mistakes",
]
IDS += ["data", "spent", "repeat"]


def test_a_finished_run_gives_every_section(finished_run: Path) -> None:
    page = report(finished_run)
    assert page.ids == IDS
    assert page.absent == []
    assert len(SECTIONS["classify"]) == len(IDS) - 1
    assert sorted(link for link in page.links if link.startswith("#")) == sorted(f"#{name}" for name in IDS)


def test_the_headline_tells_the_result(finished_run: Path) -> None:
    words = " ".join(report(finished_run).words)
    test = json.loads((finished_run / "test.json").read_text())
    assert f"{100 * test['accuracy']:.1f}%" in words
    assert "within" in words and "the limit of 3 ms" in words
    assert json.loads((finished_run / "paid.json").read_text())["sentence"] in words


def test_the_page_asks_nothing_of_the_network(finished_run: Path) -> None:
    page = report(finished_run)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert set(re.findall(r"https?://[^\"' <]*", page.text)) == {"http://www.w3.org/2000/svg"}  # a name, not a request
    assert "@import" not in page.text
    assert re.findall(r"url\(([^)]{0,7})", page.text) == ["#cheap-"] * page.text.count("url(")
    script = re.search(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page.text


def test_what_comes_from_the_data_is_escaped(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", '"onload="x', "a & b", "null\x00 lone\ud800", "très long " * 40, "]]>")
    run = write_fake_run(tmp_path / "<b>run", class_names=names, num_evaluations=10, num_bytes=9)
    change(
        run,
        "data.json",
        name="<img src=x onerror=alert(1)>",
        findings=[{"id": "<i>", "title": "<u>", "severity": '">'}],
    )
    change(run, "paid.json", sentence="<b>paid</b>")
    page = report(run)
    assert page.tags.count("script") == 1
    assert not {"i<", "u", "image"} & set(page.tags)
    assert "alert(1)" in " ".join(page.words)
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", page.text)
    assert "\x00" not in page.text


def test_pictures_that_are_no_base64_are_left_out(small_run: Path) -> None:
    picture = 'x" onerror="alert(1)'
    mistakes = [
        {"truth": "a", "predicted": "b", "confidence": 2, "thumbnail_jpeg_base64": p} for p in (picture, 7, None)
    ]
    change(small_run, "test.json", mistakes=mistakes)
    assert "img" not in report(small_run).tags


@pytest.mark.parametrize("name", [f"{name}.json" for name in FILES] + ["search.jsonl", "metrics.jsonl", "shrink.jsonl"])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"{}", b"null", b"[1, [2], {}]", b'{"rows": [{}]}', b"\xff\xfe"]
)
def test_a_file_may_be_missing_or_damaged(small_run: Path, name: str, content: bytes | None) -> None:
    path = small_run / name
    path.unlink() if content is None else path.write_bytes(content)
    assert report(small_run).ids == IDS


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_bundle_is_named(small_run: Path, content: bytes) -> None:
    (small_run / "model.ghost").write_bytes(content)
    assert "model.ghost could not be read" in report(small_run).text


def test_a_run_that_just_began(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"verb": "fit", "phases": {}, "command": ["ghostfit", "fit", "x"]}))
    page = report(tmp_path)
    assert page.absent == [name for name in IDS if name not in ("result", "repeat")]
    assert "not finished" in page.text and "supernet training" in page.text


def test_a_run_killed_during_the_search(small_run: Path) -> None:
    for name in ("arch.json", "test.json", "paid.json", "bench.json", "block_time.json", "model.ghost"):
        (small_run / name).unlink()
    with (small_run / "search.jsonl").open("a") as stream:
        stream.write('{"number": 99, "accur')
    phases = json.loads((small_run / "run.json").read_text())["phases"]
    change(small_run, "run.json", phases={name: phases[name] for name in ("data", "space", "supernet")})
    page = report(small_run)
    assert page.absent == ["paid", "network", "confusion", "confidence", "mistakes"]
    assert "Still to come: search, training the chosen one, test split and export and parity" in page.text


def test_a_run_killed_in_a_search_without_shared_weights_waits_for_none(small_run: Path) -> None:
    phases = json.loads((small_run / "run.json").read_text())["phases"]
    change(small_run, "run.json", phases={name: phases[name] for name in ("data", "space")})
    change(small_run, "limits.json", strategy="largest")
    assert "Still to come: search, training the chosen one" in report(small_run).text


def test_a_run_that_only_trained(small_run: Path) -> None:
    for name in ("search.jsonl", "shrink.jsonl", "gene_time.json", "paid.json", "start.json"):
        (small_run / name).unlink()
    change(small_run, "run.json", verb="train")
    page = report(small_run)
    assert {"tradeoff", "paid", "shrinking"} <= set(page.absent)
    assert "not finished" not in page.text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "null", "true", '"x"', "[]", "1e400", str(10**400)])
def test_figures_that_are_no_numbers(small_run: Path, value: str) -> None:
    for name in (
        "search.jsonl",
        "metrics.jsonl",
        "test.json",
        "bench.json",
        "paid.json",
        "block_time.json",
        "run.json",
    ):
        path = small_run / name
        fields = "accuracy|metric|latency_ms|macs|loss|lr|step|ece|count|confidence|median_ms|share|ms|seconds"
        path.write_text(re.sub(rf'"({fields})": [-0-9.e]+', rf'"\1": {value}', path.read_text()))
    report(small_run)


def test_every_evaluation_alike(small_run: Path) -> None:
    line = (small_run / "search.jsonl").read_text().splitlines()[0]
    (small_run / "search.jsonl").write_text(line + "\n" + line + "\n")
    report(small_run)


def test_no_latency_was_measured(small_run: Path) -> None:
    path = small_run / "search.jsonl"
    path.write_text(re.sub(r'"latency_(p90_)?ms": [0-9.]+', r'"latency_\1ms": null', path.read_text()))
    assert "multiply-accumulates" in report(small_run).text


@pytest.mark.parametrize("num", [2, 30, 1000])
def test_any_number_of_classes(tmp_path: Path, num: int) -> None:
    run = write_fake_run(tmp_path, class_names=tuple(f"class {i}" for i in range(num)), num_evaluations=10, num_bytes=9)
    page = report(run)
    assert "confusion" not in page.absent
    assert len(page.text) < 3_000_000
    assert ("the ones most confused" in page.text) == (num > 20)


def test_the_report_may_lie_elsewhere(finished_run: Path, tmp_path: Path) -> None:
    path = write_report(finished_run, tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html" and path.is_file()


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        write_report(tmp_path)


def test_the_same_run_gives_the_same_page(finished_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished_run, tmp_path / finished_run.name)
    assert write_report(copy).read_bytes() == write_report(finished_run).read_bytes()


def test_a_busy_machine_is_told(small_run: Path) -> None:
    rows = json.loads((small_run / "bench.json").read_text())["rows"]
    change(small_run, "bench.json", rows=[{**row, "disturbed": 0.8} for row in rows])
    assert "in up to 80% of the runs another program took a core" in report(small_run).text


def test_the_certificate_is_told(finished_run: Path) -> None:
    words = report(finished_run).words
    assert "passed" in words and "2, at most 8.8e-07 apart (stages.0.0)" in words


def test_the_size_is_that_of_the_network_that_the_limit_is_on(small_run: Path) -> None:
    change(small_run, "limits.json", size_mb=0.005)
    page = report(small_run)
    assert f"5.0{SPACE}kB" in page.words and "within" in page.words and "over" not in page.words
    assert "the network's file, in a bundle of" in " ".join(page.words)


def test_broken_limits_are_told(small_run: Path) -> None:
    change(small_run, "limits.json", latency_ms=0.1, size_mb=0.001, macs_m=1.0, params_m=0.5, memory_mb=1.0)
    words = report(small_run).words
    assert words.count("over") == 5 and "within" not in words
