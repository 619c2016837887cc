"""A cell of `bench.rounds` in apple/pfl-research: `python -m bench.rounds.pfl JSON`.

Needs pfl with PyTorch, transformers and PEFT, and nothing of this repository but `work` and `report`. Set up as pfl's
documentation and benchmarks do: one model trained in place, its `SimulatedBackend`, federated averaging, users as
tensors in memory, no evaluation. Under torchrun its processes share each cohort. In its favour: local optimisers see
the adapter's parameters only, not the frozen base's. The `Gaussian` mechanism is pfl's own, applied centrally: clip
every user's update, add noise to the sum.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import MinimizeReuseUserSampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from torch import Tensor, nn

from bench.rounds.report import Clock, Task, finish, task_of
from bench.rounds.work import adapted_model, flat, load_work, loss_of, trainable


class Trained(nn.Module):
    """The model with the two functions that pfl asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Of one user's batch."""
        return loss_of(self.model, x, y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        """None: nothing is evaluated."""
        return {}


class Rounds(TrainingProcessCallback):  # type: ignore[misc]
    """Tells the clock of every central iteration, in the first process only."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """A round is done."""
        if self._clock is not None:
            self._clock.round_done()
        return False, Metrics()


def local_optimizer(parameters: Any, lr: float) -> torch.optim.SGD:
    """SGD of the adapter; pfl offers all parameters."""
    return torch.optim.SGD([parameter for parameter in parameters if parameter.requires_grad], lr=lr)


def run(task: Task) -> None:
    """All rounds of a cell."""
    torch.set_num_threads(task.threads)
    work = load_work(task.folder)
    trained = Trained(adapted_model(work))
    x, y = work.records()
    users = {
        user: PyTorchTensorDataset((torch.from_numpy(x[user]), torch.from_numpy(y[user])), user_id=str(user))
        for user in range(task.clients)
    }
    model = PyTorchModel(
        model=trained,
        local_optimizer_create=local_optimizer,
        central_optimizer=torch.optim.SGD(trainable(trained).values(), lr=1.0),
    )
    dataset = FederatedDataset(users.__getitem__, MinimizeReuseUserSampler(list(users)))
    postprocessors = []
    if task.privacy == "central":
        gaussian = GaussianMechanism(task.clip_norm, task.noise_multiplier)
        postprocessors.append(CentrallyAppliedPrivacyMechanism(gaussian))
    first = int(os.environ.get("RANK", "0")) == 0
    clock = Clock()
    clock.start()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,
            train_cohort_size=task.clients,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=dataset, val_data=dataset, postprocessors=postprocessors),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=work.learning_rate, local_batch_size=None
        ),
        callbacks=[Rounds(clock if first else None)],
        send_metrics_to_platform=False,
    )
    if first:
        finish(task, flat(trained), ("pfl", "transformers", "peft"))


if __name__ == "__main__":
    run(task_of(sys.argv[1]))
