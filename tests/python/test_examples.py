"""The examples run as a user runs them, and their exit codes mean what they say."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def need(*modules):
    # find_spec and not importorskip: the modules' own import warnings are not this suite's business.
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(script, *arguments, cwd, path=None):
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), environment.get("PYTHONPATH")]))
    # Its own directory, so that what is imported is the installed package and what is written lands in tmp_path.
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def only_number(pattern, text):
    (number,) = re.findall(pattern, text)
    return float(number)


@need("sklearn", "tqdm", "matplotlib")
def test_digits_learns_and_draws(tmp_path):
    done = run("digits.py", "--plot", "curves.png", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert only_number(r"test accuracy: ([0-9.]+)", done.stdout) >= 0.95
    epochs = re.findall(
        r"5/5 \[=+\] - \S+ - loss: ([0-9.]+) - accuracy: ([0-9.]+) - val_loss: ([0-9.]+) - val_accuracy: ([0-9.]+)\n",
        done.stdout,
    )
    assert len(epochs) == done.stdout.count("Epoch ") == 100
    assert float(epochs[-1][0]) < 0.2 < 2.0 < float(epochs[0][0])  # from about log 10 downwards
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@need("sklearn", "tqdm")
def test_digits_fails_when_it_has_not_learned(tmp_path):
    done = run("digits.py", "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert only_number(r"test accuracy: ([0-9.]+)", done.stdout) < 0.95


@need("sklearn", "tqdm")
def test_digits_does_without_matplotlib(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text("raise ImportError('hidden by the test')\n")
    done = run("digits.py", cwd=tmp_path, path=hidden)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "matplotlib is not installed: digits.png was not drawn" in done.stdout
    assert not (tmp_path / "digits.png").exists()


@need("sklearn", "tqdm", "torch")
def test_digits_has_the_losses_of_torch(tmp_path):
    done = run("digits.py", "--compare-torch", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # Losses start at 2.3, where a float32 unit in the last place is 2.4e-7.
    assert only_number(r"largest difference of a loss over 500 steps is (\S+)", done.stdout) <= 1e-6


@need("sklearn")
def test_logistic_regression_finds_sklearns_coefficients(tmp_path):
    done = run("logistic_regression.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert only_number(r"test accuracy: ([0-9.]+)", done.stdout) >= 0.95
    losses = [float(loss) for loss in re.findall(r"Step +\d+ - loss: ([0-9.]+)", done.stdout)]
    assert losses[0] == pytest.approx(0.693147, abs=1e-6)  # log 2: all weights are 0
    assert losses[-1] == min(losses) < 0.1


@need("sklearn")
def test_logistic_regression_fails_when_it_has_not_converged(tmp_path):
    done = run("logistic_regression.py", "--steps", "50", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr


def drawn(script, tmp_path):
    """What a drawing example prints; it must succeed, and draw."""
    done = run(script, "--plot", "picture.png", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if importlib.util.find_spec("matplotlib") is None:
        assert "matplotlib is not installed: picture.png was not drawn" in done.stdout
    else:
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    return done.stdout


@need("sklearn")
def test_squared_errors_teach_a_sigmoid_slowly(tmp_path):
    printed = drawn("mse_or_cross_entropy.py", tmp_path)
    fast, slow = map(int, re.findall(r"90% at step (\d+)", printed))
    assert 3 * fast <= slow
    first = [float(gradient) for gradient in re.findall(r"first gradient ([0-9.]+)", printed)]
    assert first[0] > 30 * first[1]


@need("sklearn")
def test_only_cross_entropy_is_convex(tmp_path):
    curvature = re.findall(r"least curvature (\S+)", drawn("convexity.py", tmp_path))
    assert float(curvature[0]) > 0 > float(curvature[1])


@need("sklearn")
def test_confident_rows_are_kept(tmp_path):
    printed = drawn("confident_rows.py", tmp_path)
    assert "logitloss: never 0" in printed
    assert 16 < only_number(r"usual formula: loss 0 from a lead of ([0-9.]+) on", printed) < 20
    kept, lost = re.findall(r"with loss 0: (\d+) here, (\d+) by the formula", printed)[0]
    assert int(kept) == 0
    assert int(lost) > 100


@need("sklearn")
def test_a_margin_separates_classes(tmp_path):
    printed = drawn("class_separation.py", tmp_path)
    ratio = dict(re.findall(r"^(\S+) .* ratio ([0-9.]+)$", printed, re.MULTILINE))
    assert sorted(ratio) == ["AM-Softmax", "focal", "smoothing", "softmax", "temperature"]
    assert float(ratio["AM-Softmax"]) > 1.3 * float(ratio["softmax"])


@need("sklearn")
def test_an_angular_margin_is_built_on_the_public_functions(tmp_path):
    printed = drawn("angular_margin.py", tmp_path)
    assert only_number(r"largest error of the gradient against differences: (\S+)", printed) < 1e-6
    ratios = [float(ratio) for ratio in re.findall(r"ratio ([0-9.]+)", printed)]
    assert ratios[0] < ratios[1] < ratios[2]


def test_a_language_model_reads_a_licence(tmp_path):
    printed = drawn("token_logprobs.py", tmp_path)
    before, after = map(float, re.findall(r"perplexity ([0-9.]+)", printed))
    assert before > 4 * after
    assert only_number(r"guessed first: ([0-9.]+)%", printed) > 30


@need("sklearn", "tqdm", "jax", "optax")
def test_one_import_gives_jax_the_same_curves(tmp_path):
    printed = drawn("jax_digits.py", tmp_path)
    assert only_number(r"largest difference of an epoch's loss: (\S+)", printed) < 1e-4
    assert len(re.findall(r"a step with \d+ classes: logitloss \S+ ms, optax \S+ ms", printed)) == 2


@need("sklearn", "tqdm")
def test_the_jax_example_says_what_is_missing(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "jax.py").write_text("raise ImportError('hidden by the test')\n")
    done = run("jax_digits.py", cwd=tmp_path, path=hidden)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to compare: hidden by the test" in done.stdout


@need("sklearn")
def test_boosting_packages_learn_the_same(tmp_path):
    printed = drawn("boosting.py", tmp_path)
    for name in ("XGBoost", "LightGBM"):
        if f"{name} is not installed" not in printed:
            assert only_number(rf"{name}: margins differ by (\S+);", printed) < 1e-5
    precisions = dict(re.findall(r"^(.*): average precision (\S+)$", printed, re.MULTILINE))
    assert len(precisions) == (0 if "XGBoost is not installed" in printed else 3)


@need("distributed", "dask")
def test_logits_larger_than_the_workers_memory(tmp_path):
    done = run("out_of_core.py", "--gigabytes", "0.5", "--limit", "0.3", "--folder", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    size, limit = (
        only_number(r"([0-9.]+) GB of logits", done.stdout),
        only_number(r"workers of ([0-9.]+) GB", done.stdout),
    )
    used = only_number(r"a worker used at most ([0-9.]+) GB", done.stdout)
    assert used < limit < size
    assert "100% Completed" in done.stdout
    assert re.search(r"dashboard: http://\S+:\d+/status", done.stdout)
    assert only_number(r"mean loss ([0-9.]+)", done.stdout) == pytest.approx(0.97, abs=0.3)


@need("sklearn", "tqdm", "torch")
def test_one_import_changes_no_curve(tmp_path):
    printed = drawn("torch_digits.py", tmp_path)
    assert only_number(r"Largest difference of a loss over 500 steps: (\S+)", printed) <= 1e-5
    assert len(re.findall(r"x \d+: torch.nn.functional \d+ us, logitloss.torch \d+ us", printed)) == 3
