"""The page: Gradio components, their handlers, and the server that guards them. Only this room knows gradio."""
