"""Adapters that let a kohya checkout run the work "mini", beside ours; no line of kohya's."""
