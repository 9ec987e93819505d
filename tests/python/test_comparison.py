"""Paired comparisons against slow computations that share no code with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_runs import AGES, make_run, metrics, predictions
from polyscene import _statistics as stats
from polyscene.comparison import compare, runs_of
from polyscene.results import Predictions, Result
from scipy import stats as scipy_stats
from sklearn import metrics as oracle


def result(skill: float, rows: int = 800, seed: int = 0, users: bool = False, **changes) -> Result:
    p = predictions(AGES, rows, skill, seed)
    p.user = p.user if users else None
    return Result.from_dict(metrics(p, AGES), p, name=changes.pop("name", f"skill {skill}"), **changes)


def paired(rows: int = 60, seed: int = 0, ties: bool = True) -> stats.Paired:
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(float)
    score = np.clip(rng.normal(0.4 + 0.2 * label, 0.25, (2, rows)), 0.01, 0.99)
    user = np.unique(rng.integers(0, rows // 4, rows), return_inverse=True)[1]
    return stats.Paired(label, np.round(score, 1) if ties else score, (0.5, 0.45), np.arange(rows), user)


def placement_delong(data: stats.Paired) -> tuple[float, float]:
    """DeLong by its definition: every positive against every negative, O(n m)."""
    up, down = data.positive, ~data.positive
    v10, v01 = [], []
    for score in data.score:
        wins = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in score[down]] for x in score[up]])
        v10.append(wins.mean(1))
        v01.append(wins.mean(0))
    auc = np.array([v.mean() for v in v10])
    covariance = np.cov(v10) / up.sum() + np.cov(v01) / down.sum()
    return auc[1] - auc[0], math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


@pytest.mark.parametrize("ties", [True, False])
def test_delong_matches_the_placement_definition(ties):
    data = paired(ties=ties)
    np.testing.assert_allclose(stats.delong(data, clustered=False), placement_delong(data), rtol=1e-12)


def test_clustered_delong_matches_obuchowski_and_widens_for_copies():
    data = paired(40)
    twice = stats.Paired(np.tile(data.label, 2), np.tile(data.score, 2), data.threshold, np.tile(np.arange(40), 2))
    single = stats.Paired(data.label, data.score, data.threshold, np.arange(40))
    assert stats.delong(twice, True) == pytest.approx(stats.delong(single, True), rel=1e-12)
    assert stats.delong(twice, False)[1] < 0.75 * stats.delong(twice, True)[1]
    data.unit = data.user
    up = data.positive
    gap = stats.placements(up, data.score[1]) - stats.placements(up, data.score[0])
    theta, m, n, units = gap[up].mean(), up.sum(), (~up).sum(), data.units
    s10 = s01 = s11 = 0.0
    for u in range(units):
        a = (gap[up & (data.unit == u)] - theta).sum()
        b = (gap[~up & (data.unit == u)] - theta).sum()
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
    expected = units / (units - 1) * (s10 / m**2 + s01 / n**2 + 2 * s11 / (m * n))
    assert stats.delong(data, True) == pytest.approx((theta, math.sqrt(expected)), rel=1e-12)


def test_mcnemar_is_the_exact_binomial_test():
    label = np.array([1.0] * 12)
    first = np.array([0.9] * 2 + [0.1] * 9 + [0.9])
    second = np.array([0.1] * 2 + [0.9] * 9 + [0.9])
    data = stats.Paired(label, np.stack([first, second]), (0.5, 0.5), np.arange(12))
    by_hand = 2 * sum(math.comb(11, k) for k in range(3)) / 2**11
    assert stats.mcnemar_p(data, clustered=False) == pytest.approx(by_hand, rel=1e-12)
    same = stats.Paired(label, np.stack([first, first]), (0.5, 0.5), np.arange(12))
    assert stats.mcnemar_p(same, clustered=False) == 1.0


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made monotone: .04 .06 .06 .06; nan is no test
    adjusted = stats.holm(np.array([0.04, 0.01, math.nan, 0.03, 0.02]))
    np.testing.assert_allclose(adjusted, [0.06, 0.04, math.nan, 0.06, 0.06])
    assert stats.holm(np.array([0.9, 0.8])).max() == 1.0
    assert stats.holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("metric", ["auc", "log_loss", "accuracy", "precision", "recall", "f1", "rmse", "mae"])
def test_metrics_match_scikit_learn(metric):
    data = paired(200)
    for model, value in enumerate(stats.values(data, metric)):
        score, said = data.score[model], data.score[model] >= data.threshold[model]
        wanted = {
            "auc": lambda s, d: oracle.roc_auc_score(data.label, s),
            "log_loss": lambda s, d: oracle.log_loss(data.label, s),
            "accuracy": lambda s, d: oracle.accuracy_score(data.label, d),
            "precision": lambda s, d: oracle.precision_score(data.label, d),
            "recall": lambda s, d: oracle.recall_score(data.label, d),
            "f1": lambda s, d: oracle.f1_score(data.label, d),
            "rmse": lambda s, d: oracle.root_mean_squared_error(data.label, s),
            "mae": lambda s, d: oracle.mean_absolute_error(data.label, s),
        }[metric](score, said)
        assert value == pytest.approx(wanted, rel=1e-12)


def test_gauc_is_the_row_weighted_mean_over_users_with_two_classes():
    data = paired(120)
    for score, value in zip(data.score, stats.values(data, "gauc"), strict=True):
        total = weight = 0.0
        for user in np.unique(data.user):
            mine = data.user == user
            if len(set(data.label[mine])) == 2:
                total += mine.sum() * oracle.roc_auc_score(data.label[mine], score[mine])
                weight += mine.sum()
        assert value == pytest.approx(total / weight, rel=1e-12)


@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("metric", ["auc", "gauc", "f1", "log_loss"])
def test_a_bootstrap_draw_equals_the_metric_of_the_repeated_rows(metric, by_user):
    data = paired(50)
    data.unit = data.user if by_user else data.unit
    weights = next(stats.resamples(data.units, 3, np.random.default_rng(5), 50))
    got = stats.bootstrap(data, [metric], 3, np.random.default_rng(5))[metric]
    for draw, value in zip(weights, got, strict=True):
        copies = draw[data.unit].astype(int)
        rows = np.repeat(np.arange(50), copies)
        again = stats.Paired(
            data.label[rows], data.score[:, rows], data.threshold, np.arange(len(rows)), data.user[rows]
        )
        if metric == "gauc":
            if by_user:  # a user drawn twice is two users of the same AUC
                auc = [stats.user_aucs(data.user, data.positive, s) for s in data.score]
                one, two = (np.nansum(draw * v * n) / np.sum((draw * n)[~np.isnan(v)]) for v, n in auc)
                assert value == pytest.approx(two - one, rel=1e-9)
            continue
        one, two = stats.values(again, metric)
        assert value == pytest.approx(two - one, rel=1e-9, abs=1e-12)


def test_rows_comparison_reports_values_intervals_and_the_better_model():
    found = compare(result(0.3), result(2.0), draws=400)
    assert found.unit == "row"
    row = found.row("auc")
    p = {s: predictions(AGES, 800, s) for s in (0.3, 2.0)}
    assert row.first_value == pytest.approx(oracle.roc_auc_score(p[0.3].label, p[0.3].score), rel=1e-12)
    assert row.second_value == pytest.approx(oracle.roc_auc_score(p[2.0].label, p[2.0].score), rel=1e-12)
    assert row.low < row.difference < row.high and row.test == "DeLong" and row.better == "skill 2.0"
    assert {r.scene for r in found.rows} == {None, *AGES}
    assert {r.metric for r in found.rows} == {"auc", "log_loss", "accuracy", "f1"}
    raw = np.array([r.p for r in found.rows])
    np.testing.assert_allclose([r.p_holm for r in found.rows], stats.holm(raw))
    assert found.row("log_loss").better == ("skill 2.0" if found.row("log_loss").difference < 0 else "skill 0.3")


def test_intervals_have_the_width_of_the_normal_theory():
    found = compare(result(0.6, 3000), result(0.9, 3000), metric=["auc", "log_loss"], draws=1500).rows
    row = next(r for r in found if r.metric == "auc" and r.scene is None)
    a, b = (predictions(AGES, 3000, s) for s in (0.6, 0.9))
    data = stats.Paired(a.label, np.stack([a.score, b.score]), (0.5, 0.5), np.arange(3000))
    assert (row.high - row.low) / (2 * 1.96 * stats.delong(data, False)[1]) == pytest.approx(1, abs=0.1)
    loss = [-np.where(p.label > 0, np.log(p.score), np.log1p(-p.score)) for p in (a, b)]
    test = scipy_stats.ttest_rel(loss[1], loss[0]).confidence_interval(0.95)
    row = next(r for r in found if r.metric == "log_loss" and r.scene is None)
    assert (row.low, row.high) == pytest.approx((test.low, test.high), abs=0.1 * (test.high - test.low))


def test_users_are_the_unit_when_predictions_name_them():
    a, b = result(0.3, users=True), result(0.9, users=True)
    found = compare(a, b, metric=["auc", "gauc", "accuracy"], draws=200)
    assert found.unit == "user" and found.row("auc").test == "DeLong, by user"
    assert compare(a, b, metric="auc", unit="row", draws=50).row("auc").test == "DeLong"
    with pytest.raises(ValueError, match="unit 'user' wants predictions with a column user"):
        compare(result(0.3), result(0.9), unit="user")
    with pytest.raises(ValueError, match="gauc needs the user of each row"):
        compare(result(0.3), result(0.9), metric="gauc")


def test_a_model_against_itself_is_no_difference():
    for row in compare(result(1.0), result(1.0), draws=100).rows:
        assert (row.difference, row.low, row.high, row.better) == (0, 0, 0, "")
        assert row.p == 1.0 and row.p_holm == 1.0


def test_equal_models_are_rarely_told_apart():
    better = sum(r.better != "" for s in range(8) for r in compare(
        result(1.0, 300, s, name="a"), result(1.001, 300, s, name="b"), metric="auc", draws=100).rows)  # fmt: skip
    assert better <= 2


def test_the_order_of_rows_does_not_matter():
    a, b = result(0.5), result(1.0)
    mixed = result(1.0)
    mixed.predictions = mixed.predictions.take(np.random.default_rng(1).permutation(800))
    assert compare(a, b, draws=50).to_dict() == compare(a, mixed, draws=50).to_dict()


def test_a_scene_with_one_class_is_noted_and_not_tested():
    a, b = result(0.5), result(1.0)
    for r in (a, b):
        r.predictions.label[r.predictions.scene == AGES[0]] = 1
    found = compare(a, b, metric="auc", draws=50)
    row = found.row("auc", AGES[0])
    assert math.isnan(row.difference) and math.isnan(row.p_holm) and row.note == "one class" and row.better == ""
    np.testing.assert_allclose([r.p_holm for r in found.rows], stats.holm(np.array([r.p for r in found.rows])))
    assert found.to_dict()["rows"][1]["p"] is None
    assert "one class" in found.text()


def test_a_perfect_model_has_a_p_value_without_variance():
    label = np.array([0.0, 1.0] * 20)
    rows = np.arange(40), np.array(["a"] * 40), label
    a = Result.from_dict({}, Predictions(*rows, 0.9 - 0.8 * label), name="wrong")
    b = Result.from_dict({}, Predictions(*rows, 0.1 + 0.8 * label), name="right")
    row = compare(a, b, metric="auc", draws=99).row("auc")
    assert (row.difference, row.test, row.p) == (1.0, "bootstrap", pytest.approx(0.02))


def test_different_data_is_refused():
    a = result(1.0, split_digest="a" * 64)
    with pytest.raises(ValueError, match="wanted results on one split, got split aaaaaaaaaaaa .* and bbbbbbbbbbbb"):
        compare(a, result(1.1, split_digest="b" * 64))
    with pytest.raises(
        ValueError, match="wanted the same rows on both sides, got 800 rows .* and 700 rows .*700 of them"
    ):
        compare(result(1.0), result(1.1, 700))
    other = result(1.1)
    other.predictions.label[3] = 1 - other.predictions.label[3]
    with pytest.raises(ValueError, match="the label differs in 1 rows"):
        compare(result(1.0), other)
    other = result(1.1)
    other.predictions.row[0] = other.predictions.row[1]
    with pytest.raises(ValueError, match="predicts 1 rows more than once"):
        compare(result(1.0), other)
    other.predictions = None
    with pytest.raises(ValueError, match="has no predictions"):
        compare(result(1.0), other)


def test_wrong_arguments_are_refused():
    a, b = result(1.0), result(1.1)
    with pytest.raises(ValueError, match="wanted at least two results, got 1"):
        compare(a)
    with pytest.raises(ValueError, match="unknown metric 'acc'; metrics of rows: auc, log_loss"):
        compare(a, b, metric="acc")
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\), got 95"):
        compare(a, b, confidence=95)
    with pytest.raises(ValueError, match="unit must be auto, row or user"):
        compare(a, b, unit="scene")
    with pytest.raises(ValueError, match="give every side its seeds"):
        compare(a, [b, b])
    with pytest.raises(TypeError, match="wanted results or run folders, got int"):
        compare(a, 3)
    with pytest.raises(ValueError, match="auc wants labels 0 and 1, got 3"):
        a.predictions.label[:] = b.predictions.label[:] = 3.0
        compare(a, b)


def test_seeds_are_compared_by_the_paired_t_test(tmp_path):
    for seed in (2, 10, 1, 3):
        make_run(tmp_path / "weak" / f"seed-{seed}", rows=300, skill=0.4, seed=seed, with_explain=False)
        make_run(tmp_path / "strong" / f"seed-{seed}", rows=300, skill=1.5, seed=seed, with_explain=False)
    assert [p.name for p in runs_of(tmp_path / "weak")] == ["seed-1", "seed-2", "seed-3", "seed-10"]
    found = compare(tmp_path / "weak", tmp_path / "strong", metric=["auc", "log_loss"])
    weak, strong = ([Result.load(p) for p in runs_of(tmp_path / name)] for name in ("weak", "strong"))
    assert found.unit == "seed" and found.rows[0].n == 4
    for row in found.rows:
        a, b = ([(r.overall if row.scene is None else r.scenes[row.scene])[row.metric] for r in runs]
                for runs in (weak, strong))  # fmt: skip
        test = scipy_stats.ttest_rel(b, a)
        interval = test.confidence_interval(0.95)
        assert (row.p, row.low, row.high) == pytest.approx((test.pvalue, interval.low, interval.high), rel=1e-9)
        assert row.difference == pytest.approx(np.mean(b) - np.mean(a), rel=1e-9)
    reordered = compare(weak[::-1], strong, metric=["auc", "log_loss"])
    assert [r.p for r in reordered.rows] == pytest.approx([r.p for r in found.rows], rel=1e-9)
    with pytest.raises(ValueError, match="same number of seeds on both sides and at least two, got 4 .* and 3"):
        compare(weak, strong[:3])
    with pytest.raises(ValueError, match="the splits of .* differ"):
        compare(weak[:3], strong[1:])


def test_seeds_without_a_split_on_one_side_are_compared_in_order():
    def side(values, digests):
        return [
            Result.from_dict({"overall": {"auc": v}}, name="x", split_digest=d)
            for v, d in zip(values, digests, strict=True)
        ]

    first, second = (0.5, 0.6, 0.72), (0.51, 0.62, 0.73)
    found = compare(side(first, [None] * 3), side(second, "cab"), metric="auc").row("auc")
    assert found.p == pytest.approx(scipy_stats.ttest_rel(second, first).pvalue, rel=1e-9)


def test_tables_escape_names_and_show_several_pairs(tmp_path):
    runs = [make_run(tmp_path / name, rows=300, skill=skill, with_explain=False)
            for name, skill in (("<a>", 0.4), ("b", 1.0), ("c", 1.5))]  # fmt: skip
    found = compare(*runs, metric="auc", draws=50)
    assert len(found.rows) == 2 * 4 and len(found.frame()) == 8
    html = found.html()
    assert html.count("<table>") == 2 and "&lt;a&gt;" in html and "<a>" not in html and "25&lt;=age&lt;35" in html
    row = found.row("auc", second="c")
    assert f"{row.difference:+.4f}" in html and f"{row.difference:+.4f}" in found.text()
    with pytest.raises(KeyError, match="no row for metric 'f1'"):
        found.row("f1")
    twins = compare(result(1.0, name="x"), result(1.1, name="x"), metric="auc", draws=20)
    assert (twins.rows[0].first, twins.rows[0].second) == ("x #1", "x #2")


def weighted_result(skill: float, weight: np.ndarray, name: str) -> Result:
    p = predictions(AGES, len(weight), skill, 0)
    p.weight = weight
    return Result.from_dict(metrics(p, AGES), p, name=name)


def test_weights_count_as_copies_of_rows(tmp_path):
    """A row of weight 3 is three rows; scikit-learn takes the weights as they are."""
    rng = np.random.default_rng(2)
    weight = rng.integers(0, 4, 600).astype(float)
    first, second = (weighted_result(skill, weight, f"skill {skill}") for skill in (0.4, 0.9))
    found = compare(first, second, metric=["auc", "log_loss", "accuracy", "f1", "gauc"], draws=200)
    label, score, user = first.predictions.label, first.predictions.score, first.predictions.user
    said = score >= first.threshold
    users = [u for u in np.unique(user) if len(np.unique(label[(user == u) & (weight > 0)])) == 2]
    of_user = [oracle.roc_auc_score(label[user == u], score[user == u], sample_weight=weight[user == u]) for u in users]
    expected = {
        "auc": oracle.roc_auc_score(label, score, sample_weight=weight),
        "log_loss": oracle.log_loss(label, score, sample_weight=weight),
        "accuracy": oracle.accuracy_score(label, said, sample_weight=weight),
        "f1": oracle.f1_score(label, said, sample_weight=weight),
        "gauc": np.average(of_user, weights=[weight[user == u].sum() for u in users]),
    }
    for metric, value in expected.items():
        assert found.row(metric).first_value == pytest.approx(value, rel=1e-10), metric
        assert found.row(metric).test == "bootstrap" and 0 < found.row(metric).p <= 1
    copies = np.repeat(np.arange(600), weight.astype(int))
    repeated = stats.Paired(
        label[copies],
        np.stack([first.predictions.score[copies], second.predictions.score[copies]]),
        (first.threshold, second.threshold),
        np.unique(user, return_inverse=True)[1][copies],
        np.unique(user, return_inverse=True)[1][copies],
    )
    for metric in expected:
        one, two = stats.values(repeated, metric)
        assert found.row(metric).difference == pytest.approx(two - one, abs=1e-10), metric
    first.predictions.write(tmp_path / "p.parquet")
    assert np.array_equal(Predictions.read(tmp_path / "p.parquet").weight, weight)


def test_weights_that_differ_are_refused():
    weight = np.ones(600)
    first, second = weighted_result(0.4, weight, "a"), weighted_result(0.9, weight * 2, "b")
    with pytest.raises(ValueError, match="compare: the weight differs in 600 rows"):
        compare(first, second)
    second.predictions.weight = None
    with pytest.raises(ValueError, match="compare: the rows of a have weights, the others none"):
        compare(first, second)


def test_evaluation_and_comparison_agree_on_weights():
    import polyscene as ps
    import pyarrow as pa

    rng = np.random.default_rng(5)
    n = 600
    label = rng.integers(0, 2, n)
    rows = {"user_id": rng.integers(0, 20, n), "item_id": rng.integers(0, 9, n), "label": label, "w": rng.random(n)}
    data = ps.read_table(pa.table(rows), weight="w", clean={"duplicates": "keep"})
    results = []
    for model in (ps.models.Popularity(data.schema), ps.models.MF(data.schema)):
        ps.Trainer(epochs=2, seed=1).fit(model, data)
        results.append(ps.evaluate(model, data.test))
    found = compare(*results, metric=["auc", "gauc", "log_loss", "accuracy"], draws=20)
    for row in (row for row in found.rows if row.scene is None):
        assert row.first_value == pytest.approx(results[0].overall[row.metric], rel=1e-6, nan_ok=True)
        assert row.second_value == pytest.approx(results[1].overall[row.metric], rel=1e-6, nan_ok=True)
