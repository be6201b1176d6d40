"""What a lesson trains, loads and compares: one module each, so that its cells stay short."""
