"""A table of the networks for the terminal: parts, sizes and geometry."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from fls_jax.networks.geometry import attention_geometry, attention_shape
from fls_jax.networks.modules import ActorCritic, count_parameters
from fls_jax.networks.specs import DENSE, NETWORKS, PUBLISHED, AttentionSpec, NetworkSpec

ACTIONS = 4


def parameter_count(spec: NetworkSpec, num_actions: int) -> int:
    """Parameters of the actor-critic, both heads included."""
    return count_parameters(ActorCritic(spec, num_actions))


def describe(spec: NetworkSpec) -> str:
    """Torso, attention and readout in a few words."""
    first = spec.torso[0]
    torso = "dense" if first == DENSE[0] else "patches" if first.kernel == first.stride else "sparse"
    if not first.bias:
        torso += ", no first bias"
    if not spec.torso[-1].relu:
        torso += ", no last relu"
    if spec.input_padding:
        torso += f", padded by {spec.input_padding}"
    return f"{torso}; {_attention(spec.attention)}; {spec.readout}"


def _attention(gate: AttentionSpec | None) -> str:
    if gate is None:
        return "no attention"
    score = {"softplus2": "base-2 softplus"}.get(gate.score, gate.score)
    words = f"{gate.kernel}x{gate.kernel} {score}" + (f" x{gate.maps}" if gate.maps > 1 else "")
    if gate.normalise:
        words += " over its sum"
    return words if gate.after == (3,) else f"{words} at conv {','.join(map(str, gate.after))}"


def print_networks() -> None:
    """Print all networks: parameters with 4 actions, attention map, receptive field and stride, parts."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("network", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("map", justify="right", no_wrap=True)
    table.add_column("field/\nstride", justify="right", no_wrap=True)
    table.add_column("torso; attention; readout")
    for name, spec in NETWORKS.items():
        height, width = attention_shape(spec)
        geometry = attention_geometry(spec)
        table.add_row(
            name,
            f"{parameter_count(spec, ACTIONS):,}",
            f"{height}x{width}" if spec.attention else "-",
            f"{geometry.receptive_field}/{geometry.stride}" if spec.attention else "-",
            describe(spec),
            end_section=name == PUBLISHED[-1],
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    console.print(table)
    console.print(
        f"parameters: with {ACTIONS} actions. map: positions of the attention map. field, stride: pixels of "
        "the 84x84 input that a position sees, and from one position to the next.\n"
        f"The paper's are the first {len(PUBLISHED)}; the others are ours (docs/attention.md)."
    )
