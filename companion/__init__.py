"""Learning in Motion: ten recent methods of machine learning, small enough to read and fast enough to use.

>>> from companion.data import toy
>>> from companion.foundations import distances
>>> import torch
>>> law = toy.eight_gaussians()
>>> generator = torch.Generator().manual_seed(0)
>>> x, y = law.sample(500, generator), law.sample(500, generator)
>>> bool(distances.energy_distance(x, y).abs() < 0.05)
True
"""

__version__ = "0.1.0"
