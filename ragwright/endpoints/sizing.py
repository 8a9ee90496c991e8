"""How much memory a model needs to answer, and the cheapest instance type that has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ragwright.endpoints.instances import InstanceType, Price
from ragwright.endpoints.shape import ModelShape
from ragwright.errors import ConfigurationError

BITS = (2, 3, 4, 5, 6, 8, 16, 32)
"""Widths in which weights are served."""
USABLE_SHARE = 0.9
"""Of a device's memory: the rest is lost to fragmentation. What vLLM takes by default (`--gpu-memory-utilization`)."""
CUDA_CONTEXT_BYTES = 600_000_000
"""Of each GPU, before any model: context, kernels and libraries."""
CPU_RUNTIME_BYTES = 1_000_000_000
"""Of a host without a GPU: the system and the server's own code."""
PREFILL_TOKENS = 8_192
"""Tokens that servers read at once; a longer prompt is read in chunks."""
DEFAULT_CONTEXT = 4_096
_ACTIVATION_BYTES = 34
# Weights below 16 bits share a 16-bit scale and a zero point of their own width by the group (GPTQ, AWQ).
_GROUP = 128


@dataclass(frozen=True)
class Term:
    """One line of the arithmetic: what, how it comes about, and the result in bytes."""

    name: str
    formula: str
    bytes: float


@dataclass(frozen=True)
class Demand:
    """What a model needs, apart from where it runs.

    Attributes:
        shape: The model.
        bits: Of one weight; not a whole number for a GGUF file taken as it is.
        context: Tokens of one sequence, prompt and reply together.
        batch: Sequences at a time.
        weights: Terms that tensor parallelism divides.
        cache: Keys and values of all sequences.
        activations: What each device needs while it reads a prompt.
    """

    shape: ModelShape
    bits: float
    context: int
    batch: int
    weights: tuple[Term, ...]
    cache: Term
    activations: Term

    @property
    def model_bytes(self) -> float:
        """Weights with all that belongs to them."""
        return sum(term.bytes for term in self.weights)

    def cache_share(self, gpus: int) -> float:
        """The part of the cache on each of so many GPUs; heads that cannot be divided further are kept on several."""
        return 1.0 if self.shape.latent_dim else max(1 / gpus, 1 / self.shape.kv_heads)

    def on_each_of(self, gpus: int) -> float:
        """Bytes on each of so many GPUs."""
        cache = self.cache.bytes * self.cache_share(gpus)
        return self.model_bytes / gpus + cache + self.activations.bytes + CUDA_CONTEXT_BYTES

    @property
    def on_a_cpu(self) -> float:
        """Bytes of a host that has no GPU."""
        return self.model_bytes + self.cache.bytes + self.activations.bytes + CPU_RUNTIME_BYTES


@dataclass(frozen=True)
class Fit:
    """A model on an instance type.

    Attributes:
        instance: The type.
        devices: GPUs it is divided over; 0: it runs on the CPU.
        needed: Bytes on each GPU, or on the host.
        usable: Bytes that each has for it.
        price: None where none is known.
    """

    instance: InstanceType
    devices: int
    needed: float
    usable: float
    price: Price | None = None

    @property
    def fits(self) -> bool:
        """Whether it runs there."""
        return self.needed <= self.usable

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; sizes in bytes."""
        return {
            "instance_type": self.instance.name,
            "gpu": self.instance.gpu,
            "gpus": self.instance.gpus,
            "gpus_used": self.devices,
            "needed_bytes_each": round(self.needed),
            "usable_bytes_each": round(self.usable),
            "usd_per_hour": self.price.usd_per_hour if self.price else None,
            "price_dated": self.price.source.dated.isoformat() if self.price else None,
        }


@dataclass(frozen=True)
class Sizing:
    """The answer of `ragwright size`.

    Attributes:
        demand: What is needed, line by line.
        fitting: Where it fits, cheapest first, those without a known price last.
        notices: What a person should know before relying on it.
    """

    demand: Demand
    fitting: tuple[Fit, ...]
    notices: tuple[str, ...] = ()

    @property
    def cheapest(self) -> Fit | None:
        """The cheapest of known price; None where nothing with a price fits."""
        return next((fit for fit in self.fitting if fit.price is not None), None)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; sizes in bytes."""
        demand = self.demand
        return {
            "model": demand.shape.name,
            "shape": demand.shape.model_dump(mode="json", exclude={"name"}),
            "bits": demand.bits,
            "context": demand.context,
            "batch": demand.batch,
            "terms": [
                {"name": term.name, "formula": term.formula, "bytes": round(term.bytes)}
                for term in (*demand.weights, demand.cache, demand.activations)
            ],
            "weights_bytes": {str(bits): round(demand.shape.parameters * bits / 8) for bits in (32, 16, 8, 4)},
            "cheapest": self.cheapest.to_json() if self.cheapest else None,
            "fitting": [fit.to_json() for fit in self.fitting],
            "notices": list(self.notices),
        }


def demand_of(shape: ModelShape, *, bits: int | None = None, context: int | None = None, batch: int = 1) -> Demand:
    """What a model needs.

    Args:
        shape: The model.
        bits: Of one weight, one of `BITS`; None: what a GGUF file has, 16 for others.
        context: Tokens of one sequence; None: what the model takes, at most `DEFAULT_CONTEXT`.
        batch: Sequences at a time.

    Weights are parameters x bits / 8. The KV cache is 2 x layers x KV heads x head dimension x bytes x tokens x
    sequences, twice that in an encoder-decoder, whose decoder keeps the input's as well. Activations are those of one
    layer: 34 x width bytes a token in 16 bits (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
    Transformer Models", equation 1 without the attention scores, which fused kernels do not keep).

    Raises:
        ConfigurationError: A number is out of bounds.
    """
    if bits is not None and bits not in BITS:
        raise ConfigurationError(f"weights of {bits!r} bits are not served", hint=f"Choose from {BITS}.")
    context = min(shape.context_tokens or DEFAULT_CONTEXT, DEFAULT_CONTEXT) if context is None else context
    if context < 1 or batch < 1:
        raise ConfigurationError(f"{context} tokens x {batch} sequences is nothing", hint="Both are at least 1.")
    width = float(bits) if bits is not None else shape.file_bits or 16.0
    own = bits is None and shape.file_bits is not None
    compute = 4 if width == 32 else 2
    tokens = min(context * batch, PREFILL_TOKENS)
    return Demand(
        shape=shape,
        bits=width,
        context=context,
        batch=batch,
        weights=_weights(shape, width, own=own),
        cache=_cache(shape, context * batch, compute, f"{context:,} tokens x {batch:,}"),
        activations=Term(
            "activations",
            f"{_ACTIVATION_BYTES * compute // 2} bytes x {shape.hidden:,} wide x {tokens:,} tokens read at once",
            _ACTIVATION_BYTES * compute / 2 * shape.hidden * tokens,
        ),
    )


def size(
    demand: Demand,
    instances: Iterable[InstanceType],
    price: Callable[[str], Price | None],
    *,
    cpu: bool | None = None,
) -> Sizing:
    """Where a model fits, cheapest first.

    Args:
        demand: What it needs.
        instances: The types to choose from.
        price: Price of a type; None where none is known.
        cpu: Whether types without a GPU count. None: for encoders, which are fast enough there.
    """
    cpu = demand.shape.kind == "encoder" if cpu is None else cpu
    fits = [place(demand, item, price(item.name)) for item in instances if item.gpus or cpu]
    fitting = sorted(
        (fit for fit in fits if fit.fits),
        key=lambda fit: (fit.price.usd_per_hour if fit.price else math.inf, fit.instance.vcpus, fit.instance.name),
    )
    return Sizing(demand, tuple(fitting), _notices(demand))


def place(demand: Demand, instance: InstanceType, price: Price | None = None) -> Fit:
    """A model on one instance type, divided over as many of its GPUs as its heads allow."""
    if not instance.gpus:
        return Fit(instance, 0, demand.on_a_cpu, USABLE_SHARE * instance.memory * 2**30, price)
    devices = max(count for count in range(1, instance.gpus + 1) if divides(demand.shape, count))
    return Fit(instance, devices, demand.on_each_of(devices), USABLE_SHARE * instance.gpu_memory * 1e9, price)


def divides(shape: ModelShape, gpus: int) -> bool:
    """Whether tensor parallelism can divide a model's heads over so many GPUs, as vLLM and TGI do it."""
    whole_heads = shape.heads is None or shape.heads % gpus == 0
    return whole_heads and (shape.kv_heads % gpus == 0 or gpus % shape.kv_heads == 0)


def _weights(shape: ModelShape, bits: float, *, own: bool) -> tuple[Term, ...]:
    parameters = shape.parameters
    told = f"{bits:g} bits" if not own else f"{bits:.3f} bits, as the file has them,"
    terms = [Term("weights", f"{parameters:,} parameters x {told} / 8", parameters * bits / 8)]
    if bits >= 16 or own:
        return tuple(terms)
    kept = min(parameters, shape.vocabulary * shape.hidden * (1 if shape.tied else 2))
    terms.append(
        Term(
            "scales",
            f"{parameters - kept:,} parameters x (16 + {bits:g}) bits / groups of {_GROUP} / 8",
            (parameters - kept) * (16 + bits) / _GROUP / 8,
        )
    )
    if kept:
        terms.append(
            Term(
                "embeddings",
                f"{kept:,} of them stay in 16 bits: x (16 - {bits:g}) / 8",
                kept * (16 - bits) / 8,
            )
        )
    return tuple(terms)


def _cache(shape: ModelShape, tokens: int, width: int, times: str) -> Term:
    if shape.kind == "encoder":
        return Term("KV cache", "an encoder keeps none", 0.0)
    if shape.latent_dim:
        formula = f"{shape.layers} layers x {shape.latent_dim} latent x {width} bytes x {times}"
        return Term("KV cache", formula, float(shape.layers * shape.latent_dim * width * tokens))
    stacks = 2 if shape.kind == "encoder-decoder" else 1
    formula = f"2 x {shape.layers} layers x {shape.kv_heads} KV heads x {shape.head_dim} x {width} bytes x {times}"
    formula += " x 2 (reply and input)" if stacks == 2 else ""
    return Term(
        "KV cache", formula, float(2 * shape.layers * shape.kv_heads * shape.head_dim * width * tokens * stacks)
    )


def _notices(demand: Demand) -> tuple[str, ...]:
    shape, notices = demand.shape, []
    if shape.assumed:
        notices.append("Layers and heads are assumed: a config.json in place of the number makes the KV cache exact.")
    if shape.context_tokens and demand.context > shape.context_tokens:
        notices.append(f"{shape.name} was made for {shape.context_tokens:,} tokens, not {demand.context:,}.")
    return tuple(notices)
