"""Timelines and flows: worked by hand, with what is missing, and in the report of a run."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
from fake_runs import make_run
from polyscene.explaining import explanation, flows, timelines
from polyscene.report import build_report, seeing, show_flows, show_timelines
from polyscene.report.timeline import colours_of, timeline

# user, item, scene, time, interest: in the order of the time
WALKS = [
    ("a", "film 1", "film", 1, "war"),
    ("a", "book 1", "book", 2, "war"),
    ("b", "film 2", "film", 3, "love"),
    ("a", "book 2", "book", 4, "love"),
    ("b", "film 1", "film", 5, "war"),
    ("a", "film 2", "film", 6, "love"),
    ("b", "book 2", "book", 7, "love"),
    ("a", "film 3", "film", 8, "war"),
    ("b", "film 3", "film", 9, "war"),
]


def read(folder: Path, rows: list[tuple[Any, ...]], **options: Any) -> Any:
    """Sequences of a file, the last row of each user tests, the one before it validates."""
    names = ("user_id", "item_id", "scene", "time", "interest")
    without = options.pop("without", ())
    kept = [number for number, name in enumerate(names) if name not in without]
    lines = [",".join(str(row[number]) for number in kept) for row in rows]
    head = ",".join(names[number] for number in kept)
    (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    given = {name: name for name in ("time", "interest") if names.index(name) in kept}
    return ps.read_table(
        folder / "events.csv",
        scene="scene",
        task="sequence",
        split="leave_one_out",
        min_count=1,
        **given | options,
    )


def fitted(data: Any, name: str = "item_knn", **options: Any) -> Any:
    model = ps.models.create(name, data.schema, **options)
    ps.Trainer(epochs=1).fit(model, data)
    return model


def figures(text: str, css: str) -> list[ElementTree.Element]:
    found = re.findall(rf'<svg [^>]*class="{css}".*?</svg>', text, flags=re.DOTALL)
    return [ElementTree.fromstring(figure) for figure in found]


def marks(figure: ElementTree.Element, tag: str, css: str) -> list[ElementTree.Element]:
    return [each for each in figure.iter(tag) if css in (each.get("class") or "").split()]


def test_flow_between_scenes_and_interests_is_counted_by_hand(tmp_path: Path) -> None:
    data = read(tmp_path, WALKS)
    found = flows(fitted(data), data)
    # Steps by the time of the later event: a 2 film-book, 4 book-book, 6 book-film, 8 film-film;
    # b 5 film-film, 7 film-book, 9 book-film. Seven steps in periods from 2, 5 and 7.
    scenes = found["flow"]
    assert scenes["names"] == ["book", "film"]
    assert [period["name"] for period in scenes["periods"]] == ["2 to 4", "5 to 6", "7 to 9"]
    assert [period["events"] for period in scenes["periods"]] == [
        [[1, 0], [1, 0]],
        [[0, 1], [0, 1]],
        [[0, 1], [1, 1]],
    ]
    interests = found["interest_flow"]
    assert interests["names"] == ["love", "war"]
    assert [period["events"] for period in interests["periods"]] == [
        [[0, 0], [1, 1]],
        [[1, 1], [0, 0]],
        [[0, 2], [1, 0]],
    ]
    # Both test rows lie in the last period. User b, who met a book before it, has one item left, book 1; a has none.
    assert ["said" in period for period in scenes["periods"]] == [False, False, True]
    assert scenes["periods"][2]["said"] == [[1, 0], [0, 0]] and scenes["said_by"] == "scores"
    assert interests["periods"][2]["said"] == [[0, 1], [0, 0]]
    found = flows(fitted(data), data, exclude_seen=False)
    assert np.array(found["flow"]["periods"][2]["said"]).sum(1).tolist() == [1, 1]


def test_interests_of_an_event_share_it(tmp_path: Path) -> None:
    rows = [("a", "i1", "x", 1, "p|q"), ("a", "i2", "y", 2, "p"), ("a", "i1", "x", 3, "q"), ("a", "i2", "x", 4, "p")]
    data = read(tmp_path, rows, interest={"name": "interest", "separator": "|"})
    found = flows(fitted(data), data)["interest_flow"]
    assert found["names"] == ["p", "q"]
    # p|q to p is one half from each; then p to q, and q to p
    assert sum(np.array(period["events"]) for period in found["periods"]).tolist() == [[0.5, 1], [1.5, 0]]


def test_a_timeline_is_drawn_event_by_event() -> None:
    person = {
        "user": "<u & co>",
        "events": [
            {"item": "i1", "scene": "film", "weight": 0.2, "carried": False, "time": 893286638, "interests": ["war"]},
            {"item": "<i2>", "scene": "book", "weight": 0.5, "carried": True, "time": 893286700, "interests": ["love"]},
            {"item": "i3", "scene": "film", "weight": 0.3, "carried": False, "time": 893373100, "interests": []},
        ],
        "next": {"item": "i4", "scene": "music", "time": 893373200, "rank": 2.0, "among": 1200, "interests": ["war"]},
        "recommended": "i9",
    }
    colours = colours_of([person])
    assert colours == {"war": 0, "love": 1}
    figure = ElementTree.fromstring(timeline(person, "attention", colours, True))
    dots = marks(figure, "circle", "dot")
    assert [dot.get("class") for dot in dots] == ["dot f0", "dot f1", "dot f-none"]
    titles = [dot.find("title").text for dot in dots]
    assert titles[1] == "<i2> · book · love · 1998-04-22 · attention 0.500"
    (ring,) = marks(figure, "circle", "carried")
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))
    assert [each.text for each in figure.iter("text") if each.get("class") == "name"][0::1] != []
    lanes = [each.find("title").text for each in figure.iter("text") if each.get("class") == "name"]
    assert lanes == ["film", "book", "music"]  # by events, the scene that followed last
    assert dots[0].get("cy") == dots[2].get("cy") != dots[1].get("cy")
    xs = [float(dot.get("cx")) for dot in dots]
    assert xs == sorted(xs) and len(set(xs)) == 3
    (diamond,) = marks(figure, "path", "next")
    assert diamond.get("class") == "next f0"
    assert diamond.find("title").text.endswith("rank 2 of 1,200; first is i9")
    assert figure.get("aria-label") == "Timeline of <u & co>"


def test_without_interests_scenes_have_the_colours() -> None:
    person = {
        "user": "u",
        "events": [{"item": "i", "scene": "b", "weight": -0.25, "carried": False}],
        "next": {"item": "j", "scene": "a"},
    }
    assert colours_of([person]) == {"a": 0, "b": 1}
    figure = ElementTree.fromstring(timeline(person, "left_out", colours_of([person]), False))
    (dot,) = marks(figure, "circle", "dot")
    assert dot.get("class") == "dot f1" and dot.find("title").text == "i · b · score falls by -0.2500"
    assert marks(figure, "circle", "carried") == [] and marks(figure, "text", "tick") == []


def test_users_of_the_data_are_told_as_they_walked(tmp_path: Path) -> None:
    data = read(tmp_path, WALKS)
    told = timelines(fitted(data), data.test, ["b", "a"])
    assert told["by"] == "left_out" and told["task"] == "sequence" and told["timed"]
    b, a = told["people"]
    assert (b["user"], a["user"]) == ("b", "a")
    assert [(e["item"], e["scene"], e["time"], e["interests"]) for e in a["events"]] == [
        (item, scene, time, [interest]) for user, item, scene, time, interest in WALKS[:-2] if user == "a"
    ]
    assert (a["next"]["item"], a["next"]["scene"], a["next"]["time"]) == ("film 3", "film", 8)
    assert a["next"]["rank"] is None  # no training row has it
    assert "recommended" in a


def test_ranks_are_those_of_the_evaluation() -> None:
    data = ps.testing.tiny_data("sequence")
    for name in ("sasrec", "item_knn"):
        model = fitted(data, name)
        users = [f"u{k}" for k in range(40)]
        ranks = [person["next"]["rank"] for person in timelines(model, data.test, users)["people"]]
        known = [rank for rank in ranks if rank is not None]
        result = ps.evaluate(model, data.test, k=[10], metrics=["mrr@10"])
        per_user = dict(zip(result.per_user.user, result.per_user.values["mrr@10"], strict=True))
        for user, rank in zip(users, ranks, strict=True):
            if rank is not None and user in per_user:
                expected = 1 / rank if rank <= 10 else 0
                assert per_user[user] == pytest.approx(expected, abs=1e-6)
        assert len(known) >= 35


def test_an_unknown_user_is_named_with_one_that_is_near(tmp_path: Path) -> None:
    data = ps.testing.tiny_data("sequence")
    model = fitted(data)
    with pytest.raises(ValueError, match=r"timelines: user 'u3O' has no row in the table; did you mean 'u3'\?"):
        timelines(model, data.test, ["u3O"])
    with pytest.raises(TypeError, match=r"timelines: users must be a list of original ids, got the text 'u3'"):
        timelines(model, data.test, "u3")


@pytest.mark.parametrize("without", [("time",), ("interest",), ("time", "interest")])
def test_columns_may_be_missing(without: tuple[str, ...], tmp_path: Path) -> None:
    data = read(tmp_path, WALKS, without=without)
    model = fitted(data)
    found = explanation(model, data)
    assert ("interest_flow" in found) == ("interest" not in without)
    events = [event for person in found["timeline"]["people"] for event in person["events"]]
    assert all(("time" in event) == ("time" not in without) for event in events)
    names = [period["name"] for period in found["flow"]["periods"]]
    if "time" in without:
        assert names == ["first third of each user's events", "second third", "last third"]
    counted = sum(np.array(period["events"]).sum() for period in found["flow"]["periods"])
    assert counted == 7
    page = seeing.timelines(found["timeline"])
    assert page["coloured"] == ("scene" if "interest" in without else "interest")


def test_one_user_and_one_scene(tmp_path: Path) -> None:
    rows = [("only", f"i{k}", "x", k, "p") for k in range(6)]
    data = read(tmp_path, rows, without=("interest",))
    found = explanation(fitted(data), data)
    assert "flow" not in found
    (person,) = found["timeline"]["people"]
    assert person["user"] == "only" and len(person["events"]) == 5
    with pytest.raises(ValueError, match="show_flows: the data tell nothing of scenes; wanted several, and users"):
        show_flows(fitted(data), data)
    with pytest.raises(ValueError, match="show_flows: what must be 'scenes' or 'interests', got 'items'"):
        show_flows(fitted(data), data, "items")


def test_items_that_training_does_not_know_are_told_as_unknown(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        [
            *WALKS,
            ("c", "film 1", "film", 10, "war"),
            ("c", "new", "film", 11, "war"),
            ("c", "film 2", "film", 12, "war"),
        ],
    )
    told = timelines(fitted(data), data.test, ["c"])
    items = [event["item"] for event in told["people"][0]["events"]]
    assert items == ["film 1", "unknown"]


def test_a_model_that_names_next_scenes_and_interests_is_believed() -> None:
    data = ps.testing.tiny_data()

    class Tells(ps.Model):
        def __init__(self, schema: Any) -> None:
            super().__init__(schema)
            self.inside = ps.models.DIN(schema, dim=4)

        @property
        def history_length(self) -> int:
            return 5

        def forward(self, batch: Any) -> Any:
            return self.inside(batch)

        def explain(self, batch: Any) -> Any:
            import torch

            rows = len(batch)
            first = torch.zeros(rows, 5)
            first[:, 2] = 1
            scenes = torch.tensor([[0.25, 0.75, 0.0]]).expand(rows, 3)
            return {"interests": torch.full((rows, 5), 0.2), "transitions": first, "next_scene": scenes}

    model = Tells(data.schema)
    ps.Trainer(epochs=1).fit(model, data)
    found = flows(model, data)
    assert found["flow"]["said_by"] == "next_scene" and found["interest_flow"]["said_by"] == "interests"
    said = sum(np.array(period["said"]) for period in found["flow"]["periods"] if "said" in period)
    np.testing.assert_allclose(said / said.sum(1, keepdims=True), np.tile([0.25, 0.75, 0], (3, 1)), atol=1e-6)
    liked = sum(np.array(period["said"]) for period in found["interest_flow"]["periods"] if "said" in period)
    assert (liked[:, 2] > 0).any() and not np.delete(liked, 2, 1).any()
    person = timelines(model, data.test)["people"][0]
    assert person["next_scene"][0] == ["tablet", 0.75] and person["transitions"][0] == ["g2", 1.0]


def test_the_page_shows_timelines_and_flows(tmp_path: Path) -> None:
    data = ps.testing.tiny_data()
    model = fitted(data, "interest_migration", dim=8, hidden=8)
    folder = make_run(tmp_path / "run", rows=300, with_explain=False)
    found = explanation(model, data)
    (folder / "explain.json").write_text(json.dumps(found), encoding="utf-8")
    text = build_report(folder).read_text(encoding="utf-8")
    lines = figures(text, "plot timeline")
    assert len(lines) == len(found["timeline"]["people"]) == 6
    for figure, person in zip(lines, found["timeline"]["people"], strict=True):
        assert len(marks(figure, "circle", "dot")) == len(person["events"])
        assert len(marks(figure, "circle", "carried")) == sum(event["carried"] for event in person["events"])
        assert len(marks(figure, "path", "next")) == 1
    assert "Between scenes over time" in text and "Between interests over time" in text
    for name, what in (("flow", "scenes"), ("interest_flow", "interests")):
        for period in found[name]["periods"]:
            label = f"Events from {what} to {what}, {period['name']}"
            figure = next(each for each in figures(text, "flow") if each.get("aria-label") == label)
            total = np.array(period["events"])
            share = total / total.sum(1, keepdims=True).clip(1e-12)
            for ribbon in marks(figure, "path", "ribbon"):
                a, b = int(ribbon.get("data-a")), int(ribbon.get("data-b"))
                assert ribbon.find("title").text.endswith(f"{share[a, b]:.1%}")
    assert len(text) < 300_000


def test_a_run_of_sequences_has_them_and_stays_small(tmp_path: Path) -> None:
    data = ps.testing.tiny_data("sequence")
    folder = make_run(tmp_path / "run", rows=300, with_explain=False)
    for name in ("sasrec", "gru4rec"):
        found = explanation(fitted(data, name), data)
        assert set(found) == {"timeline", "flow", "interest_flow"}
        (folder / "explain.json").write_text(json.dumps(found), encoding="utf-8")
        text = build_report(folder).read_text(encoding="utf-8")
        assert len(figures(text, "plot timeline")) == 6 and len(figures(text, "flow")) == 8  # of scenes, of interests
        assert seeing.CARRIED_BY[found["timeline"]["by"]].replace("'", "&#39;") in text
        assert len(text) < 200_000


def test_figures_show_in_a_notebook(tmp_path: Path) -> None:
    data = ps.testing.tiny_data("sequence")
    model = fitted(data)
    shown = show_timelines(model, data.test, ["u1"])
    assert repr(shown).startswith("Inline('Timelines'")
    frame = shown._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;') and frame.endswith("</iframe>")
    page = shown.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(figures(page, "plot timeline")) == 1 and "http" not in page.replace("http-equiv", "")
    assert len(figures(show_flows(model, data).page, "flow")) == 4


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    rows = [
        (
            user,
            f"<i>{item}</i>",
            f'<b class="x">{scene}</b>',
            time,
            "<script>alert(1)</script>" if interest == "war" else "&",
        )
        for user, item, scene, time, interest in WALKS
    ]
    data = read(tmp_path, [(f"<u>{user}</u>", *rest) for user, *rest in rows])
    folder = make_run(tmp_path / "run", rows=300, with_explain=False)
    found = explanation(fitted(data), data)
    assert set(found) == {"timeline", "flow", "interest_flow"}
    (folder / "explain.json").write_text(json.dumps(found), encoding="utf-8")
    text = build_report(folder).read_text(encoding="utf-8")
    for markup in ("<script>alert", "<i>film", "<b class=", "<u>a"):
        assert markup not in text
    assert "&lt;u&gt;a&lt;/u&gt;" in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert len(figures(text, "plot timeline")) == 2  # well-formed


def test_without_test_rows_events_flow_alone(tmp_path: Path) -> None:
    data = read(tmp_path, WALKS)
    model, with_test = fitted(data), flows(fitted(data), data)
    data.test = None
    found = flows(model, data)
    assert found.keys() == with_test.keys() and "said_by" not in found["flow"]
    assert sum(np.array(period["events"]).sum() for period in found["flow"]["periods"]) == 5  # the two last are gone
