"""The run folder: what lies where, who may write it, and what it says about a run. Needs the standard library, and slugify for names."""
