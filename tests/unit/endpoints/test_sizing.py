"""The memory a model needs, worked out from its shape, and the instance type that has it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_gguf import gguf

from ragwright.endpoints.instances import InstanceType, Price, PriceTable, load_prices
from ragwright.endpoints.presets import load_presets
from ragwright.endpoints.shape import ModelShape, read_shape
from ragwright.endpoints.sizing import BITS, Demand, Sizing, demand_of, divides, place, size
from ragwright.errors import ConfigurationError

# What each repository's config.json says, and the parameters that its weights add up to.
LLAMA = {"model_type": "llama", "tie_word_embeddings": False}
CONFIGS: dict[str, tuple[dict[str, Any], int]] = {
    "llama-2-70b": (
        LLAMA
        | {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 32000,
            "max_position_embeddings": 4096,
        },
        68_976_648_192,
    ),
    "llama-3.1-8b": (
        LLAMA
        | {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
        8_030_261_248,
    ),
    "qwen2.5-7b": (
        {
            "model_type": "qwen2",
            "tie_word_embeddings": False,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
        },
        7_615_616_512,
    ),
    "qwen3-4b": (
        {
            "model_type": "qwen3",
            "tie_word_embeddings": True,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
        },
        4_022_468_096,
    ),
    "minilm": (
        {
            "model_type": "bert",
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
        },
        22_713_216,
    ),
}


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_prices()


def sized(table: PriceTable, shape: ModelShape, **how: Any) -> Sizing:
    cpu = how.pop("cpu", None)
    return size(demand_of(shape, **how), table.instances.values(), table.price, cpu=cpu)


def written(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(("bits", "expected"), [(32, 280e9), (16, 140e9), (8, 70e9), (4, 35e9)])
def test_weights_are_parameters_times_bits(bits: int, expected: float) -> None:
    assert demand_of(read_shape("70e9"), bits=bits).weights[0].bytes == expected


@pytest.mark.parametrize(
    ("text", "parameters"), [("7B", 7e9), ("1.5b", 1.5e9), ("135M", 135e6), ("70_000_000_000", 7e10)]
)
def test_numbers_are_read_as_people_write_them(text: str, parameters: float) -> None:
    assert read_shape(text).parameters == parameters


def test_the_cache_of_llama_2_70b_is_what_its_shape_says() -> None:
    demand = demand_of(read_shape("llama-2-70b-chat"), bits=4, context=4096, batch=2)
    assert demand.cache.bytes == 2 * 80 * 8 * 128 * 2 * 4096 * 2


def test_an_encoder_keeps_no_cache_and_a_second_stack_doubles_it() -> None:
    assert demand_of(read_shape("all-minilm-l6-v2")).cache.bytes == 0
    assert demand_of(read_shape("flan-t5-xl"), context=512).cache.bytes == 2 * 24 * 32 * 64 * 2 * 512 * 2


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_gives_the_parameters_that_the_weights_have(name: str, tmp_path: Path) -> None:
    config, parameters = CONFIGS[name]
    assert read_shape(str(written(tmp_path, config))).parameters == parameters
    assert read_shape(str(tmp_path)).parameters == parameters, "the folder will do"


def test_the_packaged_shapes_agree_with_the_configs(tmp_path: Path) -> None:
    for name, packaged in (
        ("llama-2-70b", "llama-2-70b-chat"),
        ("llama-3.1-8b", "llama-3.1-8b-instruct"),
        ("qwen2.5-7b", "qwen2.5-7b-instruct"),
        ("qwen3-4b", "qwen3-4b-instruct"),
    ):
        known, told = read_shape(packaged), read_shape(str(written(tmp_path, CONFIGS[name][0])))
        fields = {"parameters", "layers", "heads", "kv_heads", "head_dim", "hidden", "vocabulary", "tied"}
        assert known.model_dump(include=fields) == told.model_dump(include=fields)


def test_weights_beside_an_unknown_family_are_counted(tmp_path: Path) -> None:
    config = {"model_type": "novel", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    path = written(tmp_path, config)
    with pytest.raises(ConfigurationError, match="novel"):
        read_shape(str(path))
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 5]}, "b": {"shape": [7]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert read_shape(str(path)).parameters == 22


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"num_hidden_layers": 0, "hidden_size": 8}'])
def test_a_config_that_says_too_little_is_refused_by_its_path(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        read_shape(str(path))
    assert refused.value.place == str(path)


def test_a_gguf_file_tells_its_shape_and_its_own_bits(tmp_path: Path) -> None:
    shape = read_shape(str(gguf(tmp_path / "small.gguf")))
    assert (shape.parameters, shape.layers, shape.heads, shape.kv_heads, shape.head_dim) == (1000, 1, 4, 2, 16)
    assert shape.file_bits == 4
    demand = demand_of(shape)
    assert [term.name for term in demand.weights] == ["weights"], "its scales are in the file already"
    assert demand.weights[0].bytes == 500


def test_a_damaged_gguf_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = gguf(tmp_path / "whole.gguf")
    whole = path.read_bytes()[:-500]
    for length in range(0, len(whole) - 32, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigurationError):
            read_shape(str(path))
    gguf(path, version=1)
    with pytest.raises(ConfigurationError, match="version 1"):
        read_shape(str(path))


@pytest.mark.parametrize("name", ["no-such-model", "0", "1e99", "hashing-384", ""])
def test_what_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        read_shape(name)


@pytest.mark.parametrize("how", [{"bits": 7}, {"context": 0}, {"batch": 0}])
def test_numbers_out_of_bounds_are_refused(how: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        demand_of(read_shape("7B"), **how)


def test_every_model_with_a_preset_can_be_sized(table: PriceTable, tmp_path: Path) -> None:
    for preset in load_presets(tmp_path).values():
        shape = read_shape(preset.model)
        bits = 4 if preset.quantisation else 16
        for instance in preset.instances:
            fit = place(demand_of(shape, bits=bits), table.instances[instance.type])
            assert fit.fits, f"{preset.name} on {instance.type}"


def test_the_cheapest_of_known_price_is_named_and_others_follow(table: PriceTable) -> None:
    found = sized(table, read_shape("llama-2-70b-chat"), bits=4)
    assert found.cheapest is not None
    prices = [fit.price.usd_per_hour for fit in found.fitting if fit.price]
    assert prices == sorted(prices)
    assert found.cheapest.price is not None
    assert found.cheapest.price.usd_per_hour == prices[0]
    assert [fit.price is None for fit in found.fitting] == sorted(fit.price is None for fit in found.fitting)
    assert "ml.g5.12xlarge" in {fit.instance.name for fit in found.fitting}
    assert "ml.g5.4xlarge" not in {fit.instance.name for fit in found.fitting}, "35 GB are not 24 GB"


def test_nothing_fits_what_is_too_large(table: PriceTable) -> None:
    found = sized(table, read_shape("2T"), bits=16)
    assert (found.fitting, found.cheapest) == ((), None)


def test_types_without_a_gpu_count_for_encoders_or_where_asked(table: PriceTable) -> None:
    def on_cpu(found: Sizing) -> bool:
        return any(not fit.instance.gpus for fit in found.fitting)

    assert on_cpu(sized(table, read_shape("all-minilm-l6-v2")))
    assert not on_cpu(sized(table, read_shape("all-minilm-l6-v2"), cpu=False))
    assert not on_cpu(sized(table, read_shape("135M")))
    assert on_cpu(sized(table, read_shape("135M"), cpu=True))


def test_heads_that_do_not_divide_leave_gpus_unused() -> None:
    eight = InstanceType(name="ml.x.large", vcpus=1, memory=1, gpu="X", gpus=8, gpu_memory=24)
    falcon = ModelShape(
        name="f", origin="", parameters=7 * 10**9, layers=32, heads=71, kv_heads=1, head_dim=64, hidden=4544
    )
    qwen = read_shape("qwen2.5-7b-instruct")
    assert place(demand_of(falcon), eight).devices == 1
    assert place(demand_of(qwen), eight).devices == 4, (
        "28 heads on 4 KV heads divide by 4, not by 8, and 7 do not fit 4"
    )
    assert [count for count in range(1, 9) if divides(read_shape("7B"), count)] == [1, 2, 4, 8]


def test_kv_heads_fewer_than_gpus_are_kept_on_several() -> None:
    shape = ModelShape(name="mqa", origin="", parameters=10**9, layers=8, heads=8, kv_heads=1, head_dim=64, hidden=512)
    demand = demand_of(shape, batch=64)
    assert demand.cache_share(8) == 1
    assert demand.on_each_of(8) > demand.cache.bytes


@dataclass(frozen=True)
class Asked:
    bits: int
    context: int
    batch: int
    parameters: int


ASKED = st.builds(
    Asked,
    bits=st.sampled_from(BITS),
    context=st.integers(1, 200_000),
    batch=st.integers(1, 256),
    parameters=st.integers(1, 10**12),
)


def needed(asked: Asked, kv_heads: int, vocabulary: int) -> Demand:
    shape = ModelShape(
        name="any",
        origin="",
        parameters=asked.parameters,
        layers=32,
        heads=kv_heads * 4,
        kv_heads=kv_heads,
        head_dim=128,
        hidden=4096,
        vocabulary=vocabulary,
    )
    return demand_of(shape, bits=asked.bits, context=asked.context, batch=asked.batch)


@given(
    ASKED, ASKED, st.sampled_from([1, 2, 8, 9]), st.sampled_from([0, 32_000, 300_000]), st.sampled_from([1, 2, 4, 8])
)
def test_more_of_anything_never_needs_less(one: Asked, other: Asked, kv: int, words: int, gpus: int) -> None:
    less = Asked(*(min(pair) for pair in zip(vars(one).values(), vars(other).values(), strict=True)))
    more = Asked(*(max(pair) for pair in zip(vars(one).values(), vars(other).values(), strict=True)))
    small, large = needed(less, kv, words), needed(more, kv, words)
    assert small.on_each_of(gpus) <= large.on_each_of(gpus)
    assert small.on_a_cpu <= large.on_a_cpu
    assert large.on_each_of(gpus) <= large.on_each_of(1), "dividing helps, or does nothing"


@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_a_larger_bare_number_never_needs_less(one: int, other: int) -> None:
    small, large = (demand_of(read_shape(str(count))) for count in sorted((one, other)))
    assert small.on_each_of(1) <= large.on_each_of(1)


@given(ASKED)
def test_the_cheapest_is_no_dearer_with_fewer_bits(asked: Asked) -> None:
    table = load_prices()
    instances = [item for item in table.instances.values() if table.price(item.name)]

    def price(bits: int) -> float:
        demand = needed(Asked(bits, asked.context, asked.batch, asked.parameters), 8, 32_000)
        best = size(demand, instances, table.price).cheapest
        return best.price.usd_per_hour if best and isinstance(best.price, Price) else float("inf")

    assert price(4) <= price(16)
