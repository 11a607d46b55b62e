"""Reading and writing .safetensors files and model files of every form."""
