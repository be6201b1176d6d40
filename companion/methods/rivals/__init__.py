"""What the methods are compared with, one short file each, with the interface of `foundations.diffusion`.

Few steps (lesson 01): `analytic_variance` needs only the standard denoiser; `progressive` and `consistency` distil
it (they need a trained teacher first); `gan` trains a drawing denoiser, as the scoring rule does, but against a critic.

Little waiting (lesson 02): `picard` corrects a stretch of the path at once.

Guidance (lesson 03): `adaptive_guidance` drops a constant weight once both predictions agree; `predictor_corrector`
follows the powered density with Langevin steps; `classifier_guidance` trains a classifier of noisy points;
`density_ratio` trains a network that tells data from samples, which `feedback_guidance` asks for the best weight of
each step, and by which `guidance_resampling` weighs particles that no weight guides.

A last layer on a stream (lesson 06): `online` has softmax regression by gradient steps, by steps with replay and by FTRL,
ridge regression that forgets, the extended Kalman filter, and a reset by a drift detector, all for `run_stream`.

A network that stays able to learn (lesson 07): `plasticity` pulls weights towards their start, shrinks and perturbs them, holds
their singular values near 1, draws silent neurons anew, or everything when told.

A reader that remembers (lesson 08): `reading` has the first rule of dynamic evaluation, with a decay by the gradients' usual
size, and a cache of hidden states that vote.

A pretrained network for little compute (lesson 09): `transfer` cuts channels of the residual stream, fits a head on a frozen
network, presses filters before they are cut, and distils.

A learner for a stream of tasks (lesson 10): `task_streams` starts each task from the mean of the last networks, or fits a head on a
trained one.
"""
