"""The Gradio theme: system fonts, one accent color, flat surfaces. Other styles are in assets/tokens.css and the style sheets after it."""

import gradio as gr

SYSTEM_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Return Gradio's base theme with the CSS variables of tokens.css as its colors."""
    base = gr.themes.Base(
        primary_hue="indigo", neutral_hue="gray", spacing_size="md", radius_size="md", text_size="md",
        font=list(SYSTEM_FONT), font_mono=list(SYSTEM_MONO),
    )  # fmt: skip
    same = {
        "body_background_fill": "var(--fg-ground)", "body_text_color": "var(--fg-ink)", "body_text_color_subdued": "var(--fg-soft)",
        "block_background_fill": "transparent", "block_border_color": "transparent", "block_label_background_fill": "transparent",
        "block_label_text_color": "var(--fg-ink)", "block_title_text_color": "var(--fg-ink)", "block_info_text_color": "var(--fg-soft)",
        "input_background_fill": "var(--fg-well)", "input_border_color": "var(--fg-edge)", "input_border_color_focus": "var(--fg-accent)",
        "input_placeholder_color": "var(--fg-faint)", "panel_background_fill": "transparent", "border_color_primary": "var(--fg-line)",
        "background_fill_primary": "var(--fg-card)", "background_fill_secondary": "var(--fg-well)",
        "color_accent_soft": "var(--fg-accent-soft)", "border_color_accent": "var(--fg-accent)", "checkbox_background_color": "var(--fg-well)",
        "checkbox_border_color": "var(--fg-edge)", "checkbox_background_color_selected": "var(--fg-accent)",
        "checkbox_border_color_selected": "var(--fg-accent)", "checkbox_label_background_fill": "var(--fg-well)",
        "checkbox_label_background_fill_selected": "var(--fg-accent-soft)", "checkbox_label_border_color": "var(--fg-edge)",
        "checkbox_label_text_color": "var(--fg-ink)", "checkbox_label_text_color_selected": "var(--fg-ink)",
        "button_primary_background_fill": "var(--fg-accent)", "button_primary_background_fill_hover": "var(--fg-accent-strong)",
        "button_primary_text_color": "var(--fg-on-accent)", "button_primary_border_color": "transparent",
    }  # fmt: skip
    return base.set(
        **same, **{f"{name}_dark": value for name, value in same.items()},
        color_accent="var(--fg-accent)", block_border_width="0px", block_border_width_dark="0px",
        block_padding="0px", block_shadow="none", block_shadow_dark="none",
        block_label_text_size="14px", block_title_text_size="14px", block_title_text_weight="600", block_info_text_size="12px",
        input_text_size="14px", input_padding="0 12px", input_radius="8px", input_border_width="1px", input_border_width_dark="1px",
        input_shadow="none", input_shadow_focus="none", input_shadow_dark="none", input_shadow_focus_dark="none",
        checkbox_label_text_size="14px", checkbox_label_padding="0", button_large_text_size="16px", button_large_padding="0 20px",
        button_large_radius="8px", button_large_text_weight="600", layout_gap="16px", form_gap_width="0px", prose_text_size="14px",
    )  # fmt: skip
