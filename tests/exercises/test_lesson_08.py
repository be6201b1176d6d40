"""Every check of lesson 08 lets the solution pass, and each property catches a wrong answer that people give."""

import copy
import math
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from companion.classroom.light import read_source
from companion.data.text import encode, passages
from companion.foundations.language import Transformer
from companion.methods.dynamic_evaluation import evaluate_stream, log_losses
from companion.teaching import figures
from companion.teaching.checks import check, exercises
from companion.teaching.checks.lesson_08 import rates
from companion.teaching.checks.lesson_08.compute import measured_flops
from companion.teaching.checks.lesson_08.leaks import CLEAN, LEAKS, READERS, small_reader
from companion.teaching.checks.lesson_08.loop import SYMBOLS, follow, fresh_model, of_new_tokens, text
from companion.teaching.checks.lesson_08.price import PAYS_AFTER, RULE, TOSSES, WORTH, gain_of, read_aloud
from companion.teaching.checks.lesson_08.rates import KEPT, QUICK, REFERENCE, SAVED, WORSE, elsewhere, gain
from companion.teaching.lessons import readers
from companion.teaching.session import Session

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "exercises" / "08_dynamic_evaluation.py"
LOG2 = math.log(2)


# 08.1


def text_bits(counts, weights):
    after = weights + counts
    nats = after.sum().lgamma() - weights.sum().lgamma() - (after.lgamma() - weights.lgamma()).sum()
    return nats.item() / LOG2


def bits_token_by_token(counts, weights):
    """In a random order, which must make no difference."""
    tokens = [symbol for symbol, count in enumerate(counts.tolist()) for _ in range(count)]
    random.shuffle(tokens)
    left, bits = weights.tolist(), 0.0
    for symbol in tokens:
        bits -= math.log2(left[symbol] / sum(left))
        left[symbol] += 1
    return bits


def bits_of_factors(counts, weights):
    total, bits = weights.sum(), torch.zeros((), dtype=torch.float64)
    for count, weight in zip(counts, weights):
        bits -= (weight + torch.arange(int(count))).log2().sum()
    return bits + (total + torch.arange(int(counts.sum()))).log2().sum()


def bits_in_place(counts, weights):
    bits = 0.0
    for symbol, count in enumerate(counts.tolist()):
        for _ in range(count):
            bits -= math.log2(weights[symbol] / weights.sum())
            weights[symbol] += 1
    return bits


def bits_of_seen(counts, weights):
    """Only symbols that come are in the sum of the weights."""
    seen = counts > 0
    return text_bits(counts[seen], weights[seen]) if seen.any() else 0.0


def bits_of_start(counts, weights):
    return -(counts * (weights / weights.sum()).log2()).sum()


def bits_at_the_end(counts, weights):
    after = weights + counts
    return -(counts * (after / after.sum()).log2()).sum()


def bits_in_hindsight(counts, weights):
    shares = counts / counts.sum().clamp_min(1)
    return torch.where(counts > 0, -(counts * shares.log2()), 0.0).sum()


def bits_learned_first(counts, weights):
    left, bits = weights.clone(), 0.0
    for symbol, count in enumerate(counts.tolist()):
        for _ in range(count):
            left[symbol] += 1
            bits -= math.log2(left[symbol] / left.sum())
    return bits


def bits_with_labelled_order(counts, weights):
    """Of the counts, not of a text: the number of orders is taken away."""
    n = counts.sum()
    return text_bits(counts, weights) - ((n + 1.0).lgamma() - (counts + 1.0).lgamma().sum()).item() / LOG2


def expected_gain(p, strength, n, bits=text_bits, share=None):
    weights = torch.tensor([strength, strength], dtype=torch.float64)
    share = share or (lambda k: math.comb(n, k) * p**k * (1 - p) ** (n - k))
    return n - sum(share(k) * bits(torch.tensor([k, n - k]), weights) for k in range(n + 1))


def gain_token_by_token(p, strength, n):
    """The expected gain of each token, by the law of the counts before it."""
    total, law = 0.0, np.array([1.0])
    for seen in range(n):
        first = (strength + np.arange(seen + 1)) / (2 * strength + seen)
        total += law @ (1 + p * np.log2(first) + (1 - p) * np.log2(1 - first))
        law = np.append(law * (1 - p), 0) + np.append(0, law * p)
    return total


def gain_at_mean(p, strength, n):
    weights = torch.tensor([strength, strength], dtype=torch.float64)
    return n - text_bits(torch.tensor([n * p, n * (1 - p)], dtype=torch.float64), weights)


def gain_by_divergence(p, strength, n):
    return n * (1 + p * math.log2(p) + (1 - p) * math.log2(1 - p))


def gain_without_orders(p, strength, n):
    return expected_gain(p, strength, n, share=lambda k: p**k * (1 - p) ** (n - k))


def gain_without_learning(p, strength, n):
    return expected_gain(p, strength, n, bits=bits_of_start)


def gain_in_short(p, strength, n):
    """The sum without its last term."""
    weights = torch.tensor([strength, strength], dtype=torch.float64)
    terms = (
        math.comb(n, k) * p**k * (1 - p) ** (n - k) * text_bits(torch.tensor([k, n - k]), weights) for k in range(n)
    )
    return n - sum(terms)


def priced(text_bits=text_bits, expected_gain=expected_gain, pays_after=72, patient=15):
    return {"text_bits": text_bits, "expected_gain": expected_gain, "pays_after": pays_after, "patient": patient}


# 08.2


def windows(tokens, context, stride, first=None, last=None, inputs=None, targets=None):
    """The solution; other starts or other slices on request."""
    count, found = len(tokens), []
    for start in range(context if first is None else first, count if last is None else last(count, stride), stride):
        stop = min(start + stride, count)
        seen = inputs(start, stop, context, stride) if inputs else (start - context, stop - 1)
        asked = targets(start, stop, context, stride) if targets else (start, stop)
        found.append((tokens[max(seen[0], 0) : seen[1]], tokens[slice(*asked)]))
    return found


def windows_from_the_end(tokens, context, stride):
    """By the ends of the blocks, and with lists."""
    rows, found, end = tokens.tolist(), [], context
    while end < len(rows):
        start, end = end, min(end + stride, len(rows))
        text = rows[start - context : end]
        found.append([text[:-1], text[context - len(text) :]])
    return tuple(found)


def windows_in_numpy(tokens, context, stride):
    rows = tokens.numpy()
    cuts = np.arange(context + stride, len(rows), stride)
    parts = np.split(rows[context:], cuts - context)
    starts = [context + stride * k for k in range(len(parts))]
    return [(rows[a - context : a + len(part) - 1], part) for a, part in zip(starts, parts)]


def windows_overlapping(tokens, context, stride):
    """The last block is as long as the others, and begins earlier."""
    found = windows(tokens, context, stride)
    if len(found[-1][1]) < stride <= len(tokens) - context:
        found[-1] = tokens[-stride - context : -1], tokens[-stride:]
    return found


def windows_stepping_by_one(tokens, context, stride):
    return [
        (tokens[start - context : start + stride - 1], tokens[start : start + stride])
        for start in range(context, len(tokens) - stride + 1)
    ]


def cut(**mistake):
    return windowed(lambda *case: windows(*case, **mistake))


def mean_context(context, stride):
    return context + (stride - 1) / 2


def windowed(windows=windows, mean_context=mean_context):
    return {"windows": windows, "mean_context": mean_context}


# 08.3


def read(model, tokens, context, stride, lr, **mistake):
    """The solution, with the mistakes of `follow` on request."""
    losses = follow(model, tokens, context, stride, lr, **mistake)
    return of_new_tokens(losses, len(tokens), context, stride)


def read_by_hand(model, tokens, context, stride, lr):
    """Without an optimiser, and numbers in a list."""
    losses = []
    for start in range(context, len(tokens), stride):
        targets = tokens[start : start + stride]
        inputs = tokens[start - context : start + len(targets) - 1]
        log_probs = model(inputs[None])[0, -len(targets) :].log_softmax(-1)
        loss = -log_probs[torch.arange(len(targets)), targets]
        losses += loss.tolist()
        parameters = list(model.parameters())
        for each, gradient in zip(parameters, torch.autograd.grad(loss.mean(), parameters)):
            each.data -= lr * gradient
    return losses


def read_in_blocks(model, tokens, context, stride, lr):
    """A tensor a block."""
    sgd = partial(torch.optim.SGD, lr=lr)
    return [block.log_loss for block in evaluate_stream(model, tokens, context, stride, sgd, in_place=True)]


def read_twice_forward(model, tokens, context, stride, lr):
    """A pass to score, and another to learn."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=lr), []
    for start in range(context, len(tokens), stride):
        part, new = tokens[None, start - context : start + stride], min(stride, len(tokens) - start)
        with torch.no_grad():
            losses.append(log_losses(model(part[:, :-1]), part[:, 1:])[0, -new:].numpy())
        cross_entropy(model(part[:, :-1])[0, -new:], part[0, -new:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return np.concatenate(losses)


def read_two_passes(model, tokens, context, stride, lr):
    read(model, tokens, context, stride, lr)
    return read(model, tokens, context, stride, lr)


def read_scored_at_the_end(model, tokens, context, stride, lr):
    read(model, tokens, context, stride, lr)
    return read(model, tokens, context, stride, 0.0)


def read_static(model, tokens, context, stride, lr):
    return read(model, tokens, context, stride, 0.0)


def read_first_model(model, tokens, context, stride, lr):
    losses = read(copy.deepcopy(model), tokens, context, stride, 0.0)
    read(model, tokens, context, stride, lr)
    return losses


def read_on_a_copy(model, tokens, context, stride, lr):
    return read(copy.deepcopy(model), tokens, context, stride, lr)


def read_a_block_behind(model, tokens, context, stride, lr):
    """Each block is scored by the model that lacks the last step."""
    stale, losses = copy.deepcopy(model), []
    for start in range(context, len(tokens), stride):
        part = tokens[start - context : start + stride]
        older = copy.deepcopy(model)
        losses.append(read(stale, part, context, stride, 0.0))
        read(model, part, context, stride, lr)
        stale = older
    return torch.cat(losses)


def read_with_momentum(model, tokens, context, stride, lr):
    sgd = partial(torch.optim.SGD, lr=lr, momentum=0.5)
    return evaluate_stream(model, tokens, context, stride, sgd, in_place=True).log_loss


def read_with_adam(model, tokens, context, stride, lr):
    adam = partial(torch.optim.Adam, lr=lr)
    return evaluate_stream(model, tokens, context, stride, adam, in_place=True).log_loss


def read_standardised(model, tokens, context, stride, lr):
    """Losses over the mean of the text's."""
    losses = read(model, tokens, context, stride, lr)
    return losses / losses.mean()


def read_shifted(model, tokens, context, stride, lr):
    """Each output is compared with the token that went in there."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=lr), []
    for start in range(context, len(tokens), stride):
        part, new = tokens[None, start - context : start + stride], min(stride, len(tokens) - start)
        loss = log_losses(model(part), part)[0, -new:]
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.cat(losses)


def read_block_means(model, tokens, context, stride, lr):
    losses = read(model, tokens, context, stride, lr)
    return torch.cat([part.mean().expand(len(part)) for part in losses.split(stride)])


# 08.4


def noise(count, symbols, generator):
    return torch.randint(symbols, (count,), generator=generator)


def noise_from_floats(count, symbols, generator):
    return (torch.rand(count, generator=generator, dtype=torch.float64) * symbols).floor().int()


def noise_without_repeats(count, symbols, generator):
    return (
        torch.randint(1, symbols, (count,), generator=generator).cumsum(0) % symbols
        if symbols > 2
        else noise(count, symbols, generator)
    )


def noise_of_a_period(count, symbols, generator):
    return noise(900, symbols, generator).repeat(-(-count // 900))[:count]


def noise_with_a_favourite(count, symbols, generator):
    return (torch.randint(symbols + 1, (count,), generator=generator)).clamp_max(symbols - 1)


def listening(
    floor=math.log, reported=lambda k, c, s: math.log(k) * s / (c + s - 1), noise=noise, leaks=("A", "D", "F")
):
    accused = set(leaks) if isinstance(leaks, tuple) else leaks
    return {"floor": floor, "reported": reported, "noise": noise, "leaks": accused}


# 08.5


def forward_flops(width, depth, symbols, length, weights=12, head=1, attention=4, embedding=0):
    """The solution; other numbers of weights a block, heads or products on request."""
    linear = weights * width**2 * depth + (head + embedding) * width * symbols
    return 2 * linear * length + attention * length**2 * width * depth


def forward_layer_by_layer(width, depth, symbols, length):
    def product(a, b, c):
        return 2 * a * b * c

    total = product(length, width, symbols)
    for _ in range(depth):
        for a, b in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            total += product(length, a, b)
        total += product(length, width, length) + product(length, length, width)
    return torch.tensor(float(total), dtype=torch.float64)


def token_flops(
    width, depth, symbols, context, stride, learns, times=3, inputs=lambda c, s: c + s - 1, over=lambda c, s: s
):
    window = forward_flops(width, depth, symbols, inputs(context, stride))
    return (times if learns else 1) * window / over(context, stride)


def equal_context(context, stride):
    return 3 * (context + stride - 1) - stride + 1


def counted(forward_flops=forward_flops, token_flops=token_flops, equal_context=equal_context, adapters=2):
    return {
        "forward_flops": forward_flops,
        "token_flops": token_flops,
        "equal_context": equal_context,
        "adapters": adapters,
    }


def forwards(**mistake):
    return counted(lambda *case: forward_flops(*case, **mistake))


def tokens_cost(**mistake):
    return counted(token_flops=lambda *case: token_flops(*case, **mistake))


# 08.6


def rated(bold=0.3, careful=0.08, forgetful=24):
    return {"bold": bold, "careful": careful, "forgetful": forgetful}


def bits_but_for_a_gap(counts, weights):
    """Right, but a symbol that never comes adds a price of its own."""
    return text_bits(counts, weights) + (0.1 if bool((counts == 0).any()) and counts.sum() > 1 else 0.0)


WRONG = [
    ("08.1", "a gap costs", priced(bits_but_for_a_gap), "symbols that never come"),
    ("08.1", "nats", priced(lambda *case: text_bits(*case) * LOG2), "nothing read, nothing paid"),
    ("08.1", "log-probability", priced(lambda *case: -text_bits(*case)), "nothing read, nothing paid"),
    ("08.1", "for each token", priced(lambda c, w: text_bits(c, w) / max(1, c.sum().item())), "scored, then learned"),
    (
        "08.1",
        "evenly at the start",
        priced(lambda c, w: text_bits(c, torch.ones_like(w))),
        "nothing read, nothing paid",
    ),
    ("08.1", "in place", priced(bits_in_place), "inputs untouched"),
    ("08.1", "never learns", priced(bits_of_start), "scored, then learned"),
    ("08.1", "the frequencies", priced(bits_in_hindsight), "nothing read, nothing paid"),
    ("08.1", "the weights at the end", priced(bits_at_the_end), "nothing read, nothing paid"),
    ("08.1", "learned first", priced(bits_learned_first), "nothing read, nothing paid"),
    ("08.1", "of the counts", priced(bits_with_labelled_order), "scored, then learned"),
    ("08.1", "only what is seen", priced(bits_of_seen), "nothing read, nothing paid"),
    (
        "08.1",
        "loses for gains",
        priced(expected_gain=lambda *case: -expected_gain(*case)),
        "nothing to learn, nothing to gain",
    ),
    (
        "08.1",
        "the cost",
        priced(expected_gain=lambda p, s, n: n - expected_gain(p, s, n)),
        "no gain at the first token",
    ),
    ("08.1", "one learning step left out", priced(expected_gain=gain_in_short), "no gain at the first token"),
    ("08.1", "the divergence", priced(expected_gain=gain_by_divergence), "no gain at the first token"),
    ("08.1", "at the expected count", priced(expected_gain=gain_at_mean), "no gain at the first token"),
    ("08.1", "no learning", priced(expected_gain=gain_without_learning), "nothing to learn, nothing to gain"),
    ("08.1", "orders not counted", priced(expected_gain=gain_without_orders), "nothing to learn, nothing to gain"),
    (
        "08.1",
        "a token's gain",
        priced(expected_gain=lambda p, s, n: expected_gain(p, s, n) / n),
        "an average over texts",
    ),
    ("08.1", "gain in nats", priced(expected_gain=lambda *case: expected_gain(*case) * LOG2), "an average over texts"),
    (
        "08.1",
        "never below zero",
        priced(expected_gain=lambda *case: max(0.0, expected_gain(*case))),
        "nothing to learn, nothing to gain",
    ),
    (
        "08.1",
        "strength once",
        priced(expected_gain=lambda p, s, n: expected_gain(p, s / 2, n)),
        "an average over texts",
    ),
    ("08.1", "the rule", priced(pays_after=RULE), "when it pays"),
    ("08.1", "at once", priced(pays_after=2), "when it pays"),
    ("08.1", "where it is lowest", priced(pays_after=23), "when it pays"),
    ("08.1", "never", priced(pays_after=10**9), "when it pays"),
    ("08.1", "below zero", priced(patient=-1), "slow enough"),
    ("08.1", "as before", priced(patient=1), "slow enough"),
    ("08.1", "hasty", priced(patient=4), "slow enough"),
    ("08.1", "asleep", priced(patient=1000), "not too slow"),
    ("08.1", "drowsy", priced(patient=100), "not too slow"),
    ("08.1", "a word", priced(patient="slow"), "type"),
    ("08.1", "a number", priced(0.5), "type"),
    ("08.2", "a generator", windowed(lambda *case: iter(windows(*case))), "a pair a block"),
    ("08.2", "targets alone", windowed(lambda *case: [pair[1] for pair in windows(*case)]), "a pair a block"),
    (
        "08.2",
        "batches of one",
        windowed(lambda *case: [(a[None], b[None]) for a, b in windows(*case)]),
        "a pair a block",
    ),
    ("08.2", "two lists", windowed(lambda *case: list(zip(*windows(*case)))), "a pair a block"),
    ("08.2", "no context at the start", cut(first=0), "a pair a block"),
    ("08.2", "a full block lost", cut(last=lambda count, stride: count - stride), "a pair a block"),
    ("08.2", "every place", windowed(windows_stepping_by_one), "a pair a block"),
    ("08.2", "one target less", cut(targets=lambda a, b, c, s: (a + 1, b)), "targets once"),
    ("08.2", "the last target less", cut(targets=lambda a, b, c, s: (a, b - 1)), "targets once"),
    ("08.2", "all targets of the window", cut(targets=lambda a, b, c, s: (a - c + 1, b)), "targets once"),
    ("08.2", "one target too many", cut(targets=lambda a, b, c, s: (a - 1, b)), "targets once"),
    ("08.2", "the targets before", cut(targets=lambda a, b, c, s: (a - 1, b - 1)), "targets once"),
    ("08.2", "last first", windowed(lambda *case: windows(*case)[::-1]), "targets once"),
    ("08.2", "the last block dropped", cut(last=lambda count, stride: count - stride + 1), "the end of the text"),
    ("08.2", "the last block overlaps", windowed(windows_overlapping), "the end of the text"),
    ("08.2", "the last target in sight", cut(inputs=lambda a, b, c, s: (a - c, b)), "no target among the inputs"),
    ("08.2", "inputs are targets", cut(inputs=lambda a, b, c, s: (a, b)), "no target among the inputs"),
    ("08.2", "only the first is right", cut(inputs=lambda a, b, c, s: (a - c, a)), "no target among the inputs"),
    ("08.2", "the end as if full", cut(inputs=lambda a, b, c, s: (a - c, a + s - 1)), "no target among the inputs"),
    ("08.2", "one input less", cut(inputs=lambda a, b, c, s: (a - c + 1, b - 1)), "the whole context"),
    ("08.2", "one input more", cut(inputs=lambda a, b, c, s: (a - c - 1, b - 1)), "the whole context"),
    ("08.2", "context within the window", cut(inputs=lambda a, b, c, s: (b - c, b - 1)), "the whole context"),
    ("08.2", "by the end", cut(inputs=lambda a, b, c, s: (b - s - c, b - 1)), "the whole context"),
    ("08.2", "all that came", cut(inputs=lambda a, b, c, s: (0, b - 1)), "the whole context"),
    ("08.2", "the first", windowed(mean_context=lambda c, s: c), "what a target sees"),
    ("08.2", "the last", windowed(mean_context=lambda c, s: c + s - 1), "what a target sees"),
    ("08.2", "half a token more", windowed(mean_context=lambda c, s: c + s / 2), "what a target sees"),
    ("08.2", "half of all", windowed(mean_context=lambda c, s: (c + s - 1) / 2), "what a target sees"),
    ("08.2", "rounded", windowed(mean_context=lambda c, s: c + (s - 1) // 2), "what a target sees"),
    ("08.2", "a number", windowed(3), "type"),
    ("08.3", "the mean", lambda *case: read(*case).mean(), "a loss a token"),
    ("08.3", "a mean a block", lambda *case: [part.mean() for part in read(*case).split(case[3])], "a loss a token"),
    ("08.3", "the whole windows", lambda *case: torch.cat(follow(*case)), "a loss a token"),
    ("08.3", "log-probabilities", lambda *case: -read(*case), "a loss a token"),
    (
        "08.3",
        "the first of each block left out",
        lambda *case: torch.cat([p[1:] for p in read(*case).split(case[3])]),
        "a loss a token",
    ),
    (
        "08.3",
        "the last block left out",
        lambda *case: read(*case)[: (len(case[1]) - case[2]) // case[3] * case[3]],
        "a loss a token",
    ),
    ("08.3", "bits", lambda *case: read(*case) / LOG2, "the loss of the model"),
    ("08.3", "block means", read_block_means, "the loss of the model"),
    ("08.3", "shifted by one", read_shifted, "the loss of the model"),
    ("08.3", "over the mean", read_standardised, "the loss of the model"),
    ("08.3", "no context", lambda m, t, c, s, lr: read(m, t[c - 1 :], 1, s, lr), "the loss of the model"),
    ("08.3", "learned first", partial(read, score="after"), "no luck on noise"),
    ("08.3", "before and after", partial(read, score="both"), "no luck on noise"),
    ("08.3", "twice read", read_two_passes, "nothing from later"),
    ("08.3", "scored at the end", read_scored_at_the_end, "nothing from later"),
    ("08.3", "static", read_static, "it learns"),
    ("08.3", "on a copy", read_on_a_copy, "it learns"),
    ("08.3", "a rate of its own", lambda m, t, c, s, lr: read(m, t, c, s, 0.1 if lr else 0.0), "it learns"),
    ("08.3", "uphill", partial(read, uphill=True), "it learns"),
    ("08.3", "the whole window learned", partial(read, over="all"), "the new tokens, once"),
    ("08.3", "two steps", partial(read, steps=2), "the new tokens, once"),
    ("08.3", "the window's sum", partial(read, over="all", summed=True), "the new tokens, once"),
    ("08.3", "gradients pile up", partial(read, clear=False), "one clean step"),
    ("08.3", "a sum", partial(read, summed=True), "one clean step"),
    ("08.3", "momentum", read_with_momentum, "one clean step"),
    ("08.3", "Adam", read_with_adam, "one clean step"),
    ("08.3", "the first model", read_first_model, "the model as it is"),
    ("08.3", "a block behind", read_a_block_behind, "the model as it is"),
    ("08.3", "a word", "read", "type"),
    ("08.4", "the perplexity", listening(lambda k: k), "the floor"),
    ("08.4", "a probability", listening(lambda k: 1 / k), "the floor"),
    ("08.4", "bits", listening(math.log2), "the floor"),
    ("08.4", "the sign", listening(lambda k: -math.log(k)), "the floor"),
    ("08.4", "one less", listening(lambda k: math.log(k - 1)), "the floor"),
    ("08.4", "nothing flattered", listening(reported=lambda k, c, s: math.log(k)), "old and new tokens"),
    (
        "08.4",
        "the old share",
        listening(reported=lambda k, c, s: math.log(k) * (c - 1) / (c + s - 1)),
        "old and new tokens",
    ),
    ("08.4", "one too many", listening(reported=lambda k, c, s: math.log(k) * s / (c + s)), "old and new tokens"),
    ("08.4", "stride over context", listening(reported=lambda k, c, s: math.log(k) * s / c), "old and new tokens"),
    ("08.4", "one new token", listening(reported=lambda k, c, s: math.log(k) / (c + s - 1)), "old and new tokens"),
    ("08.4", "a share", listening(reported=lambda k, c, s: s / (c + s - 1)), "old and new tokens"),
    ("08.4", "all forgotten", listening(reported=lambda k, c, s: 0.0), "old and new tokens"),
    ("08.4", "floats", listening(noise=lambda n, k, g: torch.rand(n, generator=g)), "a row of symbols"),
    ("08.4", "normal", listening(noise=lambda n, k, g: torch.randn(n, generator=g).long()), "a row of symbols"),
    ("08.4", "from one", listening(noise=lambda n, k, g: noise(n, k, g) + 1), "a row of symbols"),
    (
        "08.4",
        "without the last",
        listening(noise=lambda n, k, g: torch.randint(k - 1, (n,), generator=g)),
        "a row of symbols",
    ),
    ("08.4", "a batch", listening(noise=lambda n, k, g: noise(n, k, g)[None]), "a row of symbols"),
    ("08.4", "any generator", listening(noise=lambda n, k, g: torch.randint(k, (n,))), "from the generator"),
    (
        "08.4",
        "one seed",
        listening(noise=lambda n, k, g: noise(n, k, torch.Generator().manual_seed(0))),
        "from the generator",
    ),
    ("08.4", "in turn", listening(noise=lambda n, k, g: torch.arange(n) % k), "from the generator"),
    ("08.4", "a favourite", listening(noise=noise_with_a_favourite), "even"),
    ("08.4", "never the same twice", listening(noise=noise_without_repeats), "no memory"),
    ("08.4", "a period", listening(noise=noise_of_a_period), "no memory"),
    ("08.4", "sorted", listening(noise=lambda n, k, g: noise(n, k, g).sort().values), "no memory"),
    ("08.4", "shuffled", listening(noise=lambda n, k, g: torch.randperm(n, generator=g) % k), "no memory"),
    ("08.4", "one alone", listening(leaks=("D",)), "who leaks"),
    ("08.4", "none", listening(leaks=()), "who leaks"),
    ("08.4", "the report believed", listening(leaks=("D", "F")), "who leaks"),
    ("08.4", "the copy believed", listening(leaks=("A", "D")), "who leaks"),
    ("08.4", "all that learn", listening(leaks=("A", "B", "C", "D", "F")), "who does not"),
    ("08.4", "old tokens in the step", listening(leaks=("A", "C", "D", "F")), "who does not"),
    ("08.4", "all", listening(leaks=tuple("ABCDEF")), "who does not"),
    ("08.4", "another letter", listening(leaks=("A", "G")), "type"),
    ("08.4", "a number of them", listening(leaks=3), "type"),
    ("08.4", "a number", listening(1.0), "type"),
    ("08.5", "no head", forwards(head=0), "the head"),
    ("08.5", "the embedding, too", forwards(embedding=1), "the head"),
    ("08.5", "a head a block", counted(lambda w, d, s, n: d * forward_flops(w, 1, s, n)), "the head"),
    ("08.5", "multiplications alone", counted(lambda *case: forward_flops(*case) // 2), "the head"),
    ("08.5", "parameters", counted(lambda w, d, s, n: 12 * w**2 * d + w * s), "the head"),
    ("08.5", "no attention", forwards(attention=0), "attention"),
    ("08.5", "causal", forwards(attention=2), "attention"),
    ("08.5", "causal, multiplications alone", forwards(attention=1), "attention"),
    ("08.5", "attention twice", forwards(attention=8), "attention"),
    (
        "08.5",
        "attention once",
        counted(lambda w, d, s, n: forward_flops(w, d, s, n, attention=0) + 4 * n**2 * w),
        "attention",
    ),
    (
        "08.5",
        "attention by width squared",
        counted(lambda w, d, s, n: forward_flops(w, d, s, n, attention=0) + 4 * n * w**2 * d),
        "attention",
    ),
    ("08.5", "no perceptron", forwards(weights=4), "the linear layers"),
    ("08.5", "the perceptron alone", forwards(weights=8), "the linear layers"),
    ("08.5", "no mix", forwards(weights=11), "the linear layers"),
    ("08.5", "queries alone", forwards(weights=10), "the linear layers"),
    ("08.5", "a narrow perceptron", forwards(weights=6), "the linear layers"),
    ("08.5", "biases", counted(lambda w, d, s, n: forward_flops(w, d, s, n) + 9 * w * d * n), "the linear layers"),
    ("08.5", "a block's", tokens_cost(over=lambda c, s: 1), "shared by the new tokens"),
    ("08.5", "for each input", tokens_cost(over=lambda c, s: c + s - 1), "shared by the new tokens"),
    ("08.5", "one too long", tokens_cost(inputs=lambda c, s: c + s), "shared by the new tokens"),
    ("08.5", "context inputs", tokens_cost(inputs=lambda c, s: c), "shared by the new tokens"),
    ("08.5", "no context", tokens_cost(inputs=lambda c, s: s), "shared by the new tokens"),
    ("08.5", "over the context", tokens_cost(over=lambda c, s: c), "shared by the new tokens"),
    ("08.5", "learning for nothing", tokens_cost(times=1), "three times"),
    ("08.5", "backward alone", tokens_cost(times=2), "three times"),
    ("08.5", "scored anew", tokens_cost(times=4), "three times"),
    ("08.5", "always", counted(token_flops=lambda *case: token_flops(*case[:5], True)), "shared by the new tokens"),
    ("08.5", "three contexts", counted(equal_context=lambda c, s: 3 * c), "the same money"),
    ("08.5", "three windows", counted(equal_context=lambda c, s: 3 * (c + s - 1)), "the same money"),
    ("08.5", "too long windows", counted(equal_context=lambda c, s: 3 * c + 2 * s), "the same money"),
    ("08.5", "as much", counted(equal_context=lambda c, s: c), "the same money"),
    ("08.5", "a third", counted(equal_context=lambda c, s: (c + s - 1) / 3), "the same money"),
    ("08.5", "adapters for nothing", counted(adapters=1), "what adapters save"),
    ("08.5", "adapters save nothing", counted(adapters=3), "what adapters save"),
    ("08.5", "half a pass", counted(adapters=1.5), "what adapters save"),
    ("08.5", "what is saved", counted(adapters=1 / 3), "what adapters save"),
    ("08.5", "a word", counted(adapters="twice"), "type"),
    ("08.5", "a number", counted(1.0), "type"),
    ("08.6", "nothing", rated(bold=0), "in range"),
    ("08.6", "below zero", rated(careful=-0.1), "in range"),
    ("08.6", "as large as can be", rated(bold=100), "in range"),
    ("08.6", "no blocks", rated(forgetful=0), "in range"),
    ("08.6", "timid", rated(bold=0.01), "bold abroad"),
    ("08.6", "broken", rated(bold=1.0), "bold abroad"),
    ("08.6", "best at home", rated(bold=0.03), "bold abroad"),
    ("08.6", "bold for neither", rated(bold=0.1), "reckless at home"),
    ("08.6", "a little bold", rated(bold=0.15), "reckless at home"),
    ("08.6", "careful and slow", rated(careful=0.01), "careful, and still quick"),
    ("08.6", "the best of plays", rated(careful=0.03), "careful, and still quick"),
    ("08.6", "nearly quick", rated(careful=0.04), "careful, and still quick"),
    ("08.6", "careful is bold", rated(careful=0.3), "nothing lost at home"),
    ("08.6", "the best of programs", rated(careful=0.2), "nothing lost at home"),
    ("08.6", "exchanged", rated(bold=0.08, careful=0.3), "reckless at home"),
    ("08.6", "at once", rated(forgetful=1), "forget on purpose"),
    ("08.6", "too often", rated(forgetful=4), "forget on purpose"),
    ("08.6", "too seldom", rated(forgetful=128), "forget on purpose"),
    ("08.6", "never", rated(forgetful=10_000), "forget on purpose"),
    ("08.6", "half a block", rated(forgetful=2.5), "type"),
    ("08.6", "a word", rated(bold="high"), "type"),
]

RIGHT = [
    ("08.1", priced()),
    ("08.1", priced(bits_token_by_token, gain_token_by_token, 71, 10)),
    ("08.1", priced(bits_of_factors, lambda *case: np.float64(gain_of(*case)), torch.tensor(72), np.float64(40.0))),
    ("08.1", priced(read_aloud, partial(expected_gain, bits=bits_of_factors), 73.0, 6.5)),
    ("08.2", windowed()),
    ("08.2", windowed(windows_from_the_end, lambda c, s: sum(range(c, c + s)) / s)),
    ("08.2", windowed(windows_in_numpy, lambda c, s: torch.arange(c, c + s).double().mean())),
    ("08.3", read),
    ("08.3", read_by_hand),
    ("08.3", read_in_blocks),
    ("08.3", read_twice_forward),
    ("08.4", listening()),
    ("08.4", listening(lambda k: torch.tensor(float(k)).log(), noise=noise_from_floats, leaks="f, a, d")),
    (
        "08.4",
        listening(lambda k: -np.log(1 / k), lambda k, c, s: np.log(k) / (1 + (c - 1) / s), leaks=["D", " a", "F"]),
    ),
    ("08.5", counted()),
    (
        "08.5",
        counted(forward_layer_by_layer, lambda *case: float(token_flops(*case)), lambda c, s: c + 2 * (c + s - 1), 2.0),
    ),
    ("08.5", counted(adapters=torch.tensor(2))),
    ("08.6", rated()),
    ("08.6", rated(torch.tensor(0.25), np.float64(0.1), 16)),
    ("08.6", rated(0.4, 0.07, 32.0)),
    ("08.6", rated(careful=0.05)),
]


def test_there_are_six_exercises():
    assert [exercise.id for exercise in exercises("08")] == [f"08.{number}" for number in range(1, 7)]


DRAWN = [
    ("08.1", priced()),
    ("08.2", windowed()),
    ("08.3", read),
    ("08.4", listening()),
    ("08.5", counted()),
]  # right answers, on other draws too

STEADY = ("08.1", "08.2", "08.3", "08.4", "08.5")  # wrong answers to them get the same hint on other draws


def test_an_exception_in_an_answer_is_an_error():
    def divides(*case):
        return case[0] / 0 * missing

    for name, answer in (
        ("08.1", priced(divides)),
        ("08.2", windowed(divides)),
        ("08.3", divides),
        ("08.4", listening(noise=divides)),
        ("08.5", counted(token_flops=divides)),
    ):
        assert check(name, answer).status == "error"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("08.1", priced(lambda *case: None)),
        ("08.1", priced(patient=...)),
        ("08.2", windowed(mean_context=lambda *case: ...)),
        ("08.3", lambda *case: None),
        ("08.3", ...),
        ("08.4", listening(noise=lambda *case: None)),
        ("08.4", listening(leaks={...})),
        ("08.5", counted(equal_context=lambda *case: None)),
        ("08.6", {...}),
        ("08.6", rated(bold=...)),
    ],
)
def test_stubs_are_not_attempted(name, answer):
    assert check(name, answer).status == "not attempted"


# What the exercises say is so


def test_the_order_of_a_text_makes_no_difference_to_a_reader_that_counts():
    counts, weights = torch.tensor([3, 0, 7, 2]), torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    found = [bits_token_by_token(counts, weights) for _ in range(5)]
    assert found == pytest.approx([text_bits(counts, weights)] * 5, rel=1e-12)


def test_the_expected_gain_is_that_of_many_coins():
    tosses = (torch.rand(20_000, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < 0.8).sum(1)
    weights = torch.tensor([1.0, 1.0], dtype=torch.float64)
    cost = torch.tensor([text_bits(torch.tensor([k, 10 - k]), weights) for k in range(11)])
    saved = 10 - cost[tosses]
    error = saved.std() / len(saved) ** 0.5
    assert abs(saved.mean() - gain_of(0.8, 1, 10)) < 4 * error
    assert expected_gain(0.8, 1.0, 10) == pytest.approx(gain_of(0.8, 1, 10), rel=1e-9)
    assert gain_token_by_token(0.8, 1.0, 10) == pytest.approx(gain_of(0.8, 1, 10), rel=1e-9)


def test_learning_pays_from_72_tokens_on_and_the_rule_says_119():
    gains = [gain_of(0.6, 1, n) for n in range(1, 301)]
    assert [n for n in range(2, 301) if gains[n - 1] <= 0][-1] == PAYS_AFTER - 1
    divergence = LOG2 + 0.6 * math.log(0.6) + 0.4 * math.log(0.4)
    assert round(divergence / LOG2, 3) == 0.029
    assert next(n for n in range(2, 1000) if n * divergence > math.log(n) / 2) == RULE
    assert gain_of(0.55, 1, 300) < 0


def test_a_slow_reader_never_loses_and_one_that_sleeps_never_wins():
    for strength, loses in ((4, True), (5, True), (6, False), (15, False), (200, False)):
        worst = min(gain_of(0.6, strength, n) for n in range(1, TOSSES + 1))
        assert (worst < -1e-3) == loses
    for strength, wins in ((1, False), (6, True), (15, True), (50, True), (100, False), (200, False)):
        assert (gain_of(0.6, strength, TOSSES) >= WORTH) == wins
    assert gain_of(0.6, 200, TOSSES) > 0


@pytest.mark.parametrize(("count", "context", "stride"), [(100, 8, 8), (77, 5, 9), (30, 16, 4)])
def test_windows_give_the_loss_of_the_package(count, context, stride):
    generator = torch.Generator().manual_seed(0)
    model, tokens = fresh_model(generator), torch.randint(SYMBOLS, (count,), generator=generator)
    result = evaluate_stream(model, tokens, context, stride)
    found = windows(tokens, context, stride)
    with torch.no_grad():
        losses = [log_losses(model(inputs[None])[:, -len(targets) :], targets[None])[0] for inputs, targets in found]
    assert len(found) == len(result)
    torch.testing.assert_close(torch.cat(losses), result.log_loss)


@pytest.mark.parametrize(("context", "stride"), [(8, 8), (5, 1), (3, 11)])
def test_the_loop_is_that_of_the_package(context, stride):
    tokens = text(torch.Generator().manual_seed(0), 60)
    models = [fresh_model(torch.Generator().manual_seed(1)) for _ in range(2)]
    mine = read(models[0], tokens, context, stride, 0.3)
    result = evaluate_stream(models[1], tokens, context, stride, partial(torch.optim.SGD, lr=0.3))
    torch.testing.assert_close(mine, result.log_loss)
    for ours, other in zip(models[0].parameters(), result.model.parameters()):
        torch.testing.assert_close(ours, other)


def test_gradients_that_pile_up_diverge():
    tokens = text(torch.Generator().manual_seed(0), 400)
    ends = [
        read(fresh_model(torch.Generator().manual_seed(1)), tokens, 8, 4, 0.3, clear=clear)[-100:].mean()
        for clear in (True, False)
    ]
    assert ends[0] < math.log(SYMBOLS) < ends[1]


@pytest.mark.parametrize("seed", range(3))
def test_leaks_are_below_the_floor_and_honest_readers_are_not(seed):
    generator = torch.Generator().manual_seed(seed)
    tokens, model = noise(800, 8, generator), small_reader(8, generator)
    before = copy.deepcopy(model.state_dict())
    for name, reader in READERS.items():
        above = reader(model, tokens, 16, 8, 0.15) - math.log(8)
        assert above < -0.05 if name in LEAKS else above > -0.01, (name, above)
    assert LEAKS | set(CLEAN) == set(READERS)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_noise_does_not_show_a_second_reading_by_a_model_of_short_memory():
    generator = torch.Generator().manual_seed(0)
    tokens, model = noise(800, 8, generator), small_reader(8, generator)
    assert read_two_passes(model, tokens, 16, 8, 0.15).mean() > math.log(8)


def test_a_perfect_memory_reports_a_fifth():
    assert round(listening()["reported"](97, 64, 16) / math.log(97), 1) == 0.2


@pytest.mark.parametrize(("width", "depth", "rank"), [(16, 2, 3), (32, 1, 1), (16, 5, 2)])
def test_operations_are_as_counted(width, depth, rank):
    symbols, context, stride = 11, 10, 6
    length, sgd = context + stride - 1, partial(torch.optim.SGD, lr=0.1)
    model, tokens = Transformer(symbols, width, depth, 2), torch.zeros(context + 2 * stride, dtype=torch.long)
    measured = {
        name: measured_flops(copy.deepcopy(model), tokens, context, stride, optimizer, name or "all", rank) / 2 / stride
        for name, optimizer in (("", None), ("all", sgd), ("lora", sgd))
    }
    forward = forward_flops(width, depth, symbols, length)
    assert measured[""] == token_flops(width, depth, symbols, context, stride, False)
    assert measured["all"] == token_flops(width, depth, symbols, context, stride, True)
    carried = 2 * length * (8 * width**2 // 2 + 12 * width**2 * (depth - 1) + width * symbols)
    carried += 8 * length**2 * width * (depth - 1)  # the block below has nothing to learn in its attention
    adapters = 3 * 20 * rank * width * depth * length - 2 * rank * width * length
    assert measured["lora"] == (forward + carried + adapters) / stride


def test_adapters_cost_two_forward_passes_in_the_limit():
    ratios = []
    for depth in (1, 4, 16):
        model, tokens = Transformer(97, 64, depth), torch.zeros(12, dtype=torch.long)
        learned = measured_flops(model, tokens, 4, 8, partial(torch.optim.SGD, lr=0.1), "lora", rank=1)
        ratios.append(learned / measured_flops(model, tokens, 4, 8))
    gaps = [abs(ratio - 2) for ratio in ratios]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.12


def test_the_static_reader_can_afford_a_context_of_78():
    assert equal_context(16, 16) == 78
    learned, read_only = token_flops(64, 2, 97, 16, 16, True), token_flops(64, 2, 97, 78, 16, False)
    assert learned < read_only < 1.15 * learned


@pytest.mark.slow
def test_the_rates_have_margin():
    for lr in (0.25, 0.4):
        assert elsewhere("code", lr) > SAVED + 0.05
        assert elsewhere("plays", lr) < -WORSE - 0.02
    for lr in (0.05, 0.06, 0.1):
        assert elsewhere("code", lr) > QUICK + 0.005
        assert elsewhere("plays", lr) > 0.01
    assert elsewhere("plays", 0.15) < 0
    for blocks in (16, 32):
        kept = elsewhere("code", REFERENCE, blocks) / elsewhere("code", REFERENCE)
        assert KEPT[0] + 0.02 < kept < KEPT[1] - 0.01


@pytest.mark.slow
def test_what_a_student_sees_on_the_first_passages_points_the_right_way():
    for number in range(2):
        assert gain("code", number, 0.3) > 0.15
        assert gain("plays", number, 0.3) < -WORSE
        assert gain("plays", number, 0.08) > 0
        assert gain("code", number, 0.08) > gain("code", number, 0.01)


def test_a_pull_back_takes_much_of_a_bold_rates_gain_before_plays_stop_losing():
    free, pulled = ([gain(style, 2, 0.3, decay=decay) for style in ("code", "plays")] for decay in (0.0, 0.1))
    assert pulled[0] < 0.65 * free[0]
    assert free[1] < pulled[1] < 0


@pytest.mark.parametrize(("exercise", "answer"), [row for row in RIGHT if row[0] in ("08.2", "08.3")])
def test_the_figures_take_every_right_answer(exercise, answer):
    session = Session("smoke", 0, torch.device("cpu"))
    scope = {"torch": torch, "session": session, "figures": figures, "log_losses": log_losses, "reader": readers.reader}
    if exercise == "08.2":
        scope |= answer | {"model": readers.reader("window", session), "plays": encode(passages("plays", [0])[0])[:400]}
    else:
        scope |= {"read": answer, "code": encode(passages("code", [0])[0])[:300]}
    first = {"08.2": "blocks = windows(", "08.3": "axes.plot(50 *"}[exercise]
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if cell.cell_type == "code" and first in cell.source)
    exec(cell.source, scope)
    assert scope["axes"].lines


@pytest.mark.parametrize(("answer", "count"), [(rated(), 1), (rated(bold=...), 0), ({...}, 0)])
def test_the_pull_back_is_shown_at_the_bold_rate_once_it_is_written(answer, count):
    shown = []
    scope = {
        "session": Session("smoke", 0, torch.device("cpu")),
        "rates": answer,
        "show": lambda number, lr, decay: shown.append(lr),
    }
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if "decay=decay" in cell.source)
    exec(cell.source, scope)
    assert shown == [0.3] * count


def test_gain_is_that_of_the_stream():
    tokens = encode(passages("folio", [2])[0][:400])
    static, learned = (
        evaluate_stream(rates._model(), tokens, 16, 16, optimizer).log_loss.mean()
        for optimizer in (None, partial(torch.optim.SGD, lr=0.05))
    )
    assert gain("folio", 2, 0.05, 400) == pytest.approx(1 - (learned / static).item(), rel=1e-5)
    assert gain("folio", 2, 0.0, 400) == 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"^style is 'letters', but must be one of plays, "):
        gain("letters", 0, 0.1)
    with pytest.raises(ValueError, match=r"^characters is "):
        gain("code", 0, 0.1, 16)


def test_the_six_readers_are_those_that_the_notebook_names():
    prose = NOTEBOOK.read_text(encoding="utf-8")
    assert list(READERS) == list("ABCDEF")
    assert '"A" to "F"' in prose
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if "leaks = {" in cell.source)
    assert {name for name in READERS if f'"{name}"' in cell.source} == LEAKS
