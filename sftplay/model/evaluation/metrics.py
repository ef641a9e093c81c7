"""Similarity of answers and references: exact match, token F1, ROUGE-L, chrF, each from 0 to 100.
Pure; no torch.

Words are cut the same way for token F1 and ROUGE-L: runs of letters and digits, and each Chinese or
Japanese character by itself, as in MLQA (arXiv:1910.07475). For English that is what rouge-score's
own tokenizer does; its own drops all others.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from sftplay.model.evaluation.intervals import Sums

METRICS: Mapping[str, str] = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}  # in the order in which they are shown

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])[^\\W_])+")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MAX_LOSS = 20.0  # nats; e^20 is half a billion: a perplexity beyond says nothing more


def exact_match(answer: str, reference: str) -> float:
    """100 where both texts are the same, white space around them aside, else 0."""
    return 100.0 if answer.strip() == reference.strip() else 0.0


def token_f1(answer: str, reference: str) -> float:
    """F1 over the words of both, each word counted as often as it stands there.

    Texts are normalised as SQuAD's evaluation script does (arXiv:1606.05250): lower case, no
    punctuation, no English articles. Two texts without a word are equal (SQuAD 2.0,
    arXiv:1806.03822).
    """
    ours, theirs = Counter(_plain_words(answer)), Counter(_plain_words(reference))
    if not ours or not theirs:
        return 100.0 * (ours == theirs)
    shared = (ours & theirs).total()
    return 200.0 * shared / (ours.total() + theirs.total())


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words (Lin 2004, rouge-score's rougeL without
    stemming).
    """
    return 100.0 * float(_rouge().score(reference, answer)["rougeL"].fmeasure)


def chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of a corpus (Popović 2015, sacrebleu): character n-grams counted over all texts, not a
    mean of rows.
    """
    return float(_chrf().corpus_score(list(answers), [list(references)]).score)


def chrf_sums(answers: Sequence[str], references: Sequence[str]) -> Sums:
    """`chrf` as a function of each row's n-gram counts, for resampled rows."""
    scorer = _chrf()
    counts = scorer._extract_corpus_statistics(list(answers), [list(references)])

    def of(sums: Any) -> Any:
        return np.array([scorer._compute_score_from_stats(row.tolist()).score for row in sums])

    return Sums(np.array(counts, dtype=float), of)


def score_row(answer: str, reference: str) -> dict[str, float]:
    """Every metric for one answer."""
    return {
        "exact_match": exact_match(answer, reference),
        "token_f1": token_f1(answer, reference),
        "rouge_l": rouge_l(answer, reference),
        "chrf": float(_chrf().sentence_score(answer, [reference]).score),
    }


def summarize(
    rows: Sequence[Mapping[str, float]], answers: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Every metric over all rows: means, and for chrF the corpus score."""
    means = {name: fmean(row[name] for row in rows) for name in METRICS}
    return {**means, "chrf": chrf(answers, references)}


def perplexity(loss: float) -> float:
    """The exponential of the loss per token, cut off at e^20."""
    return math.exp(min(loss, _MAX_LOSS))


def signature() -> str:
    """Return sacrebleu's description of chrF's settings, its version included."""
    scorer = _chrf()
    scorer.corpus_score(["a"], [["a"]])  # it knows its own number of references only then
    return str(scorer.get_signature())


def words(text: str) -> list[str]:
    """Lower-case words of a text in any script."""
    return _WORD.findall(text.lower())


def _plain_words(text: str) -> list[str]:
    return words(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)))


class _Words:
    """rouge-score's protocol for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
