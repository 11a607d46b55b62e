"""The confirmation of a delete lists what would be deleted."""

from fluxgym.sessions.folder_contents import contents


def test_contents_counts_files_to_be_deleted(completed_run):
    run = completed_run
    for folder, name in ((run.dataset, "a.png"), (run.dataset, "a.txt"), (run.samples, "s.png"), (run.folder / "cat-state", "x")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = contents(completed_run)
    assert (found.num_images, found.num_samples, found.num_checkpoints, found.lora_files) == (1, 1, 1, ("cat.safetensors",))
