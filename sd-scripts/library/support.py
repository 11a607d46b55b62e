"""Which of kohya's flags this trainer honours, which it accepts without effect, and which it refuses, each with the reason.

Every flag of kohya_flags.json is in exactly one of the three; a test holds that.
"""

HONOURED = frozenset(
    """
    console_log_level pretrained_model_name_or_path tokenizer_cache_dir metadata_title metadata_author metadata_description metadata_license
    metadata_tags metadata_usage_hint metadata_trigger_phrase metadata_merged_from
    train_data_dir reg_data_dir dataset_config resolution shuffle_caption caption_separator caption_extension keep_tokens
    keep_tokens_separator secondary_separator enable_wildcard caption_prefix caption_suffix caption_dropout_rate
    caption_dropout_every_n_epochs caption_tag_dropout_rate flip_aug random_crop cache_latents cache_latents_to_disk
    enable_bucket min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale resize_interpolation prior_loss_weight
    max_data_loader_n_workers persistent_data_loader_workers cache_text_encoder_outputs cache_text_encoder_outputs_to_disk
    caption_extention
    output_dir output_name save_precision save_model_as save_every_n_epochs save_every_n_steps save_last_n_epochs save_last_n_epochs_state
    save_last_n_steps save_last_n_steps_state save_state save_state_on_train_end resume no_metadata training_comment
    train_batch_size max_train_steps max_train_epochs seed gradient_checkpointing gradient_accumulation_steps mixed_precision fp8_base
    fp8_base_unet sdpa no_half_vae blocks_to_swap split_mode
    min_timestep max_timestep loss_type huber_schedule huber_c huber_scale weighting_scheme logit_mean logit_std mode_scale
    guidance_scale timestep_sampling sigmoid_scale model_prediction_type discrete_flow_shift model_type
    sample_every_n_steps sample_at_first sample_every_n_epochs sample_prompts
    optimizer_type use_8bit_adam learning_rate unet_lr text_encoder_lr max_grad_norm optimizer_args lr_scheduler lr_scheduler_args
    lr_warmup_steps lr_decay_steps lr_scheduler_num_cycles lr_scheduler_power lr_scheduler_timescale lr_scheduler_min_lr_ratio
    network_module network_weights network_dim network_alpha network_args network_train_unet_only
    clip_l t5xxl ae t5xxl_max_token_length apply_t5_attn_mask
    torch_compile dynamo_backend
    """.split()
)

_OTHER_MODELS = "it belongs to Stable Diffusion 1, 2 or XL; kohya's FLUX trainer ignores it too"
_NO_SNR = "flow matching has no such noise schedule; kohya's FLUX trainer ignores it too"
_ATTENTION = "attention is always PyTorch's scaled dot product attention, which computes the same"
_MEMORY = "nothing is held in memory longer than it is needed in any case"
IGNORED = {
    "v2": _OTHER_MODELS,
    "v_parameterization": _OTHER_MODELS,
    "clip_skip": _OTHER_MODELS,
    "max_token_length": _OTHER_MODELS,
    "weighted_captions": _OTHER_MODELS,
    "vae": "the autoencoder of FLUX is given by --ae; kohya's FLUX trainer ignores it too",
    "sample_sampler": "FLUX is always sampled by Euler steps; kohya's FLUX trainer ignores it too",
    "min_snr_gamma": _NO_SNR,
    "scale_v_pred_loss_like_noise_pred": _NO_SNR,
    "v_pred_like_loss": _NO_SNR,
    "debiased_estimation_loss": _NO_SNR,
    "zero_terminal_snr": _NO_SNR,
    "noise_offset": _NO_SNR,
    "noise_offset_random_strength": _NO_SNR,
    "adaptive_noise_scale": _NO_SNR,
    "multires_noise_iterations": _NO_SNR,
    "multires_noise_discount": _NO_SNR,
    "xformers": _ATTENTION,
    "mem_eff_attn": _ATTENTION,
    "lowram": _MEMORY,
    "highvram": _MEMORY,
    "skip_cache_check": "the caches know their content and cost nothing to check",
    "disable_mmap_load_safetensors": "files are read tensor by tensor in any case",
    "vae_batch_size": "pictures are encoded one by one, each once and for all runs",
    "text_encoder_batch_size": "captions are encoded one by one, each once and for all runs",
    "cache_info": "nothing is scanned that could be kept; folders are read anew at each start",
    "log_config": "it only concerns --log_with",
    "log_prefix": "it only concerns --log_with",
    "log_tracker_name": "it only concerns --log_with",
    "wandb_run_name": "it only concerns --log_with",
    "ddp_timeout": "it only concerns several processes",
    "ddp_gradient_as_bucket_view": "it only concerns several processes",
    "ddp_static_graph": "it only concerns several processes",
    "zero_stage": "it only concerns --deepspeed",
    "offload_optimizer_device": "it only concerns --deepspeed",
    "offload_optimizer_nvme_path": "it only concerns --deepspeed",
    "offload_param_device": "it only concerns --deepspeed",
    "offload_param_nvme_path": "it only concerns --deepspeed",
    "zero3_init_flag": "it only concerns --deepspeed",
    "zero3_save_16bit_model": "it only concerns --deepspeed",
    "fp16_master_weights_and_gradients": "it only concerns --deepspeed",
    "huggingface_repo_type": "it only concerns --huggingface_repo_id",
    "huggingface_path_in_repo": "it only concerns --huggingface_repo_id",
    "huggingface_repo_visibility": "it only concerns --huggingface_repo_id",
    "save_state_to_huggingface": "it only concerns --huggingface_repo_id",
    "async_upload": "it only concerns --huggingface_repo_id",
    "validation_seed": "it only concerns --validation_split",
    "validate_every_n_steps": "it only concerns --validation_split",
    "validate_every_n_epochs": "it only concerns --validation_split",
    "max_validation_steps": "it only concerns --validation_split",
    "token_warmup_min": "it only concerns --token_warmup_step",
    "base_weights_multiplier": "it only concerns --base_weights",
    "ip_noise_gamma_random_strength": "it only concerns --ip_noise_gamma",
    "dataset_repeats": "it only concerns --in_json",
    "metadata_thumbnail": "no picture is put into the LoRA's metadata",
    "metadata_preprocessor": "a LoRA of FLUX has no preprocessor",
    "metadata_is_negative_embedding": "a LoRA is no embedding",
}

_LATER = "it is not supported yet"
_OWN_STATE = "a checkpoint carries the place in the training itself; use --resume"
_LOGGING = "TensorBoard and wandb are not supported yet; progress.jsonl holds the loss of every step"
_UPLOAD = "nothing is uploaded while training"
REFUSED = {
    "console_log_file": "redirect the trainer's output instead",
    "console_log_simple": "the console is simple already",
    "color_aug": _LATER,
    "face_crop_aug_range": _LATER,
    "debug_dataset": _LATER,
    "token_warmup_step": _LATER,
    "alpha_mask": _LATER,
    "masked_loss": _LATER,
    "conditioning_data_dir": "it needs --masked_loss, which is not supported yet",
    "dataset_class": "data sets of foreign code are not loaded",
    "in_json": "captions are read from text files beside the pictures",
    "huggingface_repo_id": _UPLOAD,
    "huggingface_token": "a token never belongs on a command line",
    "resume_from_huggingface": _UPLOAD,
    "save_n_epoch_ratio": "use --save_every_n_epochs",
    "full_fp16": "FLUX overflows in float16; use --mixed_precision bf16",
    "full_bf16": _LATER,
    "logging_dir": _LOGGING,
    "log_with": _LOGGING,
    "log_tracker_config": _LOGGING,
    "wandb_api_key": "a key never belongs on a command line",
    "ip_noise_gamma": _LATER,
    "config_file": _LATER,
    "output_config": _LATER,
    "deepspeed": _LATER,
    "use_lion_optimizer": "use --optimizer_type AdamW, AdamW8bit or Adafactor",
    "lr_scheduler_type": "schedules of foreign code are not loaded; use --lr_scheduler",
    "fused_backward_pass": _LATER,
    "cpu_offload_checkpointing": _LATER,
    "network_dropout": _LATER,
    "network_train_text_encoder_only": "a LoRA of FLUX without FLUX teaches next to nothing",
    "dim_from_weights": _LATER,
    "scale_weight_norms": _LATER,
    "base_weights": _LATER,
    "skip_until_initial_step": _OWN_STATE,
    "initial_epoch": _OWN_STATE,
    "initial_step": _OWN_STATE,
    "validation_split": _LATER,
    "controlnet_model_name_or_path": "ControlNets are not trained here",
}
