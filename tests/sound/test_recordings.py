"""A folder of recordings: its table is checked before anything is decoded; the bank cuts events that really sound."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steer_utils.pocket.recipe import EVENTS
from steer_utils.sound.audio import AudioError
from steer_utils.sound.measures import frame_rms
from steer_utils.sound.recordings import ALIASES, RATE, Clip, ClipBank, known_name, read_clips
from steer_utils.sound.spans import Interval


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two categories: a 0.3 s beep inside 2 s of silence, and 4 s of noise at another rate, in stereo."""
    root = tmp_path / "clips"
    (root / "audio").mkdir(parents=True)
    beep = np.zeros(2 * RATE)
    beep[RATE : RATE + int(0.3 * RATE)] = 0.3 * np.sin(2 * np.pi * 700 * np.arange(int(0.3 * RATE)) / RATE)
    soundfile.write(root / "audio" / "short.wav", beep, RATE)
    noise = 0.2 * np.random.default_rng(0).standard_normal((4 * 22_050, 2))
    soundfile.write(root / "long.wav", noise, 22_050)
    write(root, "filename,category,fold\nshort.wav,dog_bark,1\nlong.wav,sea_waves,2\n")
    return root


def write(root: Path, text: str, name: str = "table.csv") -> None:
    (root / name).write_text(text, encoding="utf-8")


# The table -------------------------------------------------------------------------------------------------------


def test_table_gives_clips_in_its_order(folder: Path) -> None:
    short, long = read_clips(folder)
    assert short == Clip(folder / "audio" / "short.wav", "dog bark", 1, None)
    assert long == Clip(folder / "long.wav", "sea waves", 2, None)


def test_esc50_layout_and_active_columns(folder: Path) -> None:
    (folder / "meta").mkdir()
    (folder / "table.csv").unlink()
    text = "filename,fold,target,category,active_start_s,active_end_s\nshort.wav,3,7,rooster,1.0,1.3\n"
    text += "long.wav,3,7,cow,,\n"
    write(folder / "meta", text, "esc50.csv")
    first, second = read_clips(folder)
    assert first.active == Interval(1.0, 1.3)
    assert second.active is None


def test_optional_columns_may_be_absent_and_bom_is_no_column(folder: Path) -> None:
    (folder / "table.csv").write_bytes("\ufefffilename, category\naudio/short.wav, dog\n".encode())
    (clip,) = read_clips(folder)
    assert (clip.category, clip.fold, clip.active) == ("dog", None, None)


def test_several_tables_need_a_name(folder: Path) -> None:
    write(folder, "filename,category\nlong.wav,sea\n", "other.csv")
    with pytest.raises(ValueError, match="found 2"):
        read_clips(folder)
    assert len(read_clips(folder, table="other.csv")) == 1
    with pytest.raises(ValueError, match="no table"):
        read_clips(folder, table="none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,category\nlong.wav,sea\n", r"lacks.*filename.*found: file, category"),
        ("", "lacks"),
        ("filename,category\n", "no rows"),
        ("filename,category\nlong.wav,\n", "line 2.*empty category"),
        ("filename,category\nlong.wav\n", "line 2 has 1 cells for 2 columns"),
        ("filename,category,fold\nlong.wav,sea\n", "line 2 has 2 cells for 3 columns"),
        ("filename,category,fold\nlong.wav,sea,1_0\n", "line 2, fold: '1_0' is no whole number from 0"),
        ("filename,category,fold\nlong.wav,sea,1.5\n", "line 2, fold: '1.5'"),
        ("filename,category,fold\nlong.wav,sea,-1\n", "line 2, fold: '-1'"),
        ("filename,category,active_start_s,active_end_s\nlong.wav,sea,1_0,2_0\n", "active span: '1_0' is no number"),
        ("filename;category;active_start_s;active_end_s\nlong.wav;sea;0,5;1\n", "'0,5' is no number .*; write 0.5"),
        ('filename,category\nlong.wav,"sea\nshort.wav,dog\n', "line 2: a quote is not closed"),
        ('filename,category\nlong.wav,"sea\nshort.wav,"dog"\n', "table.csv line 2: ',' expected after"),
        ('filename,category\n"long.wav,sea\n"\n', "line 2 has 1 cells"),
        ('filename,category\nlong.wav,"sea\nshort.wav"\n', r"line 2: 'sea\\nshort.wav' holds a quote or a line break"),
        ('filename,category\nlong.wav,sea"\n', "line 2: 'sea\"' holds a quote"),
        ("filename,category\nlong.wav,sea\nlong.wav,dog\n", "line 3: long.wav is 'dog', and 'sea' above"),
        ("filename,category\nlong.wav,sea\n./long.wav,dog\n", "line 3: long.wav is 'dog', and 'sea' above"),
        ("filename,category,fold\nlong.wav,sea,1\nlong.wav,sea,2\n", "line 3: long.wav is in fold 2, and in fold 1"),
        ("filename,category,Category\nlong.wav,sea,dog\n", "has the column 'category' twice"),
        ("filename,category,fold,fold \nlong.wav,sea,1,2\n", "has the column 'fold' twice"),
        ("filename,category,fold\nlong.wav,sea,one\n", "line 2"),
        ("filename,category,active_start_s,active_end_s\nlong.wav,sea,2,1\n", "line 2"),
        ("filename,category,active_start_s,active_end_s\nlong.wav,sea,nan,1\n", "line 2"),
        ("filename,category,active_start_s,active_end_s\nlong.wav,sea,-1,1\n", "negative"),
        ("filename,category,active_start_s,active_end_s\nlong.wav,sea,1,\n", "line 2"),
        ("filename,category\na.wav,x\nb.wav,x\nc.wav,x\nd.wav,x\nlong.wav,x\n", "4 of 5.*a.wav, b.wav, c.wav$"),
        ("filename,category\n,x\n", "1 of 1"),
    ],
)
def test_bad_tables_say_what_is_wrong(folder: Path, text: str, message: str) -> None:
    write(folder, text)
    with pytest.raises(ValueError, match=message):
        read_clips(folder)


@pytest.mark.parametrize(
    "content",
    [
        "filename;category;fold\nshort.wav;dog_bark;1\nlong.wav;sea_waves;2\n",
        '"filename";"category";"fold"\n"short.wav";"dog_bark";1\n"long.wav";"sea_waves";2\n',
        "filename\tcategory\tfold\r\nshort.wav\tdog_bark\t1\r\nlong.wav\tsea_waves\t2\r\n",
        "Filename,CATEGORY, Fold \nshort.wav,dog_bark,1.0\nlong.wav,sea_waves,2.0\n",
        "\nfilename,category,fold,,\nshort.wav,dog_bark,1,,\n\nlong.wav,sea_waves,2,,\n,,,,\n,,\n,,,,,,,\n",
        "filename,category,fold\naudio\\short.wav,dog_bark,1\n.\\LONG.wav,sea_waves,2\n",
        "filename,category,fold\nshort.wav,dog_bark,1\nshort.wav,dog_bark,1\nlong.wav,sea_waves,2\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["table.csv", "META.CSV"])
def test_tables_as_other_programs_write_them(folder: Path, content: str, encoding: str, name: str) -> None:
    (folder / "table.csv").unlink()
    (folder / name).write_bytes(content.encode(encoding))
    (folder / f"._{name}").write_bytes(b"\0")  # macOS
    assert read_clips(folder) == [
        Clip(folder / "audio" / "short.wav", "dog bark", 1),
        Clip(folder / "long.wav", "sea waves", 2),
    ]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_in_both_forms(folder: Path, forms: tuple[str, str]) -> None:
    on_disk, in_table = (unicodedata.normalize(form, "café.wav") for form in forms)
    (folder / "long.wav").rename(folder / on_disk)
    write(folder, f"filename,category\n{in_table},{unicodedata.normalize(forms[1], 'bébé')}\n")
    (clip,) = read_clips(folder)
    assert clip == Clip(folder / on_disk, unicodedata.normalize("NFC", "bébé"))


def test_of_two_names_that_differ_in_case_the_exact_one_is_meant(folder: Path) -> None:
    for name in ("LONG.wav", "audio/Long.wav"):
        (folder / name).write_bytes((folder / "long.wav").read_bytes())
    write(folder, "filename,category\nLONG.wav,sea\nlong.wav,lake\nLong.wav,Lake\n")
    clips = read_clips(folder)
    assert [clip.path.name for clip in clips] == ["LONG.wav", "long.wav", "Long.wav"]
    assert [clip.category for clip in clips] == ["sea", "lake", "lake"]  # one class, as it is written first
    write(folder, "filename,category\nlOng.wav,sea\n")
    with pytest.raises(ValueError, match="3 files are called 'lOng"):
        read_clips(folder)


def test_one_file_may_hold_two_sounds_at_different_times(folder: Path) -> None:
    head = "filename,category,active_start_s,active_end_s\n"
    write(folder, head + "long.wav,sea,0,2\nlong.wav,dog,2,3\nlong.wav,sea,3.5,4\n")
    assert [clip.category for clip in read_clips(folder)] == ["sea", "dog", "sea"]
    for second in ("1.5,3", ","):
        write(folder, f"{head}long.wav,sea,0,2\nlong.wav,dog,{second}\n")
        with pytest.raises(ValueError, match="is 'dog', and 'sea' above"):
            read_clips(folder)


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("bell", "bell"),
        ("Bell", "bell"),
        ("crickets", "cricket"),
        ("Dogs", "dog bark"),
        ("dog-bark", "dog bark"),
        ("church bell", "bell"),
        ("sea wave", "Sea Waves"),
        ("dog food", None),
        ("dog", "dog bark"),
        ("DOG BARK", "dog bark"),
        ("church bells", "bell"),
        ("sea waves", "Sea Waves"),
        ("", None),
        ("s", None),
        ("bel", None),
    ],
)
def test_what_a_category_means(category: str, name: str | None) -> None:
    assert known_name(category, ("bell", "cricket", "dog bark", "Sea Waves")) == name


def test_every_alias_is_a_class_that_pocket_models_know() -> None:
    assert set(ALIASES.values()) <= set(EVENTS) and not set(ALIASES) & set(EVENTS)


def test_a_bank_under_the_names_of_a_model(folder: Path) -> None:
    write(folder, "filename,category\nshort.wav,Dog\nlong.wav,Wind\n")
    bank = ClipBank.read(folder)
    named = bank.named_as(("dog bark", "bell"))
    assert named.categories == ("Wind", "dog bark") and bank.categories == ("Dog", "Wind")
    assert [clip.path for clip in named.clips] == [clip.path for clip in bank.clips]
    assert np.array_equal(named.take("dog bark", 0.2, 0), bank.take("Dog", 0.2, 0))


def test_no_table_no_folder_and_no_text(folder: Path, tmp_path: Path) -> None:
    (folder / "table.csv").write_bytes(b"\xff\xfe\x00filename")
    with pytest.raises(ValueError, match="not a readable csv"):
        read_clips(folder)
    (folder / "table.csv").unlink()
    with pytest.raises(ValueError, match="exactly one csv, found 0"):
        read_clips(folder)
    with pytest.raises(ValueError, match="not a folder"):
        read_clips(tmp_path / "none")


@pytest.mark.parametrize("name", ["../outside.wav", "audio/../../outside.wav", "{absolute}", "link.wav"])
def test_paths_that_leave_the_folder_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, np.ones(RATE) * 0.1, RATE)
    (folder / "link.wav").symlink_to(outside)
    write(folder, f"filename,category\n{name.format(absolute=outside)},x\n")
    with pytest.raises(ValueError, match="leads out of the folder"):
        read_clips(folder)


def test_table_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, "filename,category\nlong.wav,x\n", "outside.csv")
    with pytest.raises(ValueError, match="leads out"):
        read_clips(folder, table="../outside.csv")


def test_ambiguous_names_are_refused(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "short.wav").write_bytes((folder / "audio" / "short.wav").read_bytes())
    with pytest.raises(ValueError, match=r"2 files are called 'short\.wav'"):
        read_clips(folder)
    write(folder, "filename,category\nmore/short.wav,x\n")
    assert read_clips(folder)[0].path == folder / "more" / "short.wav"


# The bank --------------------------------------------------------------------------------------------------------


def test_samples_are_the_active_part_at_16_khz(folder: Path) -> None:
    bank = ClipBank.read(folder)
    assert bank.categories == ("dog bark", "sea waves")
    short, long = (bank.samples(clip) for clip in bank.clips)
    assert len(short) / RATE == pytest.approx(0.3, abs=0.03)
    assert len(long) / RATE == pytest.approx(4.0, abs=0.03)
    for samples in (short, long):
        assert samples.dtype == np.float32
        assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-4)


def test_the_tables_active_span_is_obeyed(folder: Path) -> None:
    write(folder, "filename,category,active_start_s,active_end_s\nlong.wav,sea,0.5,1.25\nshort.wav,beep,0,0.5\n")
    bank = ClipBank.read(folder)
    assert len(bank.samples(bank.clips[0])) == int(0.75 * RATE)
    with pytest.raises(AudioError, match=r"short.wav.*nothing sounds"):
        bank.samples(bank.clips[1])


@pytest.mark.parametrize(("span", "ends"), [("3.5,4.2", "4.20"), ("5,6", "6.00"), ("0,1e9", "1000000000.00")])
def test_an_active_span_past_the_end_is_refused(folder: Path, span: str, ends: str) -> None:
    """By the file's real length, which the table does not know."""
    write(folder, f"filename,category,active_start_s,active_end_s\nlong.wav,sea,{span}\n")
    bank = ClipBank.read(folder)
    message = rf"long\.wav lasts 4\.00 s, but its active span ends at {ends} s; correct active_end_s in the table"
    with pytest.raises(AudioError, match=message):
        bank.samples(bank.clips[0])
    with pytest.raises(AudioError, match=message):
        bank.take("sea", 1.0, 0)


def test_an_active_span_may_pass_the_end_by_what_tables_round(folder: Path) -> None:
    write(folder, "filename,category,active_start_s,active_end_s\nlong.wav,sea,3.5,4.04\n")
    bank = ClipBank.read(folder)
    assert len(bank.samples(bank.clips[0])) == RATE // 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_names_in_latin_1_inside_a_table(folder: Path) -> None:
    """The table in UTF-8 names a file whose own name is in Latin-1, as an old archive leaves it."""
    audio = Path(os.fsdecode(os.fsencode(folder) + b"/audio/caf\xe9.wav"))
    (folder / "long.wav").rename(audio)
    write(folder, "filename,category\ncafé.wav,sea\naudio/café.wav,sea\nshort.wav,beep\n")
    clips = read_clips(folder)
    assert [clip.path for clip in clips] == [audio, folder / "audio" / "short.wav"]
    bank = ClipBank(clips)
    assert len(bank.samples(clips[0])) == 4 * RATE
    assert len(bank.subset(exclude_files=[audio.name])) == 1
    audio.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"cannot decode '.*café\.wav'"):
        ClipBank(clips).samples(clips[0])
    audio.unlink()
    with pytest.raises(ValueError, match=r"2 of 3 recordings in table\.csv are not in the folder: café\.wav"):
        read_clips(folder)
    (folder / "table.csv").write_bytes("filename,category\ncafé.wav,sea\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not text in UTF-8 \(line 2.*save it as UTF-8"):
        read_clips(folder)


def test_decoding_happens_once_and_is_shared_with_subsets(folder: Path) -> None:
    bank = ClipBank.read(folder)
    before = bank.take("sea waves", 1.0, 0)
    (folder / "long.wav").unlink()
    assert np.array_equal(bank.subset(folds=[2]).take("sea waves", 1.0, 0), before)


def test_subset_by_fold_category_and_file(folder: Path) -> None:
    bank = ClipBank.read(folder)
    assert bank.subset(folds=[1]).categories == ("dog bark",)
    assert bank.subset(categories=["sea waves"]).categories == ("sea waves",)
    assert len(bank.subset(exclude_files=["short.wav"])) == 1
    with pytest.raises(ValueError, match="no clips"):
        bank.subset(folds=[9])
    with pytest.raises(ValueError, match=r"no recordings of cow.*dog bark"):
        bank.subset(categories=["cow"])


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.4])
def test_take_is_peak_normalised_and_fills_what_is_asked(folder: Path, seconds: float, augment: bool) -> None:
    bank = ClipBank.read(folder)
    for category in bank.categories:
        for seed in range(5):
            samples = bank.take(category, seconds, seed, augment)
            assert samples.dtype == np.float32
            assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-5)
            assert 0.6 * seconds - 0.03 <= len(samples) / RATE <= seconds + 1e-9
            assert np.array_equal(samples, bank.take(category, seconds, seed, augment))


def test_a_short_bark_is_repeated_with_gaps(folder: Path) -> None:
    samples = ClipBank.read(folder).take("dog bark", 1.5, 3)
    rms = frame_rms(samples, RATE // 100)
    quiet = rms < 0.01 * rms.max()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(int)))
    gaps = np.diff(edges)[::2] * 0.01
    assert len(gaps) >= 2
    assert ((gaps >= 0.03) & (gaps <= 0.19)).all()
    assert not quiet[0]
    assert not quiet[-3:].all()


def test_a_crop_has_no_quiet_edges(tmp_path: Path) -> None:
    # a click every 1.2 s: nearly every crop of 1 s begins and ends in silence
    samples = np.zeros(6 * RATE)
    for start in range(0, 6 * RATE, int(1.2 * RATE)):
        samples[start : start + 1600] = 0.5 * np.sin(np.arange(1600))
    soundfile.write(tmp_path / "clicks.wav", samples, RATE)
    write(tmp_path, "filename,category\nclicks.wav,clock\n")
    bank = ClipBank.read(tmp_path)
    for seed in range(20):
        cut = bank.take("clock", 1.0, seed)
        rms = frame_rms(cut, RATE // 50)
        sounding = np.flatnonzero(rms > 0.01 * rms.max())
        assert sounding[0] <= 1
        assert sounding[-1] >= len(rms) - 2


def test_augmentation_changes_the_sound_but_not_by_much(folder: Path) -> None:
    bank = ClipBank.read(folder).subset(categories=["dog bark"])
    centres = []
    for seed in range(20):
        power = np.abs(np.fft.rfft(bank.take("dog bark", 0.35, seed, augment=True), RATE)) ** 2
        centres.append(float(power.argmax()))  # Hz: the beep is at 700
    assert max(centres) < 700 * 1.2
    assert min(centres) > 700 * 0.83
    assert max(centres) - min(centres) > 50


def test_draw_names_its_clip_and_bad_requests_are_refused(folder: Path) -> None:
    bank = ClipBank.read(folder)
    assert bank.draw("sea waves", 1.0, 0)[1] == bank.clips[1]
    with pytest.raises(ValueError, match=r"no recordings of 'cow'.*dog bark"):
        bank.take("cow", 1.0, 0)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            bank.take("sea waves", seconds, 0)
    with pytest.raises(ValueError, match="no clips"):
        ClipBank([])


def test_corrupt_recording_is_an_audio_error(folder: Path) -> None:
    (folder / "long.wav").write_bytes(b"no sound")
    bank = ClipBank.read(folder)
    with pytest.raises(AudioError, match=r"long\.wav"):
        bank.take("sea waves", 1.0, 0)


# The real ones ---------------------------------------------------------------------------------------------------


@pytest.mark.recordings
def test_real_recordings_have_no_underscores_and_can_be_taken(real_folder: str) -> None:
    real = ClipBank.read(real_folder)
    assert len(real.categories) >= 2
    assert not any("_" in category for category in real.categories)
    assert all(clip.path.is_file() for clip in real.clips)
    one_each = ClipBank([next(clip for clip in real.clips if clip.category == name) for name in real.categories])
    for category in one_each.categories:
        for augment in (False, True):
            samples = one_each.take(category, 2.0, 0, augment)
            assert np.isfinite(samples).all()
            assert 1.1 <= len(samples) / RATE <= 2.0
            assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-5)
