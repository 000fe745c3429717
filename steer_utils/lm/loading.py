"""Open a model from a folder or the hub, straight to where it will live, in a number type that fits there.

Where it goes, what it is stored in and how large that is are settled from its configuration, before any weights are
read or fetched: what does not fit is refused with what would.

    open_checkpoint("Qwen/Qwen2-Audio-7B-Instruct")                     # to the GPU, where there is one
    open_checkpoint("Qwen/Qwen2-Audio-7B-Instruct", quantise="nf4")     # 7 GB instead of 17
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import find_adapter_config_file, logging

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.environment import gpu_fault
from steer_utils.lm.families import REFUSED, family_of, listening_config, refusal
from steer_utils.lm.family import Family, UnsupportedModelError
from steer_utils.sound.files import strict_json

Quantisation = Literal["int8", "nf4", "torchao-int8"]
DeviceMap = str | dict[str, Any]

SMALL_MODEL = 1_000_000_000  # below so many parameters float32 costs little on a CPU, and is exact
WHOLE_FILE = 64 * 2**20  # larger weight files are fingerprinted by their size, first and last MiB
SAMPLED_MODEL, SAMPLE, STEP = 2**30, 2**12, 2**22  # and of larger models by 4 KiB in each 4 MiB: a fine-tune's matrix
WORKING_ROOM = 1.5e9  # bytes beside the weights: the GPU's libraries, keys and values, one call
#: The package that quantises, and bytes a weight. nf4: four bits, and scales of blocks of 64, quantised themselves.
QUANTISERS: dict[str, tuple[str, float]] = {
    "int8": ("bitsandbytes", 1.0),
    "nf4": ("bitsandbytes", 0.5 + 1 / 64 + 4 / (64 * 256)),
    "torchao-int8": ("torchao", 1.0),
}


def open_checkpoint(
    name_or_path: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: DeviceMap | None = None,
    revision: str | None = None,
    quantise: Quantisation | None = None,
) -> Checkpoint:
    """Open a model from a local folder or the hub: evaluation mode, no gradients, safetensors only, no remote code.

    `dtype`: by default float32 on a CPU for models below a thousand million parameters. Larger ones are bfloat16, or
    float16 where they are stored so or the GPU has no bfloat16; also where their configuration says float32.
    `device`: by default the first GPU with room, else all GPUs together, and the CPU where torch has no GPU. "auto" is
    short for device_map="auto", which also uses the CPU and the disk, slowly.
    `quantise`: the decoder's matrices in 8 bits ("int8", or torchao's "torchao-int8") or 4 ("nf4"), everything else in
    `dtype`: the audio tower, the embeddings, the output head.
    `revision`: branch, tag or commit of a hub id.

    Raises CheckpointError (nothing there, no config, an adapter that is not merged, both device and device_map, a
    number type or device that cannot be used, a package that is lacking, no room on the GPU) and UnsupportedModelError
    (another kind of model) before any weights are read; CheckpointError, too, for weights that are damaged, lacking or
    more than the model has place for, and for an audio tower that a device map left on the disk.
    """
    name = str(name_or_path)
    if device is not None and device_map is not None:
        raise CheckpointError("pass device or device_map, not both")
    asked = check_numbers(dtype, quantise)
    device_map = "auto" if device == "auto" else device_map
    on_gpu = _is_on_gpu(device, device_map)
    folder = _local_folder(name)
    if folder is not None and revision is not None:
        raise CheckpointError(f"{name!r} is a folder, which has no revisions; leave revision={revision!r} out")
    source = name if folder is None else str(folder)
    if find_adapter_config_file(source, revision=revision) is not None:  # without peft it would be left out unsaid
        raise CheckpointError(f"{name!r} holds an adapter; merge it (peft: merge_and_unload) and load what that saves")
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        if (stated := _stated_type(source, revision)) in REFUSED:  # a class of its own, which is not run to say this
            raise UnsupportedModelError(refusal(stated)) from error
        raise CheckpointError(f"cannot read a model configuration from {name!r}: {error}") from error
    family, listening = family_of(config), listening_config(config)
    for part in (listening, *(getattr(listening, part) for part in listening.sub_configs)):
        part._attn_implementation, part.return_dict = "sdpa", True  # whatever those who saved it preferred
    if other := set(getattr(listening.get_text_config(), "layer_types", None) or ()) - {"full_attention"}:
        raise UnsupportedModelError(f"some blocks of {name!r} do not see the whole past: {', '.join(sorted(other))}")
    stored = _stored_quantisation(config)
    if quantise is not None and stored is not None:
        raise CheckpointError(f"the weights of {name!r} are quantised already; leave quantise={quantise!r} out")
    if folder is None and family.non_commercial:
        warnings.warn(family.licence, stacklevel=2)
    outline = _outline(family, listening)
    numbers = asked or _default_number_type(config, outline, on_gpu)
    if device_map is None:
        as_stored = getattr(config, "dtype", None) or torch.bfloat16
        number_bytes = as_stored.itemsize if numbers == "auto" else numbers.itemsize
        device_map = _place(name, outline, family, number_bytes, quantise or stored, device, on_gpu)
    _check_tower(family, device_map)
    options = {} if quantise is None else {"quantization_config": _quantiser(quantise, family, numbers)}
    try:
        with _bars_for_downloads_only(folder):
            model, loaded = getattr(transformers, family.model_class).from_pretrained(
                source,
                config=listening,
                dtype=numbers,
                device_map=device_map,
                revision=revision,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `_check_weights` names them
                **options,
            )
        processor = family.processor(source, revision)
    except (OSError, ImportError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"cannot load the model {name!r} (whole safetensors are needed): {error}") from error
    _check_weights(name, family, model, loaded)
    _check_tower(family, device_map, model)
    model.eval().requires_grad_(False)
    checkpoint = Checkpoint(
        model=model,
        processor=processor,
        family=family,
        name=name,
        revision=getattr(config, "_commit_hash", None) if folder is None else fingerprint(folder),
        events=known_events(folder),
    )
    # Fail here, not at the first use, if the parts or the prompt are not as they should be.
    _ = checkpoint.decoder, checkpoint.tokens("Describe the sound.")
    return checkpoint


def _check_weights(name: str, family: Family, model: nn.Module, loaded: Mapping[str, Any]) -> None:
    """Raise CheckpointError where weights were not in the files, which transformers then draws at random; have another
    shape; or are beside those that the model has, such as an adapter's or those of further blocks."""
    missing = {key for key, _ in model.named_parameters()}.intersection(loaded["missing_keys"])
    parts = (family.decoder_path, family.audio_tower_path, family.projector_path, family.head_path)
    within = tuple(f"{path}." for path in parts)
    matrices = (key for key in loaded["unexpected_keys"] if key.endswith((".weight", ".bias")))
    beside = {key for key in matrices if key.startswith(within)}  # tables that are computed are stored by some releases
    shapes = {key for key, *_ in loaded["mismatched_keys"]}
    for what, keys in (("do not hold", missing), ("have another shape in", shapes), ("also hold", beside)):
        if keys:
            named = ", ".join(sorted(keys)[:3]) + f" and {len(keys) - 3} more" * (len(keys) > 3)
            raise CheckpointError(
                f"the weights of {name!r} {what} {named}, so they are not those of its configuration; save the whole "
                "model again, adapters merged"
            )


# -- number types ------------------------------------------------------------------------------------------------------
def check_numbers(dtype: torch.dtype | str | None, quantise: str | None = None) -> torch.dtype | Literal["auto"] | None:
    """The number type that was asked for. Raises CheckpointError for what is no type of floating-point numbers, and for
    a quantisation that there is not or whose package is lacking."""
    if quantise is not None and quantise not in QUANTISERS:
        raise CheckpointError(f"quantise is {quantise!r}; pass one of {', '.join(QUANTISERS)}, or nothing")
    if quantise is not None and find_spec(QUANTISERS[quantise][0]) is None:
        package = QUANTISERS[quantise][0]
        raise CheckpointError(f"quantise={quantise!r} needs the package {package}: pip install {package}")
    if dtype is None or dtype == "auto":
        return dtype  # type: ignore[return-value]  # "auto": as the weights are stored
    numbers = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(numbers, torch.dtype) or not numbers.is_floating_point or numbers.itemsize < 2:
        raise CheckpointError(f"dtype is {dtype!r}; pass one of auto, float32, bfloat16, float16")
    return numbers


def _default_number_type(config: Any, outline: nn.Module, on_gpu: bool) -> torch.dtype | Literal["auto"]:
    if _parameters(outline) < SMALL_MODEL:
        return "auto" if on_gpu else torch.float32
    if getattr(config, "dtype", None) == torch.float16:
        return torch.float16
    # A GPU from before 2020 computes bfloat16 by way of float32: right, and many times slower than its float16.
    return torch.float16 if on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False) else torch.bfloat16


# -- where it goes, and whether there is room --------------------------------------------------------------------------
def _is_on_gpu(device: torch.device | str | None, device_map: DeviceMap | None) -> bool:
    """Whether a GPU will run the model. Warns of a GPU that torch cannot use; raises CheckpointError for a device that
    there is not."""
    if device is not None and device != "auto":
        try:
            kind = torch.device(device).type
            torch.empty(1, device=device)
        except Exception as error:  # each backend has its own kind
            fault = gpu_fault()
            raise CheckpointError(f"cannot use the device {str(device)!r}: {fault or str(error)[:200]}") from error
        return kind == "cuda"
    places = device_map.values() if isinstance(device_map, dict) else [device_map]
    if all(str(place) in ("cpu", "disk", "meta") for place in places):
        return False
    if fault := gpu_fault():
        warnings.warn(f"{fault}; the model goes to the CPU", stacklevel=4)
        return False
    return torch.cuda.is_available()


def _outline(family: Family, config: Any) -> nn.Module:
    """The model without its weights: shapes on the meta device."""
    with torch.device("meta"):
        return getattr(transformers, family.model_class)(config)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(family: Family, outline: nn.Module, number_bytes: int, quantise: Quantisation | None = None) -> float:
    """What the weights take. `outline`: the model, on any device; it is asked for shapes only."""
    whole = number_bytes * _parameters(outline)
    if quantise is None:
        return whole
    apart = tuple(f"{path}." for path in _unquantised(family))
    linear = sum(
        module.weight.numel()
        for name, module in outline.named_modules()
        if isinstance(module, nn.Linear) and not f"{name}.".startswith(apart)
    )
    return whole - (number_bytes - QUANTISERS[quantise][1]) * linear


def _place(
    name: str,
    outline: nn.Module,
    family: Family,
    number_bytes: int,
    quantise: Quantisation | None,
    device: torch.device | str | None,
    on_gpu: bool,
) -> DeviceMap | None:
    """The device map for a model that was given none; None: the CPU. Raises CheckpointError where no GPU has room,
    warns where the CPU has none."""
    if device is not None and not on_gpu:
        return None if torch.device(device).type == "cpu" else {"": device}
    if _parameters(outline) < SMALL_MODEL:
        return {"": device or 0} if on_gpu else None
    from accelerate.utils import get_max_memory

    takes = WORKING_ROOM + weight_bytes(family, outline, number_bytes, quantise)
    free = get_max_memory()
    if not on_gpu:
        if takes > free["cpu"]:
            smaller = "" if quantise else "; quantise='nf4' takes less than half of it"
            warnings.warn(
                f"{name} takes about {takes / 1e9:.1f} GB, and this machine has {free['cpu'] / 1e9:.1f} GB free: the "
                f"system may kill this process{smaller}",
                stacklevel=3,
            )
        return None
    gpus = {place: room for place, room in free.items() if isinstance(place, int)}
    if device is not None and (index := torch.device(device).index) is not None:
        gpus = {index: gpus[index]}
    for index, room in gpus.items():
        if takes <= room:
            return {"": index}
    if device is None and takes + (len(gpus) - 1) * WORKING_ROOM <= sum(gpus.values()):
        return "balanced"
    rooms = " and ".join(f"{room / 1e9:.1f} GB" for room in gpus.values())
    ways = [
        f"quantise={way!r} ({(WORKING_ROOM + weight_bytes(family, outline, number_bytes, way)) / 1e9:.1f} GB)"
        for way in ("int8", "nf4")
        if quantise is None
    ]
    raise CheckpointError(
        f"{name} takes {takes / 1e9:.1f} GB, room to work included, and the GPU has {rooms} free; pass "
        + ", ".join([*ways, "device_map='auto' (the rest on the CPU: slow)", "or device='cpu'"])
    )


def _check_tower(family: Family, device_map: DeviceMap | None, model: nn.Module | None = None) -> None:
    """Raise CheckpointError where the map, or what became of it in `model`, keeps the tower away from where it runs. It
    adds its table of positions without calling a module, so that no hook would bring the table."""
    path = family.audio_tower_path
    if model is None:
        places = device_map if isinstance(device_map, dict) else {}
        above = [key for key in places if f"{path}.".startswith(f"{key}." if key else "")]
        inside = [key for key in places if key.startswith(f"{path}.")]
        tower = {str(places[key]) for key in [*inside, *sorted(above, key=len)[-1:]]}
        away = "disk" in tower or (
            "cpu" in tower and any(str(place) not in ("cpu", "disk") for place in places.values())
        )
    else:
        away = any(parameter.device.type == "meta" for parameter in family.audio_tower(model).parameters())
    if away:
        raise CheckpointError(
            "the device map leaves the audio tower on the disk, or on the CPU while a GPU computes; give it a place, "
            f"such as device_map={{{path!r}: 0, ...}}, pass quantise, or device='cpu'"
        )


# -- quantised weights -------------------------------------------------------------------------------------------------
def _stored_quantisation(config: Any) -> Quantisation | None:
    """What quantised weights in the files are about as large as; None: they are not quantised."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    return "nf4" if settings.get("load_in_4bit") or settings.get("bits") == 4 else "int8"


def _unquantised(family: Family) -> list[str]:
    """What stays as it is. The tower is a small part of the whole, and all that is heard goes through it."""
    return [family.audio_tower_path, family.projector_path, family.head_path]


def _quantiser(quantise: Quantisation, family: Family, numbers: torch.dtype | Literal["auto"]) -> Any:
    """What `from_pretrained` takes as quantization_config."""
    apart = _unquantised(family)
    if quantise == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return transformers.TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=apart)
    if quantise == "int8":
        # It says so at every product, thousands of times a reading; results are in `numbers` all the same.
        message = "MatMul8bitLt: inputs will be cast"
        logger = getLogger("bitsandbytes.autograd._functions")
        logger.addFilter(lambda record: not str(record.msg).startswith(message))
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=apart)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if numbers == "auto" else numbers,
        llm_int8_skip_modules=apart,
    )


# -- folders -----------------------------------------------------------------------------------------------------------
def _stated_type(source: str, revision: str | None) -> str | None:
    """The model type that a config.json states; None where there is none to be read."""
    try:
        return PretrainedConfig.get_config_dict(source, revision=revision)[0].get("model_type")
    except (OSError, ValueError):
        return None


def fingerprint(folder: Path) -> str:
    """A short hash of the safetensors files in `folder`; large files count by size, first and last MiB, and those of
    models of more than a GiB by samples of each matrix too."""
    digest, paths = hashlib.sha256(), sorted(folder.glob("*.safetensors"))
    sampled = sum(path.stat().st_size for path in paths) > SAMPLED_MODEL
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE:
                digest.update(file.read())
            else:
                digest.update(file.read(2**20))
                file.seek(-(2**20), 2)
                digest.update(file.read())
                for place in range(0, size, STEP) if sampled else ():
                    file.seek(place)
                    digest.update(file.read(SAMPLE))
    return f"sha256:{digest.hexdigest()[:16]}"


def _local_folder(name: str) -> Path | None:
    """The folder `name` means, or None if it is a hub id. A hub id is `owner/name` (or one bare word)."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            entries = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
            raise CheckpointError(f"the folder {name!r} has no config.json; it holds: {entries}")
        return path
    if path.exists():
        raise CheckpointError(f"{name!r} is a file; pass the folder that holds config.json and the weights")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise CheckpointError(
            f"there is no folder {name!r}, and it is not a hub id such as 'Qwen/Qwen2-Audio-7B-Instruct'"
        )
    return None


@contextmanager
def _bars_for_downloads_only(folder: Path | None) -> Iterator[None]:
    """A small local model loads in a blink: no progress bar in a notebook for it. Large ones keep theirs."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else WHOLE_FILE + 1
    shown = logging.is_progress_bar_enabled()
    ours = folder is not None and (folder / "pocket.json").is_file()
    if (size > WHOLE_FILE and not ours) or not shown:
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def known_events(folder: Path | None) -> tuple[str, ...] | None:
    """The sounds that the pocket model in `folder` knows; None for other models.

    Raises CheckpointError for a pocket.json that is damaged.
    """
    facts = folder / "pocket.json" if folder else None
    if facts is None or not facts.is_file():
        return None
    try:
        known = strict_json(facts.read_text(encoding="utf-8"))
        events = [] if known.get("any_text") else known["events"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{facts} is damaged: it must be json with a list named 'events'") from error
    return tuple(str(event) for event in events) or None  # a mini model was taught some sounds, but takes any text
