"""What a frame may depend on, how conditions reach it, streaming against dense, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.world_model.tiny import randomise
from world_model.action_spec import ActionSpec
from world_model.companding import Companding
from world_model.embeddings import ActionEmbedding, TimeEmbedding
from world_model.minecraft.minerl import minerl_spec
from world_model.network import NetworkConfig, NextFrameDiffusion
from world_model.presets import PRESETS, get_preset

SPEC = ActionSpec.from_space(spaces.Discrete(3))
CONFIG = NetworkConfig(
    grid=(2, 3), token_dim=5, width=16, layers=3, heads=2, mlp_width=32, window=3
)
FRAMES = 7


def make(**changes) -> NextFrameDiffusion:
    network = NextFrameDiffusion(replace(CONFIG, **changes), SPEC)
    randomise(network)
    return network.eval().requires_grad_(False)


def inputs(batch=2, frames=FRAMES, seed=0, config=CONFIG):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, frames, config.tokens, config.token_dim)
    actions = torch.randint(0, 3, (batch, frames, 1), generator=generator).float()
    actions[:, 0] = torch.nan
    given = {
        "latents": torch.randn(shape, generator=generator),
        "t": torch.rand((batch, frames), generator=generator),
        "actions": actions,
    }
    if config.previous_frames:
        wide = (*shape[:3], config.previous_frames * config.token_dim)
        given["previous"] = torch.randn(wide, generator=generator)
        given["previous_t"] = torch.rand((batch, frames), generator=generator)
    return given


def sees(network: NextFrameDiffusion) -> torch.Tensor:
    """bool (F, F): whether the output of frame i has a gradient with respect to frame j."""
    given = inputs()
    latents = given["latents"].requires_grad_()
    given = {**inputs(config=network.config), "latents": latents}
    out = network(**given)
    found = torch.zeros(FRAMES, FRAMES, dtype=torch.bool)
    for i in range(FRAMES):
        (gradient,) = torch.autograd.grad(out[:, i].square().sum(), latents, retain_graph=True)
        found[i] = gradient.abs().amax(dim=(0, 2, 3)) > 0
    return found


def band(reach: int) -> torch.Tensor:
    """Frame i sees frame j where 0 <= i - j <= reach."""
    distance = torch.arange(FRAMES)[:, None] - torch.arange(FRAMES)
    return (distance >= 0) & (distance <= reach)


# -- who sees whom -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temporal_layers", "reach"),
    [((), 0), ((1,), 2), ((0, 2), 4), (None, 6)],
    ids=str,
)
def test_a_frame_sees_the_window_of_each_temporal_layer_and_never_the_future(
    temporal_layers, reach
):
    """Each layer that looks across frames looks window - 1 = 2 further back."""
    assert torch.equal(sees(make(temporal_layers=temporal_layers)), band(reach))


def test_a_window_of_one_is_a_frame_alone():
    assert torch.equal(sees(make(window=1)), band(0))


@pytest.mark.parametrize("temporal_layers", [(), (1,), None], ids=str)
def test_every_token_sees_every_token_of_its_frame(temporal_layers):
    network = make(temporal_layers=temporal_layers)
    given = inputs(frames=1)
    latents = given["latents"].requires_grad_()
    out = network(**given)
    for token in range(CONFIG.tokens):
        (gradient,) = torch.autograd.grad(out[:, 0, token].sum(), latents, retain_graph=True)
        assert (gradient.abs().amax(-1) > 0).all()


@pytest.mark.parametrize("name", ["t", "actions", "previous", "previous_t"])
def test_conditions_of_the_future_are_not_seen(name):
    network = make(previous_frames=1)
    given = inputs(config=network.config)
    before = network(**given)
    changed = dict(given)
    changed[name] = given[name].clone()
    changed[name][:, 3] = 1 - given[name][:, 3] if name != "actions" else 2 - given[name][:, 3]
    if name == "actions":
        given[name][:, 3] = 0
        before = network(**given)
        changed[name][:, 3] = 1
    after = network(**changed)
    assert torch.equal(after[:, :3], before[:, :3])
    assert ((after - before)[:, 3].abs().amax(dim=(1, 2)) > 1e-4).all()


# -- conditions --------------------------------------------------------------------------------


def test_each_frame_is_conditioned_on_its_own_action_and_noise_level():
    """Without layers that look across frames nothing of another frame's condition arrives."""
    network = make(temporal_layers=())
    given = inputs()
    before = network(**given)
    for name, value in (("t", 0.123), ("actions", 1.0)):
        changed = {**given, name: given[name].clone()}
        given[name][:, 2] = 0.0
        before = network(**given)
        changed[name][:, 2] = value
        difference = (network(**changed) - before).abs().amax(dim=(0, 2, 3))
        assert difference[2] > 1e-4
        difference[2] = 0
        assert (difference == 0).all()


def test_every_action_and_the_null_action_differ():
    network = make()
    given = inputs(batch=4)
    for name in given:
        given[name] = given[name][:1].expand(4, *given[name].shape[1:]).clone()
    given["actions"][:, 3, 0] = torch.tensor([0.0, 1.0, 2.0, torch.nan])
    out = network(**given)[:, 3]
    assert not out.isnan().any()
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 1e-3


def test_the_null_action_stops_gradients_of_nan():
    """A row of NaN trains the null embedding and leaves no NaN anywhere."""
    network = make().requires_grad_(True)
    network(**inputs()).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert network.embed_action.null.grad.abs().max() > 0


def test_mixed_action_spaces_are_embedded_group_by_group():
    spec = ActionSpec.from_space(
        spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(2)])
    )
    embed = ActionEmbedding(spec, 8)
    vectors = torch.from_numpy(np.stack([spec.encode(spec.space.sample()) for _ in range(5)]))
    vectors[2] = torch.nan
    out = embed(vectors)
    first, box, bit, other = embed.tables
    for row in (0, 1, 3, 4):
        v = vectors[row]
        expected = (
            first.weight[int(v[0])] + box(v[1:3]) + bit.weight[int(v[3])] + other.weight[int(v[4])]
        )
        torch.testing.assert_close(out[row], expected)
    assert torch.equal(out[2], embed.null)


def test_companded_numbers_are_embedded_by_their_curve():
    curve = Companding(180.0, 180.0)
    space = spaces.Box(-180, 180, (2,))
    embed = ActionEmbedding(ActionSpec.from_space(space, companding={"action": curve}), 8)
    plain = ActionEmbedding(ActionSpec.from_space(space), 8)
    plain.load_state_dict(embed.state_dict())
    degrees = torch.tensor([[0.0, 0.6], [-3.0, 180.0], [12.5, -180.0]])
    compressed = torch.from_numpy(curve.compress(degrees)).float()
    torch.testing.assert_close(embed(degrees), plain(compressed))
    degrees.requires_grad_(True)
    embed(degrees).sum().backward()
    assert degrees.grad.isfinite().all()


def test_an_action_embedding_begins_with_what_means_the_same():
    mouse, wider = spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,))
    old = ActionEmbedding(
        ActionSpec.from_space(spaces.Dict(a=mouse, b=mouse, keys=spaces.Discrete(3))), 8
    )
    new = ActionEmbedding(
        ActionSpec.from_space(spaces.Dict(a=mouse, b=wider, keys=spaces.Discrete(4))), 8
    )
    before = [{k: v.clone() for k, v in t.state_dict().items()} for t in new.tables]
    new.begin_with(old)
    assert torch.equal(new.null, old.null)
    names = [group.name for group in new.spec.groups]
    a, b, keys = (names.index(name) for name in ("a", "b", "keys"))
    for name, value in new.tables[a].state_dict().items():
        assert torch.equal(value, old.tables[a].state_dict()[name])
    for name, value in new.tables[b].state_dict().items():  # another range, another meaning
        assert torch.equal(value, before[b][name])
    # Choices without names of their own go by their numbers.
    assert torch.equal(new.tables[keys].weight[:3], old.tables[keys].weight)
    assert torch.equal(new.tables[keys].weight[3], before[keys]["weight"][3])


def test_noise_levels_are_told_apart_smoothly():
    """sCM distillation needs small derivatives with respect to t."""
    torch.manual_seed(0)
    embed = TimeEmbedding(32)
    t = torch.linspace(0, 1, 101)
    out = embed(t)
    distance = torch.cdist(out, out)
    assert distance[~torch.eye(101, dtype=torch.bool)].min() > 0
    steps = (out[1:] - out[:-1]).norm(dim=-1)
    assert steps.max() < 0.2 * distance.max()


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
@pytest.mark.parametrize("previous_frames", [0, 2])
def test_the_start_is_silence_and_everything_can_learn(mlp, previous_frames):
    """adaLN-zero: the output is zero, yet a few steps later every parameter has a gradient."""
    config = replace(CONFIG, mlp=mlp, previous_frames=previous_frames)
    torch.manual_seed(0)
    network = NextFrameDiffusion(config, SPEC)
    given = inputs(config=config)
    assert torch.equal(network(**given), torch.zeros_like(given["latents"]))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (network(**given) - given["latents"]).square().mean().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_one_block_is_the_formula():
    """x += g1 Attn(RMSNorm(x) (1 + s1) + b1), then x += g2 MLP(...), written out."""
    network = make(layers=1, temporal_layers=())
    block = network.blocks[0]
    given = inputs(batch=1, frames=1)
    condition = network.condition(given["t"], given["actions"], None)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = block.modulation(condition[0, 0]).chunk(6)

    def norm(x, weight):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight

    x = network.embed(given["latents"][0, 0])
    h = norm(x, block.norm_attention.weight) * (1 + scale) + shift
    q, k, v = (h @ block.qkv.weight.T).chunk(3, dim=-1)
    cos, sin = network.rotation(torch.zeros(1, 1, dtype=torch.int64))
    out = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)

        def turned(y, weight):
            first, second = norm(y, weight).chunk(2, -1)
            c, s = cos[0, 0, :, 0], sin[0, 0, :, 0]
            return torch.cat([first * c - second * s, second * c + first * s], -1)

        scores = turned(q[:, part], block.norm_q.weight) @ turned(k[:, part], block.norm_k.weight).T
        out.append((scores / 8**0.5).softmax(-1) @ v[:, part])
    x = x + gate * (torch.cat(out, -1) @ block.project.weight.T)
    h = norm(x, block.norm_mlp.weight) * (1 + scale_mlp) + shift_mlp
    hidden = (h @ block.mlp.project_in.weight.T).relu().square()
    x = x + gate_mlp * (hidden @ block.mlp.project_out.weight.T)
    shift, scale = network.modulation_out(condition[0, 0]).chunk(2)
    x = torch.nn.functional.layer_norm(x, (16,), eps=1e-6) * (1 + scale) + shift
    expected = network.project_out(x)
    torch.testing.assert_close(network(**given)[0, 0], expected, atol=1e-5, rtol=1e-5)


# -- streaming ---------------------------------------------------------------------------------


STREAMED = [
    {},
    {"temporal_layers": (1,)},
    {"temporal_layers": (0,)},
    {"temporal_layers": (0, 2), "previous_frames": 1},
    {"temporal_layers": ()},
    {"window": 1},
    {"mlp": "swiglu", "window": 2},
    {
        "token_dim": 48,
        "previous_frames": 1,
        "temporal_layers": (1,),
        "transport": (1, 2),
    },
]


def stream(network, given, index, cache, **options):
    """The frames of ``given`` through the cache."""
    modulation = network.modulation(given["t"], given["actions"], given.get("previous_t"))
    return network.stream(
        given["latents"], modulation, index, cache, given.get("previous"), **options
    )


@pytest.mark.parametrize("changes", STREAMED, ids=str)
@pytest.mark.parametrize(
    ("at_once", "emit"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (1, 0), (2, 0), (3, 0)]
)
def test_streaming_equals_dense(changes, at_once, emit):
    """Any number of frames at a time, any number of outputs, far beyond the ring."""
    network = make(**changes)
    given = inputs(frames=12, config=network.config)
    expected = network(**given)
    # A pass over F frames needs the window of the first of them as well.
    cache = network.empty_cache(2, spare_slots=max(0, at_once - 2))
    for start in range(0, 12, at_once):
        part = slice(start, start + at_once)
        index = torch.arange(start, start + at_once).repeat(2, 1)
        chunk = {name: value[:, part] for name, value in given.items()}
        # What frames without an output leave behind shows in a later one.
        count = emit or int(start % 6 == 0)
        out = stream(network, chunk, index, cache, emit=count)
        if count == 0:
            assert out is None
        else:
            assert out.shape[1] == count
            torch.testing.assert_close(out, expected[:, part][:, -count:], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_modulation_that_was_computed_before_is_the_same(at_once):
    """Of twelve frames at once, against that of each pass."""
    changes = {"temporal_layers": (0, 2), "previous_frames": 1}
    network = make(**changes)
    given = inputs(frames=12, config=network.config)
    whole = network.modulation(given["t"], given["actions"], given["previous_t"])
    one, other = (network.empty_cache(2, spare_slots=max(0, at_once - 2)) for _ in range(2))
    for start in range(0, 12, at_once):
        part = slice(start, start + at_once)
        index = torch.arange(start, start + at_once).repeat(2, 1)
        chunk = {name: value[:, part] for name, value in given.items()}
        expected = stream(network, chunk, index, one)
        found = network.stream(
            chunk["latents"], whole[:, part], index, other, chunk.get("previous")
        )
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_streams_at_different_positions_share_a_batch():
    network = make()
    given = inputs(frames=6)
    expected = network(**given)
    offset = torch.tensor([[0], [10_000]])
    cache = network.empty_cache(2)
    for i in range(6):
        chunk = {name: value[:, i : i + 1] for name, value in given.items()}
        out = stream(network, chunk, offset + i, cache)
        torch.testing.assert_close(out[:, 0], expected[:, i], atol=1e-4, rtol=1e-3)


def test_a_frame_streamed_again_replaces_its_first_version():
    """Every sampling step streams the same frame: only the last version stays."""
    network = make()
    given = inputs(frames=4)
    expected = network(**given)
    cache = network.empty_cache(2)
    for i in range(4):
        chunk = {name: value[:, i : i + 1] for name, value in given.items()}
        index = torch.full((2, 1), i)
        noisy = {**chunk, "latents": torch.randn_like(chunk["latents"])}
        stream(network, noisy, index, cache)
        out = stream(network, chunk, index, cache)
        torch.testing.assert_close(out[:, 0], expected[:, i], atol=2e-5, rtol=1e-4)


def test_more_frames_than_the_ring_holds_are_refused():
    network = make()
    given = inputs(frames=6)
    index = torch.arange(6).repeat(2, 1)
    with pytest.raises(ValueError, match="6 frames at once do not fit"):
        stream(network, given, index, network.empty_cache(2))
    one = {name: value[:, :1] for name, value in given.items()}
    with pytest.raises(ValueError, match="2 outputs are wanted"):
        stream(network, one, index[:, :1], network.empty_cache(2), emit=2)


# -- sizes -------------------------------------------------------------------------------------


def paper_parameters(width, layers, mlp_width, head_dim=64, token_dim=64, actions=3):
    """The number of weights, from the architecture alone."""
    linear = lambda inputs, outputs: inputs * outputs + outputs  # noqa: E731
    block = (
        3 * width * width  # q, k, v
        + width * width  # output of attention
        + 2 * width * mlp_width + mlp_width * width  # SwiGLU
        + linear(width, 6 * width)  # adaLN
        + 2 * width  # RMSNorm before attention and MLP
        + 2 * head_dim  # QK-norm
    )  # fmt: skip
    return (
        layers * block
        + linear(token_dim, width)  # patch embedding
        + linear(64, width) + linear(width, width)  # noise level
        + actions * width + width  # actions and the null action
        + linear(width, 2 * width)  # final adaLN
        + linear(width, token_dim)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nominal", "exact", "shape"),
    [
        ("nfd-130m", 130e6, 129_401_152, (768, 12, 2048)),
        ("nfd-310m", 310e6, 309_668_928, (1024, 16, 2816)),
        ("nfd-774m", 774e6, 772_022_080, (1536, 18, 4096)),
    ],
)
def test_the_papers_three_sizes(name, nominal, exact, shape):
    with torch.device("meta"):
        network = NextFrameDiffusion(get_preset(name).network, SPEC)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == paper_parameters(*shape) == exact
    assert abs(count / nominal - 1) < 0.01
    assert network.config.head_dim == 64
    assert network.config.across_frames == tuple(range(shape[1]))


@pytest.mark.parametrize("spec", [SPEC, minerl_spec()], ids=["discrete", "minerl"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name, spec):
    """Shapes only, but of all layers: on the meta device nothing is computed."""
    config = get_preset(name).network
    with torch.device("meta"):
        network = NextFrameDiffusion(config, spec)
        given = inputs_on_meta(config) | {"actions": torch.empty(1, 3, spec.dim)}
        assert network(**given).shape == given["latents"].shape


def inputs_on_meta(config: NetworkConfig) -> dict[str, torch.Tensor]:
    shape = (1, 3, config.tokens, config.token_dim)
    given = {"latents": torch.empty(shape), "t": torch.empty(1, 3), "actions": torch.empty(1, 3, 1)}
    if config.previous_frames:
        wide = (*shape[:3], config.previous_frames * config.token_dim)
        given |= {"previous": torch.empty(wide), "previous_t": torch.empty(1, 3)}
    return given


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "width 16 does not divide into 3 heads"),
        ({"heads": 16}, "even dimension"),
        ({"mlp": "gelu"}, "mlp must be 'swiglu' or 'relu2', not 'gelu'"),
        ({"window": 0}, "window must be at least 1"),
        ({"temporal_layers": (3,)}, "are not all layers"),
        ({"temporal_layers": (-1,)}, "are not all layers"),
        ({"layers": 0}, "at least one layer"),
        ({"grid": (0, 3)}, "at least one token"),
        ({"transport": (1, 1)}, "set previous_frames"),
        ({"transport": (1, 1), "previous_frames": 1}, "tokens of 5 numbers are none"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_the_config_survives_json():
    """Tuples included: what is loaded equals what was saved."""
    import json
    from dataclasses import asdict

    from world_model.world_config import _tuples

    for preset in PRESETS.values():
        data = json.loads(json.dumps(asdict(preset.network)))
        assert NetworkConfig(**_tuples(data)) == preset.network


# -- every frame twice: what is looked back at, and what is denoised -----------------------------


def test_looking_back_at_other_versions_of_the_frames_is_what_streaming_does():
    config = replace(CONFIG, temporal_layers=(0, 2), previous_frames=2)
    network = make(temporal_layers=(0, 2), previous_frames=2)
    given, other = inputs(config=config), inputs(seed=1, config=config)
    dense = network(**given, past=other["latents"], past_t=other["t"])
    cache = network.empty_cache(2)
    for i in range(1, FRAMES):
        pair = slice(i - 1, i + 1)
        frames = {name: value[:, pair] for name, value in given.items()}
        for name in ("latents", "t"):
            frames[name] = torch.stack([other[name][:, i - 1], given[name][:, i]], dim=1)
        streamed = stream(network, frames, torch.tensor([[i - 1, i]]).repeat(2, 1), cache)
        assert torch.allclose(streamed[:, 0], dense[:, i], atol=1e-5)


def test_twins_share_what_they_look_back_at():
    network, given, other = make(), inputs(), inputs(seed=1)
    alone = network(**given, past=other["latents"], past_t=other["t"])
    twice = {name: torch.cat([value, value]) for name, value in given.items()}
    both = network(**twice, past=other["latents"], past_t=other["t"])
    assert torch.allclose(both, torch.cat([alone, alone]), atol=1e-6)
    assert not torch.allclose(alone, network(**given))


def test_looking_back_at_the_same_versions_changes_nothing():
    for layers in ((), (1,), None):
        network, given = make(temporal_layers=layers), inputs()
        plain = network(**given)
        assert torch.allclose(
            network(**given, past=given["latents"], past_t=given["t"]), plain, atol=1e-5
        )
