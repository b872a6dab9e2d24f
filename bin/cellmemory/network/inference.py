"""The network on any number of cells: in batches of cells alike in length, on a device, within its memory."""

from dataclasses import dataclass

import numpy as np
import torch

from cellmemory.errors import InputError
from cellmemory.log import say
from cellmemory.network.batching import as_tensors, token_batches
from cellmemory.network.model import CellMemory
from cellmemory.network.runtime import Runtime, is_out_of_memory
from cellmemory.network.tokens import Tokens


@dataclass(frozen=True)
class Mapped:
    """The network's results on n cells, in their order: logits and those of the CLS token (n, C), embedding (n, d).

    With attention, else None: slots (n, H), and token by token cls (tokens,), write and read (tokens, H); read is None in
    the light variant, where genes read nothing.
    """

    logits: np.ndarray
    cls_logits: np.ndarray
    embedding: np.ndarray
    slots: np.ndarray | None
    cls: np.ndarray | None
    write: np.ndarray | None
    read: np.ndarray | None

    @property
    def linear_logits(self) -> np.ndarray:
        """What the linear path adds (n, C)."""
        return self.logits - self.cls_logits

    @classmethod
    def empty(cls, tokens: Tokens, network: CellMemory, *, attention: bool) -> "Mapped":
        """Room for the results on the cells of `tokens`."""
        config, n = network.config, len(tokens)
        by_slot, both = (len(tokens.gene), config.n_slots), config.variant == "standard"

        def room(*shape: int) -> np.ndarray:
            return np.empty(shape, np.float32)

        return cls(
            logits=room(n, config.n_labels),
            cls_logits=room(n, config.n_labels),
            embedding=room(n, config.d_model),
            slots=room(n, config.n_slots) if attention else None,
            cls=room(by_slot[0]) if attention else None,
            write=room(*by_slot) if attention else None,
            read=room(*by_slot) if attention and both else None,
        )


class Inference:
    """A network in evaluation mode, moved to the runtime's device, ready for cells."""

    def __init__(self, network: CellMemory, runtime: Runtime):
        self.network, self.runtime = network.to(runtime.device), runtime
        self.token_budget = runtime.token_budget

    def run(self, tokens: Tokens, *, attention: bool) -> Mapped:
        """The network on all cells of `tokens`.

        Where memory runs out, half as many tokens go through the network at once, from then on. Raises InputError where a
        single cell is too much.
        """
        found = Mapped.empty(tokens, self.network, attention=attention)
        while True:
            try:
                with torch.inference_mode():
                    for cells in token_batches(tokens, self.token_budget):
                        self._fill(found, tokens, cells)
                return found
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve()

    def _halve(self) -> None:
        if self.token_budget == 1:
            raise InputError("Memory ran out with one cell at a time; use a machine or GPU with more memory.")
        self.token_budget //= 2
        if self.runtime.device == "cuda":
            torch.cuda.empty_cache()
        say(f"Out of memory: from here on {self.token_budget:,} tokens go through the network at once.")

    def _fill(self, found: Mapped, tokens: Tokens, cells: np.ndarray) -> None:
        """Puts the results on `cells`, one batch, in their places."""
        batch = as_tensors(tokens, cells).to(self.runtime.device)
        output = self.network.decide(batch, attention=found.slots is not None)
        for name in ("logits", "cls_logits", "embedding"):
            getattr(found, name)[cells] = getattr(output, name).float().cpu()
        if output.attention is None:
            return
        attention, valid, source = output.attention, batch.valid, tokens.positions(cells)
        for there, place, values in (
            (found.slots, cells, attention.slots),
            (found.cls, source, attention.cls[valid]),
            (found.write, source, attention.write.mT[valid]),
            (found.read, source, None if attention.read is None else attention.read[valid]),
        ):
            if there is not None and values is not None:
                there[place] = values.float().cpu()
