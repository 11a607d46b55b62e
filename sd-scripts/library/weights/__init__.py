"""Reading and writing .safetensors files, and loading models from single files, shards or folders."""
