"""Which of kohya's flags this trainer honors, accepts without effect, or refuses, with the reasons.

Every flag of kohya_flags.json is in exactly one of the three.
"""

HONORED = frozenset(
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
    color_aug face_crop_aug_range debug_dataset token_warmup_step token_warmup_min alpha_mask masked_loss conditioning_data_dir in_json
    dataset_repeats validation_split validation_seed validate_every_n_steps validate_every_n_epochs max_validation_steps
    config_file output_config console_log_file console_log_simple save_n_epoch_ratio initial_epoch initial_step skip_until_initial_step
    full_bf16 ip_noise_gamma ip_noise_gamma_random_strength use_lion_optimizer lr_scheduler_type logging_dir log_with log_prefix
    log_tracker_name log_tracker_config log_config wandb_run_name metadata_thumbnail metadata_preprocessor metadata_is_negative_embedding
    cpu_offload_checkpointing disable_mmap_load_safetensors
    network_dropout dim_from_weights scale_weight_norms base_weights base_weights_multiplier network_train_text_encoder_only
    torch_compile dynamo_backend highvram lowram skip_cache_check
    """.split()
)

_ALWAYS = "so it is in any case: "
NOTES = {
    "sdpa": _ALWAYS + "attention is PyTorch's scaled dot product attention",
    "persistent_data_loader_workers": _ALWAYS + "the workers are threads that stay",
    "highvram": _ALWAYS + "the GPU's memory is not cleared after each image that is cached",
    "lowram": _ALWAYS + "a model's tensors go to the GPU one by one as they are read",
    "skip_cache_check": _ALWAYS + "caches know their content, and checking them costs nothing",
    "blocks_to_swap": "in kohya's unit: N swaps N//2 of 19 double blocks and 2*(N - N//2) of 38 single blocks to main memory; at most 35",
    "split_mode": "deprecated by kohya: means --blocks_to_swap 18 where that is not given",
}  # what to know of a flag that is honored

_OTHER_MODELS = "it belongs to Stable Diffusion 1, 2 or XL; kohya's FLUX trainer ignores it too"
_NO_SNR = "flow matching has no such noise schedule; kohya's FLUX trainer ignores it too"
_ATTENTION = "attention is always PyTorch's scaled dot product attention, which computes the same; kohya's FLUX trainer ignores it too"
IGNORED = {
    "v2": _OTHER_MODELS,
    "v_parameterization": _OTHER_MODELS,
    "clip_skip": _OTHER_MODELS,
    "max_token_length": _OTHER_MODELS,
    "vae": "FLUX's VAE is given by --ae; kohya's FLUX trainer ignores it too",
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
    "vae_batch_size": "images are encoded one by one: in a batch the last bits would depend on the neighbors, and caches are shared by runs",
    "text_encoder_batch_size": "captions are encoded one by one, for the same caches whatever the batch",
    "cache_info": "sizes and captions are read again at each start, which takes a tenth of a second for a thousand images",
    "ddp_timeout": "it only concerns several processes",
    "ddp_gradient_as_bucket_view": "it only concerns several processes",
    "ddp_static_graph": "it only concerns several processes",
    "fused_backward_pass": "a LoRA's gradients are too small to gain by it; kohya's trainer of LoRAs fuses nothing either",
}

_UPLOAD = "this trainer uploads nothing"
_DEEPSPEED = "DeepSpeed divides the weights that are trained, and a LoRA's are small; use --blocks_to_swap or --fp8_base to save memory"
REFUSED = {
    "weighted_captions": "T5 and CLIP of FLUX know no weights of words; kohya's FLUX trainer breaks off on it",
    "dataset_class": "custom data set classes are not loaded",
    "huggingface_repo_id": _UPLOAD,
    "huggingface_repo_type": _UPLOAD,
    "huggingface_path_in_repo": _UPLOAD,
    "huggingface_repo_visibility": _UPLOAD,
    "huggingface_token": "a token on a command line can be read by everyone on the machine, and " + _UPLOAD,
    "save_state_to_huggingface": _UPLOAD,
    "async_upload": _UPLOAD,
    "resume_from_huggingface": "download the state first, then give --resume its folder",
    "wandb_api_key": "other users of the machine can read a command line; set WANDB_API_KEY in the environment before the app or the trainer is started",
    "full_fp16": "float16 needs --mixed_precision fp16, in which FLUX overflows; use --full_bf16",
    "deepspeed": _DEEPSPEED,
    "zero_stage": _DEEPSPEED,
    "offload_optimizer_device": _DEEPSPEED,
    "offload_optimizer_nvme_path": _DEEPSPEED,
    "offload_param_device": _DEEPSPEED,
    "offload_param_nvme_path": _DEEPSPEED,
    "zero3_init_flag": _DEEPSPEED,
    "zero3_save_16bit_model": _DEEPSPEED,
    "fp16_master_weights_and_gradients": _DEEPSPEED,
    "controlnet_model_name_or_path": "ControlNets are not trained here",
}
