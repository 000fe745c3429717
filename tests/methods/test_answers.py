"""Times in answers: a corpus of answers as audio-language models give them, each with what a person reads in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.methods.answers import TimeAnswer, parse_time, read_time
from steer_utils.sound.spans import Interval

SECONDS = 17.0  # of the audio that the corpus speaks of: three clips of 5 s, two gaps of 1 s

RANGES = {
    # plain
    "From 5.2 to 7.1 seconds.": (5.2, 7.1),
    "The dog bark happens from 5.2 seconds to 7.1 seconds.": (5.2, 7.1),
    "The dog bark can be heard between 5.2s and 7.1s.": (5.2, 7.1),
    "It lasts from 5 until 7.": (5, 7),
    "The sound occurs from 0 to 5 seconds in the audio.": (0, 5),
    "Between 5 and 7 s": (5, 7),
    "From about 5 to around 7 seconds.": (5, 7),
    "between ~5 and ~7 seconds": (5, 7),
    "The dog bark is present from 5.2 to 7.1 seconds in the 17-second audio clip.": (5.2, 7.1),
    "The audio is 17 seconds long. The dog bark happens from 5.2 to 7.1 seconds.": (5.2, 7.1),
    "The dog barks from 5.2 to 7.1 seconds, for about 2 seconds.": (5.2, 7.1),
    "The dog bark is from 5.2 to 7.1 seconds, with its peak at 6 seconds.": (5.2, 7.1),
    "The dog bark happens from 5.2 to 7.1 seconds. So the answer is 5.2-7.1.": (5.2, 7.1),
    "Around the middle of the audio, from 7 s to 9.5 s.": (7, 9.5),
    "The dog barks three times, from 5 to 7 seconds.": (5, 7),
    "The audio lasts for 17 seconds, with the dog bark at 5-7 seconds.": (5, 7),
    "The audio starts at 0 seconds and the dog bark is from 5 to 7 seconds.": (5, 7),
    "from 5.2 to 7.1 seconds out of 17 seconds": (5.2, 7.1),
    "5.2s to 7.1s (approximately 1.9 seconds)": (5.2, 7.1),
    # dashes, brackets, tags, json
    "5.2-7.1 s": (5.2, 7.1),
    "5.2\u22127.1 s": (5.2, 7.1),  # a minus sign
    "5.2s \u2013 7.1s.": (5.2, 7.1),
    "5.2\u20147.1 seconds": (5.2, 7.1),
    "5.2~7.1 s": (5.2, 7.1),
    "5.2 -> 7.1": (5.2, 7.1),
    "**5.2s - 7.1s**": (5.2, 7.1),
    "[5.2, 7.1]": (5.2, 7.1),
    "(5.2s, 7.1s)": (5.2, 7.1),
    "The dog bark: [5.2,7.1]": (5.2, 7.1),
    "5.2, 7.1": (5.2, 7.1),
    "5.2 7.1 seconds": (5.2, 7.1),
    '{"start": 5.2, "end": 7.1}': (5.2, 7.1),
    "start_time=5.2, end_time=7.1": (5.2, 7.1),
    '{"offset": 5.2, "duration": 1.9}': (5.2, 7.1),
    "t_start=5.2 t_end=7.1": (5.2, 7.1),
    "<5.2> dog bark <7.1>": (5.2, 7.1),
    "<|5.20|>dog bark<|7.10|>": (5.2, 7.1),
    "<think>It may be 2 s or 3 s.</think><answer>5.2 to 7.1</answer>": (5.2, 7.1),
    # clock times
    "00:05-00:07": (5, 7),
    "The dog bark happens from 0:05 to 0:07.": (5, 7),
    "[00:05.2 --> 00:07.1]": (5.2, 7.1),
    "00:00:05,200 --> 00:00:07,100": (5.2, 7.1),
    "00:05 - 00:07 (2 seconds)": (5, 7),
    "00:05 (5 seconds) to 00:07 (7 seconds)": (5, 7),
    "From 0 minutes 5 seconds to 0 minutes 7 seconds": (5, 7),
    # a start and an end
    "It starts at 5.2 s and ends at 7.1 s.": (5.2, 7.1),
    "The dog bark starts at 5.2 and ends at 7.1": (5.2, 7.1),
    "The dog bark starts at 5.2 seconds. The dog bark ends at 7.1 seconds.": (5.2, 7.1),
    "It begins at approximately 5.2 seconds and concludes at 7.1 seconds.": (5.2, 7.1),
    "The dog barks at 5 seconds and stops barking at 7 seconds.": (5, 7),
    "Start: 5.2 s, End: 7.1 s": (5.2, 7.1),
    "Start - 5.2 s\nEnd - 7.1 s": (5.2, 7.1),
    "5.2 s (start), 7.1 s (end)": (5.2, 7.1),
    "The start is 5.2 seconds and the end is 7.1 seconds.": (5.2, 7.1),
    "The start and end of the dog bark are 5.2 and 7.1 seconds, respectively.": (5.2, 7.1),
    "The onset of the dog bark is at 5.2 seconds and its offset is at 7.1 seconds.": (5.2, 7.1),
    "The dog bark can be heard at 5 seconds and ends around the 7-second mark.": (5, 7),
    "The dog barks at the start of the audio and ends at 5.0 seconds.": (0, 5),
    "It starts at the beginning and ends at 5 seconds.": (0, 5),
    "From the beginning until the 5-second mark.": (0, 5),
    "It starts at 12.4 s and continues until the end of the clip.": (12.4, 17),
    "from 12 s to the end": (12, 17),
    # a start and a length
    "The dog bark starts at 5 s and lasts for 2 seconds.": (5, 7),
    "At 5 seconds, and it lasts for about 2 seconds.": (5, 7),
    "It begins at 5.0 seconds with a duration of 2 seconds.": (5, 7),
    "It starts at 5 seconds and stops 2 seconds later.": (5, 7),
    "It lasts 2 seconds, starting at 5 seconds.": (5, 7),
    "The bark is 2 seconds long and starts at 5 seconds.": (5, 7),
    "The dog bark happens at the beginning of the audio and lasts for 5 seconds.": (0, 5),
    "It ends at 7 seconds and lasts for 2 seconds.": (5, 7),
    # words
    "From five to seven seconds.": (5, 7),
    "Between five and a half seconds and seven point five seconds": (5.5, 7.5),
    "at 5½ to 7½ seconds": (5.5, 7.5),
    "between the 5th and 7th second": (5, 7),
    "from second 5 to second 7": (5, 7),
    "From the fifth\u2026 from the 5th second to the 7th second.": (5, 7),
    "In the first 5 seconds.": (0, 5),
    "During the last 5 seconds of the audio": (12, 17),
    "In the second half of the audio.": (8.5, 17),
    "In the 2nd half": (8.5, 17),
    "The dog bark is heard throughout the audio.": (0, 17),
    "from the start to the end": (0, 17),
    # Chinese
    "5秒到7秒": (5, 7),
    "狗叫声从第5秒开始，到第7秒结束。": (5, 7),
    "在5.2秒和7.1秒之间": (5.2, 7.1),
    "５．２秒～７．１秒": (5.2, 7.1),
    "五秒到七秒": (5, 7),
    "狗叫声从5秒开始，持续2秒。": (5, 7),
    "音频总长17秒，狗叫声出现在五点二秒到七点一秒": (5.2, 7.1),
    "开头5秒": (0, 5),
    "5.2s至7.1s": (5.2, 7.1),
    # runs past the end, which is cut
    "from 15 to 20 seconds": (15, 17),
    "0:12 - 0:30": (12, 17),
    "The dog bark starts at 15 s and lasts for 5 seconds.": (15, 17),
}

#: The time, and which part of the event it is.
POINTS = {
    "at 5 s": (5, "center"),
    "At 5.2 seconds.": (5.2, "center"),
    "5.2 Seconds": (5.2, "center"),
    "Around the 5-second mark.": (5, "center"),
    "The dog barks at approximately 00:05.": (5, "center"),
    "The dog bark occurs 5 seconds into the audio.": (5, "center"),
    "The dog bark occurs at 5 seconds in the audio.": (5, "center"),
    "5 seconds after the start of the clip": (5, "center"),
    "In the audio, the dog barks at around the 5th second.": (5, "center"),
    "at about five seconds": (5, "center"),
    "At 0 minutes and 5 seconds.": (5, "center"),
    "at 5200 ms": (5.2, "center"),
    "Towards the end, at 15 seconds.": (15, "center"),
    "at the 5.2-second point": (5.2, "center"),
    "The dog bark is heard at timestamp 00:05.": (5, "center"),
    "The bark is heard five seconds in.": (5, "center"),
    "The dog bark is the second one, at 5 s.": (5, "center"),
    "at 5 s out of 17 s": (5, "center"),
    "at 1/2 second": (0.5, "center"),
    "after the 5-second mark": (5, "start"),
    "before the 5-second mark": (5, "end"),
    "在第5秒": (5, "center"),
    "大约5.2秒": (5.2, "center"),
    "5s左右": (5, "center"),
    "五秒半": (5.5, "center"),
    "Around 0 s": (0, "center"),
    "The dog bark starts at 5.2 seconds.": (5.2, "start"),
    "The dog bark starts at 5.2.": (5.2, "start"),
    "Start: 5.2 s": (5.2, "start"),
    "It begins after 5 seconds.": (5, "start"),
    "It starts at 5 s. The audio ends at 17 s.": (5, "start"),
    "It ends at 7.1 seconds.": (7.1, "end"),
    "The dog barks 5 seconds into the recording.": (5, "center"),
    "from 5 to 5 seconds": (5, "center"),
    "At second 5.": (5, "center"),
    "The audio starts with a dog bark at 0 seconds.": (0, "start"),
}

PLACES = {
    "start": 0,
    "At the beginning.": 0,
    "The dog bark starts at the beginning of the audio.": 0,
    "In the first few seconds.": 0,
    "middle": 1,
    "The dog bark happens in the Middle of the audio.": 1,
    "end": 2,
    "at the end, the very end": 2,
    "在音频的开头": 0,
    "中间": 1,
}

NO_TIME = (
    "",
    "a dog barks",
    "I hear 2 dogs.",
    "There is no dog bark in the audio.",
    "No.",
    "The dog bark does not happen in this audio.",
    "I'm sorry, but I cannot determine when the dog bark happens.",
    "I can\u2019t tell from the audio.",
    "The audio is 17 seconds long.",
    "It lasts 2 seconds.",
    "for about 3 s",
    "The dog bark has a duration of 2 seconds.",
    "A 2-second bark",
    "a 2 second bark",
    "It is the second one.",
    "The dog bark occurs between the bell and the siren.",
    "The dog bark is the 3rd sound.",
    "音频中没有狗叫声。",
    "weekend restart",
    "1.2.3 s",
    "at 5:07 pm",
    "The dog barks 3 times.",
    "75 %",
)

AMBIGUOUS = (
    # several times
    "first at 2 s, the second at 5 s",
    "The dog barks first at 2 seconds, and the second bark is at 5 seconds.",
    "from 1 to 2 s and from 4 to 5 s",
    "1. 1-2 s\n2. 4-5 s",
    "1 s, 2 s, 3 s",
    "at 2, 4 and 6 seconds",
    "at 4 s and again at 6 s",
    "5 or 6 seconds",
    "in the 5th and 7th second",
    "start or end",
    "at the start and at the end",
    "from the start to the middle",
    "At the beginning, at 12 seconds.",
    # of two sounds
    "The dog barks from 5 to 7 seconds and the siren sounds from 10 to 12 seconds.",
    "The dog bark starts at 5 s and the siren ends at 12 s.",
    "The dog bark is at 5 s, the siren lasts for 3 s",
    # of what?
    "3",
    "at 3",
    "by 5 s",
    "until the 5-second mark",
    "frames 5 to 7",
    "from the 2nd to the 4th bark",
    "5 and 7",
    "5,2 s",
    "from 5,2 to 7,1 seconds",
    "2 to 3 barks",
    "It lasts 5-7 seconds.",
    "Duration: 5.2 - 7.1 s",
    "every 3 s",
    "3 seconds before the end",
    "2 seconds after the bell",
    "it barks 3 s",
    # contradictions
    "from 4 to 2 s",
    "not at the end",
    "There is no dog bark, but a siren from 5 to 7 s.",
    "It does not start at 5 s",
)

OUTSIDE = (
    "at 30 s",
    "from 20 to 25 seconds",
    "1:05 to 1:10",
    "from -1 to 2 s",
    "at 12:03 s",
    "9" * 400 + " s",
)


def test_the_corpus_is_large() -> None:
    corpus = [*RANGES, *POINTS, *PLACES, *NO_TIME, *AMBIGUOUS, *OUTSIDE]
    assert len(corpus) == len(set(corpus)) >= 160


@pytest.mark.parametrize(("answer", "expected"), RANGES.items())
def test_ranges(answer: str, expected: tuple[float, float]) -> None:
    read = read_time(answer, SECONDS)
    assert read.outcome == "time" and read.interval is not None and read.anchor == "center"
    assert (read.interval.start, read.interval.end) == pytest.approx(expected)
    assert parse_time(answer, SECONDS) == read.interval


@pytest.mark.parametrize(("answer", "expected"), POINTS.items())
def test_single_times(answer: str, expected: tuple[float, str]) -> None:
    read, (time, anchor) = read_time(answer, SECONDS), expected
    assert read == TimeAnswer("time", read.interval, anchor)  # type: ignore[arg-type]
    assert read.interval is not None
    assert (read.interval.start, read.interval.end) == pytest.approx((max(0, time - 0.02), time + 0.02))


@pytest.mark.parametrize(("answer", "third"), PLACES.items())
def test_places(answer: str, third: int) -> None:
    interval = parse_time(answer, SECONDS)
    assert interval is not None
    assert (interval.start, interval.end) == pytest.approx((third * SECONDS / 3, (third + 1) * SECONDS / 3))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        *((answer, "no time") for answer in NO_TIME),
        *((answer, "ambiguous") for answer in AMBIGUOUS),
        *((answer, "outside") for answer in OUTSIDE),
    ],
)
def test_answers_without_a_time_say_why(answer: str, outcome: str) -> None:
    assert read_time(answer, SECONDS) == TimeAnswer(outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("From 5 to 7 seconds.", (4.5, 7.5)),  # centred, as wide as the event
        ("at 0 s", (0, 3)),  # moved to stay inside
        ("It starts at 5 s.", (5, 8)),
        ("It ends at 7 s.", (4, 7)),
        ("a dog barks", None),
    ],
)
def test_the_window_that_is_meant(answer: str, expected: tuple[float, float] | None) -> None:
    window = read_time(answer, SECONDS).window(3.0, SECONDS)
    if expected is None:
        assert window is None
    else:
        assert window is not None
        assert (window.start, window.end) == pytest.approx(expected, abs=0.011)


WORDS = st.sampled_from(
    "5 7.1 5,2 0:05 5th seconds s second-mark from to between and or starts ends lasts for at the start end middle - ~ "
    ", . : [ ] not after before audio first last half long bark 秒 到 从".split()
)


@given(st.lists(WORDS, max_size=12).map(" ".join), st.floats(0.1, 60), st.floats(0.1, 60))
def test_any_answer_gives_a_time_in_the_audio_or_says_why(answer: str, duration: float, seconds: float) -> None:
    read = read_time(answer, duration)
    window = read.window(seconds, duration)
    assert (read.outcome == "time") == (read.interval is not None) == (window is not None)
    if read.interval is not None and window is not None:
        assert 0 <= read.interval.start <= read.interval.end <= duration
        assert window.start >= 0 and window.end <= duration + 1e-9


@given(st.text(alphabet="0123456789.,:-– stoandecifrmh", max_size=40), st.floats(0.1, 60))
def test_any_characters_do(answer: str, duration: float) -> None:
    time = parse_time(answer, duration)
    assert time is None or 0 <= time.start <= time.end <= duration


@given(st.integers(0, 790), st.integers(1, 400), st.sampled_from(["from {} to {} seconds", "{}s–{}s", "[{}, {}]"]))
def test_a_range_is_read_as_written(start: int, length: int, form: str) -> None:
    end = min(800, start + length)
    time = parse_time(form.format(f"{start / 100:.2f}", f"{end / 100:.2f}"), 8.0)
    assert time == Interval(start / 100, end / 100)
