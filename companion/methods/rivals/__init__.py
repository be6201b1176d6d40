"""Other ways to few steps, one short file each, with the interface of `foundations.diffusion`.

`analytic_variance` needs only the standard denoiser; `progressive` and `consistency` distil it (they need a
trained teacher first); `gan` trains a drawing denoiser, as the scoring rule does, but against a critic.
"""
