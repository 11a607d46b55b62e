"""Entry point under the path of earlier versions: a supervisor that is alive during an upgrade verifies its LoRA by it."""

import sys

from fluxgym.supervisor.verify_lora import main

if __name__ == "__main__":
    main(sys.argv[1:])
