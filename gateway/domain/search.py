"""Finding tools by words: an index of what servers say of their tools, made once per catalogue.

    time_getZone  "Says where it is noon."     ->     time get zone | says where it is noon

What a caller may not see has no part in what it is told: how rare a word is counts only among the
tools that the caller sees, so that neither what is found nor its order says anything of the rest. Nor
does the time it takes: only what the caller sees is gone through, so there are no lists by word.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from math import log
from typing import Any

from gateway.domain.model import Definition

MAX_TERMS = 8  # of a query: all the work of a search grows with them
MAX_WORDS = 128  # of a tool: whoever says everything is not found by everything
_MAX_WORD_CHARS = 40
_MAX_TEXT_CHARS = 16_384
_NAME, _TITLE, _TEXT = 3, 2, 1  # what a word counts where it stands
_EXACT, _BASE, _BEGUN, _NEAR = 4, 3, 2, 1  # and how well it fits: see `_keys_asked`
_ENDINGS = ("s", "ed", "ing")
_MIN_BASE_CHARS = 3
_HEADS = (4, 5)  # characters by which a word is found that is not spelled to its end, or not so
# They stand in every description, and would be most of the work.
_SAY_NOTHING = frozenset(
    "a an and are as at be by for from if in is it its of on or that the this to which with".split()  # noqa: SIM905 - one line, not thirty
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Scripts without blanks between words: there each character is one.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of *text*, as they are compared: `getHTTPZone_v2` is get, http, zone, v2."""
    plain = unicodedata.normalize("NFKC", text[:_MAX_TEXT_CHARS])
    found = _WORD.findall(_CAMEL.sub(" ", plain).casefold())
    return [word[:_MAX_WORD_CHARS] for word in found if word not in _SAY_NOTHING]


class Index:
    """Some definitions by their words; immutable. A tool is a number: its place in `tools`."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        # Of what fits equally well the shorter name is nearer to what was asked.
        self.tools = tuple(sorted(definitions, key=lambda d: (len(d.wire_name), d.wire_name)))
        self._numbers = {tool.object: number for number, tool in enumerate(self.tools)}
        shared: dict[str, str] = {}  # each key once, however many tools have it
        self._weighed = [
            {shared.setdefault(key, key): weight for key, weight in _weighed(tool).items()}
            for tool in self.tools
        ]

    def sight(self, visible: Iterable[Definition]) -> Sequence[int]:
        """The numbers of those that are *visible*."""
        numbers = (self._numbers.get(tool.object) for tool in visible)
        return array("I", (number for number in numbers if number is not None))

    def find(self, query: str, sight: Sequence[int], most: int) -> list[Definition]:
        """The tools within *sight* that fit *query* best, best first."""
        terms = list(islice(dict.fromkeys(words(query)), MAX_TERMS))
        scores: dict[int, float] = {}
        for fitting in self._fitting(terms, sight):
            n_fitting = len(fitting)
            rarity = log(1 + (len(sight) - n_fitting + 0.5) / (n_fitting + 0.5))
            for number, weight in fitting.items():
                scores[number] = scores.get(number, 0.0) + weight * rarity
        best = nsmallest(most, ((-score, number) for number, score in scores.items()))
        return [self.tools[number] for _, number in best]

    def _fitting(self, terms: list[str], sight: Sequence[int]) -> list[dict[int, int]]:
        """How well each tool within *sight* fits each of *terms*, if it does."""
        asked: dict[str, list[tuple[dict[int, int], int]]] = {}
        fitting: list[dict[int, int]] = [{} for _ in terms]
        for fits, term in zip(fitting, terms, strict=True):
            for key, fit in _keys_asked(term):
                asked.setdefault(key, []).append((fits, fit))
        for number in sight:
            weighed = self._weighed[number]
            for key in weighed.keys() & asked.keys():
                for fits, fit in asked[key]:
                    fits[number] = max(fits.get(number, 0), weighed[key] * fit)
        return fitting


def _keys_asked(term: str) -> Iterator[tuple[str, int]]:
    """Where to look for *term*, and how well it fits what stands there.

    zones: zones, zone, zones*          archivng: archivng, archi*
    """
    yield term, _EXACT
    for ending in _ENDINGS:
        if term.endswith(ending) and len(term) - len(ending) >= _MIN_BASE_CHARS:
            yield term[: -len(ending)], _BASE
    if len(term) >= _HEADS[0]:
        head = term[: _HEADS[1]]
        yield head + "*", _BEGUN if head == term else _NEAR


def _keys_of(word: str) -> Iterator[str]:
    """Where *word* is found: as it is, and by its beginnings. So few that nobody can make many."""
    yield word
    for n_chars in _HEADS:
        if len(word) >= n_chars:
            yield word[:n_chars] + "*"


def _weighed(tool: Definition) -> dict[str, int]:
    """The keys of *tool*, each with what it counts at the weightiest place where it stands."""
    said = json.loads(tool.body)
    weighed: dict[str, int] = {}
    n_words = 0
    for text, weight in _texts(tool, said if isinstance(said, dict) else {}):
        for word in words(text):
            if word not in weighed:
                n_words += 1
                if n_words > MAX_WORDS:
                    return weighed
                for key in _keys_of(word):
                    weighed.setdefault(key, weight)
    return weighed


def _texts(tool: Definition, said: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """What is said of a tool, weightiest first."""
    yield tool.name, _NAME
    yield tool.wire_name, _NAME
    schema = said.get("inputSchema")
    parameters = schema.get("properties") if isinstance(schema, dict) else None
    named = parameters if isinstance(parameters, dict) else {}
    title, description = said.get("title"), said.get("description")
    yield title if isinstance(title, str) else "", _TITLE
    yield description if isinstance(description, str) else "", _TEXT
    for name, parameter in named.items():
        yield name, _TEXT
        about = parameter.get("description") if isinstance(parameter, dict) else None
        yield about if isinstance(about, str) else "", _TEXT
