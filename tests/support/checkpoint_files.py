"""Checkpoints of the built-in trainer as far as the app reads them. The function's text is part of the scripts of stand-in trainers too."""


def write_checkpoint_files(folder, *, step, epoch=0, total_steps=4, data=b"w", run_id=""):
    """Write every file that a checkpoint has into a folder, and its manifest."""
    import hashlib
    import json
    from pathlib import Path

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"step": step, "epoch": epoch, "total_steps": total_steps}
    state = json.dumps(counts | {"batch_in_epoch": 0, "seed": 1, "fixed": {}}).encode()
    files = {"model.safetensors": data, "optimizer.json": b"{}", "scheduler.json": b"{}", "train_state.json": state}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    digests = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": digests, **counts, "run_id": run_id}))
