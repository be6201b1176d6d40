"""Small language models, symbols (n, t) -> logits of the next symbol (n, t, symbols): a causal transformer, a perceptron.

>>> model = Transformer(symbols=97)
>>> model(torch.zeros(2, 10, dtype=torch.long)).shape
torch.Size([2, 10, 97])
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from companion.foundations.validation import require, require_count

LONGEST_WAVE = 100.0  # of the rotations, in symbols and divided by 2 pi


class Block(nn.Module):
    """Attention and a perceptron, each after a layer norm and with a shortcut; queries and keys are rotated by place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "n t d"], turn: Float[Tensor, "2 t e"]) -> Float[Tensor, "n t d"]:
        parts = self.attention(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0)  # 3 n t h e
        query, key, value = parts.transpose(2, 3)
        read = scaled_dot_product_attention(rotate(query, turn), rotate(key, turn), value, is_causal=True)
        x = x + self.mix(read.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def rotate(x: Float[Tensor, "n h t e"], turn: Float[Tensor, "2 t e"]) -> Float[Tensor, "n h t e"]:
    """Each pair of channels turned by its angle: two places then meet by their distance alone.

    Source: J. Su and others, "RoFormer: Enhanced Transformer with Rotary Position Embedding" (arXiv 2104.09864), eq. 34.
    """
    first, second = x.chunk(2, -1)
    return x * turn[0] + torch.cat([-second, first], -1) * turn[1]


class Transformer(nn.Module):
    """Causal language model: symbols (n, t) -> logits of the next symbol (n, t, symbols).

    Places are told by rotation, so a window may begin anywhere in a text, and be of any length; but no model knows what to
    make of distances that it has not met in training.

    Args:
        symbols: of the alphabet.
        width: of the residual stream, a multiple of 2 `heads`.
        depth: blocks.
        heads: of the attention.
        generator: the initial weights are drawn from.

    Raises:
        TypeError, ValueError: a size below 1, or a width that is no multiple of 2 `heads`; later, another input than
            whole numbers (n, t).
    """

    def __init__(
        self, symbols: int, width: int = 64, depth: int = 2, heads: int = 4, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        for name, value in {"symbols": symbols, "width": width, "depth": depth, "heads": heads}.items():
            require_count(name, value, 1)
        require(width % (2 * heads) == 0, "width", width, f"a multiple of 2 x {heads} heads")
        self.embed = nn.Embedding(symbols, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols)
        self.channels = width // heads // 2
        _draw(self, 0.02, generator)

    def forward(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n t symbols"]:
        require_tokens(tokens)
        x = self.embed(tokens)
        waves = LONGEST_WAVE ** -(torch.arange(self.channels, device=x.device) / self.channels)
        angle = (torch.arange(tokens.shape[1], device=x.device)[:, None] * waves).repeat(1, 2)
        turn = torch.stack([angle.cos(), angle.sin()]).to(x.dtype)
        for block in self.blocks:
            x = block(x, turn)
        return self.head(self.norm(x))


class WindowMLP(nn.Module):
    """Perceptron over the last few symbols: symbols (n, t) -> logits of the next symbol (n, t, symbols).

    Before the first symbol there are zeros where embeddings would be.

    Source: Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A Neural Probabilistic Language Model", JMLR 2003, section 2.

    Args:
        symbols: of the alphabet.
        order: symbols that it looks back.
        embedding: numbers for each symbol.
        width: of the hidden layer.
        generator: the initial weights are drawn from.

    Raises:
        TypeError, ValueError: a size below 1; later, another input than whole numbers (n, t).
    """

    def __init__(
        self,
        symbols: int,
        order: int = 8,
        embedding: int = 12,
        width: int = 96,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"symbols": symbols, "order": order, "embedding": embedding, "width": width}.items():
            require_count(name, value, 1)
        self.order = order
        self.embed = nn.Embedding(symbols, embedding)
        self.hidden = nn.Linear(order * embedding, width)
        self.head = nn.Linear(width, symbols)
        _draw(self, 0.1, generator)

    def forward(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n t symbols"]:
        require_tokens(tokens)
        seen = pad(self.embed(tokens), (0, 0, self.order - 1, 0)).unfold(1, self.order, 1)  # n t embedding order
        return self.head(self.hidden(seen.mT.flatten(2)).tanh())


def require_tokens(tokens: object) -> None:
    """Raise ValueError unless these are whole numbers (n, t)."""
    whole = isinstance(tokens, Tensor) and tokens.ndim == 2 and not tokens.is_floating_point()
    came = (
        f"{tokens.dtype} of shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else f"a {type(tokens).__name__}"
    )
    require(whole, "tokens", came, "whole numbers of shape (n, t)")


def _draw(model: nn.Module, std: float, generator: torch.Generator | None) -> None:
    """Weights from N(0, std^2), biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std, generator=generator)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
