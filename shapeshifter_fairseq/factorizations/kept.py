"""W at inference: it is built once and kept until something changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .autocast import autocast_dtype
from .computed import computed


class KeptWeight:
    """The W of one module, with the tensors that it was built from."""

    _source: tuple[Any, ...] | None = None
    _tensors: Sequence[Tensor] = ()
    _weight: Tensor | None = None
    _to_read: Tensor | None = None

    def forget(self) -> None:
        if self._weight is not None:  # each pass with gradients calls this for each layer
            self._source, self._tensors = None, ()
            self._weight = self._to_read = None

    def to_read(self, weight: Tensor) -> Tensor:
        """The W that `of` has just returned, made read-only."""
        if weight is not self._weight:
            return computed(weight)
        if self._to_read is None:
            self._to_read = computed(weight)
        return self._to_read

    def of(self, module: nn.Module, build: Callable[[], Tensor]) -> Tensor:
        """The kept W, or a new one by `build` if a parameter or autocast has changed since.

        Changes of `scale`, and writes through `.data`, are not noticed: call `forget`. Tensors made
        in inference mode do not count their changes, so their W is not kept.
        """
        # A change in place raises a tensor's version (say, an optimizer's step in eval mode);
        # `functional_call` puts in other tensors, and `vector_to_parameters` other memory.
        parameters = list(module._parameters.values())
        if any(parameter.is_inference() for parameter in parameters):
            return build()
        versions = [(id(each), each._version, each.data_ptr()) for each in parameters]
        source = autocast_dtype(module._buffers["scale"].device.type), versions
        if self._weight is None or self._source != source:
            # Keep the tensors and their memory too, so that no others can get their ids.
            self._tensors = [*parameters, *(each.detach() for each in parameters)]
            self._source, self._weight = source, build()
            self._to_read = None
        return self._weight
