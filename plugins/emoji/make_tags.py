"""Make `tags.npz`, which the data set `emoji-tags` is made of, out of the embedded emoji and their keywords.

    python plugins/emoji/make_tags.py

Word vectors are those of Levy & Goldberg 2014 (Neural Word Embedding as Implicit Matrix Factorization, sections 3.3 and
5.1): the singular vectors of the positive pointwise mutual information of words that tag the same emoji, each times the
root of its singular value. They are made of the training emoji alone. Features are those of the extractor `emoji`. Both
are embedded, and not made when the data is loaded, since another machine would make others in their last bits.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ganzoo_plugins.emoji as emoji
import numpy as np
import torch

HERE = Path(__file__).parent
LEAST = 3
"""Emoji that a word tags, at least: of a rarer one too little is known."""
SIZE = 100
"""Numbers in a word vector."""


def main() -> None:
    """Write the words, their vectors, and the features of all emoji, beside this file."""
    table, keywords = emoji.table(), emoji.keywords()
    known = [words for e, words in zip(table, keywords, strict=True) if e.split == "train"]
    words = vocabulary(known, LEAST)
    vectors = word_vectors(ppmi(together(known, words)), SIZE)
    extractor = emoji.EmojiFeatures()
    found = [features(extractor.extract(emoji.pictures(style, table)).vectors) for style in emoji.STYLES]
    path = HERE / "tags.npz"
    np.savez_compressed(path, words=np.array(words), vectors=vectors.astype(np.float16), features=np.stack(found))
    data = path.read_bytes()
    print(f"{path.name}: {len(words)} words, {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


def vocabulary(tagged: Sequence[Sequence[str]], least: int) -> list[str]:
    """The words that tag `least` emoji or more, the most frequent first, and then by the alphabet."""
    counts = Counter(word for words in tagged for word in set(words))
    return sorted((word for word, n in counts.items() if n >= least), key=lambda word: (-counts[word], word))


def together(tagged: Sequence[Sequence[str]], words: Sequence[str]) -> np.ndarray:
    """How many emoji each two words tag both: float64 (V, V). A word comes with itself wherever it comes, which tells
    apart those that come in the same company."""
    place = {word: i for i, word in enumerate(words)}
    held = np.zeros((len(tagged), len(words)))
    for row, own in zip(held, tagged, strict=True):
        row[[place[word] for word in own if word in place]] = 1
    return held.T @ held


def ppmi(counts: np.ndarray) -> np.ndarray:
    """max(0, log(p(a, b) / (p(a) p(b)))) of counts of pairs (V, V); 0 where two words never come together."""
    sums = counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts * counts.sum() / np.outer(sums, sums))
    return np.where(counts > 0, np.maximum(information, 0), 0)


def word_vectors(information: np.ndarray, size: int) -> np.ndarray:
    """Vectors of length 1, float64 (V, `size`), of a symmetric matrix (V, V).

    The rows of its singular vectors of the largest values, each times the root of its value, and of the sign that makes
    its largest number positive. A word that these do not reach, as `zodiac`, which stands with few others, gets what
    rounding leaves of it: another direction on each machine.
    """
    left, values, _ = np.linalg.svd(information)
    left = left[:, :size]
    signs = np.sign(left[np.abs(left).argmax(0), range(size)])
    vectors = left * signs * np.sqrt(values[:size])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def features(vectors: torch.Tensor) -> np.ndarray:
    """Features that are at least 0, in sixteenths: uint8."""
    steps = (vectors * emoji.STEPS).round()
    if steps.min() < 0 or steps.max() > 255:
        raise SystemExit(f"features run from {vectors.min():.3g} to {vectors.max():.3g}, beyond what a byte holds")
    return steps.byte().numpy()


if __name__ == "__main__":
    main()
