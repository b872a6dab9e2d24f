"""A training step as a CUDA graph: recorded once, then replayed as a whole.

A step is some 600 small kernels. Starting them one by one takes the processor ten times as long as a large GPU needs to run
them; a recorded step is started as one (docs/performance.md).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

#: Runs before the recording, in which libraries set themselves up; torch asks for a few.
WARM_UP = 3


class StepGraph:
    """The forward and backward pass for batches of one shape, with its own memory for a batch, loss and gradients.

    compute: adds the gradients of a batch's loss to the parameters' and returns the loss. batch: (gene, bin, valid, target),
    one of those to come; longest: tokens of a cell to make room for. What is recorded must not depend on the host's values,
    and draws random numbers by torch's default generator, whose seed may be set before each replay. Raises what compute
    raises, torch.OutOfMemoryError among it.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Tensor]], Tensor],
        parameters: Sequence[Parameter],
        batch: Sequence[Tensor],
        longest: int,
    ):
        self._parameters = parameters
        *cells, target = batch
        self._cells = [torch.zeros(len(part), longest, dtype=part.dtype, device=part.device) for part in cells]
        self._target = target.clone()
        self._fill(batch)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._forget()
                compute([*self._cells, self._target])
        torch.cuda.current_stream().wait_stream(stream)
        self._forget()
        with torch.cuda.graph(self._graph):
            self._loss = compute([*self._cells, self._target])
        self._gradients = [parameter.grad for parameter in parameters]

    def replay(self, batch: Sequence[Tensor]) -> Tensor:
        """Leaves the gradients of a batch with the parameters, which had none; returns its loss."""
        self._fill(batch)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()

    def _fill(self, batch: Sequence[Tensor]) -> None:
        """Takes over a batch; what is left of the room is padding, which takes part in nothing."""
        *cells, target = batch
        for own, given in zip(self._cells, cells, strict=True):
            own.zero_()
            own[:, : given.shape[1]] = given
        self._target.copy_(target)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
