"""Names that the older program and other PyTorch programs use for settings, and what stands here for them.

Names are in lower case with underscores; the prefix ``torch_`` of the older program is left out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PREFIX: Final = "torch_"
"""Begins the flags of the older program's PyTorch backend; the rest of the name is that without it."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_epochs": "nepochs",
        "num_epochs": "nepochs",
        "n_epochs": "nepochs",
        "lr": "learning_rate",
        "accum_steps": "accumulate_grad_batches",
        "grad_clip": "gradient_clip_val",
        "early_stopping_patience": "early_stop_patience",
        "checkpoint_save_top_k": "save_top_k",
        "checkpoint_monitor": "monitor",
        "checkpoint_monitor_metric": "monitor",
        "checkpoint_mode": "mode",
        "logger_backend": "logger",
        "device": "accelerator",
        "n_devices": "devices",
        "gpus": "devices",
        "workers": "num_workers",
        "n_images": "n_subsample",
        "n_test_images": "n_subsample",
        "n_test_subsample": "n_subsample",
        "n_train_images": "n_subsample",
        "n_train_subsample": "n_subsample",
        "n_test_groups": "n_subsample",
        "n_train_groups": "n_groups",
        "grid_size": "gridsize",
        "test_subsample_seed": "subsample_seed",
        "k": "neighbor_count",
        "neighbor_pool_size": "neighbor_count",
        "infer_batch_size": "inference_batch_size",
        "pinn_predict_batch_size": "inference_batch_size",
        "baseline_predict_batch_size": "inference_batch_size",
        "pinn_chunk_size": "patch_memory",
        "baseline_chunk_size": "patch_memory",
        "stitch_crop_size": "middle_trim",
        "training_procedure": "model_type",
        "measurement_domain": "measurement",
        "photons": "nphotons",
        "n_photons": "nphotons",
        "object_class": "object",
        "object_type": "object",
        "image_size": "object_size",
        "num_iterations": "epochs",
        "iterations": "epochs",
        "algorithm": "engine",
        "noise": "noise_model",
        "flipx": "flip_x",
        "flipy": "flip_y",
        "random_seed": "seed",
    }
)
"""Other names of settings."""

VALUES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "accelerator": MappingProxyType({"gpu": "cuda"}),
        "scheduler": MappingProxyType(
            {
                "default": "constant",
                "exponential": "exponential",
                "multistage": "multistep",
                "adaptive": "plateau",
                "reducelronplateau": "plateau",
                "warmupcosine": "warmup_cosine",
                "cosineannealing": "warmup_cosine",
                "cosine": "warmup_cosine",
            }
        ),
        "precision": MappingProxyType({"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}),
        "measurement": MappingProxyType(
            {"count_intensity": "counts", "intensity": "counts", "normalized_amplitude": "amplitude"}
        ),
        "model_type": MappingProxyType({"unsupervised": "pinn"}),
    }
)
"""Other values of settings, in lower case."""


def plain(flag: str) -> str:
    """A flag or key as it stands in these tables: ``--torch-Learning-rate`` becomes ``learning_rate``."""
    return flag.lstrip("-").replace("-", "_").lower().removeprefix(PREFIX)


def value_here(setting: str, value: str) -> str:
    """The value that is meant by one of the older program."""
    return VALUES.get(setting, {}).get(value.lower(), value)
