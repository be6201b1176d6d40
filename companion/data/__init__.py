"""Data that never touch the network: 2D laws, small images, text and streams."""
