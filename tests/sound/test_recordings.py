"""A folder of recordings: its table is checked before anything is decoded; the bank cuts events that really sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from steer_utils.sound.audio import AudioError, frame_rms
from steer_utils.sound.recordings import RATE, Clip, ClipBank, read_clips
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
        ("filename,category\nlong.wav\n", "line 2.*empty category"),
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
