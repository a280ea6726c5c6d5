"""A small language model reads a text: how surprised is it by every character?

The text is the licence that Python ships. A softmax regression sees the last four characters and guesses the next one;
it learns from nine tenths of the text and then reads the rest. For every character of that, `token_logprobs` gives

 - the log-probability: minus that is the surprise, and exp of its mean the perplexity,
 - the entropy of the guess: how surprised the model expected to be,
 - the rank: how many other characters it thought more likely.

    python examples/token_logprobs.py

The exit code is 0 if the model learned: its perplexity on text that it has not seen fell to a third at least.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
from pathlib import Path

import numpy as np
from pictures import argument_parser, draw

import logitloss as ll

CONTEXT = 4  # characters that the model sees
STEPS = 120
RATE = 0.3
DECAY = 3e-5
SHOWN = 420  # characters in the picture


def read_text() -> str:
    """Python's licence, wherever it is installed; or else docstrings of the standard library."""
    folders = (Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix), Path(inspect.__file__).parent)
    for folder in folders:
        for name in ("LICENSE.txt", "LICENSE"):
            if (folder / name).is_file():
                text = (folder / name).read_text(encoding="utf-8", errors="ignore")
                if len(text) > 8000:
                    return text
    return inspect.getsource(inspect)[:60_000]


def seen_characters(codes: np.ndarray, kinds: int) -> np.ndarray:
    """What the model sees before each character but the first: the last few, one-hot, side by side."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT)[:-1]
    return np.eye(kinds, dtype=np.float32)[windows].reshape(len(windows), CONTEXT * kinds)


def learn(seen: np.ndarray, target: np.ndarray, kinds: int) -> np.ndarray:
    """Weights of a softmax regression on the characters seen, by AdaGrad along the mean log-probability."""
    weights = np.zeros((seen.shape[1], kinds), np.float32)
    squares = np.full_like(weights, 1e-12)
    for _ in range(STEPS):
        logits = seen @ weights
        d_logits = ll.token_logprobs_vjp(logits, target, 1 / len(target), grad_out=logits)
        gradient = seen.T @ d_logits - DECAY * weights
        squares += gradient * gradient
        weights += RATE * gradient / np.sqrt(squares)
    return weights


def plot(path: Path, text: str, surprise: np.ndarray, read: ll.TokenLogProbs) -> None:
    def fill(plt, axes):
        page, numbers = axes[0]
        width = 42
        colors = plt.get_cmap("YlOrRd")
        for i, (character, bits) in enumerate(zip(text[:SHOWN], surprise[:SHOWN], strict=False)):
            page.text(
                i % width, -(i // width), character.replace("\n", "\u23ce"), family="monospace", fontsize=7,
                ha="center", va="center",
                bbox={"facecolor": colors(min(bits / 12, 1.0)), "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip
        page.set(xlim=(-1, width), ylim=(-SHOWN // width - 1, 1), xticks=[], yticks=[])
        page.spines[["left", "bottom"]].set_visible(False)
        page.set_title("surprise of each character, 0 to 12 bits")
        entropy = np.asarray(read.entropy) / np.log(2)
        numbers.scatter(entropy, surprise, s=4, alpha=0.4, color="#1b6ca8")
        numbers.plot([0, 6], [0, 6], color="#444444", linewidth=0.8)
        numbers.set(xlabel="entropy of the guess (bits)", ylabel="surprise (bits)")
        numbers.set_title("expected and met")

    draw(path, 1, 2, fill)


def main() -> int:
    path = argument_parser("Surprise of a language model.", "token_logprobs.png").parse_args().plot
    text = read_text()
    alphabet = sorted(set(text))
    codes = np.array([alphabet.index(character) for character in text])
    seen, target = seen_characters(codes, len(alphabet)), codes[CONTEXT:]
    cut = len(target) * 9 // 10
    weights = learn(seen[:cut], target[:cut], len(alphabet))
    read = ll.token_logprobs(
        seen[cut:] @ weights, target[cut:], returns=("logprob", "entropy", "rank", "topk_ids"), k=3
    )
    before, after = float(len(alphabet)), float(ll.perplexity(-np.mean(read.logprob)))
    surprise = -np.asarray(read.logprob) / np.log(2)
    print(f"{len(text)} characters of {len(alphabet)} kinds, {len(target) - cut} of them not learned from")
    print(f"before learning: perplexity {before:.2f}")
    print(f"after it: perplexity {after:.2f}, mean entropy {np.mean(read.entropy) / np.log(2):.2f} bits")
    print(f"guessed first: {100 * np.mean(read.rank == 0):.1f}%, among three: {100 * np.mean(read.rank < 3):.1f}%")
    worst = int(np.argmax(surprise))
    guesses = ", ".join(repr(alphabet[i]) for i in read.topk_ids[worst])
    before_it = text[cut + worst : cut + worst + CONTEXT]
    print(f"most surprising: {alphabet[target[cut + worst]]!r} after {before_it!r}, {surprise[worst]:.1f} bits", end="")
    print(f"; expected {guesses}")
    plot(path, text[cut + CONTEXT :], surprise, read)
    return 0 if after < before / 3 else 1


if __name__ == "__main__":
    sys.exit(main())
