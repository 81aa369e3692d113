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
        "sampling_seed": "subsample_seed",
        "sim_photons": "nphotons",
        "probe_size": "N",
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


_NETWORK: Final = "there is one network; --features, --stages and --n-filters-scale shape it"
_OPTIMISER: Final = "the optimiser is AdamW with weight decay 1e-3; --learning-rate and --scheduler steer it"
_COLOURS: Final = "not needed: colours span the values inside the scan; reconstruction.npz holds the image for others"
_PLATEAU: Final = "not a setting: --scheduler plateau multiplies by 0.3 after 3 epochs without improvement"
_WATCH: Final = "not here: loss.png and metrics.csv follow a training, and 'ptychopinn infer' shows its image"
_ARM: Final = "not needed: leave out the image"
_ITERATIVE: Final = "of 'baseline'; give its result by --iterative IMAGE"
_CANVAS: Final = "not needed: the canvas follows the positions"
_LEVEL: Final = "--quiet prints warnings and the last line only, and 'ptychopinn --debug ...' shows tracebacks"
_PLACES: Final = "positions decide how many frames there are: --step, --object-size, or --from FILE with positions"

INSTEAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "train_data_file": "give the scan itself: ptychopinn train SCAN --out RUN",
        "train test_data_file": "type --validate-on {value}",
        "train test_data": "type --validate-on {value}",
        "train validation_data": "type --validate-on {value}",
        "train val_data": "type --validate-on {value}",
        "test_data_file": "give the scan itself as an argument",
        "test_data": "give the scan itself as an argument",
        "input_file": "give the file itself as an argument; of 'simulate' type --from {value}",
        "simulate input_file": "type --from {value}",
        "output_file": "give the file to write as an argument",
        "output_dir": "type --out {value}",
        "output": "type --out {value}",
        "infer model_path": "give the run itself: ptychopinn infer {value} SCAN --out IMAGE",
        "model_path": "give the run itself: ptychopinn infer {value} SCAN --out IMAGE",
        "model_dir": "give the run itself: ptychopinn compare SCAN --pinn {value} --out SCORES",
        "compare pinn_dir": "type --pinn {value}",
        "compare baseline_dir": "type --supervised {value}",
        "compare tike_recon_path": "type --iterative {value}",
        "compare ms_ssim_sigma": "type --sigma {value}",
        "compare phase_align_method": "type --ramp to remove planes; the mean phase is always removed",
        "enable_progress_bar": "not needed: a bar is drawn on a terminal unless --quiet",
        "progress_bar": "not needed: a bar is drawn on a terminal unless --quiet",
        "verbose": _LEVEL,
        "console_level": _LEVEL,
        "quiet": "not needed: this command prints its result only",
        "debug": "stands before the command: ptychopinn --debug ...",
        "backend": "not needed: all runs in PyTorch",
        "disable_mlflow": "not needed: --logger is csv unless given",
        "do_stitching": "not needed: 'ptychopinn infer' makes the image",
        "loss_mode": "type --nll-weight 1 for poisson, or --nll-weight 0 --set mae_weight=1 for mae",
        "nll": "type --nll-weight 1, or 0",
        "scale_contract_version": "not needed: counts are photons; --measurement says what a file of floats holds",
        "profile": "not needed: --config FILE holds settings",
        "intensity_scale_trainable": "not needed: counts are photons and are not rescaled",
        "probe_scale": "not needed: the probe is in sqrt(photons)",
        "probe_normalize": "not needed: the probe is in sqrt(photons)",
        "positions_provided": "not needed: positions come from the scan file",
        "object_big": "not needed: patches of a group always overlap on one canvas",
        "probe_big": "not needed: patches are as large as frames",
        "pad_object": "not needed: objects are as large as the scan",
        "enable_oversampling": "not needed: give --n-groups above the number of frames, and --neighbor-count",
        "gaussian_smoothing_sigma": "not needed: the probe is used as the file has it",
        "probe_mask_sigma": "not needed: the edge of the probe mask is 1 px wide",
        "patch_weighting": "not needed: patches are weighted by the probe",
        "varpro_scaling": "not needed: counts are photons and are not rescaled",
        "log_patch_stats": "not needed; metrics.csv holds the errors of the patches",
        "comparison_plot": "not needed: 'ptychopinn compare' draws it",
        "gradient_clip_algorithm": "not needed: the norm of the gradient is limited, by --set gradient_clip_val=1",
        "train_data": "give the scan itself: ptychopinn train SCAN --out RUN",
        "ptycho_dir": "give the scan itself: ptychopinn train SCAN --out RUN",
        "input_npz": "give the file itself as an argument",
        "run_id": "give the run itself: ptychopinn infer RUN SCAN --out IMAGE",
        "infer_dir": "give the run itself: ptychopinn infer RUN SCAN --out IMAGE",
        "file_index": "give the scan itself as an argument; --scan-index picks one of several in a file",
        "no_comparison_plot": "not needed: only 'ptychopinn compare' draws it",
        "debug_dump": "not here: 'ptychopinn --debug ...' shows tracebacks",
        "patch_stats_limit": "not needed; metrics.csv holds the errors of the patches",
        "learned_input_channels": _NETWORK,
        "max_hidden_channels": _NETWORK,
        "resnet_width": _NETWORK,
        "fno_input_transform": _NETWORK,
        "generator_output_mode": _NETWORK,
        "beta1": _OPTIMISER,
        "beta2": _OPTIMISER,
        "adam_beta1": _OPTIMISER,
        "adam_beta2": _OPTIMISER,
        "plateau_min_lr": _PLATEAU,
        "plateau_threshold": _PLATEAU,
        "recon_log_every_n_epochs": _WATCH,
        "recon_log_num_patches": _WATCH,
        "recon_log_fixed_indices": _WATCH,
        "recon_log_stitch": _WATCH,
        "recon_log_max_stitch_samples": _WATCH,
        "simulate train_data_file_path": "type --from {value}",
        "simulate test_data_file_path": "type --from {value}",
        "output_prefix": "give the file to write as an argument",
        "simulate sim_images": _PLACES,
        "simulate buffer": "not needed: positions keep their patches inside the object",
        "compare pinn_model": "type --pinn {value}",
        "compare baseline_model": "type --supervised {value}",
        "pinn_phase_vmin": _COLOURS,
        "pinn_phase_vmax": _COLOURS,
        "baseline_phase_vmin": _COLOURS,
        "baseline_phase_vmax": _COLOURS,
        "amp_vmin": _COLOURS,
        "amp_vmax": _COLOURS,
        "register_ptychi_only": "not needed: every image is aligned, and the table says by how much",
        "save_npz_aligned": "not needed: --save-npz writes both",
        "no_save_npz_aligned": "type --no-save-npz, for both",
        "frc_sigma": "not needed: the curve is not smoothed",
        "save_debug_images": "not needed: --save-npz writes the images",
        "baseline_debug_limit": "not needed: --save-npz writes the images",
        "baseline_debug_dir": "not needed: --save-npz writes the images",
        "fixed_canvas": "not needed: images are scored where all of them cover the scan",
        "compare skip_training": _ARM,
        "compare skip_baseline": _ARM,
        "compare skip_pinn": _ARM,
        "compare skip_ptychi": _ARM,
        "compare ptychi_algorithm": _ITERATIVE,
        "compare ptychi_epochs": _ITERATIVE,
        "num_gpu": "type --accelerator gpu: one",
        "extra_padding": _CANVAS,
        "force_square_canvas": _CANVAS,
        "min_canvas_size": _CANVAS,
        "run parallel_jobs": "type --jobs {value}",
        "run preflight_only": "type --dry-run",
        "run config": "type --design {value}",
        "weight_decay": _OPTIMISER,
        "optimizer": _OPTIMISER,
        "momentum": _OPTIMISER,
        "architecture": _NETWORK,
        "fno_modes": _NETWORK,
        "fno_width": _NETWORK,
        "fno_blocks": _NETWORK,
        "fno_cnn_blocks": _NETWORK,
        "plateau_factor": _PLATEAU,
        "plateau_patience": _PLATEAU,
        "lr_warmup_epochs": "not a setting: --scheduler warmup_cosine warms up for 100 steps",
        "lr_min_ratio": "not a setting: --scheduler warmup_cosine ends at 0.005 of the peak",
        "phase_vmin": _COLOURS,
        "phase_vmax": _COLOURS,
        "p_min": _COLOURS,
        "p_max": _COLOURS,
        "simulate n_images": _PLACES,
        "simulate nimages": _PLACES,
        "simulate n_subsample": _PLACES,
        "simulate data_source": "type --from FILE for an object and probe of your own, or --object lines",
        "simulate probe_file": "type --from FILE that holds probeGuess",
        "simulate visualize": "type ptychopinn inspect FILE afterwards",
    }
)
"""Flags of the older program without a setting here, also by command: what to do. ``{value}`` is what was given."""


def plain(flag: str) -> str:
    """A flag or key as it stands in these tables: ``--torch-Learning-rate`` becomes ``learning_rate``."""
    return flag.lstrip("-").replace("-", "_").lower().removeprefix(PREFIX)


def value_here(setting: str, value: str) -> str:
    """The value that is meant by one of the older program."""
    return VALUES.get(setting, {}).get(value.lower(), value)
