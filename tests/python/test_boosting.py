"""Objectives of gradient boosting: the calling conventions, and the margins of the packages' own objectives."""

import pickle
import tracemalloc

import numpy as np
import pytest

import logitloss as ll
from logitloss import boosting

OBJECTIVES = [boosting.softmax(), boosting.logistic(pos_weight=2.0), boosting.focal(gamma=1.5, alpha=0.3)]


class Data:
    """What a data set of the packages can do."""

    def __init__(self, label, weight=None):
        self.label, self.weight = label, weight

    def get_label(self):
        return self.label

    def get_weight(self):
        return self.weight


class Dataset(Data):
    """LightGBM's can do more than XGBoost's."""

    def get_field(self, name):
        return {"label": self.label, "weight": self.weight}[name]


# ------------------------------------------------------------------------------------------------------- conventions


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_conventions_give_the_same(dtype, order, rng):
    margin = np.asarray(rng.standard_normal((40, 4)), dtype, order=order)
    label, weight = rng.integers(0, 4, 40).astype(np.float32), rng.uniform(0.5, 2, 40).astype(np.float32)
    objective = boosting.softmax(hessian="friedman")
    want = ll.cross_entropy_grad_hess(
        margin.astype(np.float64), label.astype(int), hessian="friedman", sample_weight=weight
    )
    for results in (
        objective(margin, Data(label, weight)),
        objective(label, margin, weight),
        objective(label, margin, sample_weight=weight),
    ):
        for got, right in zip(results, want, strict=True):
            assert got.dtype == np.float32
            assert got.flags.f_contiguous == (order == "F")
            np.testing.assert_allclose(got, right, rtol=1e-6, atol=1e-12)
    unweighted = [objective(margin, Data(label, none)) for none in (None, np.empty(0, np.float32))]
    np.testing.assert_array_equal(unweighted[0], unweighted[1])
    np.testing.assert_array_equal(unweighted[0], objective(label, margin))


@pytest.mark.parametrize("objective", OBJECTIVES[1:])
def test_one_output(objective, rng):
    margin, label = rng.standard_normal(30), rng.integers(0, 2, 30)
    weight = rng.uniform(0.5, 2, 30)
    flat = objective(label, margin, weight)
    column = objective(margin[:, None], Data(label.astype(np.float32), weight))
    for a, b in zip(flat, column, strict=True):
        assert (a.shape, b.shape) == ((30,), (30, 1))
        np.testing.assert_array_equal(a, b[:, 0])
    ders = objective.calc_ders_range(list(margin), list(label), list(weight))
    assert all(type(number) is float for pair in ders for number in pair)
    np.testing.assert_allclose(np.array(ders), -np.stack(flat, axis=1), rtol=1e-6, atol=1e-9)
    assert objective.calc_ders_range(list(margin), list(label), None) != ders


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_metrics_in_every_convention(objective, rng):
    classes = 3 if objective is OBJECTIVES[0] else 2
    label, weight = rng.integers(0, classes, 50), rng.uniform(0.5, 2, 50)
    margin = rng.standard_normal((50, 3)) if classes == 3 else rng.standard_normal(50)
    metric = objective.metric
    value = metric(label, margin, sample_weight=weight)
    assert isinstance(value, float)
    assert metric(label, margin, weight, None) == (metric.__name__, value, False)  # LGBMClassifier
    assert metric(margin, Data(label.astype(np.float32), weight)) == (metric.__name__, value)
    assert metric(margin, Dataset(label.astype(np.float32), weight)) == (metric.__name__, value, False)
    assert metric(label, margin) != value
    approxes = list(margin.T) if classes == 3 else [margin]
    assert metric.get_final_error(*metric.evaluate(approxes, label, weight)) == pytest.approx(value, rel=1e-14)
    assert not metric.is_max_optimal()


def test_metrics_are_means_of_losses(rng):
    label, weight = rng.integers(0, 3, 50), rng.uniform(0.5, 2, 50)
    margin, class_weight = rng.standard_normal((50, 3)), [0.5, 1.0, 2.0]
    metric = boosting.softmax(class_weight=class_weight, label_smoothing=0.1).metric
    want = ll.cross_entropy(margin, label, class_weight=class_weight, sample_weight=weight, label_smoothing=0.1)
    assert metric(label, margin, sample_weight=weight) == pytest.approx(float(want), rel=1e-14)
    binary = ll.bce_with_logits(margin[:, 0], label == 1, weight=weight, normalizer=weight.sum())
    got = boosting.logistic().metric(label == 1, margin[:, 0], sample_weight=weight)
    assert got == pytest.approx(float(binary), rel=1e-14)
    assert np.isnan(metric(label, margin, sample_weight=np.zeros(50)))


def test_probabilities(rng):
    margin = rng.standard_normal((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(boosting.softmax().predict_proba(margin), ll.softmax(margin, axis=-1))
    both = boosting.logistic().predict_proba(np.array([0.0, 40.0, -40.0]))
    np.testing.assert_allclose(both, [[0.5, 0.5], [4.248354255e-18, 1], [1, 4.248354255e-18]], rtol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objects_are_picklable(objective, rng):
    label = rng.integers(0, 2, 10)
    margin = rng.standard_normal((10, 2)) if objective is OBJECTIVES[0] else rng.standard_normal(10)
    again = pickle.loads(pickle.dumps(objective))
    np.testing.assert_array_equal(again(label, margin), objective(label, margin))
    assert repr(again) == repr(objective)
    assert repr(again).startswith("logitloss.boosting.")
    assert pickle.loads(pickle.dumps(objective.metric))(label, margin) == objective.metric(label, margin)


def test_errors(rng):
    with pytest.raises(ValueError, match="margin: got shape"):
        boosting.softmax()(np.zeros(4), np.zeros(4))
    with pytest.raises(ValueError, match=r"target\[1\]: got label 2.0"):
        boosting.softmax()(np.array([0.0, 2.0]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"target\[1\]: got label 0.5"):
        boosting.softmax().metric(np.array([0.0, 0.5]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="hessian"):
        boosting.softmax(hessian="newton")(np.zeros(2), np.zeros((2, 2)))


@pytest.mark.parametrize(("order", "dtype"), [("C", np.float32), ("F", np.float64)])
def test_no_temporary_of_the_size_of_the_margins(order, dtype, rng):
    """NumPy reports its arrays to tracemalloc; what the library allocates by itself is in test_memory.py."""
    margin = np.asarray(rng.standard_normal((20000, 10)), dtype, order=order)
    data = Data(rng.integers(0, 10, 20000).astype(np.float32))
    objective = boosting.softmax()
    objective(margin, data)
    tracemalloc.start()
    grad, hess = objective(margin, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < grad.nbytes + hess.nbytes + 20000


# ------------------------------------------------------------------------------------------------------ the packages

ROUNDS = 20
weighted = pytest.mark.parametrize("weighted", [False, True])


@pytest.fixture(scope="module")
def many():
    """Ten classes that overlap."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 10, 600)
    features = rng.standard_normal((600, 8)) + 2 * np.random.default_rng(6).standard_normal((10, 8))[label]
    return features, label, rng.uniform(0.3, 2, 600)


@pytest.fixture(scope="module")
def two(many):
    features, label, weight = many
    return features, (label < 3).astype(int), weight


def assert_same_margins(got, want, tolerance):
    assert got.shape == want.shape
    assert np.std(want) > 0.1  # something was learnt
    assert np.max(np.abs(got - want)) <= tolerance * np.max(np.abs(want))


@weighted
@pytest.mark.filterwarnings("ignore")
def test_xgboost(weighted, many, two):
    xgboost = pytest.importorskip("xgboost")
    for (features, label, weight), classes, objective, native in (
        (many, 10, boosting.softmax(), "multi:softprob"),
        (two, 1, boosting.logistic(), "binary:logistic"),
    ):
        start = [1 / classes] * classes if classes > 1 else 0.5
        data = xgboost.DMatrix(features, label, weight=weight if weighted else None)
        shared = {"max_depth": 3, "nthread": 2} | ({"num_class": classes} if classes > 1 else {})
        own = xgboost.train(shared | {"objective": native, "base_score": start}, data, ROUNDS)
        want = own.predict(data, output_margin=True)
        ours = {"base_score": start if classes > 1 else 0.0, "disable_default_eval_metric": 1}
        history = {}
        booster = xgboost.train(
            shared | ours,
            data,
            ROUNDS,
            obj=objective,
            custom_metric=objective.metric,
            evals=[(data, "train")],
            evals_result=history,
            verbose_eval=False,
        )
        assert_same_margins(booster.predict(data, output_margin=True), want, 1e-5)
        assert len(history["train"][objective.metric.__name__]) == ROUNDS
        np.testing.assert_allclose(objective.predict_proba(want).sum(axis=-1), 1, rtol=1e-6)


@weighted
@pytest.mark.filterwarnings("ignore")
def test_xgboost_classifier(weighted, many, two):
    xgboost = pytest.importorskip("xgboost")
    pytest.importorskip("sklearn")
    for (features, label, weight), objective, start in (
        (many, boosting.softmax(), [0.1] * 10),
        (two, boosting.logistic(), 0.5),
    ):
        options = {"n_estimators": ROUNDS, "max_depth": 3, "base_score": start, "n_jobs": 2}
        fit = {"sample_weight": weight if weighted else None}
        own = xgboost.XGBClassifier(**options).fit(features, label, **fit)
        model = xgboost.XGBClassifier(**options, objective=objective, eval_metric=objective.metric)
        model.fit(features, label, eval_set=[(features, label)], verbose=False, **fit)
        want = own.predict(features, output_margin=True)
        assert_same_margins(model.predict(features, output_margin=True), want, 1e-5)
        np.testing.assert_array_equal(model.predict(features), own.predict(features))


def lightgbm_cases(many, two):
    return (
        (many, boosting.softmax(hessian="friedman"), "multiclass", {"num_class": 10}),
        (two, boosting.logistic(), "binary", {}),
    )


@weighted
@pytest.mark.filterwarnings("ignore")
def test_lightgbm(weighted, many, two):
    lightgbm = pytest.importorskip("lightgbm")
    for (features, label, weight), objective, native, more in lightgbm_cases(many, two):
        shared = {
            "num_leaves": 7,
            "verbose": -1,
            "boost_from_average": False,
            "num_threads": 2,
            "metric": "None",
        } | more

        def margins(objective, metric=None, shared=shared, label=label, features=features, weight=weight):
            data = lightgbm.Dataset(features, label, weight=weight if weighted else None)
            booster = lightgbm.train(shared | {"objective": objective}, data, ROUNDS, valid_sets=[data], feval=metric)
            return booster.predict(features, raw_score=True)

        assert_same_margins(margins(objective, objective.metric), margins(native), 1e-6)


@weighted
@pytest.mark.filterwarnings("ignore")
def test_lightgbm_classifier(weighted, many, two):
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("sklearn")
    for (features, label, weight), objective, _, _ in lightgbm_cases(many, two):
        options = {"n_estimators": ROUNDS, "num_leaves": 7, "verbose": -1, "boost_from_average": False, "n_jobs": 2}
        fit = {"sample_weight": weight if weighted else None}
        own = lightgbm.LGBMClassifier(**options).fit(features, label, **fit)
        model = lightgbm.LGBMClassifier(**options, objective=objective)
        model.fit(features, label, eval_set=[(features, label)], eval_metric=objective.metric, **fit)
        want = own.predict(features, raw_score=True)
        assert_same_margins(model.predict(features, raw_score=True), want, 1e-6)
        history = next(iter(model.evals_result_.values()))
        assert len(history[objective.metric.__name__]) == ROUNDS


@weighted
@pytest.mark.filterwarnings("ignore")
def test_catboost(weighted, two):
    catboost = pytest.importorskip("catboost")
    features, label, weight = two
    objective = boosting.logistic()
    options = {
        "iterations": ROUNDS,
        "depth": 3,
        "learning_rate": 0.2,
        "boost_from_average": False,
        "leaf_estimation_method": "Newton",
        "leaf_estimation_iterations": 1,
        "boosting_type": "Plain",
        "bootstrap_type": "No",
        "random_strength": 0,
        "thread_count": 2,
        "verbose": 0,
        "allow_writing_files": False,
    }

    def margins(**more):
        model = catboost.CatBoostClassifier(**options, **more)
        model.fit(features, label, sample_weight=weight if weighted else None)
        return model.predict(features, prediction_type="RawFormulaVal")

    want = margins(loss_function="Logloss")
    assert_same_margins(margins(loss_function=objective, eval_metric=objective.metric), want, 1e-6)


@pytest.mark.filterwarnings("ignore")
def test_focal_learns(two):
    xgboost = pytest.importorskip("xgboost")
    features, label, _ = two
    data = xgboost.DMatrix(features, label)
    objective = boosting.focal(gamma=1.0)
    params = {"max_depth": 3, "base_score": 0.0, "disable_default_eval_metric": 1}
    margin = xgboost.train(params, data, ROUNDS, obj=objective).predict(data, output_margin=True)
    assert objective.metric(label, margin) < 0.5 * objective.metric(label, np.zeros(len(label)))


# ------------------------------------------------------------------------------------------ metrics and arguments


@pytest.mark.parametrize("column", ["target", "weight", "both"])
def test_a_metric_weighs_rows_whatever_is_a_column(column):
    target, weight = np.array([0, 1]), np.array([1.0, 9.0])
    losses = np.log1p(np.exp([0.0, -3.0]))
    want = (weight * losses).sum() / weight.sum()
    target = target if column == "weight" else target[:, None]
    weight = weight if column == "target" else weight[:, None]
    got = boosting.logistic().metric(target, np.array([0.0, 3.0]), sample_weight=weight)
    np.testing.assert_allclose(got, want, rtol=1e-15)


def test_a_weight_of_0_removes_a_row_from_a_metric():
    want = np.log1p(np.exp(-1.0))
    for bad in (np.nan, np.inf):
        got = boosting.logistic().metric([0, 1], [bad, 1.0], sample_weight=[0.0, 1.0])
        np.testing.assert_allclose(got, want, rtol=1e-15)
        got = boosting.softmax().metric([0, 1], [[bad, 0.0], [0.0, 1.0]], sample_weight=[0.0, 1.0])
        np.testing.assert_allclose(got, want, rtol=1e-15)


def test_masks_are_refused():
    masked = np.ma.masked_array([0.5, 1.5], mask=[True, False])
    objective = boosting.logistic()
    for call in (
        lambda: objective([0, 1], masked),
        lambda: objective(masked, np.zeros(2)),
        lambda: objective([0, 1], np.zeros(2), sample_weight=masked),
        lambda: objective.metric([0, 1], masked),
        lambda: objective.predict_proba(masked),
    ):
        with pytest.raises(TypeError, match="mask"):
            call()


@pytest.mark.parametrize("label", [np.nan, np.inf, 1e30, 0.5])
def test_a_metric_names_the_label_that_is_none(label):
    with pytest.raises(ValueError, match=r"target\[1\]"):
        boosting.softmax().metric([0.0, label], np.zeros((2, 3)))


def test_weights_of_another_number_are_refused():
    with pytest.raises(ValueError, match="sample_weight"):
        boosting.softmax().metric([0, 1], np.zeros((2, 3)), sample_weight=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_binary_probabilities_keep_both_ends(shape):
    margin = np.array([-np.inf, -800.0, 40.0, np.inf]).reshape(shape)
    got = boosting.logistic().predict_proba(margin)
    want = np.array([[1, 0], [1, 0], [4.248354255291589e-18, 1], [0, 1]])
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-300)


def test_bad_options_are_refused_where_they_are_given():
    for make, options in (
        (boosting.softmax, {"hessian": "clipped"}),
        (boosting.softmax, {"label_smoothing": 3.0}),
        (boosting.logistic, {"label_smoothing": -0.5}),
        (boosting.focal, {"gamma": -1.0}),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            make(**options)
