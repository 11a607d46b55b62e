// What the page's scripts find in the browser besides the DOM.

interface Window {
  /** Gradio's configuration; root is the URL below which the app is served. */
  gradio_config?: { root?: string };
}
