"""Tokens of prompts, with a vocabulary small enough to merge by hand."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ldsmc_bench.checkpoints.clip import EMPTY, tokenize
from ldsmc_bench.errors import UserError

needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra [text]")
MERGES = ("l o", "lo w</w>", "e r</w>", "lo w", "low er</w>", "' s</w>", "Ã ©</w>")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789!'.Ã©"
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *(merge.replace(" ", "") for merge in MERGES)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(VOCABULARY)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return tmp_path


@needs_transformers
@pytest.mark.parametrize(
    ("prompt", "symbols"),
    [
        ("low", ["low</w>"]),  # l o first, then lo w</w>
        ("lower", ["lower</w>"]),  # lo w e r</w>, then low er</w>
        ("lowlow", ["low", "low</w>"]),
        ("lolol", ["lo", "lo", "l</w>"]),
        ("LOW  \n low", ["low</w>", "low</w>"]),
        ("low's", ["low</w>", "'s</w>"]),
        ("!'s", ["!", "'</w>", "s</w>"]),  # a run of signs swallows the apostrophe
        ("42 low!", ["4</w>", "2</w>", "low</w>", "!</w>"]),  # digits are words of their own
        ("é", ["Ã©</w>"]),  # two bytes in UTF-8
        ("e\u0301", ["Ã©</w>"]),  # the same letter, composed
    ],
)
def test_a_prompt_is_merged_in_the_order_of_training(folder, prompt, symbols):
    ids = [VOCABULARY.index(symbol) for symbol in symbols]
    assert tokenize(prompt, folder) == (49406, *ids, *[49407] * (76 - len(ids)))


@needs_transformers
def test_the_empty_prompt_needs_no_vocabulary(tmp_path):
    assert tokenize("", tmp_path) == tokenize(" \n", tmp_path) == EMPTY == (49406, *[49407] * 76)


@needs_transformers
def test_the_vocabulary_of_a_diffusers_folder_is_found(folder, tmp_path):
    (tmp_path / "model" / "tokenizer").mkdir(parents=True)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).rename(tmp_path / "model" / "tokenizer" / name)
    assert tokenize("low", tmp_path / "model")[1] == VOCABULARY.index("low</w>")


@needs_transformers
def test_seventy_five_tokens_fit_and_one_more_is_named(folder):
    assert tokenize("low " * 75, folder)[-2:] == (VOCABULARY.index("low</w>"), 49407)
    with pytest.raises(UserError, match=r"prior\.prompt: has 76 tokens"):
        tokenize("low " * 76, folder)


@needs_transformers
@pytest.mark.parametrize("damage", ["absent", "no json", "lacks a symbol"])
def test_a_vocabulary_that_does_not_serve_is_one_line(folder, damage):
    if damage == "absent":
        (folder / "merges.txt").unlink()
    else:
        (folder / "vocab.json").write_text("{" if damage == "no json" else "{}")
    with pytest.raises(UserError, match=r"vocab\.json and merges\.txt there do not encode prior\.prompt") as refusal:
        tokenize("low", folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("prompt", ["low", ""])
def test_without_the_package_one_line_names_the_extra(folder, monkeypatch, prompt):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"^prior: .* transformers; in the checkout, pip install '\.\[text\]'$"):
        tokenize(prompt, folder)
