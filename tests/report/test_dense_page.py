"""Pages of detectors and segmenters: each shows its own figures, and nothing that only a classifier has."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_run import CLASSES, write_fake_run
from page_reader import Page, change, report

from ghostfit.report.headline import headline
from ghostfit.report.read import read_run
from ghostfit.report.sections import SECTIONS
from ghostfit.report.units import percent, whole
from ghostfit.report.wording import WORDINGS
from ghostfit.runtime.score import MAIN_METRIC
from ghostfit.verbs.kinds import KINDS

FIRST = ["result", "tradeoff", "paid", "network", "timing", "shrinking", "training"]
LAST = ["confusion", "pictures", "data", "spent", "repeat"]
JUNK: list[Any] = [None, [], {}, "x", 7, -1.5, True, [1, [2], {}], [[1], [2, 3]], {"classes": [{}]}, float("nan")]


def ids_of(task: str) -> list[str]:
    return [*FIRST, "pixels" if task == "segment" else "objects", *LAST]


def scores_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "test.json").read_text()))


def section(page: Page, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page.text, re.DOTALL)
    assert found is not None
    return found[0]


def test_every_task_has_words_and_sections() -> None:
    assert set(WORDINGS) == set(SECTIONS) == set(MAIN_METRIC) == set(KINDS)
    assert {task: wording.test_key for task, wording in WORDINGS.items()} == MAIN_METRIC


def test_a_finished_run_gives_every_section(dense_run: Path, dense_task: str) -> None:
    page = report(dense_run)
    assert page.ids == ids_of(dense_task)
    assert page.absent == []
    assert "accuracy" not in re.sub("[Pp]ixel accuracy|no more accurate", "", " ".join(page.words))


def test_the_task_is_spoken_of_by_its_own_figure(dense_run: Path, dense_task: str) -> None:
    page, wording = report(dense_run), WORDINGS[dense_task]
    assert f"Test {wording.metric}" in page.words
    assert percent(scores_of(dense_run)[MAIN_METRIC[dense_task]]) in page.words
    assert f"{wording.metric} against latency" in page.words
    for name, num in (("tradeoff", 2), ("paid", 2), ("training", 3)):
        assert section(page, name).count(f">{wording.metric}, %<") >= num
    assert f"best validation {wording.metric}" in section(page, "training")
    asked = {"detect": "find the objects of 6", "instance": "find and outline", "segment": "give every pixel one of 6"}
    assert f"Asked: {asked[dense_task]}" in page.text


def test_each_class_has_its_figures(dense_run: Path, dense_task: str) -> None:
    test = scores_of(dense_run)
    keys = ("iou", "dice", "boundary_f") if dense_task == "segment" else ("map", "map50", "precision", "recall")
    drawn = section(report(dense_run), "pixels" if dense_task == "segment" else "objects")
    for row in test["per_class"]:
        cells = re.search(rf'<th scope="row">{row["name"]}</th>(.*?)</tr>', drawn, re.DOTALL)
        assert cells is not None and {percent(row[key]) for key in keys} <= set(re.findall(r">([^<]+)</td>", cells[1]))
    whole_set = ("miou", "pixel_accuracy", "dice", "boundary_f")
    if dense_task != "segment":
        whole_set = ("map", "map50", "map75", "average_recall", "map_small", "map_medium")
    assert all(percent(test[key]) in drawn for key in whole_set)


def test_objects_have_curves_and_an_operating_point(dense_run: Path, dense_task: str) -> None:
    if dense_task == "segment":
        pytest.skip("class maps have no scores")
    test, drawn = scores_of(dense_run), section(report(dense_run), "objects")
    point = test["operating_point"]
    assert f"With answers that score {point['score']:.2g}" in drawn and "chosen on other images" in drawn
    assert f"{percent(point['recall'])} of the objects are found" in drawn
    assert f"{percent(point['precision'])} of the answers are right" in drawn
    assert drawn.count('class="curve') + drawn.count('class="raw') >= 2 * len(CLASSES)  # for a wide page and a phone
    assert drawn.count("of the answers right</title>") == 2 * 5  # dots on the coloured ones
    assert ("by its mask" in drawn) == (dense_task == "instance")


def test_what_is_taken_for_what(dense_run: Path, dense_task: str) -> None:
    matrix, drawn = scores_of(dense_run)["confusion"], section(report(dense_run), "confusion")
    if dense_task == "segment":
        share = matrix[0][1] / sum(matrix[0])
        assert f"{matrix[0][1]:,} of truth {CLASSES[0]} called {CLASSES[1]} ({100 * share:.1f} %)" in drawn
        assert f">{100 * matrix[0][0] / sum(matrix[0]):.0f}</text>" in drawn
    else:
        assert len(matrix) == len(CLASSES) + 1
        assert f"{matrix[-1][0]} of truth nothing called {CLASSES[0]}" in drawn
        assert f"{matrix[0][-1]} of truth {CLASSES[0]} called missed" in drawn
        i, j = max(((i, j) for i in range(6) for j in range(6) if i != j), key=lambda cell: matrix[cell[0]][cell[1]])
        assert f">{whole(matrix[i][j])}</td>" in drawn
        assert not re.search(r'<th scope="row">nothing</th>', drawn)


def test_every_picture_is_shown_with_its_words(dense_run: Path) -> None:
    page = report(dense_run)
    for row in scores_of(dense_run)["pictures"]:
        assert f"data:image/jpeg;base64,{row['jpeg_base64']}" in page.links
        assert row["text"] in page.words and row["id"] in page.words
    assert page.tags.count("img") == len(scores_of(dense_run)["pictures"])


def test_a_class_map_has_a_key_to_its_colours(dense_run: Path, dense_task: str) -> None:
    drawn = section(report(dense_run), "pictures")
    assert drawn.count('<i style="background:rgb(') == (len(CLASSES) if dense_task == "segment" else 0)


def test_the_network_shows_neck_and_head(dense_run: Path) -> None:
    assert {"Neck", "Head"} <= set(report(dense_run).words)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_damaged_entries_never_crash(dense_run: Path, dense_task: str, junk: Any) -> None:
    test, run = scores_of(dense_run), read_run(dense_run)
    own = [draw for draw in SECTIONS[dense_task] if draw.__name__ in ("objects", "pixels", "confusion", "pictures")]
    spoiled = [{**test, key: junk} for key in test]
    for key in ("per_class", "pictures"):
        rows = [{name: old if isinstance(old, str) else junk for name, old in row.items()} for row in test[key]]
        spoiled += [{**test, key: rows}, {**test, key: [dict.fromkeys(row, junk) for row in test[key]]}]
    if dense_task != "segment":
        for key in ("operating_point", "precision_recall"):
            spoiled.append({**test, key: dict.fromkeys(test[key], junk)})
        lines = [{**line, "precision": junk} for line in test["precision_recall"]["classes"]]
        spoiled.append({**test, "precision_recall": {**test["precision_recall"], "classes": lines}})
    for given in spoiled:
        damaged = dataclasses.replace(run, test=given)
        for drawn in (headline(damaged), *(draw(damaged).draw() for draw in own)):
            ElementTree.fromstring(drawn)


@pytest.mark.parametrize("key", ["class_counts", "splits", "findings", "class_names", "size_hw", "skipped"])
def test_the_data_may_lack_an_entry(spoiled_run: Path, dense_task: str, key: str) -> None:
    known = json.loads((spoiled_run / "data.json").read_text())
    (spoiled_run / "data.json").write_text(json.dumps({name: value for name, value in known.items() if name != key}))
    page = report(spoiled_run)
    assert page.ids == ids_of(dense_task) and page.absent == []
    assert ("Images that show each class" in page.words) == (key != "class_counts")


@pytest.mark.parametrize("name", ["data.json", "model.ghost", "arch.json", "test.json"])
def test_a_lost_file_costs_its_sections_only(spoiled_run: Path, dense_task: str, name: str) -> None:
    (spoiled_run / name).unlink()
    page = report(spoiled_run)
    assert page.ids == ids_of(dense_task)  # the task is known from the others
    lost = {
        "data.json": ["data"],
        "model.ghost": [],
        "arch.json": ["network"],
        "test.json": [ids_of(dense_task)[7], "confusion", "pictures"],
    }
    assert page.absent == lost[name]


def test_before_the_test_the_validation_is_told(spoiled_run: Path, dense_task: str) -> None:
    (spoiled_run / "test.json").unlink()
    records = read_run(spoiled_run).metrics["train"]
    best = max(row[WORDINGS[dense_task].val_key] for row in records if WORDINGS[dense_task].val_key in row)
    words = report(spoiled_run).words
    assert f"Validation {WORDINGS[dense_task].metric}" in words and percent(best) in words


def test_a_detector_that_finds_nothing(spoiled_run: Path, dense_task: str) -> None:
    if dense_task == "segment":
        pytest.skip("class maps have no scores")
    point = {"rule": "best F1", "score": None, "precision": None, "recall": None, "f1": None}
    change(spoiled_run, "test.json", operating_point=point, map=0.0)
    assert "nothing was found in the test split" in report(spoiled_run).text


def test_many_classes_show_the_weakest_first(dense_task: str, tmp_path: Path) -> None:
    names = tuple(f"kind {number}" for number in range(40))
    run = write_fake_run(tmp_path, task=dense_task, class_names=names, num_evaluations=10, num_bytes=9)
    page = report(run)
    assert page.absent == []
    assert "20 further classes" in page.words
    assert "these are the ones most confused" in section(page, "confusion")
    if dense_task != "segment":
        assert "called missed" in section(page, "confusion")
        assert "other classes, which are better" in section(page, "objects")


def test_words_and_pictures_are_escaped(spoiled_run: Path) -> None:
    rows = [
        {"id": "<script>1</script>", "kind": kind, "text": '"<img src=x onerror=alert(1)>', "jpeg_base64": content}
        for kind in ("miss", "worst", "mosaic", "<b>", None, 3)
        for content in ('x" onerror="alert(1)', None, 7, "A" * 500_000)
    ]
    change(spoiled_run, "test.json", pictures=rows)
    page = report(spoiled_run)
    assert page.tags.count("script") == 1 and "img" not in page.tags


def test_runs_from_before_the_figure_had_one_name_are_read(finished_run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(finished_run, tmp_path / finished_run.name)
    for name in ("search.jsonl", "paid.json"):
        path = old / name
        path.write_text(path.read_text().replace('"metric"', '"accuracy"'))
    assert report(old).text == report(finished_run).text
