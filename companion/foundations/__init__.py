"""What several methods stand on: distances, mixtures with exact answers, diffusion, networks, training."""
