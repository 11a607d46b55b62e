"""The one exception that a user's input or machine can cause in the trainer."""


class TrainerError(Exception):
    """A failure that the user can act upon: one plain sentence and a code for programs.

    The entry point prints the sentence after `error: `, exits with code 2 and shows no traceback. The code is one of
    run-folder.md's `reason_code` values ("bad_model", "nan", "disk_full", "cuda_oom", …) or "bad_input".
    """

    def __init__(self, message: str, *, reason_code: str = "bad_input") -> None:
        super().__init__(message)
        self.reason_code = reason_code
