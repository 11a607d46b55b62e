"""Packages of requirements*.txt with classes that a training may name as optimizer or schedule. Any other package is the user's own."""

CLASS_PACKAGES = frozenset({"torch", "transformers", "diffusers", "bitsandbytes", "prodigyopt", "dadaptation", "schedulefree"})
