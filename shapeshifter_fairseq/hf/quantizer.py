"""How transformers loads and saves a model in factors.

`from_pretrained` builds a dense model from the configuration and then asks a "quantizer" to replace
its modules before it reads the weights. Transformers lets other packages register a quantizer, and
this module registers one. Its configuration, which is saved in config.json, is the plan.

Only `nn.Linear` and `nn.Embedding` themselves are replaced (see `matrices`): convolutions,
normalisation and the `Conv1D` layers of GPT-2 stay dense.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..errors import ShapeshifterError
from ..factorizations import Factorization
from ..factorizing import factorize as factorize_matrices
from ..factorizing import fold
from ..layers import EMBED_GAIN, LAYER_GAIN, FactorizedEmbedding, FactorizedLinear
from ..plan import Plan
from ..together import build_together

METHOD = "shapeshifter"


def factorize(model: PreTrainedModel, plan: str, **options: Any) -> PreTrainedModel:
    """Replace a model's dense matrices in place with factors, so that it can be saved and loaded.

    Args:
        model: a dense model; it gets a configuration of its own, with the plan in it.
        plan: which matrix gets which factorization, see `Plan.parse`.
        options: `init` and the others of `shapeshifter_fairseq.factorize`.

    Returns:
        The same model.

    Raises:
        ShapeshifterError: as `shapeshifter_fairseq.factorize` does, and if the model is
            factorized or quantized already. The model is then as it was.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        raise ShapeshifterError("the model is factorized or quantized already; take a dense one")
    factorize_matrices(model, Plan.parse(plan), **options)
    keep_plan(model, plan)
    return model


def keep_plan(model: PreTrainedModel, plan: str) -> None:
    """Let transformers save, load and "dequantize" a factorized model by its plan.

    Call it again after more matrices became factors.
    """
    if getattr(model, "hf_quantizer", None) is None:
        model.hf_quantizer = FactorQuantizer(FactorConfig(plan))
        # Copies: other models may be built from the configurations that there were. A part of a
        # model may have one of its own (T5's encoder), with which it is saved.
        copies: dict[int, PreTrainedConfig] = {}
        for module in model.modules():
            if isinstance(old := getattr(module, "config", None), PreTrainedConfig):
                if id(old) not in copies:
                    copies[id(old)] = copy.deepcopy(old)
                    copies[id(old)].quantization_config = model.hf_quantizer.quantization_config
                module.config = copies[id(old)]
    model.hf_quantizer.quantization_config.plan = plan
    model.hf_quantizer.adopt(model)


@register_quantization_config(METHOD)
class FactorConfig(QuantizationConfigMixin):
    """The plan as config.json keeps it.

    Args:
        plan: see `Plan.parse`.
        quant_method: written by transformers, and always the same.

    Raises:
        ShapeshifterError: if the plan does not parse.
    """

    def __init__(self, plan: str, quant_method: str = METHOD) -> None:
        Plan.parse(plan)
        self.plan, self.quant_method = plan, quant_method


@register_quantizer(METHOD)
class FactorQuantizer(HfQuantizer):
    """What transformers calls while it loads, saves and "dequantizes" a model in factors.

    If the file holds factors, it replaces the model's matrices while they are on the meta device,
    and then loads the factors. If the file holds dense weights, it loads them first, and then
    replaces each matrix with its nearest factors.
    """

    quantization_config: FactorConfig

    def __init__(self, quantization_config: FactorConfig, **options: Any) -> None:
        super().__init__(quantization_config, **options)
        self._ties: dict[nn.Module, tuple[Any, Any]] = {}  # as the dense model declares them
        # While loading: shared factors that are left out, each with its first name.
        self._taken: dict[str, str] = {}

    def replace_matrices(self, model: PreTrainedModel, **options: Any) -> None:
        factorize_matrices(model, Plan.parse(self.quantization_config.plan), **options)
        self.adopt(model)

    def adopt(self, model: PreTrainedModel) -> None:
        """Prepare a model whose matrices were just replaced."""
        build_together(model)
        # Layers that share factors share a module. The declared ties are of parameters, so only
        # those of biases and of matrices that stay dense are declared again.
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                declared = module._tied_weights_keys, module.all_tied_weights_keys
                self._ties.setdefault(module, declared)
                names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
                ties = module.all_tied_weights_keys.items()
                left = {name: source for name, source in ties if {name, source} <= names}
                module._tied_weights_keys, module.all_tied_weights_keys = left, dict(left)

    # --- loading -----------------------------------------------------------------------------

    def validate_environment(self, device_map: Any = None, **_: Any) -> None:
        """Refuse a `device_map` that offloads a part of the model to the CPU or a disk.

        accelerate fetches a weight when the module that owns it is called, but layers use their
        factors without calling them.
        """
        places = set(map(str, device_map.values())) if isinstance(device_map, dict) else set()
        if "disk" in places or ("cpu" in places and len(places) > 1):
            named = ", ".join(sorted(places))
            raise ShapeshifterError(
                f"device_map: a factorized model cannot be offloaded ({named}); put all of it on "
                "GPUs, or all of it on the CPU"
            )

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        if not self.pre_quantized:
            return
        for name, source in model.all_tied_weights_keys.items():  # transformers ties them later
            layer, _, parameter = name.rpartition(".")
            setattr(model.get_submodule(layer), parameter, model.get_parameter(source))
        self.replace_matrices(model)
        # Some of transformers' models then initialise the weights of their layers. These come from
        # the file, or are drawn below.
        for module in model.modules():
            if isinstance(module, Factorization):
                module.weight = partial(_as_initialised, module)
        # The file holds each matrix once; transformers would look for it under each of its names.
        self._taken = repeated_factors(model)
        for name in self._taken:
            delattr(model.get_submodule(name.rpartition(".")[0]), "factors")

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        for name, source in self._taken.items():
            layer = model.get_submodule(name.rpartition(".")[0])
            layer.factors = model.get_submodule(source)
        self._taken = {}
        for module in model.modules():
            if isinstance(module, Factorization):
                vars(module).pop("weight", None)
        if self.pre_quantized:
            self._draw_missing(model)
        else:
            self.replace_matrices(model, init="project")
        model.is_quantized = False  # so it can train, and change its type, like any other model

    @staticmethod
    def _draw_missing(model: PreTrainedModel) -> None:
        """Draw the factors that were not in the file (of a new head for fine-tuning, say), and set
        their biases to zero: transformers does so for `nn.Linear` alone.
        """

        def missing(*parameters: nn.Parameter) -> bool:
            return not all(getattr(one, "_is_hf_initialized", False) for one in parameters)

        std = getattr(model.config, "initializer_range", 0.02)
        gains: dict[Factorization, float] = {}  # as in `factorize`: an embedding's if it has them
        for layer in model.modules():
            if isinstance(layer, FactorizedEmbedding):
                gains[layer.factors] = EMBED_GAIN
            elif isinstance(layer, FactorizedLinear):
                gains.setdefault(layer.factors, LAYER_GAIN)
                if layer.bias is not None and missing(layer.bias):
                    nn.init.zeros_(layer.bias)
        for factors, gain in gains.items():
            if missing(*factors.parameters()):
                factors.initialize_(std, gain)

    # --- saving, and the way back ------------------------------------------------------------

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[dict[str, Tensor], dict]:
        repeated = tuple(f"{name}." for name in repeated_factors(model))
        state = {
            name: tensor
            for name, tensor in model.state_dict().items()
            if not (repeated and name.startswith(repeated))
        }
        return state, {}

    def _dequantize(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> nn.Module:
        for module, (declared, expanded) in self._ties.items():
            module._tied_weights_keys, module.all_tied_weights_keys = declared, expanded
        return fold(model)

    @property
    def is_trainable(self) -> bool:
        return True

    @property
    def is_qat_trainable(self) -> bool:
        return True

    @property
    def is_compileable(self) -> bool:
        return True

    def is_serializable(self) -> bool:
        return True


def _as_initialised(factors: Factorization) -> Tensor:
    """W, marked so that transformers' initialisers leave it alone."""
    weight = Factorization.weight(factors)
    weight._is_hf_initialized = True
    return weight


def repeated_factors(model: nn.Module) -> dict[str, str]:
    """The further names of factors that several layers hold, each with the first name."""
    first: dict[Factorization, str] = {}
    return {
        name: first[module]
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, Factorization) and first.setdefault(module, name) != name
    }
