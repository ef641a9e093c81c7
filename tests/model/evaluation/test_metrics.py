"""Metrics against values computed by hand, and against the libraries' own where they apply."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from sftplay.model.evaluation.metrics import (
    METRICS,
    chrf,
    exact_match,
    perplexity,
    rouge_l,
    score_row,
    signature,
    summarize,
    token_f1,
    words,
)


def test_exact_match_forgives_white_space_around_and_nothing_else() -> None:
    assert exact_match(" Paris\n", "Paris") == 100
    assert (
        exact_match("3.5", "35") == exact_match("paris", "Paris") == exact_match("", "Paris") == 0
    )


def test_token_f1_by_hand() -> None:
    # {cat, sat, on, mat} against {cat, sat}: precision 2/4, recall 2/2, F1 = 2 · 0.5 · 1 / 1.5
    assert token_f1("The cat sat on a mat.", "cat sat") == pytest.approx(100 * 2 / 3)
    assert token_f1("An apple!", "the APPLE") == 100
    # a word counts as often as it stands there: 1 shared of 3 and 1
    assert token_f1("no no no", "no") == pytest.approx(50)
    assert token_f1("Paris", "London") == 0
    assert token_f1("", "") == token_f1("the", "…") == 100
    assert token_f1("", "Paris") == token_f1("Paris", "") == 0


def test_token_f1_reads_other_scripts() -> None:
    assert token_f1("привет мир", "Привет, мир!") == 100
    assert token_f1("你好世界", "你好") == pytest.approx(100 * 2 * 0.5 * 1 / 1.5)


def test_rouge_l_by_hand() -> None:
    # longest common subsequence: police · the · gunman → "police kill the gunman" / "police killed
    # the gunman": 3 of 4 words
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(75)
    # "the gunman kill police": "the gunman" is the longest that keeps its order
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(50)
    assert rouge_l("", "police") == 0


@given(st.text("abc XYZ.,;-_019'", max_size=40), st.text("abc XYZ.,;-_019'", max_size=40))
def test_rouge_l_is_rouge_scores_own_on_plain_text(answer: str, reference: str) -> None:
    own = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference) == pytest.approx(100 * own)


def test_rouge_l_does_not_drop_other_scripts() -> None:
    assert rouge_l("привет мир", "привет мир") == 100
    assert RougeScorer(["rougeL"]).score("привет мир", "привет мир")["rougeL"].fmeasure == 0


def test_words_cut_han_and_kana_one_by_one() -> None:
    assert words("GPT-4 说 hello世界 naïve_x") == [
        "gpt",
        "4",
        "说",
        "hello",
        "世",
        "界",
        "naïve",
        "x",
    ]


def test_chrf_by_hand() -> None:
    # "ab" against "ac": of 1-grams 1 of 2 fits, of 2-grams 0 of 1. Means over the orders that both
    # have: 1/4 and 1/4. F with beta 2 of equal precision and recall is the same number.
    assert chrf(["ab"], ["ac"]) == pytest.approx(25)
    assert chrf(["same"], ["same"]) == 100


def test_chrf_of_a_corpus_is_no_mean_of_rows() -> None:
    answers, references = ["ab", "a long answer that fits"], ["ac", "a long answer that fits"]
    rows = [
        score_row(answer, reference) for answer, reference in zip(answers, references, strict=True)
    ]
    total = summarize(rows, answers, references)
    assert total["chrf"] == chrf(answers, references) > (rows[0]["chrf"] + rows[1]["chrf"]) / 2
    assert total["exact_match"] == 50 and total["rouge_l"] == pytest.approx(50)
    assert list(total) == list(METRICS)


def test_the_signature_names_the_version() -> None:
    assert "nc:6" in signature() and "version:" in signature()


def test_perplexity() -> None:
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert perplexity(5000.0) == perplexity(20.0) == math.exp(20)


@given(st.text(max_size=60), st.text(max_size=60))
def test_scores_stay_within_their_bounds(answer: str, reference: str) -> None:
    assert all(-1e-9 <= value <= 100 + 1e-9 for value in score_row(answer, reference).values())


@given(st.text(min_size=1, max_size=60).filter(lambda text: bool(words(text))))
def test_a_perfect_answer_has_full_marks(text: str) -> None:
    scores = score_row(text, text)
    assert scores["exact_match"] == scores["token_f1"] == 100 and scores[
        "rouge_l"
    ] == pytest.approx(100)
