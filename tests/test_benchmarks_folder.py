"""The benchmarks on tiny shapes: their answers agree, and a peer that is missing is said to be. Never a timing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steer_utils.lm.families import full_size_config
from steer_utils.lm.models import load

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="benchmarks/ is not beside tests/ here")
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    attention_rows,
    checkpoint_folder,
    common,
    gpu,
    locate_floor,
    long_audio,
    matmuls,
    memory,
    peers,
    several_audios,
    shapes,
    table,
    venv,
)
from benchmarks.common import Options, Result, Times  # noqa: E402
from benchmarks.shapes import EVENTS, audio_of, shape_of, true_width  # noqa: E402
from benchmarks.sweep import Point, Sweep, difference, ours  # noqa: E402

SMOKE = Options(smoke=True)
EQUAL = 1e-5  # float32 against float32 through other kernels; weights are up to 1


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, dict[str, Any]]]:
    """Each script's line, made once, when it is asked for."""

    class Lines(dict[str, dict[str, Any]]):
        def __missing__(self, script: str) -> dict[str, Any]:
            self[script] = common.line(import_module(f"benchmarks.{script}").measure, SMOKE)
            return self[script]

    yield Lines()


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    lm = true_width("qwen2_audio", SMOKE)
    return Sweep(lm, audio_of(lm, 2), strengths=(1.0, 4.0))


@pytest.mark.parametrize("script", table.SCRIPTS)
def test_each_line_is_json_and_decides_nothing_on_tiny_shapes(script: str, results: dict[str, dict[str, Any]]) -> None:
    line = json.loads(json.dumps(results[script], allow_nan=False))
    assert line["script"] == script and line["claim"] and line["target"]
    assert line["met"] is None and "times mean nothing" in line["measured"]
    assert line["cases"] and line["environment"]["options"]["smoke"]
    assert {"torch", "transformers", "numpy"} <= set(line["environment"]["versions"])


def test_the_claims_are_all_different(results: dict[str, dict[str, Any]]) -> None:
    assert len({results[script]["claim"] for script in table.SCRIPTS}) == len(table.SCRIPTS)


# -- agreement -------------------------------------------------------------------------------------------------------
def test_ours_and_plain_transformers_read_the_same_rows(results: dict[str, dict[str, Any]]) -> None:
    for case in results["locate_sweep"]["cases"]:
        told = {name: each["agree"] for name, each in case["contestants"].items() if name != "ours"}
        assert {"transformers"} <= {name.split(",")[0] for name in told}
        assert max(told.values()) == case["agree"] < EQUAL


def test_the_rows_recorded_are_those_of_eager_attention(results: dict[str, dict[str, Any]]) -> None:
    for case in results["attention_rows"]["cases"]:
        assert case["agree"] < EQUAL
        assert 0 < case["extra_mb"] < case["eager_extra_mb"]
    for case in results["long_audio"]["cases"]:
        assert case["agree"] < EQUAL


def test_in_half_precision_rows_are_also_compared_with_float32(results: dict[str, dict[str, Any]]) -> None:
    """Eager attention rounds too: that ours differs from it does not say whose is the error."""
    half = attention_rows.measure(Options(smoke=True, dtype="bfloat16"))
    for case in half.cases:
        off = case["from_float32"]
        assert EQUAL < off["with rows"] < 2 * off["eager"] < 0.1
    assert half.notes[-1].startswith("largest distance of a weight from the same model's in float32: ours ")
    assert all(case["from_float32"] == {} for case in results["attention_rows"]["cases"])
    lm = true_width("qwen2_audio", Options(smoke=True, dtype="bfloat16"))
    prefill = attention_rows.Prefill(lm, 2, 1)
    held = [*lm.model.parameters(), *lm.model.buffers()]
    before = [each.clone() for each in held]
    prefill.in_float32()
    assert lm.dtype == prefill.embeddings.dtype == torch.bfloat16
    for now, then in zip([*lm.model.parameters(), *lm.model.buffers()], before, strict=True):
        assert now.dtype == then.dtype and torch.equal(now, then)


def test_a_model_in_half_precision_keeps_its_rotary_frequencies_exact() -> None:
    """As a checkpoint that is loaded in it does."""
    half = true_width("qwen2_audio", Options(smoke=True, dtype="bfloat16"))
    assert {each.dtype for each in half.model.parameters()} == {torch.bfloat16}
    assert {each.dtype for each in half.model.buffers()} == {torch.float32}
    assert torch.get_default_dtype() == torch.float32


def test_a_vector_in_another_block_would_be_noticed(sweep: Sweep) -> None:
    """The comparison can fail: the same peer told another block, or another strength, does not agree."""
    mine, point = ours(sweep), Point(EVENTS[0], 0, 4.0)
    for wrong in (Point(EVENTS[0], 1, 4.0), Point(EVENTS[0], 0, 1.0), Point(EVENTS[1], 0, 4.0)):
        reader = peers.Reader(peers.Transformers(sweep.lm.model), sweep, [wrong])
        assert difference(mine, sweep, [wrong], reader.read(1, 1)) < EQUAL
        assert difference(mine, sweep, [point], reader.read(1, 1)) > 100 * EQUAL


def test_a_batch_of_strengths_reads_what_single_ones_do(sweep: Sweep) -> None:
    reader = peers.Reader(peers.Transformers(sweep.lm.model), sweep, sweep.points)
    count = len(sweep.points)
    torch.testing.assert_close(reader.read(2, count), reader.read(1, count), atol=EQUAL, rtol=0)
    with pytest.raises(ValueError, match="too many values"):  # three strengths there are not: a batch spans two blocks
        reader.read(3, count)


def test_peers_leave_the_model_as_it_was(sweep: Sweep) -> None:
    reader = peers.Reader(peers.Transformers(sweep.lm.model), sweep, sweep.points[:1])
    reader.read(1, 1)  # transformers' own first use of output_attentions leaves hooks of its own
    before = [len(module._forward_hooks) for module in sweep.lm.model.modules()]
    reader.read(1, 1)
    assert sweep.lm.decoder.config._attn_implementation == "sdpa"
    assert [len(module._forward_hooks) for module in sweep.lm.model.modules()] == before


def test_steering_in_the_benchmark_of_tokens_does_something(results: dict[str, dict[str, Any]]) -> None:
    for case in results["steering_overhead"]["cases"]:
        assert case["moved"] > 1e-3
        assert {"generate", "steer", "answer", "answer, steered"} <= set(case["contestants"])
        assert all(each < 1e-4 for each in case["agree"].values())


# -- several audios ----------------------------------------------------------------------------------------------------
def test_one_call_for_several_audios_is_timed_beside_a_call_an_audio(sweep: Sweep) -> None:
    lines = several_audios.measure(sweep.lm, counts=(2,), rounds=1, seconds=0.5)
    kinds = ("presence", "contrast", "steered and not", "locate, 1 of a file", "locate, 2 of a file")
    for line, kind in zip(lines, kinds, strict=True):
        assert re.fullmatch(
            rf"{kind}, 2 audios: a call an audio [\d.]+ ms, one call [\d.]+ ms, a call an audio, once more [\d.]+ ms; "
            r"[\d.]+x, noise [\d.]+x",
            line,
        )


# -- a folder of full size ---------------------------------------------------------------------------------------------
def test_the_random_folder_opens_as_a_checkpoint_does(tmp_path: Path) -> None:
    count = checkpoint_folder.write_folder(tmp_path, checkpoint_folder.shape(SMOKE))
    lm = load(tmp_path, dtype="auto")
    assert sum(parameter.numel() for parameter in lm.model.parameters()) == count
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.bfloat16}
    reading = lm.hear(audio_of(lm, 1), sampling_rate=16_000).read("Describe the sound.")
    assert bool(torch.isfinite(reading.logits).all()) and float(reading.logits.std()) > 0


def test_every_block_of_the_published_checkpoint_is_in_it() -> None:
    shape, config = checkpoint_folder.shape(Options()), full_size_config("qwen2_audio")
    assert (shape.blocks, shape.vocabulary) == (config.text_config.num_hidden_layers, config.text_config.vocab_size)
    assert shape.tower_blocks == config.audio_config.num_hidden_layers and shape.narrow is None


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is looked up in /proc")
def test_what_a_process_holds_is_seen() -> None:
    code = "import time; held = bytearray(200_000_000); time.sleep(0.6); print('done')"
    seen = checkpoint_folder.watched([sys.executable, "-c", code])
    assert seen["told"] == "done\n" and seen["seconds"] > 0.6
    assert 200e6 < seen["own"] < 300e6 and seen["with_files"] >= seen["own"]
    with pytest.raises(RuntimeError, match="exit code 3"):
        checkpoint_folder.watched([sys.executable, "-c", "raise SystemExit(3)"])


# -- the prepared run on a GPU ---------------------------------------------------------------------------------------
def test_the_run_on_a_gpu_goes_through_all_its_parts(results: dict[str, dict[str, Any]]) -> None:
    """On a CPU with a tiny model; the peers' and ours agree as in the scripts that it is made of."""
    line = results["gpu"]
    made = line["cases"][0]
    assert not [note for note in line["notes"] if "left out" in note]
    assert made["hearing"]["median_s"] > 0 and made["weights_gb"] > 0
    assert set(made["sweep"]["ratio"]) <= set(gpu.PEERS) and made["sweep"]["agree"] < EQUAL
    assert set(made["token"]["agree"]) <= {"nnsight"} and "answer, steered" in made["token"]["contestants"]
    assert list(made["audios_an_hour"]) == [
        f"{work}, batch {batch}" for work in ("heard", "located") for batch in (1, 4, 16)
    ]
    assert line["measured"].count("audios located an hour at batches of 1, 4, 16") == len(line["cases"])


def test_the_run_on_a_gpu_loads_nf4_from_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here in place of nf4 the weights as they are: that the way is gone, and the first model is told from it."""
    asked: list[dict[str, Any]] = []

    def plain(folder: Path, **options: Any) -> Any:
        asked.append(options)
        return load(folder)

    monkeypatch.setattr(gpu, "find_spec", lambda name: object())
    monkeypatch.setattr(gpu, "load", plain)
    for part in ("sweep", "token", "audios_an_hour"):
        monkeypatch.setattr(gpu, part, lambda lm, options: {})
    made = gpu.measure(SMOKE)
    assert asked == [{"quantise": "nf4", "device": "cpu"}]
    assert [case["numbers"] for case in made.cases] == ["float32", "nf4"] and "nf4: weights" in made.measured
    assert made.cases[1]["parameters"] == made.cases[0]["parameters"] and "nf4" not in made.missing


def test_a_part_that_fails_or_comes_too_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = gpu.Clock()
    assert clock.part("bfloat16, sweep", lambda: {"a": 1}) == {"sweep": {"a": 1}}
    assert clock.part("bfloat16, token", lambda: {}["no\nmemory"]) == {}
    monkeypatch.setattr(gpu, "LATEST", -1.0)
    assert clock.part("nf4, sweep", lambda: {"a": 1}) == {}
    assert clock.left_out == ["bfloat16, token: KeyError: 'no\\nmemory'", "nf4, sweep: it was too late to begin"]


def test_the_run_on_a_gpu_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.on_a_gpu(SMOKE) is SMOKE
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is at hand: torch sees none here; --smoke"):
        gpu.on_a_gpu(Options())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.on_a_gpu(Options()) == Options(device="cuda", dtype="bfloat16", full_depth=True)


def test_the_table_says_that_no_gpu_was_at_hand_until_one_was() -> None:
    assert f"| {table.GPU[0]} | {table.GPU[1]} | no GPU was at hand | - | - |" in table.written([record()])
    assert "no GPU was at hand" not in table.written([record(), record("gpu", None)])


@pytest.mark.parametrize("name", peers.MODULES)
def test_a_missing_peer_is_said_to_be(name: str, results: dict[str, dict[str, Any]], monkeypatch: Any) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    assert peers.missing([name]) == {name: peers.INSTALL}
    if name not in results["steering_overhead"]["environment"]["versions"]:
        assert results["steering_overhead"]["missing"][name] == peers.INSTALL


def test_a_peer_that_breaks_is_reported_with_its_error(sweep: Sweep, monkeypatch: Any) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("no such\nlayer")

    monkeypatch.setattr(peers, "missing", lambda names: {})
    monkeypatch.setattr(peers, "version", lambda name: "9.9")
    for name in ("NNsight", "TransformerLens"):
        monkeypatch.setattr(peers, name, broken)
    found, absent = peers.peers_of(sweep)
    assert set(found) == {"transformers"}
    assert absent["nnsight"] == "nnsight 9.9 does not run with transformers 9.9: RuntimeError: no such layer"


# -- the harness -----------------------------------------------------------------------------------------------------
def test_contestants_take_turns_and_each_second_round_goes_backwards() -> None:
    order: list[str] = []
    times = common.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == [*"ab", *"ab", *"ba", *"ab"]  # the first two warm up
    assert [len(each.seconds) for each in times.values()] == [3, 3]


def test_times_are_medians_scaled() -> None:
    times = Times((3.0, 1.0, 2.0), scale=10.0)
    assert times.median == 20.0 and times.iqr == pytest.approx(10.0)
    assert Times((1.0,)).iqr == 0.0


def test_peak_memory_is_the_most_that_was_held_at_once() -> None:
    def run() -> None:
        first = torch.zeros(1_000_000)  # 4 MB
        second = first + 1  # 8 MB in all
        del first
        _ = second * 2  # 8 MB again

    assert memory.peak_bytes(run) == pytest.approx(8e6, rel=0.01)


def test_a_product_counts_its_operations_and_long_ones_scale() -> None:
    rates = matmuls.Rates("cpu", torch.float32, least_seconds=0.0)
    assert matmuls.Product(3, 4, 5).flops == 120
    short, long = (rates.seconds(matmuls.Product(rows, 8, 8)) for rows in (matmuls.MOST_ROWS, 3 * matmuls.MOST_ROWS))
    assert long == pytest.approx(3 * short)
    assert rates.seconds(matmuls.Product(0, 8, 8)) == 0.0


def test_the_products_of_a_forward_are_all_counted() -> None:
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 6, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(60, 7))
    with matmuls.counted_products(module) as products:
        module(torch.zeros(4, 2, 10))
    assert products == [matmuls.Product(40, 6, 6), matmuls.Product(4, 60, 7)]
    assert not any(each._forward_hooks for each in module)


def test_the_least_work_is_less_than_that_as_stated(sweep: Sweep) -> None:
    class Counted(matmuls.Rates):
        """As if the machine did one operation a second."""

        def seconds(self, product: matmuls.Product) -> float:
            return float(product.flops)

    floors = locate_floor.floors(sweep, Counted("cpu", torch.float32, best=1.0))
    assert floors["encoding"] < floors["least"] < floors["as stated"]
    # A third of the suffix work of one point, counted by hand: 7 linear layers of a block, one token.
    text = sweep.lm.model.config.text_config
    width, kv = text.hidden_size, text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    token = 2 * (2 * width * width + 2 * width * kv + 3 * width * text.intermediate_size)
    assert sum(2 * inner * outer for inner, outer in matmuls.products_of(sweep.lm.blocks[0])) == token


def test_memory_that_grows_in_proportion_has_slope_one() -> None:
    assert long_audio.last_slope([1, 10, 20], [5.0, 50.0, 100.0]) == pytest.approx(1.0)
    assert long_audio.last_slope([10, 20], [1.0, 4.0]) == pytest.approx(2.0)


def test_eagers_weights_at_ten_minutes_are_as_computed_by_hand() -> None:
    text = full_size_config("audioflamingo3").text_config
    assert long_audio.eager_bytes(text, 15_000, 2) == 28 * 28 * 15_000**2 * 2  # 353 GB


@pytest.mark.parametrize("family", ["qwen2_audio", "audioflamingo3"])
def test_a_true_width_is_that_of_the_published_checkpoint(family: str) -> None:
    config, _ = shapes.config_and_processor(shapes.Shape(family, 4, 4))
    with torch.device("meta"):
        model = getattr(transformers, shapes.FAMILIES[family].model_class)(config)
    published = full_size_config(family)
    kept = ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size", "rms_norm_eps")
    assert all(getattr(config.text_config, name) == getattr(published.text_config, name) for name in kept)
    assert model.model.language_model.layers[3].mlp.up_proj.weight.shape == (
        published.text_config.intermediate_size,
        published.text_config.hidden_size,
    )
    assert model.model.audio_tower.layers[3].fc1.weight.shape == (5120, 1280)


def test_the_tiny_models_attention_is_not_flat(sweep: Sweep) -> None:
    weights = ours(sweep)
    assert float(weights.max()) > 5 * float(weights.mean())
    assert shape_of(sweep.lm)["blocks"] == sweep.lm.num_blocks


# -- results and table -----------------------------------------------------------------------------------------------
def record(script: str = "import_time", met: bool | None = True, **changed: Any) -> dict[str, Any]:
    result = common.line(lambda options: Result(script, "a claim", "a target", "0.1 s | 0.2 s", met, []), Options())
    environment = {**result["environment"], "machine": "a machine", "load_before": [0.0, 0.0, 0.0], "cores": 2}
    return {**result, "environment": environment, **changed}


def test_the_table_shows_the_last_result_of_each_script() -> None:
    old, new = record(measured="77 s"), record(measured="88 s", met=False)
    made = table.written([old, new, record("scaling", None)])
    assert "| a claim | a target | 88 s | **no** | a machine |" in made and "77 s" not in made
    assert made.index("88 s") < made.index("0.1 s / 0.2 s") and "| - |" in made


def test_a_smoke_run_is_not_in_the_table() -> None:
    smoked = record()
    smoked["environment"]["options"]["smoke"] = True
    assert "No results yet" in table.written([smoked])


def test_what_is_missing_missed_or_disturbed_is_said_below(monkeypatch: Any) -> None:
    monkeypatch.setitem(table.WHY_MISSED, "import_time", "a reason")
    busy = record(met=False, missing={"nnsight": "not here"}, notes=["a note"])
    busy["environment"]["load_before"] = [3.0, 3.0, 3.0]
    made = table.written([busy])
    for said in ("a note", "missed: a reason", "nnsight did not run: not here", "load 3 before it began"):
        assert said in made


def test_another_number_type_is_a_row_of_its_own_and_says_only_what_is_new() -> None:
    half = record(notes=["a note", "rounded"])
    half["environment"] = {**half["environment"], "options": {**half["environment"]["options"], "dtype": "bfloat16"}}
    made = table.written([record(notes=["a note"]), half])
    assert made.count("| a claim |") == 2 and "| a machine, bfloat16 |" in made
    assert "- import_time: a note." in made and "- import_time, bfloat16: rounded." in made


def test_results_are_appended_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert table.read(path) == []
    first, second = record(), record("scaling")
    table.append(first, path)
    table.append(second, path)
    assert table.read(path) == json.loads(json.dumps([first, second]))
    path.write_text(path.read_text() + "no json\n")
    with pytest.raises(ValueError, match=r"line 3 of results\.jsonl is not a result"):
        table.read(path)


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results.jsonl"
    table.append(record(measured=r"a \1 backslash"), results)
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(readme, results)
    text = readme.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n| claim") and text.endswith(f"{table.END}\nafter\n")
    assert r"a \1 backslash" in text and "old" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        table.write(readme, results)


def test_the_readme_holds_the_marks_and_names_every_script() -> None:
    text = table.README.read_text(encoding="utf-8")
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    assert all(f"[{script}.py]({script}.py)" in text for script in table.SCRIPTS)


def test_the_readmes_table_is_that_of_the_results() -> None:
    text = table.README.read_text(encoding="utf-8")
    shown = text.split(table.BEGIN)[1].split(table.END)[0].strip()
    assert shown == table.written(table.read()).strip(), "run python -m benchmarks --table"


# -- the command line ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "gpu"], "pass cpu or cuda"),
        (["--repeats", "-1"], "pass a number from 0"),
        (["--dtype", "float8"], "invalid choice"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], said: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        common.parsed(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        common.parsed(["--device", "cuda"])
    assert "torch sees no GPU" in capsys.readouterr().err


def test_a_script_prints_one_line_of_json_and_an_unknown_one_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks"]
    done = subprocess.run([*command, "import_time", "--smoke"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["script"] == "import_time"
    before = table.README.stat().st_mtime
    wrong = subprocess.run([*command, "no_such"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "there is no no_such; pass some of locate_sweep" in wrong.stderr
    assert table.README.stat().st_mtime == before  # neither a smoke run nor a refusal writes


def test_a_folder_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is there already"):
        venv.make(tmp_path)


def test_the_peers_bring_no_torch_of_their_own() -> None:
    lines = venv.REQUIREMENTS.read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line for line in pinned)
    names = {line.split("==")[0] for line in pinned}
    assert set(peers.MODULES) <= names and not {"torch", "transformers", "numpy"} & names
