"""The stages of bench/first_day.py: `python -m bench.first_day_stages STAGE FOLDER` runs one in this process and prints JSON lines."""
