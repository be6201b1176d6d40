"""Data that never touch the network: 2D laws, small images, text and streams.

Some come with other packages, all of which the extra `lab` brings (`pip install "learning-in-motion[lab]"`): the digits
of `images` with scikit-learn, the printed glyphs of `pictures` with matplotlib and Pillow, photographs and faces of
`streams.mini` with scikit-image and Pillow. `darcy` solves its equation by scipy.
"""
