"""Read the time out of a model's answer: "from 5.2 to 7.1 seconds", "00:05-00:07", "around the 5-second mark".

An answer becomes a row of tokens, a letter each (`_TOKENS`), and patterns over the letters say what is a range:

    "It starts at 5.2 s and lasts for 2 seconds."     btal    start cue, time, and, length

Nothing is guessed. An answer that can be read in two ways, or names several times, is "ambiguous", and is counted apart
from one that names no time. tests/methods/test_answers.py holds the answers by which this is judged.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from steer_utils.sound.spans import Interval

Outcome = Literal["time", "no time", "ambiguous", "outside"]
Anchor = Literal["center", "start", "end"]
_POINT = 0.02  # seconds to both sides of an answer that names one time
_ROUNDING = 0.051  # seconds by which a length may differ from that of its range: 5.2 to 7.16 s (2.0 seconds)


@dataclass(frozen=True)
class TimeAnswer:
    """What an answer says about when.

    outcome   "time"; or why there is none to use: "no time", "ambiguous", "outside" (of the audio)
    interval  the time, cut at the ends of the audio; None for other outcomes
    anchor    which part of the event the interval is: "start" or "end" where that bound alone was named
    """

    outcome: Outcome
    interval: Interval | None = None
    anchor: Anchor = "center"

    def window(self, seconds: float, duration: float) -> Interval | None:
        """The window of `seconds` that the answer means, moved where needed to stay inside the audio; None for none.

        It is centred on the time that was named, or begins or ends there where a start or an end alone was named.
        """
        if self.interval is None:
            return None
        seconds = min(seconds, duration)
        before = {"center": seconds / 2, "start": 0.0, "end": seconds}[self.anchor]
        start = float(np.clip(self.interval.center - before, 0.0, duration - seconds))
        return Interval(start, start + seconds)


def parse_time(answer: str, duration: float) -> Interval | None:
    """The time that an answer names; None where it names none, several, or one outside the audio."""
    return read_time(answer, duration).interval


def read_time(answer: str, duration: float) -> TimeAnswer:
    """What `answer` says about when, in an audio of `duration` seconds.

    Read are: a range ("from 2.0 to 4.5 seconds", "[2.0, 4.5]", "00:02-00:04", "2.0~4.5秒"), cut where it runs past the
    audio; a start with an end or a length ("starts at 2 s and lasts for 2 seconds"); one time ("at 3 s", "the 3-second
    mark", "the 3rd second"); a part of the audio ("in the first half", "at the beginning", "end"), which is a third
    where the words are start, middle or end, as pocket models are taught.

    "no time": no number of seconds, a length alone, a denial. "ambiguous": several times, a number without its unit, a
    denial beside a time, 2,5 (a decimal or a list?), a time relative to something, an end before its start, times of
    what may be two sounds. "outside": not in the audio.
    """
    text = _normalised(answer)
    tokens = _cleaned(text)
    kinds = "".join(token.kind for token in tokens)
    if "d" in kinds:
        return TimeAnswer("ambiguous" if re.search("[tnrfgFG]", kinds) or _PLACES.search(kinds) else "no time")
    ranges = {_part(token, duration) for token in tokens if token.kind in "fgFG"}
    rest = kinds
    for match in _RANGES.finditer(kinds):
        tokens_of_range = tokens[match.start() : match.end()]
        if not _one_subject(text, tokens_of_range):
            return TimeAnswer("ambiguous")
        ranges.add(_bounds(match, tokens_of_range, duration))
        rest = rest[: match.start()] + "." * len(tokens_of_range) + rest[match.end() :]
    points = set(_points(text, tokens, rest))
    if ranges:
        start, end = next(iter(ranges))
        # A further time may be one in the range, or its length: 00:05-00:07 (2 seconds).
        in_it = (start <= time <= end or abs(time - (end - start)) <= _ROUNDING for time, _ in points)
        clear = len(ranges) == 1 and all(in_it)
        return _inside(start, end, duration) if clear else TimeAnswer("ambiguous")
    thirds = {int(place) for place in _PLACES.findall(rest)}
    if "r" in rest or len(points) > 1 or len(thirds) > 1 or ("n" in rest and not points):
        return TimeAnswer("ambiguous")
    if points:
        time, anchor = points.pop()
        agrees = all(third * duration <= 3 * time <= (third + 1) * duration for third in thirds)
        return _inside(time, time, duration, anchor) if agrees and time == time else TimeAnswer("ambiguous")
    if not thirds:
        return TimeAnswer("no time")
    third = thirds.pop()
    return _inside(third * duration / 3, (third + 1) * duration / 3, duration)


def _inside(start: float, end: float, duration: float, anchor: Anchor = "center") -> TimeAnswer:
    """A range cut at the end of the audio; one time with a little to both sides."""
    if end < start:
        return TimeAnswer("ambiguous")
    if start < 0 or start > duration or (start == duration < end):
        return TimeAnswer("outside")
    if start == end:
        start, end = max(0.0, start - _POINT), start + _POINT
    return TimeAnswer("time", Interval(start, min(end, duration)), anchor)


# -- one way to write ------------------------------------------------------------------------------------------------
_DECIMAL = r"\d+(?:\.\d+)?(?!\.?\d|:\d)"
_UNIT = r"(?:(?:milliseconds?|ms|s|secs?|seconds?)(?![a-z\d])|毫秒|秒钟?)"
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_DIGIT = "|".join(_SMALL[:10])
_IN_WORDS = re.compile(
    r"\b(?!(?:(?<=second )|(?<=the ))one\b)"  # the second one
    rf"(?:(?P<tens>{'|'.join(_TENS)})(?:[-\s](?P<unit>{'|'.join(_SMALL[1:10])}))?|(?P<small>{'|'.join(_SMALL)}))\b"
    rf"(?:\s+(?:(?P<half>and\s+a\s+half)|point\s+(?P<tenth>{_DIGIT}))\b)?"
)
_HAN = "零一二三四五六七八九"
_IN_HAN = re.compile(
    rf"([{_HAN}两]?)(十?)([{_HAN}两]?)(?:点([{_HAN}]))?(?=\s*(?:秒|分\d*[{_HAN}两十]|[到至]\s*第?[{_HAN}两十]))"
)
_FRACTIONS = {"1/2": ".5", "1/4": ".25", "3/4": ".75"}
_DASHES = str.maketrans(
    {**dict.fromkeys("−–—‒―‐", "-"), **dict.fromkeys("〜∼", "~"), "’": "'", "。": ".", "⁄": "/", "_": " "}
)


def _normalised(answer: str) -> str:
    """In lower case, with one kind of dash, numbers in digits, and pairs such as [2.0, 4.5] as ranges."""
    spaced = re.sub("(?=[½¼¾])", " ", answer)  # NFKC makes 51⁄2 of 5½
    text = unicodedata.normalize("NFKC", spaced).lower().translate(_DASHES)
    text = re.sub(r"(?:(?<![\d.])(\d+)\s+)?(?<![\d./])([13]/[24])(?![\d./])", _fraction, text)
    if tagged := re.search(r"<answer>(.*?)</answer>", text, re.DOTALL):
        text = tagged[1]
    text = _IN_WORDS.sub(_digits, re.sub(r"\bhalf a second\b", "0.5 second", text))
    text = re.sub(rf"({_DECIMAL})秒半", r"\1.5秒", _IN_HAN.sub(_han_digits, text))
    if "onset" not in text:
        text = text.replace("offset", "start")  # as lists of audio files name where a part begins
    text = re.sub(rf"<\|?({_DECIMAL})\|?>([^<]*)<\|?({_DECIMAL})\|?>", r"\2 \1 - \3", text)
    pair = rf"({_DECIMAL})\s*{_UNIT}?(?:\s*[,;]\s+|(?<=\.\d),|(?<=\.\d\d),)({_DECIMAL})(\s*{_UNIT})?"
    text = re.sub(rf"[\[({{]\s*{pair}\s*[\])}}]", r"(\1 - \2\3)", text)
    return re.sub(rf"^\s*(?:{pair}|({_DECIMAL})\s+({_DECIMAL})(\s*{_UNIT})?)[\s.]*$", r"\1\4 - \2\5\3\6", text)


def _fraction(match: re.Match[str]) -> str:
    return (match[1] or "0") + _FRACTIONS[match[2]] if match[2] in _FRACTIONS else match[0]


def _digits(match: re.Match[str]) -> str:
    if match["small"]:
        number = _SMALL.index(match["small"])
    else:
        number = 20 + 10 * _TENS.index(match["tens"]) + (_SMALL.index(match["unit"]) if match["unit"] else 0)
    tenths = 5 if match["half"] else _SMALL.index(match["tenth"]) if match["tenth"] else None
    return f"{number}" if tenths is None else f"{number}.{tenths}"


def _han_digits(match: re.Match[str]) -> str:
    tens, ten, units, tenths = ((part or "").replace("两", "二") for part in match.groups())
    number = "".join(str(_HAN.index(digit)) for digit in tens + units)
    if ten:
        number = str(10 * (_HAN.index(tens) if tens else 1) + (_HAN.index(units) if units else 0))
    return f"{number}.{_HAN.index(tenths)}" if tenths else number


# -- tokens ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Token:
    """What one stretch of the text means: a letter, and for numbers their value (in seconds, where they are times)."""

    kind: str
    first: int
    stop: int
    value: float = math.nan


_CLIP = r"(?:audio|clip|recording|track|file)"
_HEDGE = r"(?:\s*(?:about|around|approximately|roughly|exactly|just|nearly|only|~|the|another|a|total|of))*\s*"

#: In the order in which they are tried. Letters are kinds of tokens; what has a longer name becomes one in `_tokens`.
_TOKENS = {
    "clock": r"(?<![\d.:])(?:(?P<hours>\d+):)?(?P<minutes>\d{1,3}):(?P<seconds>[0-5]\d(?:[.,]\d+)?)"
    rf"(?![\d:]|\s*[ap]\.?m\b)(?:\s*(?:{_UNIT}|min(?:ute)?s?\b))?",
    "long": rf"(?P<minute>\d+)\s*(?:m|mins?|minutes?|分钟?)\s*(?:and\s+|,\s*)?(?P<second>{_DECIMAL})\s*{_UNIT}",
    "ends": r"(?:\b(?P<side>first|opening|last|final)\s+|(?P<front>前|最初|开头)|最后|末尾|结尾)"
    rf"\s*(?P<many>{_DECIMAL})\s*{_UNIT}",
    "share": r"\b(?P<which>first|1st|second|2nd|last|latter|final)\s+(?P<part>half|third|quarter)\b|\bthroughout\b",
    "c": rf"\bout\s+of\s+(?:the\s+|a\s+total\s+of\s+)?{_DECIMAL}\s*{_UNIT}",
    "at": rf"\bseconds?\s+(?P<at>{_DECIMAL})(?!\s*-?{_UNIT})",
    "number": r"(?<![a-z\d.])(?<!\d:)(?P<minus>(?<![\w.)\]])(?<![\d.s秒)\]]\s)-)?"
    rf"(?:(?P<list>\d+,\d+)(?![\d.])|(?P<number>{_DECIMAL}))(?P<ordinal>st|nd|rd|th)?"
    rf"(?P<unit>(?P<hyphen>-)?\s*{_UNIT})?(?P<mark>[\s-]*(?:mark|point|timestamp)\b)?",
    "L": rf"\b{_CLIP}\s+(?:ends|stops|finishes|starts|begins)(?=(?:\s+at)?{_HEDGE}\d)"
    r"|\b(?:lasts?|lasted|lasting|durations?|lengths?)\b"
    # the number that follows is a length
    rf"|持续|长达|时长|总长|全长|\b(?:for|takes|took|spans)(?={_HEDGE}\d)",
    "b": rf"\b(?:starts|started|starting|begins|began|commences|onset|from|since|after(?={_HEDGE}\d))\b|从",
    "e": r"\b(?:ends|ended|stops?|stopped|stopping|finishes|finished|ceases|concludes|offset)\b"
    rf"|\bbefore(?={_HEDGE}\d)",
    "0": r"\b(?:start|begin|beginning|outset|first\s+few\s+seconds)\b|开头|开始",  # places are cues, too, before times
    "1": r"\b(?:middle|midway|halfway)\b|中间|中段",
    "2": r"\b(?:end|ending|finish|(?:last|final)\s+few\s+seconds)\b|结尾|结束|末尾|最后",
    "w": r"\bbetween\b|之间",
    "j": r"\b(?:to|until|till|through)\b|-+>|→|直到|到|至",
    "h": r"[-~]+",
    "a": r"\band\b|[,;&、]|和",
    "o": r"\bor\b|或",
    "d": r"\b(?:no|not|never|neither|nor|none|cannot|unable|without|\w+n't)\b|没|不|无|未",
}
_TOKEN = re.compile("|".join(f"(?P<_{name}>{pattern})" for name, pattern in _TOKENS.items()))

# What follows a number and says what it is.
_FROM_START = re.compile(
    rf"\s*(?:in(?:to)?|from|after|since)\s+(?:the\s+)?(?:very\s+)?(?:start|beginning|{_CLIP})\b|\s+in(?=\s*(?:[.,;]|$))"
)
_OF_CLIP = re.compile(rf"[\s-]*(?:long\s+|of\s+)?{_CLIP}\b")
_LENGTH = re.compile(r"[\s-]*(?:long|later|in\s+(?:length|duration|total)|duration|of\b(?!\s+the))|长|后")
_RELATIVE = re.compile(r"\s*(?:before|after|prior|ago|from\s+the\s+end|earlier|apart)\b")
_WORD = re.compile(r"\s*[^\W\d]|\s*%")
_LABEL = re.compile(r"\b(?:frame|token)s?\s+$")
_NO_NOUN = re.compile(
    r"\s*(?:(?:and|or|to|until|till|through|is|at|with|on|in|for|t|ends?|ending|stops|starts?|lasts)\b|和|到|至|或|之间)"
)
_ARTICLE = re.compile(r"\b(?:an?|the|its|this)\s+$")  # a 2 second bark
_CLIP_BEFORE = re.compile(rf"(?<!of the )(?<!in the )(?<!of this )(?<!in this )\b{_CLIP}\b[^.,;]*$")


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        name, stop, value = str(match.lastgroup).removeprefix("_"), match.end(), math.nan
        if name == "clock":
            value = 3600 * float(match["hours"] or 0) + 60 * float(match["minutes"])
            name, value = "t", value + float(match["seconds"].replace(",", "."))
        elif name == "long":
            name, value = "t", 60 * float(match["minute"]) + float(match["second"])
        elif name == "at":
            name, value = "t", float(match["at"])
        elif name == "ends":
            name, value = "f" if match["front"] or match["side"] in ("first", "opening") else "g", float(match["many"])
        elif name == "share":
            name, value = _share(match["which"], match["part"])
        elif name == "number":
            name, value, stop = _number(match, text)
        yield _Token(name, match.start(), stop, value)


def _share(which: str | None, part: str | None) -> tuple[str, float]:
    """F: from the start, G: up to the end; how much of the audio. (The second third is none of them.)"""
    share = 1.0 if part is None else 1 / {"half": 2, "third": 3, "quarter": 4}[part]
    if which in ("second", "2nd") and part != "half":
        return "r", share
    return "F" if which in (None, "first", "1st") else "G", share


def _number(match: re.Match[str], text: str) -> tuple[str, float, int]:
    """Kind and value of a number, and where it ends, by what follows it.

    t a time, l a length, c the length of the audio, r relative to something, n a bare number, x of other things.
    """
    stop = match.end()
    if match["list"]:
        return "r", math.nan, stop  # 5,2: a decimal comma, or two numbers?
    value = float(match["number"]) * (-1 if match["minus"] else 1)
    if not match["unit"]:
        counted = _WORD.match(text, stop) and not _NO_NOUN.match(text, stop) and not match["mark"]
        return "x" if counted or _LABEL.search(text, 0, match.start()) else "n", value, stop
    if re.search("m|毫", match["unit"]):
        value /= 1000
    if from_start := _FROM_START.match(text, stop):
        return "t", value, from_start.end()
    if _OF_CLIP.match(text, stop):
        return "c", value, stop
    singular = match["unit"].endswith("second") and not match["ordinal"]
    adjective = match["hyphen"] or (singular and _ARTICLE.search(text, 0, match.start()))
    if not match["mark"] and (_LENGTH.match(text, stop) or (adjective and _WORD.match(text, stop))):
        return "c" if _CLIP_BEFORE.search(text, 0, match.start()) else "l", value, stop
    return "r" if _RELATIVE.match(text, stop) else "t", value, stop


def _cleaned(text: str) -> list[_Token]:
    """The tokens of a text without those that say nothing here, and with lengths told from times."""
    tokens: list[_Token] = []
    for token in _tokens(text):
        before = tokens[-1] if tokens else None
        if token.kind in "cx" or (token.kind == "h" and (before is None or before.kind not in "tn")):
            continue  # a dash after a word is punctuation
        if before is not None and before.kind == token.kind == "t" and before.value == token.value:
            continue  # 00:05 (5 seconds)
        tokens.append(token)
    kinds = "".join(token.kind for token in tokens)
    for match in re.finditer(r"L+([tn])([jho]+[tn])?", kinds):
        place = match.start(1)
        if match[2]:  # lasts 5-7 s: a length in a range, or the range?
            tokens[place : match.end()] = [replace(token, kind="r") for token in tokens[place : match.end()]]
        else:
            of_clip = _CLIP_BEFORE.search(text, 0, tokens[place].first)
            tokens[place] = replace(tokens[place], kind="c" if of_clip else "l")
    return [token for token in tokens if token.kind not in "Lc"]


# -- what they say ---------------------------------------------------------------------------------------------------
_START = r"(?:[b0]*[tn]0?|b*0)"
_END = r"(?:[e2]*[tn]|e*2(?![tn]))"
_RANGES = re.compile(
    r"(?P<labelled>[tn]h?0[ajh]*[tn]h?2(?![tn]))"  # 5.2 s (start), 7.1 s (end)
    r"|(?P<pair>0a2[tn]a[tn])"  # its start and end are 5.2 and 7.1 s
    r"|(?P<between>wb*[tn][ajh]+[tn]|[tn]a[tn]w)"
    rf"|(?P<joined>{_START}[al]*[jh]+{_END})"
    rf"|(?P<cued>{_START}[al]*[e2]+[tn])"  # starts at 5.2 s and ends at 7.1 s
    rf"|(?P<length>{_START}[ae]*l)"
    r"|(?P<before>la*[b0]+[tn])"  # for 2 s, from 5 s on
    r"|(?P<until>[e2]+[tn][ab]*l)"
)
_PLACES = re.compile(r"[012](?![tn])")
_TIMES = re.compile(r"(?P<cue>[b0e2]*)(?P<time>t|n(?=[ao]+(?:n[ao]+)*t))|(?P<bound>[b0e2]+)n")
#: Words after which a number of seconds is a time.
_LEADS = set(
    "at around about near approximately roughly is are was exactly just and or then again the time timestamp".split()
)
#: Words that may stand between the two ends of one range. Others may name another sound.
_BETWEEN = _LEADS | set(
    "it its which that this a an in on with for of as sound noise event audio clip out up going goes plays playing "
    "persists continues continuing continued continuously finally gradually fades lasts lasting duration length onset "
    "offset value timestamp mark point long second seconds sec s ms".split()
)


def _one_subject(text: str, part: Sequence[_Token]) -> bool:
    """Whether nothing between the two ends of a range speaks of another sound than what came before."""
    first = next((place for place, token in enumerate(part[:-1]) if token.kind in "tnl"), 0)
    gap = " ".join(text[one.stop : following.first] for one, following in pairwise(part[first:]))
    return _stems(gap) <= _stems(" ".join(_BETWEEN)) | _stems(text[: part[first].first])


def _stems(text: str) -> set[str]:
    """Its words, as the same in barks and barking."""
    return {re.sub(r"(?<=\w\w)(?:ing|e?s|ed)$", "", word) for word in re.findall(r"[a-z]+", text)}


def _part(token: _Token, duration: float) -> tuple[float, float]:
    """The first or the last seconds, or share, of the audio."""
    length = token.value * (duration if token.kind in "FG" else 1.0)
    return (0.0, length) if token.kind in "fF" else (max(0.0, duration - length), duration)


def _bounds(match: re.Match[str], part: Sequence[_Token], duration: float) -> tuple[float, float]:
    """Start and end of a range, in seconds."""
    times = [token.value for token in part if token.kind in "tn"]
    lengths = [token.value for token in part if token.kind == "l"]
    match match.lastgroup:
        case "length" | "before":
            start = times[0] if times else 0.0
            return start, start + lengths[0]
        case "until":
            return times[0] - lengths[0], times[0]
        case _ if len(times) == 2:
            return times[0], times[1]
        case _ if part[-1].kind in "tn":
            return 0.0, times[0]
        case _:
            return times[0] if times else 0.0, duration


def _points(text: str, tokens: Sequence[_Token], kinds: str) -> Iterator[tuple[float, Anchor]]:
    """The single times outside of ranges, with the bound that each is; nan for a number that may be no time."""
    for match in _TIMES.finditer(kinds):
        token = tokens[match.end() - 1]
        cue = match["cue"] or match["bound"]
        rank = re.search("[a-z]$", text[token.first : token.stop]) and token.kind == "n"  # from the 2nd to the 4th bark
        bounded = rank or kinds[: match.start()].endswith("j")  # until the 5-second mark: from when?
        lead = re.search(r"([a-z]+)[\s~第]*$", text[: token.first])
        is_time = lead is None or lead[1] in _LEADS or _FROM_START.search(text, token.first, token.stop)
        if cue:
            yield math.nan if rank else token.value, "start" if cue[-1] in "b0" else "end"
        else:
            yield token.value if is_time and not bounded else math.nan, "center"
