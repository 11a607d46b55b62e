"""Python packages of requirements*.txt whose classes a training may name as its optimizer or scheduler. Any other package is the user's own."""

CLASS_PACKAGES = frozenset({"torch", "transformers", "diffusers", "bitsandbytes", "prodigyopt", "dadaptation", "schedulefree"})
