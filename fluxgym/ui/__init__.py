"""The page: Gradio components and the server. Only app.py and this package import gradio."""
