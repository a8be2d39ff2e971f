"""The tokens of a prompt: CLIP's byte-pair encoding, with the vocabulary that lies beside a checkpoint.

Sennrich et al. 2016, "Neural machine translation of rare words with subword units"; over bytes: Radford et al. 2019.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ldsmc_bench.errors import UserError

TOKENS = 77
START, END = 49406, 49407
EMPTY = (START, *[END] * (TOKENS - 1))
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)")


def tokens_of(prompt: str, folder: Path) -> tuple[int, ...]:
    """The 77 tokens of a prompt: start, what it says in lower case, and the end token, which also fills up.

    vocab.json and merges.txt lie in `folder` or in tokenizer/ there; the empty prompt needs neither.
    Raises UserError where they are absent or unreadable, or where the prompt has more than 75 tokens.
    """
    words = list(_words(unicodedata.normalize("NFC", prompt).lower()))
    if not words:
        return EMPTY
    where = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    try:
        vocabulary = json.loads((where / "vocab.json").read_text(encoding="utf-8"))
        lines = (where / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]  # the first is a version
        ranks = {(left, right): rank for rank, (left, right) in enumerate(line.split() for line in lines if line)}
        found = [vocabulary[symbol] for word in words for symbol in _merged(_symbols(word), ranks)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: vocab.json and merges.txt there do not encode prior.prompt ({error}); "
            "put those of CLIP ViT-L/14 there or leave the prompt empty"
        ) from error
    if len(found) > TOKENS - 2:
        raise UserError(f"prior.prompt: has {len(found)} tokens, and the model takes {TOKENS - 2}; shorten it")
    return (START, *found, *[END] * (TOKENS - 1 - len(found)))


def _words(text: str) -> Iterator[str]:
    """Runs of letters, single digits and runs of anything else but spaces; contractions apart from what they follow."""
    i = 0
    while i < len(text):
        start, kind = i, _kind(text[i])
        if contraction := _CONTRACTION.match(text, i):
            i = contraction.end()
        else:
            i += 1
            while kind in ("letter", "sign") and i < len(text) and _kind(text[i]) == kind:
                i += 1
        if kind != "space":
            yield text[start:i]


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    return {"L": "letter", "N": "digit"}.get(unicodedata.category(character)[0], "sign")


def _symbols(word: str) -> list[str]:
    """The word's bytes, each as the character that stands for it in the vocabulary; the last is marked as such."""
    symbols = [_BYTES[byte] for byte in word.encode()]
    return [*symbols[:-1], f"{symbols[-1]}</w>"]


def _byte_characters() -> dict[int, str]:
    """Printable Latin-1 bytes stand for themselves, the others for the characters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_BYTES = _byte_characters()


def _merged(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Join the neighbours that were merged first in training, everywhere, until none is left that was."""
    while ranked := [(ranks[pair], pair) for pair in pairwise(symbols) if pair in ranks]:
        _, (left, right) = min(ranked)
        joined: list[str] = []
        for symbol in symbols:
            if joined and symbol == right and joined[-1] == left:
                joined[-1] = left + right
            else:
                joined.append(symbol)
        symbols = joined
    return symbols
